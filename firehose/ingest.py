"""From a source to the store: batches, each one transaction with the cursor in it (T1 of ARCHITECTURE section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.analysis import Verdict, VerdictStatus
from core.clock import Clock, backoff_seconds
from core.errors import BadRecord, StoreBusy
from core.link import Link
from core.log import Log
from core.metrics import Metrics
from core.ports import Directory
from core.types import Cid, Track, TrackState, tid_microseconds
from firehose.events import (
    AccountEvent,
    Event,
    GapEvent,
    IdentityEvent,
    Interest,
    Operation,
    RecordEvent,
)
from firehose.links import POSTS, LinkRules, find_links
from firehose.records import CollectionMap, bare_track, read_track
from firehose.source import Source
from store import Store, Tx, analyses, cursors, jobs, labels, links, tracks

GATED = "gated"
WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """How much is done at once, and when to stop reading."""

    batch_events: int = 200
    batch_seconds: float = 0.25
    high_water: int = 5_000  # ready jobs above which nothing is read: the cursor waits upstream
    recheck_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class _Listing:
    """A record that was written, judged before the transaction: a track to analyse, or one refused with a reason."""

    track: Track
    reason: str | None


def interest_in(mapping: Mapping[str, CollectionMap], rules: LinkRules | None) -> Interest:
    """What a source has to deliver for these collections, and for posts that link their tracks."""
    if rules is None:
        return Interest(frozenset(mapping))
    return Interest(frozenset(mapping) | {POSTS}, {POSTS: rules.needles()})


class Ingest:
    """Reads one source into the store, for ever. Replaying events changes nothing: `rev` orders the versions."""

    def __init__(
        self,
        store: Store,
        source: Source,
        *,
        mapping: Mapping[str, CollectionMap],
        rules: LinkRules | None,
        directory: Directory,
        clock: Clock,
        log: Log,
        metrics: Metrics | None = None,
        limits: IngestLimits | None = None,
        begin: int | None = None,
    ) -> None:
        """`begin` is the cursor of the very first run (0: all that the source still has; None: from now on)."""
        self.source = source
        self.paused = False  # by backpressure
        self._store = store
        self._mapping = mapping
        self._rules = rules
        self._directory = directory
        self._clock = clock
        self._log = log.bind(source=source.name)
        self._metrics = metrics
        self._limits = limits or IngestLimits()
        self._begin = begin

    async def run(self) -> None:
        """Ends by cancellation, or with the error of a store that cannot be written: then nothing of the batch and no
        cursor is kept, and the next run reads it again.
        """
        async with self._store.read() as reader:
            cursor = await cursors.get(reader, self.source.name)
        queue: asyncio.Queue[Event] = asyncio.Queue(self._limits.batch_events)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(queue, self._begin if cursor is None else cursor.value))
            while True:
                await self._wait_for_room()
                await self._apply_patiently(await self._next_batch(queue))

    async def apply(self, events: Sequence[Event]) -> None:
        """One batch, one transaction."""
        now_us = self._clock.now_us()
        listings = {id(event): self._listing(event, now_us) for event in events if self._is_written_track(event)}
        async with self._store.write() as tx:
            for event in events:
                match event:
                    case RecordEvent(collection=collection) if collection in self._mapping:
                        await self._apply_track(tx, event, listings.get(id(event)), now_us)
                    case RecordEvent():
                        await self._apply_post(tx, event, now_us)
                    case AccountEvent():
                        await self._apply_account(tx, event, now_us)
                    case _:
                        pass
            read = [event.position for event in events if not isinstance(event, GapEvent)]
            if read:
                await cursors.advance(tx, self.source.name, max(read), now_us=now_us)
        for event in events:
            self._note(event)

    async def _read(self, queue: asyncio.Queue[Event], cursor: int | None) -> None:
        async for event in self.source.stream(cursor):
            await queue.put(event)

    async def _next_batch(self, queue: asyncio.Queue[Event]) -> list[Event]:
        """At least one event; more until the batch is full or a quarter of a second has passed."""
        batch = [await queue.get()]
        try:
            async with asyncio.timeout(self._limits.batch_seconds):
                while len(batch) < self._limits.batch_events:
                    batch.append(await queue.get())
        except TimeoutError:
            pass
        return batch

    async def _wait_for_room(self) -> None:
        while True:
            async with self._store.read() as reader:
                waiting = await jobs.ready_count(reader, now_us=self._clock.now_us())
            if waiting <= self._limits.high_water:
                self.paused = False
                return
            if not self.paused:
                self._log.warning("reading pauses until jobs are done", waiting=waiting)
            self.paused = True
            await asyncio.sleep(self._limits.recheck_seconds)

    async def _apply_patiently(self, batch: Sequence[Event]) -> None:
        attempt = 0
        while True:
            try:
                return await self.apply(batch)
            except StoreBusy as error:
                attempt += 1
                self._log.warning("batch waits for the store", reason=str(error), attempt=attempt)
            await asyncio.sleep(backoff_seconds(attempt, self._clock, base=0.5, cap=30.0))

    def _is_written_track(self, event: Event) -> bool:
        return (
            isinstance(event, RecordEvent)
            and event.operation is not Operation.DELETE
            and event.collection in self._mapping
        )

    def _listing(self, event: Event, now_us: int) -> _Listing:
        assert isinstance(event, RecordEvent)
        mapping, cid = self._mapping[event.collection], event.cid or Cid("")
        try:
            track = read_track(mapping, event.uri, cid, event.rev, event.record, now_us=now_us)
        except BadRecord as error:
            return _Listing(bare_track(mapping, event.uri, cid, event.rev, event.record, now_us=now_us), error.reason)
        return _Listing(track, GATED if track.gated else None)

    async def _apply_track(self, tx: Tx, event: RecordEvent, listing: _Listing | None, now_us: int) -> None:
        uri = str(event.uri)
        if listing is None:
            if await tracks.withdraw(tx, uri, event.rev, now_us=now_us):
                await _retract(tx, uri, VerdictStatus.WITHDRAWN, WITHDRAWN, now_us)
            return
        state = TrackState.QUEUED if listing.reason is None else TrackState.REFUSED
        if not await tracks.put(tx, listing.track, state=state, reason=listing.reason, now_us=now_us):
            return  # not newer than what is known
        if listing.reason is None:
            await jobs.enqueue(tx, uri, listing.track.cid, now_us=now_us)
        else:
            self._log.info("track refused", uri=uri, reason=listing.reason)
            if listing.track.gated:  # the artist's wish, not a failure
                await jobs.supersede(tx, uri, keep_cid="", now_us=now_us)
            else:
                await jobs.bury(tx, uri, listing.track.cid, reason=listing.reason, now_us=now_us)
            await _retract(tx, uri, VerdictStatus.REFUSED, listing.reason, now_us)

    async def _apply_post(self, tx: Tx, event: RecordEvent, now_us: int) -> None:
        if event.collection != POSTS or self._rules is None:
            return
        if event.operation is not Operation.CREATE:
            await links.drop_post(tx, str(event.uri))
        if event.operation is not Operation.DELETE:
            found: list[Link] = find_links(self._rules, event.uri, event.record, now_us=now_us)
            if found:
                await links.put(tx, found, now_us=now_us)

    async def _apply_account(self, tx: Tx, event: AccountEvent, now_us: int) -> None:
        account = event.account
        await tracks.put_account(tx, account, now_us=now_us)
        if account.active or account.status != "deleted":
            return
        for stored in await tracks.of_account(tx, account.did):  # P151: content and what is derived from it go
            if event.time_us is not None and event.time_us < tid_microseconds(stored.track.rev) <= now_us:
                continue  # the event is a replay: the account came back and wrote this since
            uri = str(stored.track.uri)
            await tracks.withdraw(tx, uri, stored.track.rev, now_us=now_us)
            await _retract(tx, uri, VerdictStatus.WITHDRAWN, WITHDRAWN, now_us)

    def _note(self, event: Event) -> None:
        if isinstance(event, IdentityEvent):
            self._directory.forget(event.did)
        if isinstance(event, GapEvent):
            self._log.error("events may be missing: a backfill would find them", reason=event.reason)
        if self._metrics is not None:
            self._metrics.events.labels(self.source.name, type(event).__name__.removesuffix("Event").lower()).inc()


async def _retract(tx: Tx, uri: str, status: VerdictStatus, reason: str, now_us: int) -> None:
    """No labels and no place in any feed from now on, by the same road as everything else: verdict and vector log."""
    await labels.put_verdict(tx, uri, Verdict(status, reason=reason), now_us=now_us)
    stored = await tracks.get(tx, uri)
    if stored is not None:
        await analyses.drop_vectors(tx, stored.track_id)
