"""What is gathered about one account or audio for those who ask."""

from __future__ import annotations

from core.types import TrackState
from store import Store, analyses, dossiers, labels, links, signals
from store.signals import Signal, SignalKind
from tests.store.conftest import SRC, START_US, Make


async def test_history_holds_what_was_replaced_by_indexes_alone(store: Store, make: Make) -> None:
    steps = [("ambient", False), ("rock", False), ("ambient", True), ("ambient", False)]
    async with store.write() as tx:
        for turn, (val, neg) in enumerate(steps):
            await labels.append(tx, [make.label(1, val, at_us=START_US + turn * 1000, neg=neg)], key_id="k")
        await labels.append(tx, [make.label(2), make.label(1, src="did:plc:somebodyelse222222222222")], key_id="k")
    async with store.read() as reader:
        told = await dossiers.label_history(reader, SRC, make.uri(1), limit=10)
        assert [(step.val, step.neg) for step in told] == steps[::-1]
        assert [step.seq for step in told] == [4, 3, 2, 1]
        assert await dossiers.label_history(reader, SRC, make.uri(1), limit=2) == told[:2]
        assert await dossiers.label_counts(reader, SRC) == [("ambient", 2), ("rock", 1)]
    statement = store._statements["dossiers.label_history"]
    plan = await store._engine.peek("EXPLAIN QUERY PLAN " + statement, {"src": SRC, "uri": "x", "limit": 1})
    used = [text for *_, text in plan if "label" in text]
    assert len(used) == 2
    assert all("USING INDEX label_" in text for text in used), used


async def test_who_was_judged_by_hearing_an_audio(store: Store, make: Make) -> None:
    async with store.write() as tx:
        for number, heard in ((1, True), (2, False), (3, True)):
            track = make.track(number, blob=make.track(0).blob)
            await make.stored(tx, track, TrackState.READY)
            grounds = {"audio_key": track.audio_key, "generation": make.generation} if heard else {}
            await labels.put_verdict(tx, make.uri(number), make.verdict("ambient"), now_us=START_US, **grounds)
        await analyses.put(tx, "audio-0", make.analysis(), now_us=START_US + 5)
    async with store.read() as reader:
        found = await dossiers.heard_for(reader, "audio-0", limit=10)
        assert [(one.uri, one.generation, one.heard_us) for one in found] == [
            (make.uri(number), make.generation, START_US + 5) for number in (1, 3)
        ]
        assert len(await dossiers.heard_for(reader, "audio-0", limit=1)) == 1
        assert await dossiers.heard_for(reader, "audio-1", limit=10) == []


async def test_posts_are_told_once_however_much_they_link(store: Store, make: Make) -> None:
    found = [make.link(make.uri(number), post=post) for post, number in ((0, 1), (0, 2), (1, 1))]
    async with store.write() as tx:
        await links.put(tx, [*found, make.link(make.uri(1), author=3)], now_us=START_US)
    async with store.read() as reader:
        told = await dossiers.posts_by(reader, make.did(0), after="", limit=10)
        assert [(post.uri, post.links) for post in told] == [(found[0].post_uri, 2), (found[2].post_uri, 1)]
        assert await dossiers.posts_by(reader, make.did(0), after=told[0].uri, limit=10) == told[1:]


async def test_signals_are_found_by_who_gave_them(store: Store, make: Make) -> None:
    def given(by: int, number: int, kind: SignalKind) -> Signal:
        record = make.track(number, by=by).uri
        return Signal(record, make.uri(number), kind, START_US)

    async with store.write() as tx:
        kinds = (SignalKind.LIKE, SignalKind.LIKE, SignalKind.REPOST)
        await signals.put(tx, [given(1, number, kind) for number, kind in enumerate(kinds)])
        await signals.put(tx, [given(2, 9, SignalKind.LIKE)])
    async with store.read() as reader:
        assert await signals.given(reader, make.did(1)) == {SignalKind.LIKE: 2, SignalKind.REPOST: 1}
        assert await signals.given(reader, make.did(5)) == {}
