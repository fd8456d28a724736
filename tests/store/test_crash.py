"""T1, T2 and T3 are whole or nothing, whichever statement is the last one that ran.

Each is failed before each of its statements in two ways: the program raises and goes on, and the power goes out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.job import JobState
from core.label import Label
from core.types import TrackState, make_tid
from store import Store, Tx, analyses, cursors, jobs, labels, links, tracks
from store.engine import Engine, Parameters, Row, Session

NOW = 1_800_000_000_000_000


class Crash(Exception):
    """The statement that was never run."""


class FailingEngine:
    """An engine that fails instead of running statement `fail_at` of a writing transaction; 0 for never.

    The statement after the last one is the commit.
    """

    def __init__(self, engine: Engine, at_failure: Callable[[], None]) -> None:
        self._engine = engine
        self._at_failure = at_failure
        self.driver, self.tokens, self.address = engine.driver, engine.tokens, engine.address
        self.read, self.peek, self.close = engine.read, engine.peek, engine.close
        self.fail_at = 0
        self.ran = 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Session]:
        self.ran = 0
        async with self._engine.write() as session:
            yield FailingSession(session, self)
            self.count()

    def count(self) -> None:
        self.ran += 1
        if self.ran == self.fail_at:
            self._at_failure()
            raise Crash


class FailingSession:
    def __init__(self, session: Session, engine: FailingEngine) -> None:
        self._session = session
        self._engine = engine

    async def fetch(self, sql: str, parameters: Parameters) -> list[Row]:
        self._engine.count()
        return await self._session.fetch(sql, parameters)

    async def run_many(self, sql: str, rows: Sequence[Parameters]) -> None:
        for row in rows:  # one by one, so that a batch can fail in its middle
            self._engine.count()
            await self._session.run_many(sql, [row])


async def t1_ingest(tx: Tx, make: Any) -> None:
    """Two new tracks, a post, a delete, a version that replaces one with a job under way; the cursor."""
    for number in (2, 3):
        assert await tracks.put(tx, make.track(number), state=TrackState.QUEUED, reason=None, now_us=NOW)
        await jobs.enqueue(tx, make.uri(number), make.track(number).cid, now_us=NOW)
    await links.put(tx, [make.link(make.uri(2)), make.link("https://plyr.fm/track/2")], now_us=NOW)
    newer = make.track(1, rev=2)
    assert await tracks.put(tx, newer, state=TrackState.QUEUED, reason=None, now_us=NOW)
    await jobs.enqueue(tx, make.uri(1), newer.cid, now_us=NOW)
    assert await tracks.withdraw(tx, make.uri(0), make_tid(NOW + 9), now_us=NOW)
    await labels.put_verdict(tx, make.uri(0), make.verdict(rankable=False), now_us=NOW)
    stored = await tracks.get(tx, make.uri(0))
    assert stored is not None
    await analyses.drop_vectors(tx, stored.track_id)
    await cursors.advance(tx, "relay", 100, now_us=NOW)


async def t2_result(tx: Tx, make: Any) -> None:
    """The job that `prepare` leased is done; everything that listening gave goes in."""
    lease = await jobs.claim(tx, "w2", now_us=NOW + 61_000_000, lease_seconds=60)
    assert lease is not None
    assert await jobs.finish(tx, lease, state=JobState.DONE, reason=None, now_us=NOW)
    await analyses.put(tx, "audio-1", make.analysis(1), now_us=NOW)
    await analyses.put_vectors(tx, 2, make.generation, make.analysis(1).vectors)
    await tracks.set_state(tx, make.uri(1), TrackState.READY, None, now_us=NOW)
    await labels.put_verdict(tx, make.uri(1), make.verdict("ambient", "drone"), now_us=NOW)


async def t3_publish(tx: Tx, make: Any) -> None:
    """One label is retracted, two are new, the verdict is settled."""
    (verdict,) = await labels.pending(tx, 10)
    (old,) = verdict.current
    later: list[Label] = [make.label(0, old.val, neg=True, at_us=NOW + 1000)]
    later += [make.label(0, val, at_us=NOW + 1000) for val in verdict.labels]
    assert await labels.append(tx, later, key_id="did:key:z") == [2, 3, 4]
    await labels.settle(tx, [verdict])


async def prepare(store: Store, make: Any) -> None:
    """Track 0 is labelled and has a newer verdict; track 1 is leased to somebody."""
    async with store.write() as tx:
        await make.stored(tx, make.track(0), TrackState.READY)
        await analyses.put_vectors(tx, 1, make.generation, make.analysis(0).vectors)
        await labels.put_verdict(tx, make.uri(0), make.verdict("house", "techno"), now_us=NOW)
        await labels.append(tx, [make.label(0, "ambient")], key_id="did:key:z")
        await make.stored(tx, make.track(1))
        await jobs.enqueue(tx, make.uri(1), make.track(1).cid, now_us=NOW)
        assert await jobs.claim(tx, "w1", now_us=NOW, lease_seconds=60)


@pytest.mark.parametrize(
    ("transaction", "at_least"), [(t1_ingest, 25), (t2_result, 9), (t3_publish, 9)], ids=["T1", "T2", "T3"]
)
async def test_a_transaction_that_stops_anywhere_leaves_nothing(
    place: Any, make: Any, transaction: Callable[[Tx, Any], Awaitable[None]], at_least: int
) -> None:
    cut: list[Any] = []
    engine = FailingEngine(await place.open_engine(), at_failure=lambda: cut.append(place.cut_power()))
    store = Store(engine)
    await prepare(store, make)
    before = place.content()

    for fail_at in range(1, 200):
        engine.fail_at = fail_at
        try:
            async with store.write() as tx:
                await transaction(tx, make)
        except Crash:
            assert place.content() == before, f"statement {fail_at}"
            assert cut[-1].content() == before, f"power cut at statement {fail_at}"
        else:
            break
    assert fail_at > at_least
    after = place.content()
    assert after != before
    await store.close()

    # The last power cut came just before the commit. What it left opens, and the work can be done again, the same.
    recovered = await cut[-1].open()
    async with recovered.write() as tx:
        await transaction(tx, make)
    await recovered.close()
    assert cut[-1].content() == after


async def test_a_power_cut_after_the_commit_loses_nothing(place: Any, make: Any) -> None:
    store = await place.open()
    await prepare(store, make)
    async with store.write() as tx:
        await t3_publish(tx, make)
    committed = place.content()
    assert place.cut_power().content() == committed
    await store.close()
