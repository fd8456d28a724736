"""Verdicts anew from what was heard, and the operator's kill switch: real store, policy and publisher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.analysis import NO_RULING, Analysis, Ruling, Tag, Verdict, VerdictStatus
from core.keys import SigningKey
from core.taxonomy import Taxonomy
from core.types import AtUri, BlobRef, Cid, Did, Track, TrackState, make_tid
from earmark.control import Refused
from earmark.deciding import decide, keep, settle
from earmark.explaining import explain_track
from earmark.judging import judge_by
from earmark.negating import Negating, UnknownTrack
from earmark.rejudging import AT_ONCE, Rejudging, decide_again, take_away
from labeler.musicnn import TagMapping
from labeler.policy import Policy
from labeler.publisher import Publisher
from labeler.thresholds import Thresholds
from store import Store, actions, analyses, generations, holds, labels, rulings, tracks
from store.labels import StoredVerdict
from tests.labeler.conftest import HandClock

TAXONOMY = Taxonomy.load()
MAPPING = TagMapping.load(TAXONOMY)
PACKS = {"musicnn": "ab" * 32}
SRC = Did("did:plc:" + "l" * 24)
ARTIST = Did("did:plc:" + "a" * 24)
JAZZ = (("jazz", 0.9), ("blues", 0.8))
FAINT = (("jazz", 0.3),)  # 0.2 of the vote: passes the built-in floor


def policy(**floors: float | None) -> Policy:
    return Policy(TAXONOMY, MAPPING, thresholds=Thresholds("musicnn", floors))


def analysis(scores: tuple[tuple[str, float], ...]) -> Analysis:
    tags = (*(Tag(name, "msd", score) for name, score in scores), Tag("piano", "mtt", 0.5))
    return Analysis(PACKS, 60.0, -18.0, tags, {})


class Corpus:
    """A store with tracks that were heard, judged and published."""

    def __init__(self, store: Store, clock: HandClock) -> None:
        self.store, self.clock = store, clock
        self.judge = judge_by(policy())
        self.publisher = Publisher(store, key=SigningKey(b"k" * 32), src=SRC, clock=clock, labels_per_second=None)

    async def add(self, name: str, scores: tuple[tuple[str, float], ...] = JAZZ, **changes: Any) -> str:
        uri = f"at://{ARTIST}/fm.plyr.track/{name}"
        blob = BlobRef(Cid(f"audio-{name}"), "audio/wav", 10)
        rev = make_tid(self.clock.now_us())
        track = Track(AtUri.parse(uri), Cid("bafy"), rev, name, self.clock.now_us(), blob=blob, **changes)
        async with self.store.write() as tx:
            living = await generations.arrange(tx, PACKS, now_us=self.clock.now_us())
            await tracks.put(tx, track, state=TrackState.QUEUED, reason=None, now_us=self.clock.now_us())
            stored = await tracks.get(tx, uri)
            assert stored is not None
            [decision] = await decide(tx, stored, analysis(scores), self.judge, [living.serving])
            await keep(tx, stored, decision, now_us=self.clock.now_us())
            await settle(tx, stored, decision, now_us=self.clock.now_us())
        await self.publish()
        return uri

    async def publish(self) -> None:
        self.clock.advance(1.0)
        while await self.publisher.publish_pending() is not None:
            pass

    async def live(self, uri: str) -> set[str]:
        async with self.store.read() as reader:
            return {row.label.val for row in await labels.live(reader, SRC, uri) if not row.label.neg}

    async def verdict(self, uri: str) -> StoredVerdict:
        async with self.store.read() as reader:
            found = await labels.get_verdict(reader, uri)
        assert found is not None
        return found

    async def rule(self, uri: str, ruling: Ruling) -> Verdict | None:
        """What a report does."""
        async with self.store.write() as tx:
            await rulings.put(tx, uri, ruling, now_us=self.clock.now_us())
            stored = await tracks.get(tx, uri)
            assert stored is not None
            verdict = await decide_again(tx, stored, self.judge, now_us=self.clock.now_us())
        await self.publish()
        return verdict

    async def rejudge(self, changed: Policy, **wish: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The last line, and all changes."""
        changes, said = [], {}
        rejudging = Rejudging(self.store, judge=judge_by(changed), clock=self.clock)
        async for said in rejudging.answer(wish):
            changes += said["changes"]
        await self.publish()
        return said, changes

    async def switch(self, verb: str, **wish: Any) -> dict[str, Any]:
        negating = Negating(self.store, src=SRC, taxonomy=TAXONOMY, judge=self.judge, clock=self.clock)
        answer = negating.answer_negate if verb == "negate" else negating.answer_resume
        said: dict[str, Any] = {}
        async for line in answer({"by": "me", "reason": "because"} | wish):
            said = dict(line)
        await self.publish()
        return said

    async def log(self) -> list[actions.Action]:
        async with self.store.read() as reader:
            return await actions.page(reader)


