"""Plain HTTP for people and clients outside Bluesky: a track's story, feed previews, status, the front page."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from importlib import resources
from string import Template
from typing import Any

from aiohttp import web

from core.errors import XrpcError
from core.types import AtUri
from earmark.progress import Measure, listening_report
from earmark.report import track_report
from earmark.telling import Describe
from earmark.web import Page, json_answer
from feedgen.live import LiveFeeds
from store import Store, jobs, tracks


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
        sources: Callable[[], list[dict[str, Any]]],
        contact: str,
        describe: Describe,
        measure: Measure,
    ) -> None:
        self._store = store
        self._feeds = feeds
        self._labeler_did = labeler_did
        self._did_document = did_document
        self._mode = mode
        self._sources = sources
        self._contact = contact
        self._describe = describe
        self._measure = measure
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
            uri = str(AtUri.parse(request.query.get("uri", "")))
        except ValueError:
            raise XrpcError("InvalidRequest", "uri must be the at-uri of a record, with a DID") from None
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
        report["feeds"] = [
            status.rkey
            for status in self._feeds.statuses()
            if not status.dark and any(entry.track_uri == uri for entry in self._feeds.entries(status.rkey))
        ]
        return json_answer(report)

    async def _feed(self, request: web.Request) -> web.Response:
        """What a feed would show, dark or not, best first."""
        rkey = request.match_info["rkey"]
        status = next((status for status in self._feeds.statuses() if status.rkey == rkey), None)
        if status is None:
            raise XrpcError("UnknownFeed", "this service does not have that feed", status=404)
        entries = self._feeds.entries(rkey)
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
        return json_answer(
            {
                "mode": self._mode(),
                "sources": self._sources(),
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
            f"<tr><td><a href='/api/feeds/{status.rkey}'>{html.escape(status.display_name)}</a></td>"
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
