"""What becomes of a job that failed: tried again soon, tried again in days, or given up. Each in one transaction.

All answers are (outcome, reason) for log and metrics; "fenced" when the lease was no longer current.
"""

from __future__ import annotations

from core.clock import Clock, backoff_seconds
from core.errors import BlobGone, Crowded, Permanent, RateLimited, Transient, UnknownDid, Unproven, Unreachable
from core.job import JobState, Lease
from core.log import Log
from core.types import TrackState
from earmark.deciding import refuse
from store import Store, jobs, tracks

RETRY_CAP_SECONDS = 3600.0
# A host that is down, or has no such blob or proof, may have it tomorrow (P186), and a directory may be behind: the
# track is refused, and tried again then.
LATER_SECONDS = (6 * 3600.0, 86_400.0, 3 * 86_400.0, 7 * 86_400.0)


class Setbacks:
    """`max_attempts`: tries before passing trouble is no longer called so; `retry_seconds`: the first pause."""

    def __init__(self, store: Store, *, clock: Clock, log: Log, max_attempts: int, retry_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._max_attempts = max_attempts
        self._retry_seconds = retry_seconds

    async def refuse(self, lease: Lease, error: Permanent) -> tuple[str, str | None]:
        """Something that trying again at once cannot help."""
        self._log.warning("refused", uri=lease.uri, reason=error.reason, why=error)
        for_now = isinstance(error, BlobGone | UnknownDid | Unproven)
        return await self.bury(lease, error.reason, "refused", tries_before=0 if for_now else None)

    async def bury(
        self, lease: Lease, reason: str, outcome: str, *, tries_before: int | None = None
    ) -> tuple[str, str | None]:
        """Refused: for good, or with a number of tries that came before the first pause of LATER_SECONDS."""
        now_us = self._clock.now_us()
        pauses = () if tries_before is None else LATER_SECONDS[max(0, lease.tries - tries_before - 1) :]
        async with self._store.write() as tx:
            if pauses:
                due_us = now_us + int(pauses[0] * 1e6)
                held = await jobs.retry(tx, lease, reason=reason, run_after_us=due_us, now_us=now_us)
            else:
                held = await jobs.finish(tx, lease, state=JobState.DEAD, reason=reason, now_us=now_us)
            if not held:
                return "fenced", None
            await refuse(tx, lease.uri, reason, now_us=now_us)
        return outcome, reason

    async def retry(self, lease: Lease, error: Transient) -> tuple[str, str | None]:
        """Back to ready with backoff; after `max_attempts` the job is given up; patient waits are none."""
        now_us = self._clock.now_us()
        if not error.patient and lease.tries >= self._max_attempts:
            self._log.warning("given up", uri=lease.uri, reason=error.reason, attempt=lease.attempt, why=error)
            away = isinstance(error, Unreachable | RateLimited)
            tries_before = self._max_attempts - 1 if away else None
            return await self.bury(lease, f"exhausted:{error.reason}", "exhausted", tries_before=tries_before)
        self._log.warning("will try again", uri=lease.uri, reason=error.reason, attempt=lease.attempt, why=error)
        failed = lease.attempt if error.patient else lease.tries  # having waited for a turn is no failure
        seconds = backoff_seconds(failed, self._clock, base=self._retry_seconds, cap=RETRY_CAP_SECONDS)
        if isinstance(error, Crowded):  # it has been given a turn
            seconds = error.retry_after_seconds or seconds
        elif error.retry_after_seconds is not None:
            seconds = max(seconds, min(error.retry_after_seconds, RETRY_CAP_SECONDS))
        run_after_us = now_us + int(seconds * 1e6)
        async with self._store.write() as tx:
            if not await jobs.retry(
                tx, lease, reason=error.reason, run_after_us=run_after_us, now_us=now_us, waited=error.patient
            ):
                return "fenced", None
            await tracks.set_state(tx, lease.uri, TrackState.QUEUED, error.reason, now_us=now_us)
        return "retry", error.reason
