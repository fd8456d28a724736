"""Requests of queryLabels per CPU second of the server, exact and by prefix, beside a handler that does nothing.

`limited` is the same with every request counted for a client (P199); from this very machine none is.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from bench import load
from bench.label_server import LABELS_OF_TRACK, fill, query_path, subject

CONNECTIONS = 16


@contextmanager
def label_server(database: Path) -> Iterator[tuple[int, int]]:
    """Ports of the real server and of the yardstick."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.label_server", str(database)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), int(process.stdout.readline())
        finally:
            process.kill()


def usage(port: int) -> dict[str, float]:
    """CPU seconds and peak memory of the server so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/cpu") as answer:
        return dict(orjson.loads(answer.read()))


def rate(port: int, path: Callable[[int], str], seconds: float, headers: str = "") -> tuple[float, float]:
    """Requests per CPU second of the server, and the 99th percentile of their seconds."""
    paths = (path(number * load.STEP) for number in itertools.count())
    asyncio.run(load.get(port, paths, connections=CONNECTIONS, seconds=0.5, headers=headers))
    before = usage(port)["cpu_seconds"]
    count, took = asyncio.run(load.get(port, paths, connections=CONNECTIONS, seconds=seconds, headers=headers))
    return count / (usage(port)["cpu_seconds"] - before), sorted(took)[int(len(took) * 0.99)]


def run(*, short: bool) -> dict[str, Any]:
    """See the module."""
    sizes, seconds = ([20_000], 1.5) if short else ([50_000, 1_000_000], 6.0)
    metrics: dict[str, Any] = {}
    ratio: dict[str, float] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder) / "labels.db"
            asyncio.run(fill(database, size))
            tracks = size // LABELS_OF_TRACK
            exact = lambda n: query_path(subject(n % tracks))  # noqa: E731, B023
            prefix = lambda n: query_path(subject(n % tracks).split("/fm.")[0] + "/*")  # noqa: E731, B023
            # As through a proxy, which makes the server count the requests of each client.
            told = "X-Forwarded-For: 203.0.113.7\r\n"
            kinds = (("exact", exact, ""), ("prefix", prefix, ""), ("limited_exact", exact, told))
            with label_server(database) as (port, bare_port):
                yardstick, _ = rate(bare_port, lambda _: "/bare", seconds)
                figures: dict[str, float] = {"yardstick_per_cpu_second": round(yardstick)}
                for name, path, headers in kinds:
                    per_second, p99 = rate(port, path, seconds, headers)
                    figures[f"{name}_per_cpu_second"] = round(per_second)
                    figures[f"{name}_p99_ms"] = round(1000 * p99, 2)
                    ratio[f"{name}_{size}_to_yardstick"] = round(per_second / yardstick, 3)
                metrics[str(size)] = figures
    return {"metrics": metrics, "peer": {}, "ratio": ratio}
