"""Feeds as they live: snapshots rebuilt when the store changes, pages cut from them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from core.clock import Clock
from core.errors import Transient
from core.feed import Feed, FeedEntry, Parts, Questions
from core.log import Log
from feedgen.context import Contexts
from feedgen.corpus import Corpus, gather
from feedgen.cursor import Cursor
from feedgen.damping import share_artists
from feedgen.fits import CheckBook
from feedgen.left import Left
from feedgen.likes import Likes
from feedgen.rank import rank
from feedgen.ranking import Aside, Ranking
from feedgen.rules import SLOT_US, Rules
from feedgen.scoring import measure, object_to
from feedgen.snapshots import EMPTY, Page, Shelf, Snapshot, choose_post, cut
from feedgen.standing import FeedStatus, assess
from feedgen.taste import Viewer
from feedgen.threads import Threads
from store import Store
from store.index import VectorIndex

AT_ONCE = 2  # orders that are made for somebody: each takes a good part of a second of a large corpus
_TOPICS = ("vector", "label")  # a track entered, left or changed; everything else is found by the periodic look


class LiveFeeds:
    """All feeds of a service.

    `questions` are what mood feeds ask of `index`. A feed that matches fewer than `min_posts` tracks with a post is
    dark: served empty and not announced; so is one that needs to know its corpus while that has fewer than `min_tracks`
    tracks.

    After news a rebuild waits until the last one is `settle_seconds` old (times 36 snapshots: a reader's cursor holds
    for 18 minutes even while everything changes, P110); without news the store is looked at every `refresh_seconds`.
    When the bell says that a post or an account may be gone, the next page looks at the store first: what it shows, old
    snapshots included, is there, and a track whose post was deleted is shown by its next best one.
    """

    def __init__(
        self,
        store: Store,
        index: VectorIndex,
        feeds: Sequence[Feed],
        questions: Questions,
        *,
        clock: Clock,
        log: Log,
        rules: Rules | None = None,
        min_posts: int = 15,
        min_tracks: int = 50,
        keep: int = 36,
        settle_seconds: float = 30.0,
        refresh_seconds: float = 45.0,
        contexts: Contexts | None = None,
    ) -> None:
        self.feeds = tuple(feeds)
        self._store = store
        self._index = index
        self._questions = questions
        self._clock = clock
        self._log = log
        self._rules = rules or Rules()
        self._min_posts = min_posts
        self._min_tracks = min_tracks
        self._settle_seconds = settle_seconds
        self._refresh_seconds = refresh_seconds
        self.contexts = contexts or Contexts()
        self._shelves = {feed.rkey: Shelf(feed.rkey, keep=keep, contexts=self.contexts) for feed in feeds}
        self._checked = CheckBook()
        self._rankings: Mapping[str, Ranking] = {}
        self._slots: dict[str, int] = {}  # by feed: the six hours it was last ranked in
        self._likes = Likes()
        self._statuses: dict[str, FeedStatus] = {}
        self._corpus: Corpus | None = None
        self._left = Left(store, self._rules.posts, clock=clock, log=log)
        self._threads = Threads(AT_ONCE)
        self._edition = 0
        self._building = asyncio.Lock()

    @property
    def index(self) -> VectorIndex:
        """The index that feeds are ranked from now."""
        return self._index

    def statuses(self) -> tuple[FeedStatus, ...]:
        """One a feed, in the catalogue's order; empty before the first refresh."""
        return tuple(self._statuses.values())

    def entries(self, rkey: str) -> tuple[FeedEntry, ...]:
        """The newest order of a feed, dark or not: what an operator previews."""
        return self._shelves[rkey].entries

    async def ranking(self, rkey: str) -> Ranking:
        """How the newest order of a feed came about, what was kept out of it and why. Raises KeyError if unknown."""
        await self._ensure_built()
        return self._rankings[rkey]

    async def preview(self, rkey: str) -> tuple[FeedEntry, ...]:
        """The newest order of a feed, dark or not, without tracks that are gone, each with the post that pages show."""
        await self._look_again()
        shelf = self._shelves[rkey]
        if shelf.newest is None:
            return ()
        posts = [choose_post(shelf.newest, place, self._left.of) for place in range(len(shelf.entries))]
        return tuple(replace(entry, post_uri=post) for entry, post in zip(shelf.entries, posts, strict=True) if post)

    async def open_feeds(self) -> tuple[str, ...]:
        """The rkeys of all feeds that are not dark."""
        await self._ensure_built()
        return tuple(status.rkey for status in self._statuses.values() if not status.dark)

    @property
    def edition(self) -> int | None:
        """Another one whenever a page may be another; None while something may be gone that must be looked for."""
        return self._edition if self._left.certain else None

    async def page(self, rkey: str, cursor: Cursor | None, limit: int) -> Page:
        """A page of a feed (see `Shelf.page`); an empty one when the feed is dark. Raises KeyError if unknown."""
        shelf = self._shelves[rkey]
        await self._ensure_built()
        if self._statuses[rkey].dark:
            return EMPTY
        await self._look_again()
        return shelf.page(cursor, limit, self._left.of)

    async def rank_for(
        self, feed: Feed, viewer: Viewer | None, *, head: str | None = None, with_posts: bool = True
    ) -> Ranking:
        """One viewer's order of a feed, which need not be in the catalogue, from the tracks that the newest snapshots
        were ranked from. See `rank`.
        """
        corpus, now_us = await self.corpus(), self._clock.now_us()
        return await self._threads.run(
            partial(rank, feed, corpus, viewer, now_us=now_us, rules=self._rules, with_posts=with_posts, head=head)
        )

    async def measure(self, feed: Feed, track_uri: str) -> Parts | None:
        """The parts of one track's score in a mood feed, admitted or not; None if nothing can judge it."""
        corpus, now_us = await self.corpus(), self._clock.now_us()
        place = corpus.places.get(track_uri)
        if place is None:
            return None
        return await self._threads.run(partial(measure, feed, corpus, place, now_us=now_us, rules=self._rules))

    async def object_to(self, feed: Feed, track_uri: str) -> Aside | None:
        """What keeps one track out of a mood feed whatever its score; None if nothing does, or nobody knows it."""
        corpus = await self.corpus()
        place = corpus.places.get(track_uri)
        if place is None:
            return None
        objection = await self._threads.run(partial(object_to, feed, corpus, place, rules=self._rules))
        return None if objection is None else Aside(track_uri, *objection)

    async def corpus(self) -> Corpus:
        """What the newest snapshots were ranked from."""
        await self._ensure_built()
        assert self._corpus is not None
        return self._corpus

    async def living(self) -> Mapping[str, tuple[str, ...]]:
        """The tracks that may be shown now, each with the posts that may show it, the best first."""
        await self._ensure_built()
        await self._look_again()
        return self._left.posts

    async def try_out(self, feed: Feed, questions: Questions) -> tuple[FeedStatus, Ranking]:
        """How a feed that is in no catalogue would stand now, by `questions` of its own. Nothing of it is kept."""
        async with self._building:
            now_us = self._clock.now_us()
            corpus = await gather(self._store, self._index, questions, CheckBook(), Likes(), now_us=now_us)
        ranking = await asyncio.to_thread(rank, feed, corpus, now_us=now_us, rules=self._rules)
        return self._assess(feed, ranking), ranking

    async def page_of(self, rkey: str, snapshot: Snapshot, cursor: Cursor | None, limit: int) -> Page:
        """A page of somebody's own order of a feed (see `cut`); an empty one when the feed is dark."""
        await self._ensure_built()
        if self._statuses[rkey].dark:
            return EMPTY
        await self._look_again()
        return cut(snapshot, cursor, limit, self._left.of)

    async def turn_to(self, index: VectorIndex, questions: Questions) -> None:
        """Rank from another index from now on, with the questions that belong to its spaces: both or neither."""
        async with self._building:
            self._index = index
            self._questions = questions

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
        rung, now_us = self._left.rung, self._clock.now_us()
        corpus = await gather(self._store, self._index, self._questions, self._checked, self._likes, now_us=now_us)
        corpus = await asyncio.to_thread(
            share_artists, self.feeds, corpus, now_us=now_us, rules=self._rules, least=self._min_posts
        )
        posts = await asyncio.to_thread(self._left.find, corpus.tracks, corpus, now_us=now_us)
        rankings = await asyncio.to_thread(self._rank_all, corpus, posts, now_us)
        frozen = await asyncio.to_thread(self._freeze_all, rankings, now_us)
        self._corpus, self._rankings = corpus, rankings
        self._left.put(posts, rung)
        for feed in self.feeds:
            ranking = rankings[feed.rkey]
            self._shelves[feed.rkey].put(ranking.entries, frozen[feed.rkey])
            self._slots[feed.rkey] = now_us // SLOT_US
            self._statuses[feed.rkey] = self._assess(feed, ranking)
        self._edition += 1

    def _rank_all(self, corpus: Corpus, posts: Mapping[str, Sequence[str]], now_us: int) -> dict[str, Ranking]:
        return {
            feed.rkey: rank(
                feed, corpus, now_us=now_us, rules=self._rules, head=self._head_of_slot(feed, posts, now_us)
            )
            for feed in self.feeds
        }

    def _freeze_all(self, rankings: Mapping[str, Ranking], now_us: int) -> dict[str, Snapshot]:
        return {rkey: shelf.freeze(rankings[rkey].entries, now_us) for rkey, shelf in self._shelves.items()}

    def _head_of_slot(self, feed: Feed, posts: Mapping[str, Sequence[str]], now_us: int) -> str | None:
        """Whom readers saw first in this slot: of those that were ranked, the first that is left."""
        if self._slots.get(feed.rkey) != now_us // SLOT_US:
            return None
        entries = self._shelves[feed.rkey].entries
        return next((entry.track_uri for entry in entries if posts.get(entry.track_uri)), None)

    def _assess(self, feed: Feed, ranking: Ranking) -> FeedStatus:
        return assess(feed, ranking, min_posts=self._min_posts, min_tracks=self._min_tracks)

    async def _look_again(self) -> None:
        if await self._left.look_again(self._corpus):
            self._edition += 1

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
