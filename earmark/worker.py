"""One job from claim to commit: may it be heard, fetch, listen, judge, and one transaction for the result (T2).

A job is fenced by its attempt: a worker that lost its lease commits nothing. Failures become outcomes of the job
row; nothing is retried inside an HTTP call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from core.analysis import Analysis, Verdict, VerdictStatus
from core.clock import Clock, backoff_seconds
from core.errors import (
    ChildCrashed,
    Corrupt,
    Misconfigured,
    NoAudio,
    Permanent,
    Poison,
    StoreBusy,
    Transient,
    Unanswered,
)
from core.job import JobState, Lease
from core.log import Log
from core.metrics import Metrics
from core.mime import contradiction
from core.ports import Analyst, Audio, VisibilityAnswer, VisibilityCheck
from core.types import TrackState, Visibility
from store import Store, Tx, analyses, jobs, labels, tracks
from store.tracks import StoredTrack

IDLE_SECONDS = 30.0  # how long a worker sleeps when neither the bell nor a due time wakes it
RETRY_CAP_SECONDS = 3600.0
BUSY_SECONDS = 1.0


class Worker:
    """Takes jobs one at a time. Run as many as there are listening children."""

    def __init__(
        self,
        *,
        name: str,
        store: Store,
        audio: Audio,
        crew: Analyst,
        visibility: Mapping[str, VisibilityCheck],
        judge: Callable[[Analysis, StoredTrack, tuple[str, ...]], Verdict],
        clock: Clock,
        metrics: Metrics,
        log: Log,
        lease_seconds: float,
        max_attempts: int,
        retry_seconds: float,
    ) -> None:
        self._name = name
        self._store = store
        self._audio = audio
        self._crew = crew
        self._visibility = visibility
        self._judge = judge
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._lease_seconds = lease_seconds
        self._max_attempts = max_attempts
        self._retry_seconds = retry_seconds

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
        if lease.attempt >= self._max_attempts:
            reason, now_us = "exhausted:bug", self._clock.now_us()
            async with self._store.write() as tx:
                if await jobs.finish(tx, lease, state=JobState.DEAD, reason=reason, now_us=now_us):
                    await self._put_verdict(tx, lease.uri, Verdict(VerdictStatus.REFUSED, reason=reason), now_us)

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
            async with self._store.write() as tx:
                if not await jobs.renew(tx, lease, now_us=self._clock.now_us(), lease_seconds=self._lease_seconds):
                    return

    async def _settle(self, lease: Lease) -> tuple[str, str | None]:
        """Runs the job and commits what came of it: (outcome, reason) for log and metrics."""
        async with self._store.read() as reader:
            stored = await tracks.get(reader, lease.uri)
        if (
            stored is None
            or stored.track.cid != lease.cid
            or stored.track.gated
            or stored.state is TrackState.WITHDRAWN
        ):
            async with self._store.write() as tx:
                await jobs.finish(tx, lease, state=JobState.DONE, reason="superseded", now_us=self._clock.now_us())
            return "superseded", None
        try:
            return await self._analyse(lease, stored)
        except ChildCrashed as error:
            async with self._store.write() as tx:
                crashes = await analyses.note_crash(
                    tx, stored.track.audio_key or lease.uri, now_us=self._clock.now_us()
                )
            if crashes >= 2:
                return await self._refuse(lease, stored, Poison(str(error)))
            return await self._retry(lease, stored, error)
        except Permanent as error:
            return await self._refuse(lease, stored, error)
        except Transient as error:
            return await self._retry(lease, stored, error)

    async def _analyse(self, lease: Lease, stored: StoredTrack) -> tuple[str, str | None]:
        track = stored.track
        if not stored.account_active:
            raise _AccountInactive(f"{track.did} is not active", retry_after_seconds=RETRY_CAP_SECONDS)
        answer = await self._ask_visibility(stored)
        if answer.visibility is Visibility.HIDDEN:
            verdict = Verdict(VerdictStatus.REFUSED, reason="not_public")
            return await self._commit(lease, stored, verdict, None, answer)
        if track.audio_key is None:
            raise NoAudio(f"{track.uri} names no audio")
        async with self._store.read() as reader:
            analysis = await analyses.get(reader, track.audio_key, self._crew.pack_hash)
        known = analysis is not None
        if analysis is None:
            if not await self._begin(lease):
                return "fenced", None
            async with self._audio.fetch(track) as path:
                analysis = await self._crew.analyse(path)
        # Hysteresis is for the same audio heard before; new audio starts afresh.
        previous = await self._live_labels(lease.uri) if known else ()
        verdict = replace(self._judge(analysis, stored, previous), notes=_notes(stored, analysis))
        return await self._commit(lease, stored, verdict, analysis, answer)

    async def _begin(self, lease: Lease) -> bool:
        """Says that the track is being analysed, unless the job was taken away meanwhile."""
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            held = await jobs.renew(tx, lease, now_us=now_us, lease_seconds=self._lease_seconds)
            if held:
                await tracks.set_state(tx, lease.uri, TrackState.ANALYSING, None, now_us=now_us)
        return held

    async def _ask_visibility(self, stored: StoredTrack) -> VisibilityAnswer:
        """PUBLIC or HIDDEN, asked anew for every version of the record. No answer is an error, never a yes."""
        adapter = stored.track.visibility_check
        if adapter is None:
            return VisibilityAnswer(Visibility.PUBLIC)
        if adapter not in self._visibility:
            raise Unanswered(f"no visibility adapter {adapter!r} is configured for {stored.track.uri}")
        return await self._visibility[adapter].check(stored.track)

    async def _live_labels(self, uri: str) -> tuple[str, ...]:
        async with self._store.read() as reader:
            verdict = await labels.get_verdict(reader, uri)
        return verdict.verdict.labels if verdict else ()

    async def _commit(
        self,
        lease: Lease,
        stored: StoredTrack,
        verdict: Verdict,
        analysis: Analysis | None,
        answer: VisibilityAnswer,
    ) -> tuple[str, str | None]:
        """T2: job done, analysis, vectors and the verdict that the publisher will take up, or nothing of it."""
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            if not await jobs.finish(tx, lease, state=JobState.DONE, reason=verdict.reason, now_us=now_us):
                return "fenced", None
            await tracks.set_visibility(tx, lease.uri, answer.visibility, page_url=answer.page_url, now_us=now_us)
            if analysis is not None and stored.track.audio_key is not None:
                await analyses.put(tx, stored.track.audio_key, analysis, now_us=now_us)
            if analysis is not None and verdict.rankable:
                await analyses.put_vectors(tx, stored.track_id, analysis.pack_hash, analysis.vectors)
            else:
                await analyses.drop_vectors(tx, stored.track_id)
            await self._put_verdict(tx, lease.uri, verdict, now_us)
        return verdict.status.value, verdict.reason

    async def _refuse(self, lease: Lease, stored: StoredTrack, error: Permanent) -> tuple[str, str | None]:
        now_us = self._clock.now_us()
        self._log.warning("refused", uri=lease.uri, reason=error.reason, why=error)
        async with self._store.write() as tx:
            if not await jobs.finish(tx, lease, state=JobState.DEAD, reason=error.reason, now_us=now_us):
                return "fenced", None
            await analyses.drop_vectors(tx, stored.track_id)
            await self._put_verdict(tx, lease.uri, Verdict(VerdictStatus.REFUSED, reason=error.reason), now_us)
        return "refused", error.reason

    @staticmethod
    async def _put_verdict(tx: Tx, uri: str, verdict: Verdict, now_us: int) -> None:
        states = {
            VerdictStatus.OK: TrackState.READY,
            VerdictStatus.UNDECIDED: TrackState.UNDECIDED,
            VerdictStatus.REFUSED: TrackState.REFUSED,
            VerdictStatus.WITHDRAWN: TrackState.WITHDRAWN,
        }
        await tracks.set_state(tx, uri, states[verdict.status], verdict.reason, now_us=now_us)
        await labels.put_verdict(tx, uri, verdict, now_us=now_us)

    async def _retry(self, lease: Lease, stored: StoredTrack, error: Transient) -> tuple[str, str | None]:
        """Back to ready with backoff; after `max_attempts` the job is given up, unless the error is patient."""
        now_us = self._clock.now_us()
        self._log.warning("will try again", uri=lease.uri, reason=error.reason, attempt=lease.attempt, why=error)
        if lease.attempt >= self._max_attempts and not error.patient:
            async with self._store.write() as tx:
                reason = f"exhausted:{error.reason}"
                if not await jobs.finish(tx, lease, state=JobState.DEAD, reason=reason, now_us=now_us):
                    return "fenced", None
                await analyses.drop_vectors(tx, stored.track_id)
                await self._put_verdict(tx, lease.uri, Verdict(VerdictStatus.REFUSED, reason=reason), now_us)
            return "exhausted", reason
        seconds = backoff_seconds(lease.attempt, self._clock, base=self._retry_seconds, cap=RETRY_CAP_SECONDS)
        if error.retry_after_seconds is not None:
            seconds = max(seconds, min(error.retry_after_seconds, RETRY_CAP_SECONDS))
        run_after_us = now_us + int(seconds * 1e6)
        async with self._store.write() as tx:
            if not await jobs.retry(tx, lease, reason=error.reason, run_after_us=run_after_us, now_us=now_us):
                return "fenced", None
            await tracks.set_state(tx, lease.uri, TrackState.QUEUED, error.reason, now_us=now_us)
        return "retry", error.reason


def _notes(stored: StoredTrack, analysis: Analysis) -> tuple[str, ...]:
    """What was odd about the audio: the decoder's warnings, and a declared type that the bytes contradict."""
    blob = stored.track.blob
    lie = contradiction(blob.mime, analysis.container) if blob is not None else None
    return (*analysis.warnings, lie) if lie else analysis.warnings


def _superseded(stored: StoredTrack, lease: Lease) -> bool:
    """Whether the record has moved on, or away, since the job was made."""
    return stored.track.cid != lease.cid or stored.track.gated or stored.state is TrackState.WITHDRAWN


class _AccountInactive(Transient):
    """The account is away: nothing of it is heard until it is back (P151, P189)."""

    reason = "account_inactive"
    patient = True
