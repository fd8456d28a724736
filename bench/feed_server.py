"""A feed generator for the benches, in a process of its own: the real web module over a filled store.

`python -m bench.feed_server DATABASE`: prints its ports, serves until killed. `/cpu` tells the CPU seconds that the
process has used so far, `/feeds` the at-uris of its feeds, `/refresh` ranks them anew. On the second port `/bare` is
the yardstick: a handler that does nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import resource
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web

from bench import corpus
from core import sections
from core.clock import SystemClock
from core.errors import Transient
from core.keys import PublicKey, SigningKey
from core.log import set_up
from core.metrics import Metrics
from earmark.collecting import collect_rarely
from earmark.limits import Limits
from earmark.web import Web, json_answer
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

    async def usage(_: web.Request) -> web.Response:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return json_answer({"cpu_seconds": time.process_time(), "peak_kb": peak})

    async def list_feeds(_: web.Request) -> web.Response:
        open_moods = [feed.rkey for feed in feeds.feeds if not feed.personal]
        shown = set(await feeds.open_feeds())
        return json_answer({"feeds": [feed_uri(PUBLISHER, rkey) for rkey in open_moods if rkey in shown]})

    async def refresh(_: web.Request) -> web.Response:
        await feeds.refresh()
        return json_answer({})

    async def healthy() -> None:
        return None

    server = Web(
        methods=methods.queries(),
        pages={"/cpu": usage, "/feeds": list_feeds, "/refresh": refresh},
        healthy=healthy,
        version="bench",
        limits=Limits(sections.Limits(requests=10**9, client_header="X-Forwarded-For"), clock),
        metrics=metrics,
        log=set_up(),
    )

    async def bare(_: web.Request) -> web.Response:
        return web.Response(body=b'{"feed":[]}', content_type="application/json")

    yardstick = web.Application()
    yardstick.router.add_get("/bare", bare)
    yardstick.router.add_get("/cpu", usage)
    for app in (server.app, yardstick):
        runner = web.AppRunner(app, access_log=None, max_line_size=65_536)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    collect_rarely()
    asyncio.run(serve(Path(sys.argv[1])))
