"""One job from claim to commit: may it be heard, fetch, listen, judge, and one transaction for the result (T2).

A job is fenced by its attempt: a worker that lost its lease commits nothing. Failures become outcomes of the job
row; nothing is retried inside an HTTP call.
"""

from __future__ import annotations

import asyncio
import contextlib

from core.analysis import Analysis
from core.clock import Clock
from core.errors import Corrupt, Misconfigured, Permanent, StoreBusy, Transient
from core.job import JobState, Lease
from core.log import Log
from core.metrics import Metrics
from core.ports import VisibilityAnswer
from core.types import TrackState, Visibility
from earmark.deciding import Judge, confirm, decide, heard_verdict, keep, refuse, settle
from earmark.hearing import Hearing
from earmark.setbacks import Setbacks
from store import Store, generations, jobs, tracks
from store.tracks import StoredTrack

IDLE_SECONDS = 30.0  # how long a worker sleeps when neither the bell nor a due time wakes it
BUSY_SECONDS = 1.0


class Worker:
    """Takes jobs one at a time. Run as many as there are listening children."""

    def __init__(
        self,
        *,
        name: str,
        store: Store,
        hearing: Hearing,
        judge: Judge,
        clock: Clock,
        metrics: Metrics,
        log: Log,
        lease_seconds: float,
        max_attempts: int,
        retry_seconds: float,
    ) -> None:
        self._name = name
        self._store = store
        self._hearing = hearing
        self._judge = judge
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._lease_seconds = lease_seconds
        self._max_attempts = max_attempts
        self._setbacks = Setbacks(store, clock=clock, log=log, max_attempts=max_attempts, retry_seconds=retry_seconds)

    async def run(self) -> None:
        """Claims and works until cancelled; the job in hand is then given back, its attempt not counted."""
        while True:
            rung = self._store.bell.count("job")  # before looking, so that no ring is lost between look and wait
            try:
                lease = await self._claim()
                if lease is None:
                    await self._wait(rung)
                    continue
            except StoreBusy as error:
                self._log.warning("the queue cannot be read", why=error)
                await asyncio.sleep(BUSY_SECONDS)
                continue
            try:
                await self._work(lease)
            except asyncio.CancelledError:
                async with self._store.write() as tx:
                    await jobs.release(tx, lease, now_us=self._clock.now_us())
                raise
            except (Misconfigured, Corrupt):
                raise  # not this job's fault: the process ends and says why
            except Exception:
                await self._note_bug(lease)

    async def _note_bug(self, lease: Lease) -> None:
        """Logged once; the lease is left to expire, so that the job is tried again, but not for ever."""
        self._log.exception("bug in a job", job=lease.job_id, uri=lease.uri)
        self._metrics.jobs.labels("bug", "bug").inc()
        if lease.tries >= self._max_attempts:
            await self._setbacks.bury(lease, "exhausted:bug", "exhausted")

    async def _claim(self) -> Lease | None:
        async with self._store.write() as tx:
            return await jobs.claim(tx, self._name, now_us=self._clock.now_us(), lease_seconds=self._lease_seconds)

    async def _wait(self, rung: int) -> None:
        async with self._store.read() as reader:
            due_us = await jobs.next_due_us(reader)
        seconds = IDLE_SECONDS
        if due_us is not None:
            seconds = min(seconds, max(0.05, (due_us - self._clock.now_us()) / 1e6))
        await self._store.bell.wait("job", seconds, seen=rung)

    async def _work(self, lease: Lease) -> None:
        began = self._clock.monotonic()
        renewal = asyncio.create_task(self._keep_lease(lease))
        try:
            outcome, reason = await self._settle(lease)
        finally:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal
        seconds = self._clock.monotonic() - began
        self._metrics.jobs.labels(outcome, (reason or "none").partition(":")[0]).inc()
        self._metrics.job_seconds.observe(seconds)
        self._log.info(
            f"job {outcome}",
            job=lease.job_id,
            uri=lease.uri,
            attempt=lease.attempt,
            reason=reason,
            seconds=f"{seconds:.2f}",
        )

    async def _keep_lease(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            with contextlib.suppress(StoreBusy):  # the next time is soon enough
                async with self._store.write() as tx:
                    if not await jobs.renew(tx, lease, now_us=self._clock.now_us(), lease_seconds=self._lease_seconds):
                        return

    async def _settle(self, lease: Lease) -> tuple[str, str | None]:
        """Runs the job and commits what came of it: (outcome, reason) for log and metrics."""
        async with self._store.read() as reader:
            stored = await tracks.get(reader, lease.uri)
        if stored is None or _is_superseded(stored, lease):
            async with self._store.write() as tx:
                await jobs.finish(tx, lease, state=JobState.DONE, reason="superseded", now_us=self._clock.now_us())
            return "superseded", None
        try:
            return await self._hear(lease, stored)
        except Permanent as error:
            return await self._setbacks.refuse(lease, error)
        except Transient as error:
            return await self._setbacks.retry(lease, error)

    async def _hear(self, lease: Lease, stored: StoredTrack) -> tuple[str, str | None]:
        answer = await self._hearing.ask(stored)
        if answer.visibility is Visibility.HIDDEN:
            return await self._commit_hidden(lease, answer)
        heard = None
        if not await self._hearing.has_heard(stored):
            if not await self._begin(lease):
                return "fenced", None
            heard = await self._hearing.hear(stored.track)
        return await self._commit(lease, stored, heard, answer)

    async def _begin(self, lease: Lease) -> bool:
        """Says that the track is being analysed, unless the job was taken away meanwhile."""
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            held = await jobs.renew(tx, lease, now_us=now_us, lease_seconds=self._lease_seconds)
            if held:
                await tracks.set_state(tx, lease.uri, TrackState.ANALYSING, None, now_us=now_us)
        return held

    async def _commit(
        self, lease: Lease, stored: StoredTrack, heard: Analysis | None, answer: VisibilityAnswer
    ) -> tuple[str, str | None]:
        """T2: job done, analysis, vectors and the verdict that the publisher will take up, or nothing of it.

        The generation that serves has the word; one that is being built gets its part and does not speak yet, unless
        nobody else heard the track. If no living one did, what was decided by hearing it before stands.
        """
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            living = await generations.living(tx)
            decisions = await decide(tx, stored, heard, self._judge, living.both)
            verdict = decisions[0].verdict if decisions else await heard_verdict(tx, stored)
            if verdict is None:
                raise _GenerationChanged(f"{lease.uri}: what was known of it has been retired meanwhile")
            if not await jobs.finish(tx, lease, state=JobState.DONE, reason=verdict.reason, now_us=now_us):
                return "fenced", None
            await tracks.set_visibility(tx, lease.uri, answer.visibility, page_url=answer.page_url, now_us=now_us)
            for decision in decisions:
                await keep(tx, stored, decision, now_us=now_us)
            if decisions:
                await settle(tx, stored, decisions[0], now_us=now_us)
            else:
                await confirm(tx, stored, verdict, now_us=now_us)
        return verdict.status.value, verdict.reason

    async def _commit_hidden(self, lease: Lease, answer: VisibilityAnswer) -> tuple[str, str | None]:
        """T2 of a track that its artist does not want found."""
        now_us, reason = self._clock.now_us(), "not_public"
        async with self._store.write() as tx:
            if not await jobs.finish(tx, lease, state=JobState.DONE, reason=reason, now_us=now_us):
                return "fenced", None
            await tracks.set_visibility(tx, lease.uri, answer.visibility, page_url=answer.page_url, now_us=now_us)
            await refuse(tx, lease.uri, reason, now_us=now_us)
        return "refused", reason


def _is_superseded(stored: StoredTrack, lease: Lease) -> bool:
    """Whether the record has moved on, or away, since the job was made."""
    return stored.track.cid != lease.cid or stored.track.gated or stored.state is TrackState.WITHDRAWN


class _GenerationChanged(Transient):
    """A switch came between looking for an analysis and using it: the track is heard anew."""

    reason = "generation_changed"
    patient = True
