"""Our own methods of feeds: their tracks without posts, and why a track is where it is (docs/lexicons.md)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from core.clock import Clock
from core.errors import XrpcError
from core.feed import Feed, FeedEntry, FeedKind, Parts
from core.serviceauth import KeyResolver, bearer, verify
from core.types import AtUri
from core.xrpc import Call, Method, Param, Query
from earmark.showing import Showing, tell_number, tell_ranked
from earmark.track_feeds import TrackFeeds
from earmark.turns import Turns
from feedgen.context import MAX_CONTEXT_BYTES
from feedgen.cursor import MAX_CURSOR_LENGTH
from feedgen.live import LiveFeeds
from feedgen.ranking import Aside, Ranking
from feedgen.viewing import Viewing
from store import Store, links

MAX_ASIDES = 20  # reasons that are told of one track


class TrackFeedMethods:
    """`feeds_by_uri`: rkey of each feed by its at-uri. Tokens are believed for `audiences`."""

    def __init__(
        self,
        store: Store,
        feeds: LiveFeeds,
        track_feeds: TrackFeeds,
        showing: Showing,
        viewing: Viewing,
        turns: Turns,
        *,
        feeds_by_uri: Mapping[str, str],
        audiences: Collection[str],
        resolve_key: KeyResolver,
        authority: str,
        clock: Clock,
    ) -> None:
        self._store = store
        self._feeds = feeds
        self._track_feeds = track_feeds
        self._showing = showing
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
        uri = await self._find_track(call.params["uri"])
        ranking = await self._rank(feed, call.headers)
        place = next((at for at, entry in enumerate(ranking.entries) if entry.track_uri == uri), None)
        may_be_listed = await self._showing.filter()
        told: dict[str, Any] = {
            "feed": call.params["feed"],
            "uri": uri,
            "tracks": len(ranking.entries),
            "threshold": tell_number(ranking.threshold),
            "aside": [_tell_aside(one, may_be_listed) for one in ranking.aside if one.track_uri == uri][:MAX_ASIDES],
        }
        if ranking.paused:
            told["paused"] = ranking.paused
        if place is not None:
            told |= _tell_entry(ranking.entries[place], place)
        elif feed.kind is FeedKind.MOOD:
            async with self._turns.take():
                parts = await self._feeds.measure(feed, uri)
            told |= {} if parts is None else {"score": tell_number(parts.mood), "parts": _tell_parts(parts)}
        return told | self._tell_context(call.params["feedContext"], uri)

    async def _rank(self, feed: Feed, headers: Mapping[str, str]) -> Ranking:
        """How the order came about that this reader sees."""
        token = bearer(headers)
        if not feed.personal or token is None:
            return await self._feeds.ranking(feed.rkey)
        claims = await verify(
            token,
            audiences=self._audiences,
            method=self._explain,
            now_us=self._clock.now_us(),
            resolve_key=self._resolve_key,
        )
        viewer = await self._viewing.describe(feed.rkey, claims.iss)
        async with self._turns.take():
            return await self._feeds.rank_for(feed, viewer)

    def _find(self, uri: str) -> Feed:
        feed = self._track_feeds.find(self._feeds_by_uri.get(uri, ""))
        if feed is not None:
            return feed
        try:
            AtUri.parse(uri)
        except ValueError:
            raise XrpcError("InvalidRequest", "feed must be the at-uri of a feed, with a DID") from None
        raise XrpcError("UnknownFeed", "this service does not have that feed")

    async def _find_track(self, text: str) -> str:
        """The track of that address, or that a post of that address shows, if everybody may know of it."""
        try:
            address = str(AtUri.parse(text))
        except ValueError:
            raise XrpcError("InvalidRequest", "uri must be the at-uri of a track or a post, with a DID") from None
        async with self._store.read() as reader:
            found = await links.tracks_behind(reader, address)
        shown = await self._showing.look([address, *found[:MAX_ASIDES]])
        if not shown:
            raise XrpcError("UnknownTrack", "no track that is shown to everybody")
        return next(iter(shown))

    def _tell_context(self, text: str | None, uri: str) -> dict[str, Any]:
        """What a feedContext that came with an entry of ours says; nothing that others wrote is repeated."""
        if text is None:
            return {}
        said = self._feeds.contexts.read(text)
        if said is None or not said.is_of(uri):
            raise XrpcError("InvalidRequest", "that feedContext is not one of ours for this track")
        return {"said": {"feed": said.rkey, "reason": said.reason.value, "tenths": said.bucket}}


def _tell_aside(aside: Aside, may_be_listed: Callable[[str], bool]) -> dict[str, str]:
    """Why a track was moved or left out; for the sake of which other one only if that may be listed."""
    named = aside.detail.startswith("at://") and not may_be_listed(aside.detail)
    return {"why": aside.why.value, "detail": "" if named else aside.detail[:300]}


def _tell_entry(entry: FeedEntry, place: int) -> dict[str, Any]:
    return {
        "place": place,
        "reason": entry.reason.value,
        "score": tell_number(entry.score),
        "parts": _tell_parts(entry.parts),
    }


def _tell_parts(parts: Parts) -> dict[str, int]:
    told = {
        "prompt": parts.prompt,
        "tags": parts.tags,
        "mood": parts.mood,
        "freshness": parts.freshness,
        "popularity": parts.popularity,
        "weight": parts.weight,
    }
    return {name: tell_number(value) for name, value in told.items() if value is not None}