@pytest.fixture
async def corpus(tmp_path: Path) -> AsyncIterator[Corpus]:
    clock = HandClock()
    store = await Store.open(tmp_path / "earmark.db", clock=clock)
    yield Corpus(store, clock)
    await store.close()


# --- decide_again -------------------------------------------------------------------------------------------


async def test_a_ruling_changes_the_verdict_at_once_and_its_end_brings_it_back(corpus: Corpus) -> None:
    uri = await corpus.add("one")
    assert await corpus.live(uri) == {"jazz", "blues"}
    verdict = await corpus.rule(uri, Ruling(frozenset({"jazz", "blues"}), ("electronic-techno",)))
    assert verdict is not None
    assert await corpus.live(uri) == {"electronic", "electronic-techno"} == set(verdict.labels)
    await corpus.rule(uri, Ruling(frozenset({"jazz", "blues"})))
    assert await corpus.live(uri) == set()
    assert (await corpus.verdict(uri)).verdict.reason == "denied"
    await corpus.rule(uri, NO_RULING)
    assert await corpus.live(uri) == {"jazz", "blues"}


async def test_a_track_that_is_on_its_way_loses_what_is_denied_and_gets_the_rest_when_it_is_heard(
    corpus: Corpus,
) -> None:
    uri = await corpus.add("one")
    async with corpus.store.write() as tx:
        await tracks.set_state(tx, uri, TrackState.QUEUED, None, now_us=1)
    verdict = await corpus.rule(uri, Ruling(frozenset({"jazz"}), ("rock",)))
    assert verdict is not None
    assert verdict.labels == ("blues",)
    assert await corpus.live(uri) == {"blues"}
    verdict = await corpus.rule(uri, Ruling(frozenset({"jazz", "blues"})))
    assert verdict is not None
    assert (verdict.status, verdict.reason) == (VerdictStatus.UNDECIDED, "denied")
    async with corpus.store.read() as reader:
        stored = await tracks.get(reader, uri)
        assert stored is not None
        assert stored.state is TrackState.QUEUED  # still on its way
        living = await generations.living(reader)
        [heard] = await decide(reader, stored, None, corpus.judge, [living.serving])
    assert heard.verdict.labels == ()


async def test_what_people_said_outlives_recordings_policies_and_generations(corpus: Corpus) -> None:
    uri = await corpus.add("one")
    await corpus.rule(uri, Ruling(frozenset({"jazz", "blues"}), ("rock",)))
    await corpus.add("one", (("jazz", 0.9), ("electronic", 0.8)))
    assert await corpus.live(uri) == {"rock"}
    await corpus.switch("negate", uri=uri, val="pop")
    await corpus.rejudge(policy(jazz=0.001), dry_run=False)
    assert await corpus.live(uri) == {"rock"}
    heard = replace(analysis((("rock", 0.5), ("pop", 0.9), ("jazz", 0.9))), packs={"musicnn": "cd" * 32})
    async with corpus.store.write() as tx:
        building = (await generations.arrange(tx, heard.packs, now_us=1)).building
        assert building is not None
        await analyses.put(tx, "audio-one", heard, now_us=1)
        await generations.switch(tx, building, now_us=1)
        await generations.clear_retired(tx, limit=100)
        stored = await tracks.get(tx, uri)
        assert stored is not None
        await decide_again(tx, stored, corpus.judge, now_us=corpus.clock.now_us())
    await corpus.publish()
    assert await corpus.live(uri) == {"rock"}
    assert (await corpus.verdict(uri)).generation == building.name
    await corpus.rule(uri, NO_RULING)
    assert await corpus.live(uri) == {"jazz", "rock"}  # and not what is held back


async def test_where_there_is_no_verdict_nothing_is_taken_away(corpus: Corpus) -> None:
    async with corpus.store.write() as tx:
        assert await take_away(tx, f"at://{ARTIST}/fm.plyr.track/none", ["jazz"], "denied", now_us=1) is None


