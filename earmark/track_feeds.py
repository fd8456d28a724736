"""Feeds as orders of tracks, for clients that need no posts: the same ranking, over every public track."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.clock import Clock
from core.feed import Feed, FeedEntry
from earmark.showing import Showing
from earmark.turns import Turns
from feedgen.cursor import decode_cursor, encode_cursor
from feedgen.live import LiveFeeds
from feedgen.snapshots import Snapshot, cut, freeze

HOLD_SECONDS = 60.0  # an order is ranked anew when it is asked for after that
KEPT = 15  # orders of a feed that readers may still stand in (P110: a quarter of an hour)


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    snapshot: Snapshot
    entries: Mapping[str, FeedEntry]  # by track


class TrackFeeds:
    """Ranks a feed when somebody asks for it. `key`: 32 secret bytes that sign cursors."""

    def __init__(self, feeds: LiveFeeds, showing: Showing, turns: Turns, *, key: bytes, clock: Clock) -> None:
        self._feeds = feeds
        self._by_rkey = {feed.rkey: feed for feed in feeds.feeds}
        self._showing = showing
        self._turns = turns
        self._key = key
        self._clock = clock
        self._orders: dict[str, list[_Order]] = {rkey: [] for rkey in self._by_rkey}
        self._due = dict.fromkeys(self._by_rkey, 0.0)  # when it is to be ranked anew, monotonic seconds
        self._ranking = {rkey: asyncio.Lock() for rkey in self._by_rkey}

    def find(self, rkey: str) -> Feed | None:
        """The feed of that name."""
        return self._by_rkey.get(rkey)

    async def page(self, rkey: str, cursor_text: str | None, limit: int) -> tuple[list[FeedEntry], str | None]:
        """At most `limit` entries that may be listed, and the cursor that goes on; None at the end. As in feeds of
        posts nothing comes twice, and nothing is missed while the order that the cursor is of is kept.

        Personal feeds are the mix that strangers see. Raises XrpcError InvalidRequest for a cursor that is not ours,
        RateLimitExceeded; KeyError if the feed is unknown.
        """
        name = f"{rkey} tracks"  # a cursor of the feed of posts means nothing here
        cursor = None if cursor_text is None else decode_cursor(cursor_text, feed=name, key=self._key)
        await self._renew(rkey)
        orders = self._orders[rkey]
        stood_in = (one for one in orders if cursor is not None and one.snapshot.snapshot_id == cursor.snapshot)
        order = next(stood_in, orders[-1])
        may_be_listed = await self._showing.filter()
        page = cut(order.snapshot, cursor, limit, lambda uri: (uri,) if may_be_listed(uri) else ())
        follow = None if page.next is None else encode_cursor(page.next, feed=name, key=self._key)
        return [order.entries[uri] for uri in page.tracks], follow

    async def _renew(self, rkey: str) -> None:
        """See to it that the newest order is of now. An order that did not change stays what it was."""
        async with self._ranking[rkey]:
            if self._orders[rkey] and self._clock.monotonic() < self._due[rkey]:
                return
            async with self._turns.take():
                ranking = await self._feeds.rank_for(self._by_rkey[rkey], None, with_posts=False)
            self._due[rkey] = self._clock.monotonic() + HOLD_SECONDS
            self._orders[rkey] = self._with(rkey, ranking.entries)

    def _with(self, rkey: str, entries: Sequence[FeedEntry]) -> list[_Order]:
        """The orders of a feed and, if it is another one, this."""
        orders, snapshot_id = self._orders[rkey], self._clock.now_us()
        if orders:
            snapshot_id = max(snapshot_id, orders[-1].snapshot.snapshot_id + 1)
        itself = [replace(entry, post_uri=entry.track_uri) for entry in entries]  # what is shown is the track
        fresh = freeze(rkey, itself, snapshot_id, self._feeds.contexts)
        if orders and orders[-1].snapshot.rendered == fresh.rendered:
            return orders
        return [*orders[1 - KEPT :], _Order(fresh, {entry.track_uri: entry for entry in entries})]
