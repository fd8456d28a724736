"""The label log as WebSocket messages, encoded once for all subscribers who read the same stretch of it."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field

from core.types import Did
from core.xrpc import Batch, websocket_message
from labeler.frames import stored_frame
from labeler.renewal import Renewal
from store import Store, labels, served

PAGE = 500  # events (P75)
PAGES = 24  # kept: some 4 MB
BATCH_BYTES = 64 * 1024
_IDLE_SECONDS = 5.0  # so long one wait lasts; all who still wait then begin another


@dataclass(slots=True)
class _Page:
    """`last`: up to which event it was read, `rung`: how often "label" had rung by then. `wire` holds those of ours:
    their numbers, and where each ends.
    """

    last: int
    rung: int
    numbers: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    wire: bytes = b""

    def after(self, seq: int) -> Batch | None:
        """What follows an event, as much as fits; None when nothing does."""
        first = bisect_right(self.numbers, seq)
        if first == len(self.numbers):
            return Batch(b"", seq, self.last) if self.last > seq else None
        start = self.ends[first - 1] if first else 0
        stop = max(first + 1, bisect_right(self.ends, start + BATCH_BYTES))
        last = self.last if stop == len(self.numbers) else self.numbers[stop - 1]
        return Batch(self.wire[start : self.ends[stop - 1]], seq, last)


class FrameLog:
    """Pages of the log that somebody read lately. A page that is full does not change (but for a change of key)."""

    def __init__(self, store: Store, *, src: Did, renewal: Renewal | None = None) -> None:
        self._store = store
        self._src = src
        self._renewal = renewal
        self._pages: OrderedDict[int, _Page] = OrderedDict()
        self._reading = asyncio.Lock()
        self._signatures_seen = 0
        self._waiting: asyncio.Future[None] | None = None

    async def newest(self) -> int:
        """The number of the newest event."""
        return await labels.newest_seq(self._store.peek)

    async def after(self, seq: int) -> Batch | None:
        """What follows an event, as much as fits into a batch (nothing, if it is not ours); None at the end."""
        return (await self._page((seq + 1) // PAGE, seq)).after(seq)

    async def wait(self, seq: int, seen: int) -> None:
        """At the end of the log, `seq`: until "label" has rung since its count was `seen`, or for a while.

        All who wait share one timer, and one of them reads what is new before the others wake.
        """
        if self._store.bell.count("label") != seen:
            return
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.ensure_future(self._fetch_next(seq, seen))
        await asyncio.shield(self._waiting)

    async def _fetch_next(self, seq: int, seen: int) -> None:
        if await self._store.bell.wait("label", _IDLE_SECONDS, seen=seen):
            await self.after(seq)

    async def _page(self, number: int, seq: int) -> _Page:
        end = (number + 1) * PAGE - 1
        bell = self._store.bell
        while True:
            if bell.count("signature") != self._signatures_seen:
                self._signatures_seen = bell.count("signature")
                self._pages.clear()
            page = self._pages.get(number)
            if page is not None and (page.last >= end or page.last > seq or page.rung == bell.count("label")):
                self._pages.move_to_end(number)
                return page
            async with self._reading:  # one reads for all who wait
                again = self._pages.get(number)
                if again is not page and again is not None:
                    continue
                await self._read(number, page, end)

    async def _read(self, number: int, page: _Page | None, end: int) -> None:
        rung = self._store.bell.count("label")
        start = number * PAGE - 1 if page is None else page.last
        if self._renewal is not None:
            await self._renewal.renew_span(start, end)
        signed = self._store.bell.count("signature")
        async with self._store.read() as reader:
            rows = await served.log(reader, after_seq=start, limit=end - start)
        if self._store.bell.count("signature") != signed:
            return  # what was read may be of the former key: the caller looks again
        fresh = _Page(rows[-1].seq if rows else start, rung)
        if page is not None:
            fresh.numbers, fresh.ends, fresh.wire = page.numbers[:], page.ends[:], page.wire
        messages = [fresh.wire]
        size = len(fresh.wire)
        for row in rows:
            if row.src == self._src:  # P15: what an earlier identity signed is not ours to serve
                messages.append(websocket_message(stored_frame(row.seq, row.json, row.sig)))
                size += len(messages[-1])
                fresh.numbers.append(row.seq)
                fresh.ends.append(size)
        fresh.wire = b"".join(messages)
        self._pages[number] = fresh
        self._pages.move_to_end(number)
        while len(self._pages) > PAGES:
            self._pages.popitem(last=False)
