"""Our own methods that find music near other music: one track, several, or a playlist (docs/lexicons.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.clock import Clock
from core.errors import XrpcError
from core.feed import Feed, FeedKind
from core.types import AtUri, Did
from core.xrpc import Call, Method, Param, Query
from earmark.playlists import Playlists
from earmark.showing import Showing, tell_ranked
from earmark.turns import Turns
from feedgen.live import LiveFeeds
from feedgen.taste import MIN_ANCHORS, Anchor, AnchorKind, Viewer

MAX_SEEDS = 5  # FEEDS 4
MAX_LISTED = 100  # tracks of a playlist that count
_NOBODY = Did("")  # whose viewer is made of what was named, and owns no track


class SimilarMethods:
    """Answers from the tracks that feeds are ranked from, by the ranking that personal feeds have."""

    def __init__(
        self,
        feeds: LiveFeeds,
        showing: Showing,
        playlists: Playlists,
        turns: Turns,
        *,
        authority: str,
        min_seconds: float,
        clock: Clock,
    ) -> None:
        self._feeds = feeds
        self._showing = showing
        self._playlists = playlists
        self._turns = turns
        self._authority = authority
        self._similar = Feed("similar", "", "", FeedKind.MORE_LIKE, min_seconds=min_seconds)
        self._recommended = Feed("recommended", "", "", FeedKind.FOR_YOU, min_seconds=min_seconds)
        self._clock = clock

    def methods(self) -> list[Method]:
        """As transport-free descriptions."""
        limit = Param("limit", "integer", default=25, minimum=1, maximum=100)
        seeds, a_list = Param("uri", array=True, required=True), Param("list", required=True)
        return [
            Query(f"{self._authority}.getSimilarTracks", self.get_similar_tracks, (seeds, limit)),
            Query(f"{self._authority}.getRecommendations", self.get_recommendations, (a_list, limit)),
        ]

    async def get_similar_tracks(self, call: Call) -> Mapping[str, Any]:
        """What sounds like one to five tracks. Raises XrpcError InvalidRequest, UnknownTrack, NotHeard,
        RateLimitExceeded.
        """
        try:
            seeds = list(dict.fromkeys(str(AtUri.parse(uri)) for uri in call.params["uri"]))
        except ValueError:
            raise XrpcError("InvalidRequest", "uri must be the at-uri of a record, with a DID") from None
        if len(seeds) > MAX_SEEDS:
            raise XrpcError("InvalidRequest", f"name at most {MAX_SEEDS} tracks")
        shown = await self._showing.look(seeds)
        unknown = [uri for uri in seeds if uri not in shown]
        if unknown:
            raise XrpcError("UnknownTrack", f"no track that is shown to everybody: {unknown[0][:300]}")
        return await self._answer(seeds, call.params["limit"], self._similar, AnchorKind.SEED)

    async def get_recommendations(self, call: Call) -> Mapping[str, Any]:
        """What goes with a public playlist, each of its tastes in turn; by its middle if it names one track or two.
        Raises XrpcError InvalidRequest, UnknownList, NotHeard, UpstreamFailure, RateLimitExceeded.
        """
        try:
            address = AtUri.parse(call.params["list"])
        except ValueError:
            raise XrpcError("InvalidRequest", "list must be the at-uri of a record, with a DID") from None
        listed = await self._playlists.read(address)
        shown = list(await self._showing.look(listed[:MAX_LISTED]))
        heard, limit = await self._heard(shown), call.params["limit"]
        if len(heard) < MIN_ANCHORS:
            return await self._answer(heard, limit, self._similar, AnchorKind.SEED, listed=listed)
        return await self._answer(heard, limit, self._recommended, AnchorKind.PLAYLIST, listed=listed)

    async def _answer(
        self, seeds: Sequence[str], limit: int, feed: Feed, kind: AnchorKind, *, listed: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        """`listed`: what the listener has already, anchor or not."""
        heard = await self._heard(seeds)
        if not heard:
            raise XrpcError("NotHeard", "nobody has listened to that yet; try again later")
        now_us = self._clock.now_us()
        viewer = Viewer(_NOBODY, tuple(Anchor(uri, now_us, kind) for uri in heard))
        async with self._turns.take():
            ranking = await self._feeds.rank_for(feed, viewer, with_posts=False)
        may_be_listed = await self._showing.filter()
        near = (entry for entry in ranking.entries if entry.score > 0)  # a small corpus has little that is
        known = frozenset(listed)
        entries = [one for one in near if one.track_uri not in known and may_be_listed(one.track_uri)][:limit]
        shown = await self._showing.look(entry.track_uri for entry in entries)
        return {"seeds": heard, "tracks": tell_ranked(shown, entries)}

    async def _heard(self, uris: Sequence[str]) -> list[str]:
        """Those that lie somewhere by sound."""
        corpus = await self._feeds.corpus()
        return [uri for uri in uris if uri in corpus.places and corpus.sound[corpus.places[uri]].any()]
