"""From a source to the store: batches, each one transaction with the cursor in it (T1 of ARCHITECTURE section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from core.clock import Clock, backoff_seconds
from core.errors import StoreBusy
from core.log import Log
from firehose.apply import Applier
from firehose.events import Event, GapEvent
from firehose.source import Source
from store import Store, cursors, jobs


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """How much is done at once, and when to stop reading."""

    batch_events: int = 200
    batch_seconds: float = 0.25
    high_water: int | None = 5_000  # ready jobs above which nothing is read: the cursor waits upstream
    recheck_seconds: float = 1.0


class Ingest:
    """Reads one source into the store, for ever. Replaying events changes nothing: `rev` orders the versions."""

    def __init__(
        self,
        store: Store,
        source: Source,
        applier: Applier,
        *,
        clock: Clock,
        log: Log,
        limits: IngestLimits | None = None,
        begin: int | None = None,
    ) -> None:
        """`begin` is the cursor of the very first run (0: all that the source still has; None: from now on)."""
        self.source = source
        self.paused = False  # by backpressure
        self._store = store
        self._applier = applier
        self._clock = clock
        self._log = log.bind(source=source.name)
        self._limits = limits or IngestLimits()
        self._begin = begin

    async def run(self) -> None:
        """Ends by cancellation, or with the error of a store that cannot be written: then nothing of the batch and no
        cursor is kept, and the next run reads it again.
        """
        async with self._store.read() as reader:
            cursor = await cursors.get(reader, self.source.name)
        if cursor is not None and self.source.health.heard_us is None:
            self.source.health.heard_us = cursor.wall_us  # how long we were away counts (P160, P163)
        queue: asyncio.Queue[Event] = asyncio.Queue(self._limits.batch_events)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(queue, self._begin if cursor is None else cursor.value))
            while True:
                await self._wait_for_room()
                await self._apply_patiently(await self._next_batch(queue))

    async def apply(self, events: Sequence[Event]) -> None:
        """One batch, one transaction."""
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            await self._applier.apply(tx, events, now_us=now_us)
            read: list[int] = []
            for event in events:
                if not isinstance(event, GapEvent):
                    read.append(event.position)
                elif event.starts_over:
                    read.clear()
                    await cursors.forget(tx, self.source.name)
            if read:
                await cursors.advance(tx, self.source.name, max(read), now_us=now_us)
        self._applier.note(events, self.source.name)
        await self.source.committed(events)

    async def _read(self, queue: asyncio.Queue[Event], cursor: int | None) -> None:
        async with aclosing(self.source.stream(cursor)) as events:  # the connection too, when we stop with a full queue
            async for event in events:
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
        while self._limits.high_water is not None:
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
