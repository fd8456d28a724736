"""A job: one track version that waits for, undergoes or has ended analysis."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed job. `attempt` is the fence: a worker whose attempt is no longer current commits nothing."""

    job_id: int
    uri: str
    cid: str  # version of the record that this job is for
    attempt: int  # 1 for the first try
    worker: str
    expires_us: int
    waits: int = 0  # attempts before that ended with nothing to do but to wait

    @property
    def tries(self) -> int:
        """The attempts that count when a job is given up, this one included."""
        return self.attempt - self.waits


@dataclass(frozen=True, slots=True)
class Job:
    """A job row as `earmark track` and `jobs list` show it."""

    job_id: int
    uri: str
    cid: str
    state: JobState
    attempt: int
    reason: str | None
    run_after_us: int
    updated_us: int
