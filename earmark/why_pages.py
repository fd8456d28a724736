"""Feeds as pages for people: what is in one, and of each track why. No scripts, and every text is a stranger's."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib import resources
from string import Template
from typing import Any
from urllib.parse import quote

from aiohttp import web

from core.errors import XrpcError
from core.feed import Feed, FeedEntry, Reason
from earmark.feed_pages import LISTED
from earmark.formats import to_line
from earmark.reasons import Reasons
from earmark.showing import Showing, ShownTrack
from earmark.track_feeds import TrackFeeds
from earmark.web import Page
from feedgen.live import LiveFeeds
from feedgen.ranking import Why

REASONS: Mapping[Reason, str] = {
    Reason.MOOD: "by how it sounds",
    Reason.FRESH: "new",
    Reason.DEEP: "known for long, liked by few",
    Reason.VOICE: "what was heard is no music",
    Reason.EXPLORE: "fits, and drawn by chance",
    Reason.SIMILAR: "sounds like what its reader likes",
    Reason.LIKED_SIMILAR: "sounds like what its reader likes",
    Reason.CO_LIKED: "liked by people who like the same",
    Reason.POPULAR: "what people like, mixed, for readers of whom nothing is known",
    Reason.PINNED: "explains the feed",
}
ASIDE: Mapping[Why, str] = {
    Why.VETO: "a style that the feed keeps out is heard",
    Why.REQUIREMENT: "it lacks something that the feed requires",
    Why.NOT_MUSIC: "it was not heard to be music",
    Why.SPEECH: "too much speech",
    Why.DURATION: "too short or too long",
    Why.ONE_OPINION: "only prompts or only tags speak for it",
    Why.UNWANTED: "its reader does not want it",
    Why.NO_POST: "no post shows it on Bluesky",
    Why.DUPLICATE: "a duplicate of another track",
    Why.ARTIST: "too near another track of the artist",
    Why.ALBUM: "too near another track of the album",
    Why.SONG: "too near another version of the song",
    Why.STYLE: "too many of its style before it",
}
PARTS: Mapping[str, str] = {  # of getFeedExplain
    "prompt": "share of all music that fits the feed's words less",
    "tags": "share of all music that fits its styles and tags less",
    "mood": "score",
    "freshness": "x how new it is",
    "popularity": "x how much it is liked",
    "damping": "x how often its artist is in other feeds",
    "weight": "= weight in the draw",
}
_MOST_SHOWN = 300  # characters of a title
_TO_STRANGERS = "This is what readers see of whom nothing is known; everybody else has their own."
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "public, max-age=60",
}


class WhyPages:
    """Shows everybody the orders that everybody sees: of personal feeds the mix for strangers."""

    def __init__(self, feeds: LiveFeeds, track_feeds: TrackFeeds, showing: Showing, reasons: Reasons) -> None:
        self._feeds = feeds
        self._track_feeds = track_feeds
        self._showing = showing
        self._reasons = reasons
        folder = resources.files("earmark").joinpath("pages")
        self._feed_page = Template(folder.joinpath("feed.html").read_text("utf-8"))
        self._why_page = Template(folder.joinpath("why.html").read_text("utf-8"))

    def pages(self) -> dict[str, Page]:
        """Path -> handler."""
        return {"/feeds/{rkey}": self._show, "/feeds/{rkey}/why": self._explain}

    async def _show(self, request: web.Request) -> web.Response:
        feed = self._find(request)
        entries, _ = await self._track_feeds.page(feed.rkey, None, LISTED)
        shown = await self._showing.look(entry.track_uri for entry in entries)
        rows = "".join(_row(feed, entry, shown[entry.track_uri]) for entry in entries if entry.track_uri in shown)
        return _answer(
            self._feed_page,
            rkey=quote(feed.rkey, safe=""),
            name=escape(feed.display_name),
            description=escape(feed.description),
            state=escape(self._state(feed)),
            rows=rows or "<tr><td>none yet</td></tr>",
        )

    async def _explain(self, request: web.Request) -> web.Response:
        feed = self._find(request)
        track = await self._reasons.find(request.query.get("uri", ""))
        told = await self._reasons.tell(feed, track.uri)
        return _answer(
            self._why_page,
            track=_link(track),
            rkey=quote(feed.rkey, safe=""),
            name=escape(feed.display_name),
            place=escape(_place(told)),
            rows="".join(f"<tr><td>{escape(what)}</td><td>{escape(value)}</td></tr>" for what, value in _grounds(told)),
            uri=quote(track.uri, safe=""),
        )

    def _find(self, request: web.Request) -> Feed:
        feed = self._track_feeds.find(request.match_info["rkey"])
        if feed is None:
            raise XrpcError("UnknownFeed", "this service does not have that feed", status=404)
        return feed

    def _state(self, feed: Feed) -> str:
        said = [
            f"Not on Bluesky yet: {'; '.join(status.reasons)}."
            for status in self._feeds.statuses()
            if status.rkey == feed.rkey and status.dark
        ]
        return " ".join([*said, _TO_STRANGERS] if feed.personal else said)


def _answer(page: Template, **parts: str) -> web.Response:
    return web.Response(text=page.substitute(parts), content_type="text/html", headers=_HEADERS)


def _row(feed: Feed, entry: FeedEntry, track: ShownTrack) -> str:
    why = f"/feeds/{quote(feed.rkey, safe='')}/why?uri={quote(track.uri, safe='')}"
    return (
        f"<tr><td>{_link(track)}</td><td><a href='{why}' rel='nofollow'>{escape(REASONS[entry.reason])}</a></td></tr>"
    )


def _link(track: ShownTrack) -> str:
    """Its title, and where it can be heard. Text that runs from right to left turns nothing else around (bdi)."""
    title = f"<bdi>{escape(to_line(track.title[:_MOST_SHOWN])) or 'untitled'}</bdi>"
    by = f" by <bdi>{escape(to_line(track.artist[:_MOST_SHOWN]))}</bdi>" if track.artist else ""
    if track.address is None:
        return title + by
    return f"<a href='{escape(track.address)}' rel='nofollow noreferrer'>{title}</a>{by}"


def _place(told: Mapping[str, Any]) -> str:
    if "place" in told:
        return f"place {told['place'] + 1} of {told['tracks']} on Bluesky now, {REASONS[Reason(told['reason'])]}."
    return f"not among the {told['tracks']} tracks that it shows on Bluesky now."


def _grounds(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What counted, each with its number or its detail."""
    parts = told.get("parts", {})
    rows = [
        (what, f"{parts[part] / 1e6:.3f}")
        for part, what in PARTS.items()
        if part in parts and not (what.startswith("x ") and parts[part] == 1_000_000)  # a factor that changes nothing
    ]
    if told["threshold"]:
        rows.append(("the score that admits", f"{told['threshold'] / 1e6:.3f}"))
    rows += [(ASIDE[Why(one["why"])], one["detail"]) for one in told["aside"]]
    if "paused" in told:
        rows.append(("the feed is paused", told["paused"]))
    return rows
