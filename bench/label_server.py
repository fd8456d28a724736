"""A label server for the benches, in a process of its own: the real web module over a filled store.

`python -m bench.label_server DATABASE`: prints its ports, serves until killed. `/cpu` tells the CPU seconds that the
process has used so far and its peak memory, `/publish` appends a label. On the second port `/bare` is the yardstick: a
handler that does nothing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from bench.beside import serve_beside
from core.clock import SystemClock, format_datetime
from core.keys import SigningKey
from core.label import Label
from core.metrics import Metrics
from core.types import Did
from earmark.web import json_answer
from labeler.methods import LabelMethods
from store import Store, labels

SRC = Did("did:plc:" + "b" * 24)
TRACKS_OF_ACCOUNT = 10
LABELS_OF_TRACK = 3
VALUES = ("electronic", "ambient", "jazz", "rock", "techno", "house")


def subject(number: int) -> str:
    """The at-uri of the number-th track; every account has ten."""
    account, letters = number // TRACKS_OF_ACCOUNT, "abcdefghijklmnopqrstuvwxyz234567"
    name = ""
    for _ in range(24):
        name, account = letters[account % 32] + name, account // 32
    return f"at://did:plc:{name}/fm.plyr.track/3l{number % TRACKS_OF_ACCOUNT:011d}"


def query_path(pattern: str) -> str:
    """Path and query of a request for one pattern."""
    return f"/xrpc/com.atproto.label.queryLabels?uriPatterns={quote(pattern, safe='')}"


async def fill(path: Path, count: int) -> None:
    """A store with `count` signed labels."""
    key, clock = SigningKey(b"\x07" * 32), SystemClock()
    store = await Store.open(path, clock=clock)
    sig = key.sign(b"bench")  # one signature will do: nobody verifies here
    for start in range(0, count, 5_000):
        rows = [
            Label(SRC, subject(i // LABELS_OF_TRACK), VALUES[i % LABELS_OF_TRACK], "2026-11-21T10:00:00.000Z", sig=sig)
            for i in range(start, min(start + 5_000, count))
        ]
        async with store.write() as tx:
            await labels.append(tx, rows, key_id=key.public.did_key, current=())  # nothing is replaced
    await store.close()


async def serve(path: Path) -> None:
    clock, metrics = SystemClock(), Metrics()
    store = await Store.open(path, clock=clock)
    methods = LabelMethods(store, src=SRC)

    async def publish(_: web.Request) -> web.Response:
        label = Label(SRC, subject(0), VALUES[0], format_datetime(clock.now_us()), sig=bytes(64))
        async with store.write() as tx:
            await labels.append(tx, [label], key_id="did:key:bench")
        return json_answer({"committed": time.monotonic()})  # a clock that all processes share

    offered = [methods.query_labels, methods.subscribe_labels]
    await serve_beside(offered, {"/publish": publish}, bare=b'{"labels":[]}', clock=clock, metrics=metrics)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
