"""What becomes of jobs that fail: soon again, in days again, or not any more (P186)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import (
    AppError,
    BlobGone,
    Crowded,
    Deadline,
    NotAudio,
    Permanent,
    RateLimited,
    Transient,
    UnknownDid,
    Unproven,
    Unreachable,
)
from core.job import Job, JobState
from core.log import Log
from core.types import AtUri, BlobRef, Cid, Tid, Track, TrackState
from earmark.setbacks import LATER_SECONDS, Setbacks
from store import Store, jobs, labels, tracks

URI = f"at://did:plc:{'a' * 24}/fm.plyr.track/3kaaaaaaaaaa2"
DAY = 86_400


class Hands:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1e6

    def random(self) -> float:
        return 1.0


class Queue:
    """One track's job, and what comes of its attempts."""

    def __init__(self, store: Store, clock: Hands) -> None:
        self.store, self.clock = store, clock
        self.setbacks = Setbacks(
            store, clock=clock, log=Log(logging.getLogger("earmark.test")), max_attempts=3, retry_seconds=10.0
        )

    async def fail(self, error: AppError) -> tuple[str, str | None, float | None]:
        """(outcome, reason, seconds until the next attempt)"""
        async with self.store.write() as tx:
            due_us = await jobs.next_due_us(tx)
            assert due_us is not None
            self.clock.us = max(self.clock.us, due_us)
            lease = await jobs.claim(tx, "w", now_us=self.clock.us, lease_seconds=60)
        assert lease is not None
        if isinstance(error, Permanent):
            outcome, reason = await self.setbacks.refuse(lease, error)
        else:
            assert isinstance(error, Transient)
            outcome, reason = await self.setbacks.retry(lease, error)
        job = await self.job()
        return outcome, reason, (job.run_after_us - self.clock.us) / 1e6 if job.state is JobState.READY else None

    async def job(self) -> Job:
        async with self.store.read() as reader:
            found = await jobs.latest(reader, URI)
        assert found is not None
        return found

    async def told(self) -> tuple[TrackState, str | None, str | None]:
        """State and reason of the track, and the reason of its verdict."""
        async with self.store.read() as reader:
            stored, found = await tracks.get(reader, URI), await labels.get_verdict(reader, URI)
        assert stored is not None
        return stored.state, stored.reason, None if found is None else found.verdict.reason


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    clock = Hands()
    store = await Store.open(tmp_path / "earmark.db", clock=clock)
    blob = BlobRef(Cid("bafkrei"), "audio/wav", 10)
    track = Track(AtUri.parse(URI), Cid("bafy1"), Tid("3kaaaaaaaaaa2"), "T", 1, blob=blob)
    async with store.write() as tx:
        await tracks.put(tx, track, state=TrackState.QUEUED, reason=None, now_us=clock.us)
        await jobs.enqueue(tx, URI, track.cid, now_us=clock.us)
    yield Queue(store, clock)
    await store.close()


@pytest.mark.parametrize("error", [BlobGone("400"), UnknownDid("404"), Unproven("no such method")])
async def test_P186_what_is_absent_for_now_is_sought_again_for_days(queue: Queue, error: Permanent) -> None:
    for seconds in LATER_SECONDS:
        assert await queue.fail(error) == ("refused", error.reason, seconds)
        assert await queue.told() == (TrackState.REFUSED, error.reason, error.reason)
    assert sum(LATER_SECONDS) > 10 * DAY
    assert await queue.fail(error) == ("refused", error.reason, None)
    assert (await queue.job()).state is JobState.DEAD


@pytest.mark.parametrize("error", [Unreachable("down"), RateLimited("429")])
async def test_a_host_that_is_down_for_long_is_tried_again_for_days(queue: Queue, error: Transient) -> None:
    assert await queue.fail(error) == ("retry", error.reason, 10)
    assert await queue.fail(error) == ("retry", error.reason, 20)
    assert await queue.told() == (TrackState.QUEUED, error.reason, None)
    reason = f"exhausted:{error.reason}"
    for seconds in LATER_SECONDS:
        assert await queue.fail(error) == ("exhausted", reason, seconds)
        assert await queue.told() == (TrackState.REFUSED, reason, reason)
    assert await queue.fail(error) == ("exhausted", reason, None)


@pytest.mark.parametrize("error", [NotAudio("html"), Deadline("hung")])
async def test_what_no_day_will_change_is_given_up(queue: Queue, error: AppError) -> None:
    for _ in range(2 if isinstance(error, Transient) else 0):
        await queue.fail(error)
    assert (await queue.fail(error))[2] is None
    assert (await queue.told())[0] is TrackState.REFUSED


async def test_P176_who_is_sent_away_comes_at_the_turn_it_was_given_and_loses_nothing(queue: Queue) -> None:
    for seconds in (0.4, 3.0, 7200.0) * 3:
        error = Crowded("busy", retry_after_seconds=seconds)
        assert await queue.fail(error) == ("retry", "crowded", seconds)
    assert await queue.fail(Unreachable("down")) == ("retry", "unreachable", 10)  # the first attempt that counts


async def test_a_pause_that_the_host_asks_for_is_kept_up_to_an_hour(queue: Queue) -> None:
    assert (await queue.fail(RateLimited("429", retry_after_seconds=120)))[2] == 120
    assert (await queue.fail(RateLimited("429", retry_after_seconds=86_400)))[2] == 3600
