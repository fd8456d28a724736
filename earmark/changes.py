"""What people did to labels, for everybody to read: when, in what capacity, what changed. Never why, nor who: only
that it was the artist of a record, whose own disputes count at once.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

from aiohttp import web

from core.clock import format_datetime
from core.errors import XrpcError
from earmark.report import is_public
from earmark.web import Page, json_answer
from store import Reader, Store, actions, tracks
from store.actions import Action

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
_NUMBER = re.compile(r"[0-9]{1,18}")


class Changes:
    """Handlers of the log as JSON and as a page, the newest first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._page = Template(resources.files("earmark").joinpath("pages/changes.html").read_text("utf-8"))

    def pages(self) -> dict[str, Page]:
        """Path -> handler."""
        return {"/api/changes": self._log, "/changes": self._shown}

    async def _log(self, request: web.Request) -> web.Response:
        return json_answer(await self._read(request))

    async def _shown(self, request: web.Request) -> web.Response:
        found = await self._read(request)
        rows = "".join(_row(entry) for entry in found["changes"])
        older = f"<a href='/changes?cursor={found['cursor']}'>older</a>" if "cursor" in found else ""
        return web.Response(
            text=self._page.substitute(rows=rows or "<tr><td>none yet</td></tr>", older=older),
            content_type="text/html",
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )

    async def _read(self, request: web.Request) -> dict[str, Any]:
        """One page; `cursor` goes on with what is older. Raises XrpcError InvalidRequest."""
        limit = _number(request, "limit") or DEFAULT_LIMIT
        before = _number(request, "cursor")
        if limit > MAX_LIMIT:
            raise XrpcError("InvalidRequest", f"limit may be at most {MAX_LIMIT}")
        async with self._store.read() as reader:
            found = await actions.page(reader, limit=limit, **({} if before is None else {"before": before}))
            entries = [await _tell(reader, action) for action in found]
        cursor = {"cursor": str(found[-1].action_id)} if len(found) == limit else {}
        return {"changes": entries, **cursor}


async def _tell(reader: Reader, action: Action) -> dict[str, Any]:
    """One step. Of records that are kept from the public, and of artists who leave or come back, no address."""
    stored = None if action.uri is None else await tracks.get(reader, action.uri)
    shown = stored is not None and await is_public(reader, stored)
    return {
        "id": action.action_id,
        "at": format_datetime(action.at_us),
        "by": action.actor_kind.value,
        "verb": action.verb,
        "uri": action.uri if shown else None,
        "detail": dict(action.detail) if shown or action.uri is None else {},
    }


def _row(entry: Mapping[str, Any]) -> str:
    detail = ", ".join(f"{name}: {_words(value)}" for name, value in entry["detail"].items())
    cells = (entry["at"], entry["by"], entry["verb"], entry["uri"] or "", detail)
    return "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"


def _words(value: object) -> str:
    return (" ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or int(text) == 0:
        raise XrpcError("InvalidRequest", f"{name} must be a number")
    return int(text)
