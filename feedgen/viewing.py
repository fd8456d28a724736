"""Personal feeds as they are served: who the viewer is, their order, and the pages cut from it (FEEDS sections 4, 5).

Nothing is stored: an order follows from the viewer, the corpus and the six hours it is made in, and is kept in memory
for half an hour, so that they may page through it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Protocol

from core.clock import Clock
from core.errors import Transient
from core.feed import Feed, FeedKind, Reason
from core.log import Log
from core.types import AtUri, Did
from feedgen.cursor import Cursor
from feedgen.live import LiveFeeds
from feedgen.ranking import Ranking
from feedgen.rules import SLOT_US
from feedgen.snapshots import Page, Snapshot, freeze
from feedgen.taste import Anchor, AnchorKind, Reading, Viewer, newest_anchors
from store import Store, feedback
from store.feedback import FeedWish, viewer_key

FRESH_SECONDS = 600.0  # an order is made anew at the first page after that ...
PARTIAL_SECONDS = 60.0  # ... or after this, if the viewer's records could not all be read
HELD_SECONDS = 1800.0  # an order that nobody renews; who is in it then goes on in another, past what they saw
DEADLINE_SECONDS = 4.0  # then everybody's mix is served instead (P112)
MAX_ORDERS = 500  # in memory, some 150 kB each
MAX_ENTRIES = 200  # of an order
TOO_OFTEN = 3  # tracks of an artist of which less was asked in a feed: the artist leaves it (FEEDS 7)


class ViewerReader(Protocol):
    """Reads what viewers say in their own records."""

    async def read(self, did: Did) -> Reading:
        """Within a second and a half, and never raises for what others do; empty of whom nothing is known."""
        ...

    def forget(self, did: Did) -> None:
        """Remember nothing of this viewer."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """One viewer's order of one feed; `snapshot` None: the viewer is nobody special and sees everybody's mix."""

    until: float  # monotonic seconds
    cold: bool = True
    snapshot: Snapshot | None = None
    before: Snapshot | None = None  # the one that a reader may still be in
    seed: str | None = None  # the newest like or the like

    def standing(self, cursor: Cursor | None) -> Snapshot | None:
        """The snapshot that a cursor is of, else the newest."""
        if cursor is not None and self.before is not None and cursor.snapshot == self.before.snapshot_id:
            return self.before
        return self.snapshot


class Viewing:
    """Pages of personal feeds. `secret`: 32 bytes, under which viewers are hashed in the store."""

    def __init__(
        self, feeds: LiveFeeds, store: Store, reader: ViewerReader, *, secret: bytes, clock: Clock, log: Log
    ) -> None:
        self._feeds = feeds
        self._kinds = {feed.rkey: feed for feed in feeds.feeds if feed.personal}
        self._store = store
        self._reader = reader
        self._secret = secret
        self._clock = clock
        self._log = log
        self._orders: OrderedDict[tuple[str, Did], _Order] = OrderedDict()
        self._making: dict[tuple[str, Did], asyncio.Lock] = {}

    async def page(self, rkey: str, did: Did, cursor: Cursor | None, limit: int) -> tuple[Page, bool]:
        """A page of a viewer's own order, and whether they are cold: then it is, or comes near, everybody's mix.

        A cursor goes on in the order it is of, or, if that is gone, in the newest one past what was served.
        """
        order: _Order | None = None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                order = await self._find(rkey, did, cursor)
        except (TimeoutError, Transient) as error:
            self._log.warning("a viewer got everybody's mix", feed=rkey, reason=type(error).__name__)
        snapshot = None if order is None else order.standing(cursor)
        if order is None or snapshot is None:
            return await self._feeds.page(rkey, cursor, limit), True
        return await self._feeds.page_of(rkey, snapshot, cursor, limit), order.cold

    @property
    def held(self) -> int:
        """How many orders."""
        return len(self._orders)

    def forget(self, did: Did) -> None:
        """Make the viewer's orders anew at the next page: they said something that changes them. What is being made now
        is served and not kept.
        """
        for rkey in self._kinds:
            self._orders.pop((rkey, did), None)
            self._making.pop((rkey, did), None)

    async def forget_all_of(self, did: Did) -> int:
        """Forget what the viewer said in feeds, and what was read of theirs; how many tracks they had spoken of."""
        async with self._store.write() as tx:
            forgotten = await feedback.forget(tx, viewer_key(did, self._secret))
        self._reader.forget(did)
        self.forget(did)
        return forgotten

    async def ranking(self, rkey: str, viewer: Viewer) -> Ranking | None:
        """How the order came about that this viewer alone sees; None: they see everybody's."""
        if viewer == Viewer(viewer.did):
            return None
        return await self._rank(self._kinds[rkey], viewer, self._orders.get((rkey, viewer.did)), self._clock.now_us())

    async def describe(self, rkey: str, did: Did) -> Viewer:
        """Who asks for this feed, by their own records and by what they said in feeds."""
        return await self._describe(rkey, did, await self._reader.read(did))

    async def _describe(self, rkey: str, did: Did, reading: Reading) -> Viewer:
        async with self._store.read() as reader:
            said = await feedback.of_viewer(reader, viewer_key(did, self._secret))
        less = {one.track_uri for one in said if one.wish is FeedWish.LESS}
        more = [Anchor(one.track_uri, one.at_us, AnchorKind.MORE) for one in said if one.wish is FeedWish.MORE]
        here = Counter(AtUri.parse(one.track_uri).did for one in said if one.track_uri in less and one.feed == rkey)
        return Viewer(
            did,
            newest_anchors([one for one in (*reading.anchors, *more) if one.track_uri not in less]),
            reading.prefs,
            frozenset(less),
            frozenset(artist for artist, times in here.items() if times >= TOO_OFTEN),
        )

    async def _find(self, rkey: str, did: Did, cursor: Cursor | None) -> _Order:
        """The order to page through: as it was while it is fresh, or while a reader is in it."""
        key = (rkey, did)
        lock = self._making.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                order = self._orders.get(key)
                if order is None or (cursor is None and self._clock.monotonic() >= order.until):
                    order = await self._make(self._kinds[rkey], did, order)
                if self._making.get(key) is lock:
                    if self._orders.get(key) is not order:
                        asyncio.get_running_loop().call_later(HELD_SECONDS, self._drop, key, order)
                    self._orders[key] = order
                    self._orders.move_to_end(key)
                while len(self._orders) > MAX_ORDERS:
                    self._orders.popitem(last=False)
                return order
        finally:
            if self._making.get(key) is lock and not lock.locked():
                del self._making[key]

    async def _make(self, feed: Feed, did: Did, before: _Order | None) -> _Order:
        reading = await self._reader.read(did)
        viewer = await self._describe(feed.rkey, did, reading)
        until = self._clock.monotonic() + (FRESH_SECONDS if reading.complete else PARTIAL_SECONDS)
        if viewer == Viewer(did):
            return _Order(until)
        now_us = self._clock.now_us()
        ranking = await self._rank(feed, viewer, before, now_us)
        shown = before.snapshot if before is not None else None
        snapshot_id = now_us if shown is None else max(now_us, shown.snapshot_id + 1)
        snapshot = freeze(feed.rkey, ranking.entries[:MAX_ENTRIES], snapshot_id, self._feeds.contexts)
        cold = any(entry.reason is Reason.POPULAR for entry in ranking.entries)
        return _Order(until, cold, snapshot, shown, _seed(viewer))

    async def _rank(self, feed: Feed, viewer: Viewer, before: _Order | None, now_us: int) -> Ranking:
        return await self._feeds.rank_for(feed, viewer, head=_head(feed, viewer, before, now_us))

    def _drop(self, key: tuple[str, Did], order: _Order) -> None:
        if self._orders.get(key) is order:
            del self._orders[key]


def _seed(viewer: Viewer) -> str | None:
    return next((one.track_uri for one in viewer.anchors if one.kind.of_one), None)


def _head(feed: Feed, viewer: Viewer, before: _Order | None, now_us: int) -> str | None:
    """Who stood first in this slot: they stay, unless the feed starts from something else now (P113)."""
    if before is None or before.snapshot is None or not before.snapshot.tracks:
        return None
    if before.snapshot.snapshot_id // SLOT_US != now_us // SLOT_US:
        return None
    moved = feed.kind is FeedKind.MORE_LIKE and before.seed != _seed(viewer)
    return None if moved else before.snapshot.tracks[0]
