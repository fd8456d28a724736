"""Requests of getFeedSkeleton per CPU second of the server, with 100 000 tracks, beside a handler that does nothing.

`anonymous`: the first 50 of every feed. `token`: the same, each request with a service token that was never seen, by
one of 500 readers whose keys are known. `poll`: `limit=1`, as the app asks whether there is something new. `pages`:
feeds read through to their ends. `p99_ms`: the worse of anonymous and of token requests, at half the requests a second
that came through at full load; `p99_ms_bare`: the bare handler's at the same rate, on the same machine with the same
reader. The goals are 14 000 and 7 000, or 0.75 and 0.38 of the bare handler, and 5 ms.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from bench import corpus, load
from bench.feed_server import READERS, SERVICE, reader_key
from bench.query import CONNECTIONS, usage
from core.serviceauth import mint
from feedgen.methods import GET_FEED_SKELETON

GATES = {"anonymous": (14_000, 0.75), "token": (7_000, 0.38)}
GATE_P99_MS = 5.0
_EXPECTED_PER_SECOND = 12_000  # tokens are minted for that many


@contextmanager
def feed_server(database: Path) -> Iterator[tuple[int, int]]:
    """Ports of the real server, which takes a while to rank its feeds, and of the yardstick."""
    command = [sys.executable, "-m", "bench.feed_server", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), int(process.stdout.readline())
        finally:
            process.kill()


def run(*, short: bool) -> dict[str, Any]:
    """See the module."""
    tracks, seconds = (3_000, 1.5) if short else (100_000, 6.0)
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        database = Path(folder) / "earmark.db"
        asyncio.run(corpus.fill(database, tracks))
        metrics = measure(database, seconds)
    bare = metrics["yardstick_per_cpu_second"]
    ratio: dict[str, Any] = {
        f"{name}_per_cpu_second": f"{metrics[f'{name}_per_cpu_second'] / bare:.3f} of the yardstick; the gate is "
        f"{number} or {share}"
        for name, (number, share) in GATES.items()
    }
    ratio["p99_ms"] = f"no peer; the gate is {GATE_P99_MS:.0f} ms"
    return {"metrics": {"tracks": tracks} | metrics, "peer": {}, "ratio": ratio}


def measure(database: Path, seconds: float) -> dict[str, Any]:
    """All figures of a server over this store."""
    with feed_server(database) as (port, bare_port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/feeds") as answer:
            feeds = orjson.loads(answer.read())["feeds"]
        first = [_path(feed, 50) for feed in feeds]
        kinds = {
            "yardstick": (bare_port, ["/bare"]),
            "anonymous": (port, first),
            "token": (port, first),
            "poll": (port, [_path(feed, 1) for feed in feeds]),
            "pages": (port, [path for feed in feeds for path in _read_through(port, feed)]),
        }
        figures: dict[str, Any] = {"open_feeds": len(feeds)}
        half = {}
        for name, (where, paths) in kinds.items():
            per_cpu_second, per_second = _rate(where, paths, seconds, with_tokens=name == "token")
            figures[f"{name}_per_cpu_second"], half[name] = round(per_cpu_second), per_second / 2
        late = [_p99_ms(port, first, half[n], seconds, with_tokens=n == "token") for n in ("anonymous", "token")]
        figures["p99_ms"] = max(late)
        figures["p99_ms_bare"] = _p99_ms(bare_port, ["/bare"], half["anonymous"], seconds, with_tokens=False)
        figures["half_load_per_second"] = round(half["anonymous"])
        figures["peak_mb"] = round(usage(port)["peak_mb"])
    return figures


def _path(feed: str, limit: int, cursor: str | None = None) -> str:
    further = f"&cursor={quote(cursor)}" if cursor else ""
    return f"/xrpc/{GET_FEED_SKELETON}?feed={quote(feed, safe='')}&limit={limit}{further}"


def _read_through(port: int, feed: str) -> Iterator[str]:
    cursor = None
    while True:
        path = _path(feed, 50, cursor)
        yield path
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            cursor = orjson.loads(answer.read()).get("cursor")
        if cursor is None:
            return


def _rate(port: int, paths: list[str], seconds: float, *, with_tokens: bool) -> tuple[float, float]:
    """Requests per CPU second of the server, and per second of the clock."""
    turns = itertools.cycle(paths)
    asyncio.run(load.get(port, turns, connections=CONNECTIONS, seconds=0.5))
    tokens = _mint(seconds) if with_tokens else None
    before = usage(port)["cpu_seconds"]
    began = time.monotonic()
    count, _ = asyncio.run(load.get(port, turns, connections=CONNECTIONS, seconds=seconds, tokens=tokens))
    took = time.monotonic() - began
    return count / (usage(port)["cpu_seconds"] - before), count / took


def _p99_ms(port: int, paths: list[str], rate: float, seconds: float, *, with_tokens: bool) -> float:
    turns, tokens = itertools.cycle(paths), _mint(seconds) if with_tokens else None
    asked = load.get(port, turns, connections=CONNECTIONS, seconds=seconds, tokens=tokens, rate=rate)
    took = sorted(asyncio.run(asked)[1])
    return round(1000 * took[int(len(took) * 0.99)], 2)


def _mint(seconds: float) -> Iterator[str]:
    """Tokens of many readers, none like another."""
    now_us = time.time_ns() // 1000
    minted = [
        mint(
            reader_key(number % READERS),
            iss=corpus.artist(number % READERS),
            aud=SERVICE,
            lxm=GET_FEED_SKELETON,
            now_us=now_us + number,
            lifetime_seconds=600,
        )
        for number in range(int(seconds * _EXPECTED_PER_SECOND))
    ]
    return iter(minted)
