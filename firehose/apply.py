"""Events into the store, whoever read them: a live stream, a backfill or a resync (the inside of T1).

Each collection has one reader, which says what its records do to the store. Readers are idempotent: `rev` orders the
versions of a record, so the same event twice, or an older one late, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from core.log import Log
from core.metrics import Metrics
from core.ports import Directory
from core.types import tid_microseconds
from firehose.accounts import apply_account
from firehose.chain import apply_commit, apply_doubt, apply_gap, apply_identity, apply_sync
from firehose.events import (
    AccountEvent,
    CommitEvent,
    DoubtEvent,
    Event,
    GapEvent,
    IdentityEvent,
    RecordEvent,
    SyncEvent,
)
from firehose.pulse import Pulse
from firehose.verify import FUTURE_TOLERANCE_US
from store import Tx


class RecordReader(Protocol):
    """Takes the record events of its collections into the store."""

    @property
    def collections(self) -> frozenset[str]: ...

    async def apply(self, tx: Tx, event: RecordEvent, *, now_us: int) -> None: ...


class Applier:
    """One for the whole process: every source, backfill and resync apply their events through it."""

    def __init__(
        self,
        readers: Iterable[RecordReader],
        *,
        directory: Directory,
        log: Log,
        pulse: Pulse,
        metrics: Metrics | None = None,
    ) -> None:
        self._readers = {name: reader for reader in readers for name in reader.collections}
        self._directory = directory
        self._log = log
        self._pulse = pulse
        self._metrics = metrics

    async def apply(self, tx: Tx, events: Sequence[Event], *, now_us: int) -> None:
        """All of these events, in order, inside a transaction of the caller, who then calls `note`."""
        for event in events:
            if self._lies_ahead(event, now_us):
                continue
            match event:
                case RecordEvent():
                    reader = self._readers.get(event.collection)
                    if reader is not None:
                        await reader.apply(tx, event, now_us=now_us)
                case AccountEvent():
                    await apply_account(tx, event, now_us=now_us)
                case CommitEvent():
                    await apply_commit(tx, event, now_us=now_us)
                case SyncEvent():
                    await apply_sync(tx, event, now_us=now_us)
                case DoubtEvent():
                    await apply_doubt(tx, event, now_us=now_us)
                case IdentityEvent():
                    await apply_identity(tx, event, now_us=now_us)
                case GapEvent():
                    await apply_gap(tx, event, now_us=now_us)
                case _:
                    pass

    def _lies_ahead(self, event: Event, now_us: int) -> bool:
        """P146: nothing that comes later could ever take it back."""
        if not isinstance(event, RecordEvent | CommitEvent | SyncEvent):
            return False
        ahead = tid_microseconds(event.rev) > now_us + FUTURE_TOLERANCE_US
        if ahead:
            self._log.warning("an event of the future is ignored", did=event.did, rev=event.rev)
        return ahead

    def note(self, events: Sequence[Event], source: str) -> None:
        """What is no matter of the store, once the events are committed: caches, counters, alarms."""
        for event in events:
            if isinstance(event, IdentityEvent):
                self._directory.forget(event.did)
            if isinstance(event, GapEvent):
                self._log.error(
                    "events are missing: known accounts are walked anew", reason=event.reason, source=source
                )
            self._pulse.note(event)
            if self._metrics is not None:
                kind = type(event).__name__.removesuffix("Event").lower()
                self._metrics.events.labels(source.partition(":")[0], kind).inc()
