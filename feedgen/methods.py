"""The XRPC methods of a feed generator: getFeedSkeleton and describeFeedGenerator (P102-P115)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from core.clock import Clock
from core.errors import XrpcError
from core.metrics import Metrics
from core.serviceauth import bearer, check
from core.types import AtUri
from core.xrpc import Call, Param, Query
from feedgen.cursor import MAX_CURSOR_LENGTH, decode_cursor, encode_cursor
from feedgen.live import LiveFeeds
from feedgen.publish import feed_uri

GET_FEED_SKELETON = "app.bsky.feed.getFeedSkeleton"
DESCRIBE_FEED_GENERATOR = "app.bsky.feed.describeFeedGenerator"
SERVICE_FRAGMENT = "#bsky_fg"


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
    ) -> None:
        self._feeds = feeds
        self._service_did = service_did
        self._audiences = (service_did, service_did + SERVICE_FRAGMENT)  # P117
        self._rkeys = {feed_uri(publisher_did, feed.rkey): feed.rkey for feed in feeds.feeds}
        self._key = key
        self._clock = clock
        self._metrics = metrics

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
            ),
            Query(DESCRIBE_FEED_GENERATOR, self.describe_feed_generator),
        )

    async def get_feed_skeleton(self, call: Call) -> bytes:
        """One page as JSON bytes. Raises XrpcError UnknownFeed, InvalidRequest."""
        rkey = self._find(call.params["feed"])
        text = call.params["cursor"]
        cursor = None if text is None else decode_cursor(text, feed=rkey, key=self._key)
        self._metrics.anonymous.labels(self._judge_token(call.headers)).inc()
        page = await self._feeds.page(rkey, cursor, call.params["limit"])
        body = b'{"feed":[' + b",".join(page.rendered) + b"]"
        if page.next is not None:
            body += b',"cursor":' + orjson.dumps(encode_cursor(page.next, feed=rkey, key=self._key))
        return body + b"}"

    async def describe_feed_generator(self, call: Call) -> Mapping[str, Any]:
        """Who we are and which feeds are open (P102)."""
        shown = set(await self._feeds.open_feeds())
        return {"did": self._service_did, "feeds": [{"uri": uri} for uri, rkey in self._rkeys.items() if rkey in shown]}

    def _find(self, uri: str) -> str:
        rkey = self._rkeys.get(uri)
        if rkey is not None:
            return rkey
        try:
            AtUri.parse(uri)
        except ValueError:
            raise XrpcError("InvalidRequest", "feed must be the at-uri of a feed, with a DID") from None
        raise XrpcError("UnknownFeed", "this service does not have that feed")

    def _judge_token(self, headers: Mapping[str, str]) -> str:
        """What to count: `absent`, `plausible`, or the rule it breaks. Never refuses a reader (P115).

        Mood feeds are the same for everybody, so the signature decides nothing: looking up a stranger's key for a
        count would let anybody make us flood the directory (P124). Personal feeds use `serviceauth.verify`.
        """
        token = bearer(headers)
        if token is None:
            return "absent"
        try:
            check(token, audiences=self._audiences, method=GET_FEED_SKELETON, now_us=self._clock.now_us())
        except XrpcError as error:
            return error.name
        return "plausible"
