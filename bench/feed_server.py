"""A feed generator for the benches, in a process of its own: the real web module over a filled store.

`python -m bench.feed_server DATABASE`: prints its ports, serves until killed. `/cpu` tells the CPU seconds that the
process has used so far, `/feeds` the at-uris of its feeds, `/refresh` ranks them anew. On the second port `/bare` is
the yardstick: a handler that does nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web

from bench import corpus
from bench.beside import serve_beside
from core.clock import SystemClock
from core.errors import Transient
from core.keys import PublicKey, SigningKey
from core.metrics import Metrics
from earmark.collecting import collect_rarely
from earmark.web import json_answer
from feedgen import FeedMethods, feed_uri
from store import Store

SERVICE = "did:web:feeds.example.com"
PUBLISHER = "did:plc:" + "p" * 24
READERS = 500


@cache
def reader_key(number: int) -> SigningKey:
    """Of the number-th reader."""
    return SigningKey(hashlib.sha256(f"reader {number}".encode()).digest())


async def serve(database: Path) -> None:
    clock, metrics = SystemClock(), Metrics()
    store = await Store.open(database, clock=clock)
    feeds = await corpus.open_feeds(store, database.parent)
    await feeds.refresh()
    keys: dict[str, PublicKey] = {corpus.artist(n): reader_key(n).public for n in range(READERS)}

    async def resolve_key(did: str, refresh: bool) -> PublicKey:
        raise Transient(f"nobody is asked for {did} here ({refresh=})")

    nobody: Any = None  # no personal feed is asked for
    methods = FeedMethods(
        feeds,
        service_did=SERVICE,
        publisher_did=PUBLISHER,
        key=b"k" * 32,
        clock=clock,
        metrics=metrics,
        viewing=nobody,
        resolve_key=resolve_key,
        known_key=keys.get,
    )

    async def list_feeds(_: web.Request) -> web.Response:
        open_moods = [feed.rkey for feed in feeds.feeds if not feed.personal]
        shown = set(await feeds.open_feeds())
        return json_answer({"feeds": [feed_uri(PUBLISHER, rkey) for rkey in open_moods if rkey in shown]})

    async def refresh(_: web.Request) -> web.Response:
        await feeds.refresh()
        return json_answer({})

    pages = {"/feeds": list_feeds, "/refresh": refresh}
    await serve_beside(methods.queries(), pages, bare=b'{"feed":[]}', clock=clock, metrics=metrics)


if __name__ == "__main__":
    collect_rarely()
    asyncio.run(serve(Path(sys.argv[1])))