async def test_an_explanation_of_a_record_is_the_verdict_that_it_would_get(corpus: Corpus) -> None:
    uri = await corpus.add("one", author_tags=("reggae", "no genre"))
    await corpus.rule(uri, Ruling(frozenset({"blues"})))
    async with corpus.store.read() as reader:
        found = await explain_track(reader, uri, policy(), src=SRC)
        assert await explain_track(reader, uri + "x", policy(), src=SRC) is None
    assert found is not None
    assert found.explanation is not None
    assert found.explanation.verdict.labels == found.live == ("jazz",)
    rules = {(step.rule, step.label) for step in found.explanation.steps}
    assert {("stated", "reggae"), ("bar", "jazz"), ("ruling", "blues")} <= rules


# --- rejudge ------------------------------------------------------------------------------------------------


async def test_rejudging_shows_the_difference_and_then_applies_it(corpus: Corpus) -> None:
    loud, faint = await corpus.add("loud"), await corpus.add("faint", FAINT)
    stricter = policy(jazz=0.5)
    said, changes = await corpus.rejudge(stricter)
    assert (said["judged"], said["changed"], said["removed"], said["added"]) == (2, 1, {"jazz": 1}, {})
    [change] = changes
    assert change["uri"] == faint
    assert change["was"] == {"status": "ok", "reason": None, "labels": ["jazz"]}
    assert change["now"] == {"status": "undecided", "reason": "low_scores", "labels": []}
    assert await corpus.live(faint) == {"jazz"}  # it was a question
    assert await corpus.log() == []
    said, applied = await corpus.rejudge(stricter, dry_run=False, by="me", reason="too much jazz")
    assert (said["changed"], applied) == (1, changes)
    assert await corpus.live(faint) == set()
    assert await corpus.live(loud) == {"jazz", "blues"}
    [note] = await corpus.log()
    assert (note.verb, note.actor, note.reason) == ("labels.rejudge", "me", "too much jazz")
    assert (await corpus.rejudge(stricter))[0]["changed"] == 0
    assert (await corpus.rejudge(stricter, dry_run=False, by="me"))[0]["changed"] == 0
    assert len(await corpus.log()) == 1  # nothing was done


async def test_rejudging_stops_at_a_limit_and_goes_on_when_it_is_run_again(corpus: Corpus) -> None:
    uris = [await corpus.add(f"n{number}", FAINT) for number in range(AT_ONCE + 5)]
    stricter = policy(jazz=0.5)
    said, _ = await corpus.rejudge(stricter, dry_run=False, limit=AT_ONCE + 2, by="me")
    assert said["changed"] == AT_ONCE + 2
    assert sum([bool(await corpus.live(uri)) for uri in uris]) == 3
    said, _ = await corpus.rejudge(stricter, dry_run=False, by="me")
    assert said["changed"] == 3
    assert not any([await corpus.live(uri) for uri in uris])


async def test_rejudging_leaves_alone_what_is_not_the_policys(corpus: Corpus) -> None:
    gone, queued = await corpus.add("gone", FAINT), await corpus.add("queued", FAINT)
    async with corpus.store.write() as tx:
        await tracks.withdraw(tx, gone, make_tid(corpus.clock.now_us()), now_us=1)
        await tracks.set_state(tx, queued, TrackState.ANALYSING, None, now_us=1)
    said, changes = await corpus.rejudge(policy(jazz=None), dry_run=False)
    assert (said["judged"], changes) == (0, [])
    assert await corpus.live(queued) == {"jazz"}


async def test_a_wish_that_is_none_is_refused(corpus: Corpus) -> None:
    with pytest.raises(Refused):
        await corpus.rejudge(policy(), limits=3)
    with pytest.raises(Refused):
        await corpus.switch("negate", value="jazz")


# --- negate and resume --------------------------------------------------------------------------------------


async def test_what_is_negated_stays_away_whatever_is_heard_or_stated_until_it_is_lifted(corpus: Corpus) -> None:
    one, other = await corpus.add("one"), await corpus.add("other")
    assert await corpus.switch("negate", uri=one) == {"tracks": 1, "labels": 2}
    assert await corpus.live(one) == set()
    assert await corpus.live(other) == {"jazz", "blues"}
    assert (await corpus.verdict(one)).verdict.reason == "withheld"
    await corpus.rejudge(policy(), dry_run=False)
    await corpus.rule(one, Ruling(stated=("rock",)))
    assert await corpus.live(one) == set()
    await corpus.add("one", (("rock", 0.9),))  # another recording
    assert await corpus.live(one) == set()
    assert await corpus.switch("resume", uri=other) == {"lifted": 0, "changed": 0}
    assert await corpus.switch("resume", uri=one) == {"lifted": 1, "changed": 1}
    assert await corpus.live(one) == {"rock"}
    assert [note.verb for note in await corpus.log()] == ["labels.resume", "labels.negate"]
    note = (await corpus.log())[1]
    assert (note.uri, note.actor, note.reason, note.detail) == (one, "me", "because", {"val": "all"})


