"""The XRPC methods of a feed generator: getFeedSkeleton and describeFeedGenerator (P102-P115)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from prometheus_client import Counter

from core.clock import Clock
from core.errors import XrpcError
from core.keys import PublicKey
from core.metrics import Metrics
from core.serviceauth import KeyResolver, bearer, check, fits, verify
from core.types import AtUri, Did
from core.xrpc import Call, Param, Query
from feedgen.cursor import MAX_CURSOR_LENGTH, Cursor, decode_cursor, encode_cursor
from feedgen.live import LiveFeeds
from feedgen.publish import feed_uri
from feedgen.ready import ReadyPages
from feedgen.snapshots import Page
from feedgen.viewing import Viewing

GET_FEED_SKELETON = "app.bsky.feed.getFeedSkeleton"
DESCRIBE_FEED_GENERATOR = "app.bsky.feed.describeFeedGenerator"
SERVICE_FRAGMENT = "#bsky_fg"
PIN = "app.bsky.feed.defs#skeletonReasonPin"


def find_rkey(rkeys: Mapping[str, str], uri: str) -> str:
    """The rkey of the feed of this at-uri. Raises XrpcError (InvalidRequest, UnknownFeed)."""
    rkey = rkeys.get(uri)
    if rkey is not None:
        return rkey
    try:
        AtUri.parse(uri)
    except ValueError:
        raise XrpcError("InvalidRequest", "feed must be the at-uri of a feed, with a DID") from None
    raise XrpcError("UnknownFeed", "this service does not have that feed")


class FeedMethods:
    """The methods, to be mounted by the web module. `key` (32 secret bytes, stable across restarts) signs cursors."""

    def __init__(
        self,
        feeds: LiveFeeds,
        *,
        service_did: str,
        publisher_did: str,
        key: bytes,
        clock: Clock,
        metrics: Metrics,
        viewing: Viewing,
        resolve_key: KeyResolver,
        known_key: Callable[[str], PublicKey | None],
        explainer: str = "",
    ) -> None:
        """`known_key` gives the key of an account if it is at hand, `resolve_key` looks it up. `explainer`: at-uri of
        the post that tells people who are not known yet how to teach a personal feed.
        """
        self._feeds = feeds
        self._service_did = service_did
        self.audiences = (service_did, service_did + SERVICE_FRAGMENT)  # P117; of everything that a feed's reader sends
        self.rkeys = {feed_uri(publisher_did, feed.rkey): feed.rkey for feed in feeds.feeds}
        self._personal = frozenset(feed.rkey for feed in feeds.feeds if feed.personal)
        self._viewing = viewing
        self._resolve_key = resolve_key
        self._known_key = known_key
        self._ready = ReadyPages(feeds)
        self._pinned = orjson.dumps({"post": explainer, "reason": {"$type": PIN}}) if explainer else None
        self._key = key
        self._clock = clock
        self._metrics = metrics
        self._counters: dict[str, Counter] = {}

    def queries(self) -> tuple[Query, ...]:
        """Both methods as transport-free descriptions."""
        return (
            Query(
                GET_FEED_SKELETON,
                self.get_feed_skeleton,
                (
                    Param("feed", required=True),
                    Param("limit", "integer", default=50, minimum=1, maximum=100),
                    Param("cursor", max_length=MAX_CURSOR_LENGTH),
                ),
                ready=self.get_ready_skeleton,
            ),
            Query(DESCRIBE_FEED_GENERATOR, self.describe_feed_generator),
        )

    def get_ready_skeleton(self, query: str, headers: Mapping[str, str]) -> bytes | None:
        """The page of a feed that is the same for everybody, if somebody has asked for it by the same query."""
        body = self._ready.get(query)
        if body is not None:
            self._count_token(self._judge_token(headers))
        return body

    async def get_feed_skeleton(self, call: Call) -> bytes:
        """One page as JSON bytes. Raises XrpcError UnknownFeed, InvalidRequest; for a personal feed also those of P126
        for a token that cannot be believed: whose feed it is must be known.
        """
        rkey = find_rkey(self.rkeys, call.params["feed"])
        text = call.params["cursor"]
        cursor = None if text is None else decode_cursor(text, feed=rkey, key=self._key)
        limit: int = call.params["limit"]
        if rkey in self._personal:
            page = await self._page_for_viewer(rkey, call.headers, cursor, limit)
        else:
            self._count_token(self._judge_token(call.headers))
            page = await self._feeds.page(rkey, cursor, limit)
        body = b'{"feed":[' + b",".join(page.rendered) + b"]"
        if page.next is not None:
            body += b',"cursor":' + orjson.dumps(encode_cursor(page.next, feed=rkey, key=self._key))
        body += b"}"
        if call.query and rkey not in self._personal:
            self._ready.keep(call.query, body)
        return body

    async def describe_feed_generator(self, call: Call) -> Mapping[str, Any]:
        """Who we are and which feeds are open (P102)."""
        shown = set(await self._feeds.open_feeds())
        return {"did": self._service_did, "feeds": [{"uri": uri} for uri, rkey in self.rkeys.items() if rkey in shown]}

    async def _page_for_viewer(self, rkey: str, headers: Mapping[str, str], cursor: Cursor | None, limit: int) -> Page:
        """A page of a personal feed: the viewer's own, or the mix for who says nothing of themselves (P115).

        The head of the mix is the post that explains the feed, but where one entry is all that is asked for: who polls
        wants to know what is new (P113).
        """
        did = await self._identify(headers)
        page, cold = await self._cut_for(rkey, did, cursor, limit)
        if cold and cursor is None and limit > 1 and page.rendered and self._pinned is not None:
            page, _ = await self._cut_for(rkey, did, cursor, limit - 1)
            return replace(page, rendered=(self._pinned, *page.rendered))
        return page

    async def _cut_for(self, rkey: str, did: Did | None, cursor: Cursor | None, limit: int) -> tuple[Page, bool]:
        if did is None:
            return await self._feeds.page(rkey, cursor, limit), True
        return await self._viewing.page(rkey, did, cursor, limit)

    async def _identify(self, headers: Mapping[str, str]) -> Did | None:
        """Who asks, by their token; None without one. Raises XrpcError (P125, P126)."""
        token = bearer(headers)
        if token is None:
            self._count_token("absent")
            return None
        try:
            claims = await verify(
                token,
                audiences=self.audiences,
                method=GET_FEED_SKELETON,
                now_us=self._clock.now_us(),
                resolve_key=self._resolve_key,
            )
        except XrpcError as error:
            self._count_token(error.name)
            raise
        self._count_token("verified")
        return claims.iss

    def _count_token(self, judged: str) -> None:
        counter = self._counters.get(judged)
        if counter is None:
            counter = self._counters[judged] = self._metrics.anonymous.labels(judged)
        counter.inc()

    def _judge_token(self, headers: Mapping[str, str]) -> str:
        """What to count: `absent`, `verified`, `plausible`, or the rule it breaks. Never refuses a reader (P115).

        Feeds that are the same for everybody need nobody's word, so no stranger's key is looked up for a count: anybody
        could make us flood the directory (P124). A token of somebody whose key is not at hand is plausible at best.
        """
        token = bearer(headers)
        if token is None:
            return "absent"
        try:
            unverified = check(token, audiences=self.audiences, method=GET_FEED_SKELETON, now_us=self._clock.now_us())
        except XrpcError as error:
            return error.name
        key = self._known_key(unverified.claims.iss)
        if key is None:
            return "plausible"
        return "verified" if fits(unverified, key) else "BadJwtSignature"
