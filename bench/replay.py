"""Replay of the label log to ten subscribers: labels per CPU second of the server, memory, query delay.

Subscribers and queries have a process each, so that a query's time is the server's and not its neighbours'.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from bench.label_server import LABELS_OF_TRACK, fill
from bench.query import label_server, usage

SUBSCRIBERS = 10


async def replay(port: int, labels: int) -> float:
    """Seconds until all subscribers have every label."""

    async def subscriber(session: aiohttp.ClientSession) -> None:
        url = f"ws://127.0.0.1:{port}/xrpc/com.atproto.label.subscribeLabels?cursor=0"
        async with session.ws_connect(url, max_msg_size=0) as socket:
            for _ in range(labels):
                await socket.receive_bytes()

    began = time.monotonic()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(subscriber(session) for _ in range(SUBSCRIBERS)))
    return time.monotonic() - began


def run(*, short: bool) -> dict[str, Any]:
    """See the module."""
    labels = 10_000 if short else 50_000
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "labels.db"
        asyncio.run(fill(database, labels))
        with label_server(database) as (port, _):
            asking = subprocess.Popen(
                [sys.executable, "-m", "bench.load", str(port), str(labels // LABELS_OF_TRACK)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            with asking:
                assert asking.stdout is not None
                asking.stdout.readline()
                before = usage(port)["cpu_seconds"]
                seconds = asyncio.run(replay(port, labels))
                after = usage(port)
                queries, worst = asking.communicate()[0].split()
    metrics = {
        "labels_per_cpu_second": round(SUBSCRIBERS * labels / (after["cpu_seconds"] - before)),
        "seconds": round(seconds, 2),
        "worst_query_ms": round(1000 * float(worst), 1),
        "queries": int(queries),
        "rss_mb": after["peak_mb"],
    }
    return {"metrics": metrics, "peer": {}, "ratio": {}}
