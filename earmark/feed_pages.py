"""Feeds over plain HTTP for readers and players: /feeds/NAME.json, .rss and .m3u."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import web

from core.errors import XrpcError
from earmark.formats import Channel, Row, to_json_feed, to_m3u, to_rss
from earmark.showing import Showing
from earmark.track_feeds import TrackFeeds
from earmark.web import Page

LISTED = 100  # tracks of a document
PATH = "/feeds/{rkey}.{form:json|rss|m3u}"


@dataclass(frozen=True, slots=True)
class _Form:
    write: Callable[[Channel, Sequence[Row]], bytes]
    content_type: str


_FORMS = {
    "json": _Form(to_json_feed, "application/feed+json; charset=utf-8"),
    "rss": _Form(to_rss, "application/rss+xml; charset=utf-8"),
    "m3u": _Form(to_m3u, "audio/x-mpegurl; charset=utf-8"),
}


class FeedPages:
    """Documents of the first hundred tracks of a feed. `public_url`: where the world finds the service."""

    def __init__(self, track_feeds: TrackFeeds, showing: Showing, *, public_url: str) -> None:
        self._track_feeds = track_feeds
        self._showing = showing
        self._public_url = public_url

    def pages(self) -> dict[str, Page]:
        """Path -> handler."""
        return {PATH: self._answer}

    async def _answer(self, request: web.Request) -> web.Response:
        rkey, form = request.match_info["rkey"], _FORMS[request.match_info["form"]]
        feed = self._track_feeds.find(rkey)
        if feed is None:
            raise XrpcError("UnknownFeed", "this service does not have that feed", status=404)
        entries, _ = await self._track_feeds.page(rkey, None, LISTED)
        shown = await self._showing.look((entry.track_uri for entry in entries), audio=True)
        rows = [(entry, shown[entry.track_uri]) for entry in entries if entry.track_uri in shown]
        home = f"{self._public_url}/feeds/{quote(rkey, safe='')}"
        channel = Channel(feed.display_name, feed.description, f"{home}.{request.match_info['form']}", home)
        return web.Response(
            body=form.write(channel, rows),
            headers={"Content-Type": form.content_type, "Cache-Control": "public, max-age=60"},
        )
