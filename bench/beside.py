"""The real web module for a bench, and beside it, on a port of its own, a yardstick: `/bare`, which does nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from aiohttp import web

from bench.worker import peak_resident_mb
from core import sections
from core.clock import Clock
from core.log import set_up
from core.metrics import Metrics
from core.xrpc import Method
from earmark.limits import Limits
from earmark.web import Page, Web, json_answer


async def serve_beside(
    methods: Sequence[Method], pages: Mapping[str, Page], *, bare: bytes, clock: Clock, metrics: Metrics
) -> None:
    """Serve until killed; prints the two ports. `bare` is what the yardstick answers, `/cpu` on both the CPU seconds
    that the process has used so far and the most memory that it had.
    """

    async def usage(_: web.Request) -> web.Response:
        return json_answer({"cpu_seconds": time.process_time(), "peak_mb": peak_resident_mb()})

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=bare, content_type="application/json")

    async def healthy() -> None:
        return None

    server = Web(
        methods=methods,
        pages={"/cpu": usage, **pages},
        healthy=healthy,
        version="bench",
        limits=Limits(sections.Limits(requests=10**9, client_header="X-Forwarded-For"), clock),
        metrics=metrics,
        log=set_up(),
    )
    yardstick = web.Application()
    yardstick.router.add_get("/bare", answer)
    yardstick.router.add_get("/cpu", usage)
    for app in (server.app, yardstick):
        runner = web.AppRunner(app, access_log=None, max_line_size=65_536)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
