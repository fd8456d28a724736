"""What a report does in the store: whose word it is, which track it means, how much is taken, what is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.analysis import Verdict, VerdictStatus
from core.config import Settings
from core.errors import XrpcError
from core.link import Link, LinkRule
from core.log import set_up
from core.taxonomy import Taxonomy
from core.types import AtUri, Cid, Did, Track, TrackState, make_tid
from earmark.judging import judge_by, load_policy
from earmark.reporting import DAY_US, Reporting
from labeler.reports import Receipt, Report
from store import Store, actions, disputes, labels, links, mirrors, rulings, tracks, wishes
from store.disputes import DisputeState
from store.labels import Turn
from store.wishes import Scope

ARTIST = Did("did:plc:artist222222222222222222")
OTHER = Did("did:plc:other2222222222222222222")
LISTENER = Did("did:plc:listen222222222222222222")
LABELER = Did("did:plc:labeler22222222222222222")
TRACK = AtUri.parse(f"at://{ARTIST}/fm.plyr.track/3kaaaaaaaaaaa")
PAGE = "https://plyr.fm/track/1"


class HandClock:
    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1e6

    def random(self) -> float:
        return 0.5


class Desk:
    """The real one over a store with a track that has the label `electronic`."""

    def __init__(self, store: Store, clock: HandClock, settings: Settings) -> None:
        self.store, self.clock = store, clock
        taxonomy = Taxonomy.load()
        self.reporting = Reporting(
            store,
            settings,
            src=LABELER,
            taxonomy=taxonomy,
            judge=judge_by(load_policy(settings, taxonomy)),
            clock=clock,
            log=set_up(level="critical"),
        )

    async def add_track(self, uri: AtUri, **fields: Any) -> None:
        track = Track(uri, Cid("bafy"), make_tid(self.clock.us), "A title", self.clock.us, **fields)
        async with self.store.write() as tx:
            await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=self.clock.us)
            verdict = Verdict(VerdictStatus.OK, ("electronic", "rock"))
            await labels.put_verdict(tx, str(uri), verdict, now_us=self.clock.us)

    async def link(self, post: AtUri, *targets: str) -> None:
        found = [
            Link(str(post), post.did, target, LinkRule.EMBED_RECORD, self.clock.us, targets_in_post=len(targets))
            for target in targets
        ]
        async with self.store.write() as tx:
            await links.put(tx, found, now_us=self.clock.us)

    async def send(self, words: str = "", *, by: Did = ARTIST, about: AtUri = TRACK, appeal: bool = False) -> Receipt:
        self.clock.us += 1
        reason = f"com.atproto.moderation.defs#reason{'Appeal' if appeal else 'Other'}"
        return await self.reporting.take(Report(by, reason, about, "bafy", words))

    async def refused(self, *arguments: Any, **named: Any) -> tuple[str, int]:
        with pytest.raises(XrpcError) as refused:
            await self.send(*arguments, **named)
        return refused.value.name, refused.value.status

    async def wanted(self, uri: AtUri = TRACK) -> tuple[str, ...]:
        async with self.store.read() as reader:
            found = await labels.get_verdict(reader, str(uri))
        return () if found is None else found.verdict.labels

    async def ruled(self) -> tuple[list[str], list[str]]:
        async with self.store.read() as reader:
            ruling = await rulings.of(reader, str(TRACK))
        return sorted(ruling.denied), list(ruling.stated)

    async def scope(self, did: Did = ARTIST) -> Scope:
        async with self.store.read() as reader:
            return (await wishes.of(reader, did)).scope


def post(by: Did, number: int = 1) -> AtUri:
    return AtUri.parse(f"at://{by}/app.bsky.feed.post/3kaaaaaaaaaa{number}")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = HandClock()
    store = await Store.open(tmp_path / "earmark.db", clock=clock)
    desk = Desk(store, clock, Settings.load(reports={"per_hour": 3, "retention_days": 10}))
    await desk.add_track(TRACK)
    yield desk
    await store.close()


async def test_the_labels_that_the_artist_does_not_name_are_denied_and_leave_first(desk: Desk) -> None:
    await desk.send("this is rock and jazz")
    assert await desk.ruled() == (["electronic"], ["rock", "jazz"])
    assert await desk.wanted() == ("rock",)  # the rest follows when it is heard
    async with desk.store.read() as reader:
        [pending] = await labels.pending(reader, 10)
    assert pending.turn in (Turn.RULED, Turn.RULED_RETRACTION)


async def test_the_later_word_of_an_artist_counts(desk: Desk) -> None:
    await desk.send("this is jazz")
    assert await desk.ruled() == (["electronic", "rock"], ["jazz"])
    await desk.send("it is rock after all, not jazz")
    assert await desk.ruled() == (["electronic", "jazz"], ["rock"])


async def test_what_others_say_changes_nothing(desk: Desk) -> None:
    await desk.send("this is jazz", by=LISTENER)
    await desk.send("opt out", by=LISTENER)  # on somebody else's record
    assert (await desk.ruled(), await desk.scope(), await desk.scope(LISTENER)) == (([], []), Scope.NONE, Scope.NONE)
    assert await desk.wanted() == ("electronic", "rock")


async def test_P96_the_same_report_on_one_day_is_one_report(desk: Desk) -> None:
    first = await desk.send("this is jazz")
    assert await desk.send("this is jazz") == first
    assert (await desk.send("this is rock")).number != first.number
    assert (await desk.send("this is jazz", appeal=True)).number != first.number
    desk.clock.us += DAY_US
    assert (await desk.send("this is jazz")).number != first.number


async def test_P96_so_many_reports_in_an_hour_and_room_for_a_wish(desk: Desk) -> None:
    for words in ("one", "two", "three"):
        await desk.send(words)
    assert await desk.refused("four") == ("RateLimitExceeded", 429)
    await desk.send("one")  # sent again
    await desk.send("opt out")
    assert await desk.scope() is Scope.ALL
    await desk.send("four", by=LISTENER)
    desk.clock.us += 3_600_000_000
    await desk.send("four")


async def test_a_wish_that_is_repeated_on_one_day_counts_again(desk: Desk) -> None:
    first = await desk.send("opt out")
    await desk.send("opt in")
    assert await desk.scope() is Scope.NONE
    assert await desk.send("opt out") == first
    assert await desk.scope() is Scope.ALL


async def test_an_opt_out_of_feeds_takes_nothing_of_an_earlier_opt_out_back(desk: Desk) -> None:
    await desk.send("opt out")
    await desk.send("opt out of feeds")
    assert await desk.scope() is Scope.ALL
    await desk.send("opt in")
    await desk.send("opt out of feeds", by=ARTIST, appeal=True)
    assert await desk.scope() is Scope.FEEDS


async def test_an_opt_out_takes_everything_back(desk: Desk) -> None:
    await desk.send("opt out")
    assert await desk.wanted() == ()
    async with desk.store.read() as reader:
        stored = await tracks.get(reader, str(TRACK))
    assert stored is not None
    assert (stored.state, stored.reason, stored.track.title) == (TrackState.REFUSED, "opted_out", "")


async def test_a_post_means_the_one_track_that_it_links(desk: Desk) -> None:
    await desk.link(post(LISTENER), str(TRACK))
    await desk.send("wrong", about=post(LISTENER))
    assert await desk.wanted() == ()


async def test_the_announcers_post_means_the_track_whose_labels_it_carries(desk: Desk) -> None:
    announced = post(LABELER)
    async with desk.store.write() as tx:
        await mirrors.put(tx, str(announced), str(TRACK), now_us=desk.clock.us)
    await desk.send("wrong", about=announced, appeal=True)
    assert (await desk.wanted(), await desk.wanted(announced)) == ((), ())  # both at once


async def test_a_page_that_two_tracks_claim_means_the_reporters_own(desk: Desk) -> None:
    mine = AtUri.parse(f"at://{ARTIST}/fm.plyr.track/3kbbbbbbbbbbb")
    await desk.add_track(mine, page_url=PAGE)
    await desk.add_track(AtUri.parse(f"at://{OTHER}/fm.plyr.track/3kccccccccccc"), page_url=PAGE)
    await desk.link(post(ARTIST), PAGE)
    assert await desk.refused("wrong", by=LISTENER, about=post(ARTIST)) == ("UnknownTrack", 400)
    await desk.send("wrong", about=post(ARTIST))
    assert await desk.wanted(mine) == ()


async def test_what_is_no_track_of_ours_is_refused(desk: Desk) -> None:
    await desk.link(post(ARTIST), str(TRACK), f"at://{OTHER}/fm.plyr.track/3kddddddddddd")
    unknown = AtUri.parse(f"at://{ARTIST}/fm.plyr.track/3keeeeeeeeeee")
    assert await desk.refused("wrong", about=post(ARTIST)) == ("UnknownTrack", 400)  # it links two things
    assert await desk.refused("wrong", about=unknown) == ("UnknownTrack", 400)
    profile = AtUri.parse(f"at://{ARTIST}/app.bsky.actor.profile/self")
    assert await desk.refused("wrong", about=profile) == ("InvalidRequest", 400)
    await desk.send("opt out", about=profile)  # on any record of one's own
    assert await desk.scope() is Scope.ALL


async def test_a_wish_on_ones_own_post_is_about_oneself_whatever_the_post_shares(desk: Desk) -> None:
    await desk.link(post(LISTENER), str(TRACK))
    number = (await desk.send("opt out", by=LISTENER, about=post(LISTENER))).number
    await desk.send("opt out", by=LISTENER, about=post(LISTENER))
    assert (await desk.scope(LISTENER), await desk.scope()) == (Scope.ALL, Scope.NONE)
    async with desk.store.read() as reader:
        filed = await disputes.get(reader, number)
        steps = await actions.page(reader)
    assert filed is not None
    assert (filed.uri, filed.state) == (str(post(LISTENER)), DisputeState.DONE)
    assert [(step.verb, step.did) for step in steps] == [("artist.opt_out", LISTENER)]


async def test_P95_appeals_of_others_are_forbidden(desk: Desk) -> None:
    assert await desk.refused("wrong", by=LISTENER, appeal=True) == ("Forbidden", 403)
    await desk.link(post(LISTENER), str(TRACK))
    await desk.send("wrong", by=LISTENER, about=post(LISTENER), appeal=True)  # their own post; it waits
    assert await desk.wanted() == ("electronic", "rock")


async def test_P96_words_and_senders_go_when_their_time_is_over(desk: Desk) -> None:
    old = await desk.send("this is jazz")
    desk.clock.us += 11 * DAY_US
    new = await desk.send("this is folk", by=LISTENER)
    erasing = asyncio.create_task(desk.reporting.erase_old())
    for _ in range(1000):
        async with desk.store.read() as reader:
            found = await disputes.get(reader, old.number)
        if found is not None and found.reporter is None:
            break
        await asyncio.sleep(0.01)
    erasing.cancel()
    await asyncio.wait([erasing])
    assert found is not None
    assert (found.reporter, found.words) == (None, None)
    async with desk.store.read() as reader:
        kept = await disputes.get(reader, new.number)
    assert kept is not None
    assert (kept.reporter, kept.words) == (LISTENER, "this is folk")
    assert await desk.ruled() == (["electronic", "rock"], ["jazz"])  # what it did stays
