"""Our own methods of feeds: their tracks without posts, and why a track is where it is (docs/lexicons.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from core.clock import Clock
from core.errors import XrpcError
from core.feed import Feed
from core.serviceauth import KeyResolver, bearer, verify
from core.xrpc import Call, Method, Param, Query
from earmark.reasons import Reasons
from earmark.showing import Showing, tell_ranked
from earmark.track_feeds import TrackFeeds
from earmark.turns import Turns
from feedgen.context import MAX_CONTEXT_BYTES
from feedgen.cursor import MAX_CURSOR_LENGTH
from feedgen.live import LiveFeeds
from feedgen.methods import find_rkey
from feedgen.ranking import Ranking
from feedgen.viewing import Viewing


class TrackFeedMethods:
    """`feeds_by_uri`: rkey of each feed by its at-uri. Tokens are believed for `audiences`."""

    def __init__(
        self,
        feeds: LiveFeeds,
        track_feeds: TrackFeeds,
        showing: Showing,
        reasons: Reasons,
        viewing: Viewing,
        turns: Turns,
        *,
        feeds_by_uri: Mapping[str, str],
        audiences: Collection[str],
        resolve_key: KeyResolver,
        authority: str,
        clock: Clock,
    ) -> None:
        self._feeds = feeds
        self._track_feeds = track_feeds
        self._showing = showing
        self._reasons = reasons
        self._viewing = viewing
        self._turns = turns
        self._feeds_by_uri = feeds_by_uri
        self._audiences = audiences
        self._resolve_key = resolve_key
        self._explain = f"{authority}.getFeedExplain"
        self._track_feed = f"{authority}.getTrackFeed"
        self._clock = clock

    def methods(self) -> list[Method]:
        """As transport-free descriptions."""
        feed, uri = Param("feed", required=True), Param("uri", required=True)
        limit = Param("limit", "integer", default=50, minimum=1, maximum=100)
        return [
            Query(self._track_feed, self.get_track_feed, (feed, limit, Param("cursor", max_length=MAX_CURSOR_LENGTH))),
            Query(
                self._explain, self.get_feed_explain, (feed, uri, Param("feedContext", max_length=MAX_CONTEXT_BYTES))
            ),
        ]

    async def get_track_feed(self, call: Call) -> Mapping[str, Any]:
        """A page of a feed's tracks, whether or not posts show them. Raises XrpcError UnknownFeed, InvalidRequest,
        RateLimitExceeded.
        """
        feed = self._find(call.params["feed"])
        entries, cursor = await self._track_feeds.page(feed.rkey, call.params["cursor"], call.params["limit"])
        shown = await self._showing.look(entry.track_uri for entry in entries)
        answer = {"feed": call.params["feed"], "tracks": tell_ranked(shown, entries)}
        return answer if cursor is None else {**answer, "cursor": cursor}

    async def get_feed_explain(self, call: Call) -> Mapping[str, Any]:
        """Where a track stands in a feed, and what its score is made of. Of a personal feed: in that of whose token
        comes with the call, else in the mix for strangers. Raises XrpcError UnknownFeed, UnknownTrack, InvalidRequest,
        RateLimitExceeded, and those of a token that cannot be believed.
        """
        feed = self._find(call.params["feed"])
        uri = (await self._reasons.find(call.params["uri"])).uri
        told = await self._reasons.tell(feed, uri, await self._rank(feed, call.headers))
        return {"feed": call.params["feed"], **told, **self._tell_context(call.params["feedContext"], uri)}

    async def _rank(self, feed: Feed, headers: Mapping[str, str]) -> Ranking | None:
        """How the order came about that this reader alone sees; None: it is everybody's."""
        token = bearer(headers)
        if not feed.personal or token is None:
            return None
        claims = await verify(
            token,
            audiences=self._audiences,
            method=self._explain,
            now_us=self._clock.now_us(),
            resolve_key=self._resolve_key,
        )
        viewer = await self._viewing.describe(feed.rkey, claims.iss)
        async with self._turns.take():
            return await self._viewing.ranking(feed.rkey, viewer)

    def _find(self, uri: str) -> Feed:
        feed = self._track_feeds.find(find_rkey(self._feeds_by_uri, uri))
        assert feed is not None
        return feed

    def _tell_context(self, text: str | None, uri: str) -> dict[str, Any]:
        """What a feedContext that came with an entry of ours says; nothing that others wrote is repeated."""
        if text is None:
            return {}
        said = self._feeds.contexts.read(text)
        if said is None or not said.is_of(uri):
            raise XrpcError("InvalidRequest", "that feedContext is not one of ours for this track")
        return {"said": {"feed": said.rkey, "reason": said.reason.value, "tenths": said.bucket}}
