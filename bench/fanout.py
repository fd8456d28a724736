"""Live labels to a thousand subscribers: how long after the commit each of them has it."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench.label_server import fill
from bench.query import label_server, usage
from earmark.subscriptions import allow_descriptors

PAUSE_SECONDS = 0.25  # four labels a second, as fast as labels ever leave (P47)
_REQUEST = (
    b"GET /xrpc/com.atproto.label.subscribeLabels HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class _Subscriber(asyncio.Protocol):
    """As little as can be: a thousand of them share a process, and only the server is to be measured."""

    def __init__(self) -> None:
        self.open = asyncio.get_running_loop().create_future()
        self.arrived: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        if self.open.done():
            self.arrived.append(time.monotonic())
        else:
            self.open.set_result(data.startswith(b"HTTP/1.1 101"))


async def follow(port: int, subscribers: int, events: int) -> list[float]:
    """Seconds from commit to arrival, of every label at every subscriber."""
    loop = asyncio.get_running_loop()
    readers = [(await loop.create_connection(_Subscriber, "127.0.0.1", port))[1] for _ in range(subscribers)]
    assert all(await asyncio.gather(*(reader.open for reader in readers)))
    await asyncio.sleep(1.0)
    committed = []
    for _ in range(events):
        committed.append(await loop.run_in_executor(None, _publish, port))
        await asyncio.sleep(PAUSE_SECONDS)
    await asyncio.sleep(1.0)
    assert all(len(reader.arrived) == events for reader in readers), "a subscriber lacks labels"
    return [at - since for reader in readers for since, at in zip(committed, reader.arrived, strict=True)]


def _publish(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/publish") as answer:
        return float(json.load(answer)["committed"])


def run(*, short: bool) -> dict[str, Any]:
    """See the module."""
    subscribers, events = (200, 5) if short else (1_000, 40)
    allow_descriptors()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "labels.db"
        asyncio.run(fill(database, 5_000))
        with label_server(database) as (port, _):
            waited = sorted(asyncio.run(follow(port, subscribers, events)))
            spent = usage(port)
    metrics = {
        "subscribers": subscribers,
        "p50_ms": round(1000 * waited[len(waited) // 2], 1),
        "p99_ms": round(1000 * waited[int(len(waited) * 0.99)], 1),
        "worst_ms": round(1000 * waited[-1], 1),
        "rss_mb": spent["peak_mb"],
    }
    return {"metrics": metrics, "peer": {}, "ratio": {}}