async def test_one_value_may_be_negated_and_a_parent_takes_its_styles_along(corpus: Corpus) -> None:
    uri = await corpus.add("one")
    await corpus.rule(uri, Ruling(stated=("electronic-techno", "jazz")))
    assert await corpus.live(uri) == {"electronic", "electronic-techno", "jazz"}
    assert await corpus.switch("negate", uri=uri, val="electronic-techno") == {"tracks": 1, "labels": 1}
    assert await corpus.live(uri) == {"electronic", "jazz"}
    await corpus.switch("resume", uri=uri, val="electronic-techno")
    assert await corpus.switch("negate", val="electronic") == {"tracks": 1, "labels": 2}
    assert await corpus.live(uri) == {"jazz"}
    await corpus.switch("resume", val="electronic")
    assert await corpus.live(uri) == {"electronic", "electronic-techno", "jazz"}


async def test_the_kill_switch_takes_everything_back_and_stops_what_comes(corpus: Corpus) -> None:
    uris = [await corpus.add(f"n{number}") for number in range(AT_ONCE + 3)]
    assert await corpus.switch("negate") == {"tracks": len(uris), "labels": 2 * len(uris)}
    assert not any([await corpus.live(uri) for uri in uris])
    late = await corpus.add("late")
    assert await corpus.live(late) == set()
    assert await corpus.switch("negate") == {"tracks": 0, "labels": 0}  # again: no harm
    assert (await corpus.switch("resume"))["lifted"] == 1
    assert await corpus.live(late) == await corpus.live(uris[0]) == {"jazz", "blues"}
    async with corpus.store.read() as reader:
        assert await holds.in_force(reader) == []


async def test_what_is_cut_short_goes_on_by_the_same_verb_or_by_rejudging(corpus: Corpus) -> None:
    uris = [await corpus.add(f"n{number}") for number in range(2 * AT_ONCE)]
    negating = Negating(corpus.store, src=SRC, taxonomy=TAXONOMY, judge=corpus.judge, clock=corpus.clock)

    async def labelled() -> int:
        await corpus.publish()
        return sum([bool(await corpus.live(uri)) for uri in uris])

    wish = {"by": "me", "reason": "because"}
    await anext(negating.answer_negate(wish))  # one page, and its caller goes away
    assert await labelled() == AT_ONCE
    await corpus.switch("negate")
    assert await labelled() == 0
    await anext(negating.answer_resume(wish))
    assert await labelled() == AT_ONCE
    await corpus.rejudge(policy(), dry_run=False)
    assert await labelled() == len(uris)


async def test_what_was_said_since_a_time_goes_and_what_is_older_stays(corpus: Corpus) -> None:
    old, grown = await corpus.add("old"), await corpus.add("grown", FAINT)
    corpus.clock.advance(3600.0)
    since_us = corpus.clock.now_us()
    loose = policy(rock=0.001)
    await corpus.rule(grown, Ruling(stated=("rock", "jazz")))  # as a change of policy would: one more label
    new = await corpus.add("new")
    assert await corpus.live(grown) == {"rock", "jazz"}
    assert await corpus.switch("negate", since_us=since_us) == {"tracks": 2, "labels": 3}
    assert await corpus.live(old) == {"jazz", "blues"}
    assert await corpus.live(grown) == {"jazz"}
    assert await corpus.live(new) == set()
    await corpus.rejudge(loose, dry_run=False)
    assert await corpus.live(grown) == {"jazz"}
    assert await corpus.live(new) == set()
    assert await corpus.live(await corpus.add("later")) == {"jazz", "blues"}  # labelling goes on
    assert (await corpus.switch("resume"))["lifted"] == 3
    assert await corpus.live(new) == {"jazz", "blues"}


async def test_what_is_not_signed_yet_is_taken_back_too(corpus: Corpus) -> None:
    uri = await corpus.add("one")
    async with corpus.store.write() as tx:
        verdict = replace((await corpus.verdict(uri)).verdict, labels=("jazz", "rock"))
        await labels.put_verdict(tx, uri, verdict, now_us=corpus.clock.now_us(), audio_key="audio-one")
    assert await corpus.switch("negate", val="rock") == {"tracks": 1, "labels": 1}
    assert await corpus.live(uri) == {"jazz"}


async def test_a_record_that_was_never_seen_cannot_be_negated(corpus: Corpus) -> None:
    with pytest.raises(UnknownTrack):
        await corpus.switch("negate", uri=f"at://{ARTIST}/app.bsky.feed.post/one")
    assert await corpus.log() == []
