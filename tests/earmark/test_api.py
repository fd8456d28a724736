"""The plain web API and people who are logged out: who does not want to be seen by them is not there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from core.analysis import Space, Verdict, VerdictStatus
from core.clock import SystemClock
from core.feed import Feed, FeedQuery, MoodQuery, Questions
from core.link import Link, LinkRule
from core.log import Log
from core.types import Account, AtUri, BlobRef, Cid, Did, Tid, Track, TrackState, make_tid
from earmark.api import Api
from feedgen.live import LiveFeeds
from feedgen.rules import Rules
from store import Store, accounts, analyses, labels, links, tracks, wishes
from store.index import VectorIndex
from store.wishes import Scope, Wish, WishKind

REV = make_tid(1_700_000_000_000_000)
FEED = Feed("calm", "Calm", "Quiet.", tags={"mtt:quiet": 1.0})
QUERY = MoodQuery(Space.MUSICNN_TAGS, np.eye(1, 100, dtype=np.float32), np.empty((0, 100), np.float32))
STEADY = Rules(decay=1e-9, decay_share=0.0, exploration=0.0)  # the best first, in every slot
QUESTIONS = Questions({"calm": FeedQuery(tags=QUERY)})


def did(number: int) -> Did:
    return Did(f"did:plc:{'abcdefgh'[number] * 24}")


def uri(number: int) -> str:
    return f"at://{did(number)}/fm.plyr.track/t"


class Site:
    """Artists with a track and a post each, and what the API says of them."""

    def __init__(self, store: Store, feeds: LiveFeeds) -> None:
        self.store, self.feeds = store, feeds
        unused: Any = None
        self.pages = Api(
            store=store,
            feeds=feeds,
            labeler_did="",
            did_document=None,
            mode=str,
            network=unused,
            contact="",
            describe=unused,
            measure=unused,
            handle_of=lambda _: "artist.example.com",
        ).pages()

    async def publish(self, number: int) -> None:
        now_us = SystemClock().now_us()
        blob = BlobRef(Cid(f"b{number}"), "", 1)
        track = Track(AtUri.parse(uri(number)), Cid("bafy"), REV, f"T{number}", now_us, blob=blob)
        async with self.store.write() as tx:
            await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=now_us)
            stored = await tracks.get(tx, uri(number))
            assert stored is not None
            vectors = {Space.MUSICNN_TAGS: np.full(100, 2.0 if number < 4 else 0.0, np.float32)}
            await analyses.put_vectors(tx, stored.track_id, "pack", vectors)
            await labels.put_verdict(tx, uri(number), Verdict(VerdictStatus.OK, ("x",), rankable=True), now_us=now_us)
            post = f"at://{did(number)}/app.bsky.feed.post/p"
            await links.put(tx, [Link(post, did(number), uri(number), LinkRule.EMBED_RECORD, now_us)], now_us=now_us)

    async def ask(self, path: str, **match: str) -> dict[str, Any]:
        request = make_mocked_request("GET", path, match_info=match)
        answer = await self.pages["/api/feeds/{rkey}" if match else path.partition("?")[0]](request)
        assert isinstance(answer, web.Response)
        assert isinstance(answer.body, bytes)
        told: dict[str, Any] = orjson.loads(answer.body)
        return told

    async def shown(self) -> list[str]:
        answer = await self.ask("/api/feeds/calm", rkey="calm")
        return sorted(entry["track"] for entry in answer["tracks"])  # equals have no order of their own

    async def wish(self, number: int, scope: Scope, *, logged_in_only: bool) -> None:
        record = f"at://{did(number)}/app.bsky.actor.profile/self"
        wish = Wish(record, did(number), WishKind.PROFILE, Tid(REV), scope, logged_in_only)
        async with self.store.write() as tx:
            await wishes.put(tx, wish, now_us=1)
            await links.ring_for(tx, did(number))


async def test_feed_lists_leave_out_who_is_away_or_does_not_want_to_be_seen(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    try:
        index = await VectorIndex.open(store, tmp_path / "index", spaces={Space.MUSICNN_TAGS: 100}, generation="pack")
        log = Log(logging.getLogger("earmark.test"))
        feeds = LiveFeeds(
            store, index, (FEED,), QUESTIONS, clock=SystemClock(), log=log, min_posts=1, min_tracks=1, rules=STEADY
        )
        site = Site(store, feeds)
        for number in range(8):  # the first four are as calm as can be
            await site.publish(number)
        await feeds.refresh()
        assert await site.shown() == [uri(number) for number in range(4)]
        assert (await site.ask(f"/api/track?uri={uri(1)}"))["feeds"] == ["calm"]

        await site.wish(1, Scope.NONE, logged_in_only=True)
        assert await site.shown() == [uri(0), uri(2), uri(3)]
        told = await site.ask(f"/api/track?uri={uri(1)}")
        assert (told["title"], told["handle"], told["feeds"], told["posts"]) == (None, None, [], [])
        page = await feeds.page("calm", None, 10)  # inside Bluesky its own rules hold
        assert uri(1) in page.tracks

        await site.wish(0, Scope.FEEDS, logged_in_only=False)
        assert await site.shown() == [uri(2), uri(3)]
        async with store.write() as tx:
            await accounts.put(tx, Account(did(3), False, "deactivated"), now_us=1)
            await links.ring_for(tx, did(3))
        assert await site.shown() == [uri(2)]
    finally:
        await store.close()
