"""Feeds as they live: snapshots rebuilt when the store changes, pages cut from them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.clock import Clock
from core.errors import Transient
from core.feed import FeedEntry, MoodFeed, MoodQuery
from core.log import Log
from feedgen.candidates import Corpus, gather
from feedgen.cursor import Cursor
from feedgen.posts import usable_posts
from feedgen.rank import Ranking, Rules, rank
from feedgen.snapshots import Page, Shelf
from store import Store, tracks
from store.index import VectorIndex
from store.tracks import RankableTrack

_GONE = "link"
_TOPICS = ("vector", "label")  # a track entered, left or changed; everything else is found by the periodic look


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How a feed stands, for people: coverage, and why it is dark if it is."""

    rkey: str
    display_name: str
    reasons: tuple[str, ...]  # why it is dark; empty when it is open
    scored: int  # analysed tracks that feeds may show
    threshold: float  # score that admits
    matching: int  # tracks that match
    with_post: int  # of these, with a usable post
    entries: int  # after dedup and artist caps: what a reader finds

    @property
    def dark(self) -> bool:
        return bool(self.reasons)


class LiveFeeds:
    """All mood feeds of a service.

    `queries` says what each feed asks of `index`. A feed with fewer than `min_posts` entries, or a corpus of fewer than
    `min_tracks` scored tracks, is dark: served empty and not announced.

    After news a rebuild waits until the last one is `settle_seconds` old (times 36 snapshots: a reader's cursor holds
    for 18 minutes even while everything changes, P110); without news the store is looked at every `refresh_seconds`.
    When the bell says that a post or an account may be gone, the next page looks at the store first: what it shows, old
    snapshots included, is there, and a track whose post was deleted is shown by its next best one.
    """

    def __init__(
        self,
        store: Store,
        index: VectorIndex,
        feeds: Sequence[MoodFeed],
        queries: Mapping[str, MoodQuery],
        *,
        clock: Clock,
        log: Log,
        rules: Rules | None = None,
        min_posts: int = 15,
        min_tracks: int = 50,
        keep: int = 36,
        settle_seconds: float = 30.0,
        refresh_seconds: float = 45.0,
    ) -> None:
        self.feeds = tuple(feeds)
        self._store = store
        self._index = index
        self._queries = {feed.rkey: queries[feed.rkey] for feed in feeds}
        self._clock = clock
        self._log = log
        self._rules = rules or Rules()
        self._min_posts = min_posts
        self._min_tracks = min_tracks
        self._settle_seconds = settle_seconds
        self._refresh_seconds = refresh_seconds
        self._shelves = {feed.rkey: Shelf(feed.rkey, keep=keep) for feed in feeds}
        self._statuses: dict[str, FeedStatus] = {}
        self._posts: Mapping[str, tuple[str, ...]] = {}  # of each track that may be shown, the best first
        self._looked = -1  # how often the bell for links had rung when that was true
        self._building = asyncio.Lock()
        self._looking = asyncio.Lock()

    @property
    def index(self) -> VectorIndex:
        """The index that feeds are ranked from now."""
        return self._index

    def statuses(self) -> tuple[FeedStatus, ...]:
        """One a feed, in the catalogue's order; empty before the first refresh."""
        return tuple(self._statuses.values())

    def entries(self, rkey: str) -> tuple[FeedEntry, ...]:
        """The newest order of a feed, dark or not: what an operator previews."""
        newest = self._shelves[rkey].newest
        return newest.entries if newest is not None else ()

    async def preview(self, rkey: str) -> tuple[FeedEntry, ...]:
        """The newest order of a feed, dark or not, without tracks that are gone, each with its best post left."""
        await self._look_again()
        entries = ((entry, self._posts.get(entry.track_uri)) for entry in self.entries(rkey))
        return tuple(replace(entry, post_uri=posts[0]) for entry, posts in entries if posts)

    async def open_feeds(self) -> tuple[str, ...]:
        """The rkeys of all feeds that are not dark."""
        await self._ensure_built()
        return tuple(status.rkey for status in self._statuses.values() if not status.dark)

    async def page(self, rkey: str, cursor: Cursor | None, limit: int) -> Page:
        """A page of a feed (see `Shelf.page`); an empty one when the feed is dark. Raises KeyError if unknown."""
        shelf = self._shelves[rkey]
        await self._ensure_built()
        if self._statuses[rkey].dark:
            return Page((), (), None)
        await self._look_again()
        return shelf.page(cursor, limit, lambda track_uri: self._posts.get(track_uri, ()))

    async def turn_to(self, index: VectorIndex, queries: Mapping[str, MoodQuery]) -> None:
        """Rank from another index from now on, with the queries that belong to its spaces: both or neither."""
        async with self._building:
            self._index = index
            self._queries = {feed.rkey: queries[feed.rkey] for feed in self.feeds}

    async def refresh(self) -> None:
        """Rank every feed anew from the store as it is. Raises StoreBusy; the last snapshots stay then."""
        async with self._building:
            await self._rebuild()

    async def run(self) -> None:
        """Keep the feeds true until cancelled."""
        bell = self._store.bell
        while True:
            started = self._clock.monotonic()
            seen = {topic: bell.count(topic) for topic in _TOPICS}
            try:
                await self.refresh()
            except Transient as error:
                self._log.warning("feeds keep their last snapshots", reason=error.reason)
            await self._wait_for_news(seen)
            await asyncio.sleep(max(0.0, started + self._settle_seconds - self._clock.monotonic()))

    async def _ensure_built(self) -> None:
        if self._statuses:
            return
        async with self._building:
            if not self._statuses:
                await self._rebuild()

    async def _rebuild(self) -> None:
        looked = self._store.bell.count(_GONE)
        corpus = await gather(self._store, self._index, self._queries)
        now_us = self._clock.now_us()
        rankings = await asyncio.to_thread(self._rank_all, corpus, now_us)
        self._posts, self._looked = await asyncio.to_thread(self._posts_of, corpus.tracks, now_us), looked
        for feed in self.feeds:
            ranking = rankings[feed.rkey]
            self._shelves[feed.rkey].put([one.entry() for one in ranking.ranked], now_us)
            self._statuses[feed.rkey] = self._assess(feed, ranking)

    def _rank_all(self, corpus: Corpus, now_us: int) -> dict[str, Ranking]:
        return {
            feed.rkey: rank(feed, corpus.tracks, corpus.scores[feed.rkey], now_us=now_us, rules=self._rules)
            for feed in self.feeds
        }

    def _assess(self, feed: MoodFeed, ranking: Ranking) -> FeedStatus:
        reasons: list[str] = []
        entries = len(ranking.ranked)
        if ranking.scored < self._min_tracks:
            reasons.append(f"{ranking.scored} analysed tracks, {self._min_tracks} needed")
        if entries < self._min_posts:
            reasons.append(f"{entries} tracks with a usable post, {self._min_posts} needed")
        return FeedStatus(
            feed.rkey,
            feed.display_name,
            tuple(reasons),
            ranking.scored,
            ranking.threshold,
            ranking.matching,
            ranking.with_post,
            entries,
        )

    async def _look_again(self) -> None:
        """Learn which tracks and posts are left, if any may have gone. In doubt what was true stays."""
        if self._looked == self._store.bell.count(_GONE):
            return
        async with self._looking:
            looked = self._store.bell.count(_GONE)
            if self._looked == looked:
                return
            try:
                async with self._store.read() as reader:
                    shown = await tracks.rankable(reader)
            except Transient as error:
                self._log.warning("a page was not checked for what is gone", reason=error.reason)
                return
            self._posts, self._looked = await asyncio.to_thread(self._posts_of, shown, self._clock.now_us()), looked

    def _posts_of(self, shown: Iterable[RankableTrack], now_us: int) -> dict[str, tuple[str, ...]]:
        rules = self._rules.posts
        return {
            track.uri: tuple(link.post_uri for link in usable_posts(track, rules, now_us=now_us)) for track in shown
        }

    async def _wait_for_news(self, seen: Mapping[str, int]) -> None:
        patience = self._refresh_seconds
        waits = [
            asyncio.create_task(self._store.bell.wait(topic, patience, seen=count)) for topic, count in seen.items()
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
