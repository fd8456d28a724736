"""The queue: one job for each (record, version). Leases end by themselves; the attempt fences late workers off.

A job's number never comes back, so a lease of an earlier run of the same version cannot touch a later one.
"""

from __future__ import annotations

from core.job import Job, JobState, Lease
from store import sequence
from store.engine import Reader, Tx

SUPERSEDED = "superseded"  # the reason of jobs whose version is no longer the record's


async def enqueue(tx: Tx, uri: str, cid: str, *, now_us: int, delay_us: int = 0) -> None:
    """Have this version analysed. An open job for it stays as it is; an ended one is run afresh, so call this only for
    what is news. Open jobs for other versions end as superseded. Rings "job".
    """
    await supersede(tx, uri, keep_cid=cid, now_us=now_us)
    if await tx.value("jobs.open", uri=uri, cid=cid) is None:
        await tx.run("jobs.forget_ended", uri=uri, cid=cid)
        job_id = await sequence.take(tx, "job", 1)
        await tx.run("jobs.add", job_id=job_id, uri=uri, cid=cid, due_us=now_us + delay_us, now_us=now_us)
    tx.ring("job")


async def supersede(tx: Tx, uri: str, *, keep_cid: str, now_us: int) -> None:
    """End the open jobs of a record except those for one version ("" keeps none)."""
    await tx.run("jobs.supersede", uri=uri, cid=keep_cid, now_us=now_us)


async def bury(tx: Tx, uri: str, cid: str, *, reason: str, now_us: int) -> None:
    """Note that this version is not to be analysed, and why; open jobs of the record end as superseded."""
    await supersede(tx, uri, keep_cid="", now_us=now_us)
    await tx.run("jobs.forget_ended", uri=uri, cid=cid)
    job_id = await sequence.take(tx, "job", 1)
    await tx.run("jobs.add_dead", job_id=job_id, uri=uri, cid=cid, reason=reason, now_us=now_us)


async def claim(tx: Tx, worker: str, *, now_us: int, lease_seconds: float) -> Lease | None:
    """The job that has been due longest, ready or with a lease that ran out; None when nothing is due."""
    row = await tx.row("jobs.claim", worker=worker, now_us=now_us, lease_until_us=_later(now_us, lease_seconds))
    return None if row is None else Lease(*row)


async def renew(tx: Tx, lease: Lease, *, now_us: int, lease_seconds: float) -> bool:
    """Extend the lease. False: somebody else has the job, or it ended; stop working on it."""
    until_us = _later(now_us, lease_seconds)
    return await _fenced(tx, "jobs.renew", lease, lease_until_us=until_us, now_us=now_us)


async def finish(tx: Tx, lease: Lease, *, state: JobState, reason: str | None, now_us: int) -> bool:
    """End the job as done or dead. False: the lease is no longer current; roll back what came with it."""
    if state not in (JobState.DONE, JobState.DEAD):
        raise ValueError(f"a job does not finish as {state}")
    return await _fenced(tx, "jobs.finish", lease, state=state.value, reason=reason, now_us=now_us)


async def retry(tx: Tx, lease: Lease, *, reason: str, run_after_us: int, now_us: int, waited: bool = False) -> bool:
    """Back to ready, not before `run_after_us`; `waited`: this attempt is none. False when fenced off. Rings "job"."""
    tx.ring("job")
    waits = lease.waits + waited
    return await _fenced(tx, "jobs.retry", lease, reason=reason, due_us=run_after_us, waits=waits, now_us=now_us)


async def release(tx: Tx, lease: Lease, *, now_us: int) -> bool:
    """Give the job back unused, as in a shutdown: ready at once, the attempt not counted. False when fenced off."""
    tx.ring("job")
    return await _fenced(tx, "jobs.release", lease, now_us=now_us)


async def hasten(tx: Tx, did: str, *, reason: str, now_us: int) -> None:
    """Make the jobs of an account that wait for this reason ready at once: it is over. Rings "job"."""
    await tx.run("jobs.hasten", first=f"at://{did}/", last=f"at://{did}0", reason=reason, now_us=now_us)
    tx.ring("job")


async def reclaim(tx: Tx, *, now_us: int) -> None:
    """Give back every lease at the start of the only process: whoever held one is gone. Attempts stay counted."""
    await tx.run("jobs.reclaim", now_us=now_us)


async def latest(r: Reader, uri: str) -> Job | None:
    """The newest job of a record. Of a leased job `run_after_us` is the end of the lease."""
    row = await r.row("jobs.latest", uri=uri)
    if row is None:
        return None
    job_id, uri, cid, state, attempt, reason, due_us, updated_us = row
    return Job(job_id, uri, cid, JobState(state), attempt, reason, due_us, updated_us)


async def counts(r: Reader) -> dict[str, int]:
    """Number of jobs by state; states without jobs are 0."""
    found: dict[str, int] = dict(await r.rows("jobs.counts"))
    return {state.value: found.get(state.value, 0) for state in JobState}


async def ready_count(r: Reader, *, now_us: int) -> int:
    """Jobs that could be claimed now: what backpressure looks at. Those that wait for a retry hold nobody up."""
    count: int = await r.value("jobs.ready_count", now_us=now_us)
    return count


async def next_due_us(r: Reader) -> int | None:
    """When the next job can be claimed if nothing changes: may be past; None when no job is open."""
    due_us: int | None = await r.value("jobs.next_due_us")
    return due_us


def _later(now_us: int, seconds: float) -> int:
    return now_us + round(seconds * 1_000_000)


async def _fenced(tx: Tx, name: str, lease: Lease, **parameters: object) -> bool:
    """Whether the statement found the job still held by exactly this lease."""
    held = await tx.value(name, job_id=lease.job_id, worker=lease.worker, attempt=lease.attempt, **parameters)
    return held is not None
