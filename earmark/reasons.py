"""Why a track is where it is in a feed, or why it is not there: one story, for clients and for people who ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.errors import XrpcError
from core.feed import Feed, FeedEntry, FeedKind, Parts
from core.types import AtUri
from earmark.showing import Showing, ShownTrack, tell_number
from earmark.turns import Turns
from feedgen.live import LiveFeeds
from feedgen.ranking import Aside, Ranking
from store import Store, links

MAX_ASIDES = 20  # reasons that are told of one track


class Reasons:
    """Tells nothing of tracks that are not shown to everybody."""

    def __init__(self, store: Store, feeds: LiveFeeds, showing: Showing, turns: Turns) -> None:
        self._store = store
        self._feeds = feeds
        self._showing = showing
        self._turns = turns

    async def find(self, text: str) -> ShownTrack:
        """The track of that address, or that a post of that address shows, if everybody may know of it. Raises
        XrpcError InvalidRequest, UnknownTrack.
        """
        try:
            address = str(AtUri.parse(text))
        except ValueError:
            raise XrpcError("InvalidRequest", "uri must be the at-uri of a track or a post, with a DID") from None
        async with self._store.read() as reader:
            found = await links.tracks_behind(reader, address)
        shown = await self._showing.look([address, *found[:MAX_ASIDES]])
        if not shown:
            raise XrpcError("UnknownTrack", "no track that is shown to everybody")
        return next(iter(shown.values()))

    async def tell(self, feed: Feed, uri: str, ranking: Ranking | None = None) -> dict[str, Any]:
        """The members of getFeedExplain that depend on the track (docs/lexicons.md). `ranking`: how the order came
        about that is asked about; None: the one that everybody sees. Raises XrpcError RateLimitExceeded.
        """
        if ranking is None:
            ranking = await self._feeds.ranking(feed.rkey)
        place = next((at for at, entry in enumerate(ranking.entries) if entry.track_uri == uri), None)
        may_be_listed = await self._showing.filter()
        told: dict[str, Any] = {
            "uri": uri,
            "tracks": len(ranking.entries),
            "threshold": tell_number(ranking.threshold),
            "aside": [_tell_aside(one, may_be_listed) for one in ranking.aside if one.track_uri == uri][:MAX_ASIDES],
        }
        if ranking.paused:
            told["paused"] = ranking.paused
        if place is not None:
            return told | _tell_entry(ranking.entries[place], place)
        if feed.kind is not FeedKind.MOOD:
            return told
        async with self._turns.take():
            parts, objection = await self._feeds.measure(feed, uri), await self._feeds.object_to(feed, uri)
        if objection is not None and not told["aside"]:  # a ranking remembers a few of each kind
            told["aside"] = [_tell_aside(objection, may_be_listed)]
        return told if parts is None else told | {"score": tell_number(parts.mood), "parts": _tell_parts(parts)}


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
        "damping": parts.damping,
        "weight": parts.weight,
    }
    return {name: tell_number(value) for name, value in told.items() if value is not None}
