"""The queue: claims, leases, fences."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from core.job import JobState
from store import jobs

NOW = 1_800_000_000_000_000
SECOND = 1_000_000


@pytest.fixture
async def queued(store, make):
    async with store.write() as tx:
        await jobs.enqueue(tx, make.uri(1), "v1", now_us=NOW)
    return store


async def _claim(store, worker="w1", at=NOW):
    async with store.write() as tx:
        return await jobs.claim(tx, worker, now_us=at, lease_seconds=60)


async def test_a_job_from_claim_to_done(queued, make):
    lease = await _claim(queued)
    assert (lease.uri, lease.cid, lease.attempt, lease.worker) == (make.uri(1), "v1", 1, "w1")
    assert lease.expires_us == NOW + 60 * SECOND
    assert await _claim(queued, "w2") is None
    async with queued.write() as tx:
        assert await jobs.finish(tx, lease, state=JobState.DONE, reason=None, now_us=NOW + 5)
        assert not await jobs.finish(tx, lease, state=JobState.DEAD, reason="x", now_us=NOW + 6)
        job = await jobs.latest(tx, make.uri(1))
        assert await jobs.next_due_us(tx) is None
        assert await jobs.counts(tx) == {"ready": 0, "leased": 0, "done": 1, "dead": 0}
    assert (job.job_id, job.state, job.attempt, job.reason) == (lease.job_id, JobState.DONE, 1, None)


async def test_enqueue_is_idempotent_while_the_job_is_open(queued, make):
    async with queued.write() as tx:
        await jobs.enqueue(tx, make.uri(1), "v1", now_us=NOW + 1)
        assert await jobs.ready_count(tx, now_us=NOW + 1) == 1
    lease = await _claim(queued)
    async with queued.write() as tx:
        await jobs.enqueue(tx, make.uri(1), "v1", now_us=NOW + 2)
        assert await jobs.renew(tx, lease, now_us=NOW + 3, lease_seconds=60)


async def test_a_new_version_supersedes_and_fences_the_old_one(queued, make):
    lease = await _claim(queued)
    async with queued.write() as tx:
        await jobs.enqueue(tx, make.uri(1), "v2", now_us=NOW)
        assert not await jobs.finish(tx, lease, state=JobState.DONE, reason=None, now_us=NOW)
        assert await jobs.counts(tx) == {"ready": 1, "leased": 0, "done": 1, "dead": 0}
    assert (await _claim(queued)).cid == "v2"


async def test_back_to_an_earlier_version_runs_it_afresh_and_fences_its_first_run(queued, make):
    first = await _claim(queued)
    async with queued.write() as tx:
        await jobs.enqueue(tx, make.uri(1), "v2", now_us=NOW)
        await jobs.enqueue(tx, make.uri(1), "v1", now_us=NOW)
    again = await _claim(queued)
    assert (again.cid, again.attempt, again.worker) == (first.cid, first.attempt, first.worker)
    async with queued.write() as tx:
        assert not await jobs.finish(tx, first, state=JobState.DONE, reason=None, now_us=NOW)
        assert await jobs.finish(tx, again, state=JobState.DONE, reason=None, now_us=NOW)


async def test_an_expired_lease_is_claimed_by_another_and_the_first_is_fenced(queued):
    first = await _claim(queued)
    assert await _claim(queued, "w2", NOW + 60 * SECOND - 1) is None
    second = await _claim(queued, "w2", NOW + 60 * SECOND)
    assert (second.job_id, second.attempt) == (first.job_id, 2)
    async with queued.write() as tx:
        assert not await jobs.renew(tx, first, now_us=NOW, lease_seconds=60)
        assert not await jobs.retry(tx, first, reason="x", run_after_us=NOW, now_us=NOW)
        assert not await jobs.release(tx, first, now_us=NOW)
        assert not await jobs.finish(tx, first, state=JobState.DONE, reason=None, now_us=NOW)
        assert await jobs.finish(tx, second, state=JobState.DEAD, reason="poison", now_us=NOW)


async def test_the_same_worker_with_an_expired_lease_is_fenced_by_the_attempt(queued):
    first = await _claim(queued)
    await _claim(queued, "w1", NOW + 61 * SECOND)
    async with queued.write() as tx:
        assert not await jobs.finish(tx, first, state=JobState.DONE, reason=None, now_us=NOW)


async def test_a_renewed_lease_lasts(queued):
    lease = await _claim(queued)
    async with queued.write() as tx:
        assert await jobs.renew(tx, lease, now_us=NOW + 50 * SECOND, lease_seconds=60)
    assert await _claim(queued, "w2", NOW + 100 * SECOND) is None
    assert await _claim(queued, "w2", NOW + 110 * SECOND) is not None


async def test_retry_waits_and_keeps_its_reason(queued, make):
    lease = await _claim(queued)
    async with queued.write() as tx:
        until = NOW + 30 * SECOND
        assert await jobs.retry(tx, lease, reason="unreachable", run_after_us=until, now_us=NOW)
        job = await jobs.latest(tx, make.uri(1))
        assert await jobs.next_due_us(tx) == until
    assert (job.state, job.reason, job.run_after_us) == (JobState.READY, "unreachable", until)
    assert await _claim(queued, at=until - 1) is None
    assert (await _claim(queued, at=until)).attempt == 2


async def test_release_does_not_count_the_attempt(queued):
    async with queued.write() as tx:
        lease = await jobs.claim(tx, "w1", now_us=NOW, lease_seconds=60)
        assert await jobs.release(tx, lease, now_us=NOW)
    assert (await _claim(queued, "w2")).attempt == 1


async def test_reclaim_gives_back_every_lease_counts_the_attempt_and_fences_the_dead(queued):
    lease = await _claim(queued)
    async with queued.write() as tx:
        await jobs.reclaim(tx, now_us=NOW)
        assert not await jobs.renew(tx, lease, now_us=NOW, lease_seconds=60)
    assert (await _claim(queued)).attempt == 2


async def test_the_longest_due_first_and_delays_kept(store, make):
    async with store.write() as tx:
        await jobs.enqueue(tx, make.uri(1), "v1", now_us=NOW, delay_us=5 * SECOND)
        await jobs.enqueue(tx, make.uri(2), "v1", now_us=NOW)
        assert await jobs.ready_count(tx, now_us=NOW) == 1  # what waits for later holds nobody up
        assert await jobs.ready_count(tx, now_us=NOW + 5 * SECOND) == 2
        assert await jobs.next_due_us(tx) == NOW
    assert (await _claim(store)).uri == make.uri(2)
    assert await _claim(store) is None
    assert (await _claim(store, at=NOW + 5 * SECOND)).uri == make.uri(1)


async def test_workers_at_once_never_share_a_job(store, make):
    async with store.write() as tx:
        for number in range(20):
            await jobs.enqueue(tx, make.uri(number), "v1", now_us=NOW)
    leases = await asyncio.gather(*(_claim(store, f"w{worker}") for worker in range(25)))
    claimed = [lease.uri for lease in leases if lease is not None]
    assert sorted(claimed) == sorted(make.uri(number) for number in range(20))


async def test_a_job_does_not_finish_as_ready(queued):
    lease = await _claim(queued)
    async with queued.write() as tx:
        with pytest.raises(ValueError, match="ready"):
            await jobs.finish(tx, lease, state=JobState.READY, reason=None, now_us=NOW)


async def test_the_bell_rings_after_the_commit_and_not_after_a_rollback(store, make):
    heard = store.bell.count("job")
    with suppress(ZeroDivisionError):
        async with store.write() as tx:
            await jobs.enqueue(tx, make.uri(1), "v1", now_us=NOW)
            raise ZeroDivisionError
    assert store.bell.count("job") == heard
    async with store.write() as tx:
        await jobs.enqueue(tx, make.uri(1), "v1", now_us=NOW)
        assert store.bell.count("job") == heard
    assert await store.bell.wait("job", 0.01, seen=heard)
