"""Plain HTTP for people and clients outside Bluesky: a track's story, feed previews, status, the front page."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from importlib import resources
from string import Template
from typing import Any
from urllib.parse import quote

from aiohttp import web

from core.errors import XrpcError
from core.feed import FeedEntry
from core.types import AtUri, Did
from earmark.network import Network
from earmark.progress import Measure, listening_report
from earmark.report import track_report
from earmark.telling import Describe
from earmark.web import Page, json_answer
from feedgen.live import LiveFeeds
from store import Store, jobs, tracks, wishes


class Api:
    """Handlers that read the store and the feeds; they change nothing."""

    def __init__(
        self,
        *,
        store: Store,
        feeds: LiveFeeds,
        labeler_did: str,
        did_document: Mapping[str, Any] | None,
        mode: Callable[[], str],
        network: Network,
        contact: str,
        describe: Describe,
        measure: Measure,
        handle_of: Callable[[Did], str | None],
    ) -> None:
        self._store = store
        self._feeds = feeds
        self._labeler_did = labeler_did
        self._did_document = did_document
        self._mode = mode
        self._network = network
        self._contact = contact
        self._describe = describe
        self._measure = measure
        self._handle_of = handle_of
        self._home = Template(resources.files("earmark").joinpath("pages/home.html").read_text("utf-8"))

    def pages(self) -> dict[str, Page]:
        """Path -> handler."""
        return {
            "/": self._front,
            "/api/status": self._status,
            "/api/track": self._track,
            "/api/feeds/{rkey}": self._feed,
            "/.well-known/did.json": self._did,
        }

    async def _did(self, _: web.Request) -> web.Response:
        """P99: only if our DID is the did:web of this host."""
        if self._did_document is None:
            raise web.HTTPNotFound(reason="this service's DID is not the did:web of this host")
        return json_answer(self._did_document)

    async def _track(self, request: web.Request) -> web.Response:
        try:
            address = AtUri.parse(request.query.get("uri", ""))
        except ValueError:
            raise XrpcError("InvalidRequest", "uri must be the at-uri of a record, with a DID") from None
        uri = str(address)
        async with self._store.read() as reader:
            report = await track_report(
                reader,
                uri,
                labeler_did=self._labeler_did,
                describe=self._describe,
                peaks=request.query.get("peaks") == "1",
            )
        if report is None:
            raise XrpcError("UnknownTrack", "this record was never seen here", status=404)
        public = report["title"] is not None
        report["handle"] = self._handle_of(address.did) if public else None  # verified, if that is known by now
        report["feeds"] = [
            status.rkey
            for status in self._feeds.statuses()
            if not status.dark and any(entry.track_uri == uri for entry in await self._shown(status.rkey))
        ]
        return json_answer(report)

    async def _shown(self, rkey: str) -> list[FeedEntry]:
        """The order of a feed without what artists or authors do not want to be seen by people who are logged out."""
        async with self._store.read() as reader:
            hidden = await wishes.all_logged_in_only(reader)
        return [
            entry
            for entry in await self._feeds.preview(rkey)
            if entry.post_uri is not None
            and hidden.isdisjoint((AtUri.parse(entry.track_uri).did, AtUri.parse(entry.post_uri).did))
        ]

    async def _feed(self, request: web.Request) -> web.Response:
        """What a feed would show, dark or not, best first."""
        rkey = request.match_info["rkey"]
        status = next((status for status in self._feeds.statuses() if status.rkey == rkey), None)
        if status is None:
            raise XrpcError("UnknownFeed", "this service does not have that feed", status=404)
        entries = await self._shown(rkey)
        return json_answer(
            {
                "feed": rkey,
                "name": status.display_name,
                "open": not status.dark,
                "reasons": list(status.reasons),
                "tracks_scored": status.scored,
                "tracks_matching": status.matching,
                "tracks_with_post": status.with_post,
                "threshold": round(status.threshold, 3),
                "tracks": [
                    {"track": entry.track_uri, "post": entry.post_uri, "score": round(entry.score, 3)}
                    for entry in entries
                ],
            }
        )

    async def _status(self, _: web.Request) -> web.Response:
        async with self._store.read() as reader:
            by_state, waiting = await tracks.count_by_state(reader), await jobs.counts(reader)
            listening = await listening_report(reader, self._measure)
            seen = await self._network.report(reader)
        return json_answer(
            {
                "mode": self._mode(),
                "troubles": seen["troubles"],
                "sources": seen["sources"],
                "events_per_second": seen["events_per_second"],
                "repositories": seen["repositories"],
                "backfill": seen["backfill"],
                "tracks": by_state,
                "jobs": waiting,
                "listening": listening,
                "feeds": [
                    {"feed": status.rkey, "open": not status.dark, "reasons": list(status.reasons)}
                    for status in self._feeds.statuses()
                ],
            }
        )

    async def _front(self, _: web.Request) -> web.Response:
        async with self._store.read() as reader:
            by_state = await tracks.count_by_state(reader)
        feeds = "".join(
            f"<tr><td><a href='/feeds/{quote(status.rkey, safe='')}'>{html.escape(status.display_name)}</a></td>"
            f"<td>{html.escape('; '.join(status.reasons)) or 'open'}</td>"
            f"<td>{status.matching}</td><td>{status.with_post}</td></tr>"
            for status in self._feeds.statuses()
        )
        rows = "".join(f"<tr><td>{html.escape(state)}</td><td>{count}</td></tr>" for state, count in by_state.items())
        page = self._home.substitute(
            mode=html.escape(self._mode()),
            feeds=feeds,
            tracks=rows or "<tr><td>none yet</td></tr>",
            operator=f"Run by {html.escape(self._contact)}" if self._contact else "",
        )
        return web.Response(
            text=page,
            content_type="text/html",
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )
