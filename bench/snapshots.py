"""Snapshots of 20 feeds over 100 000 tracks: how long a rebuild takes, its memory, and the event loop meanwhile.

The lag is how much later than asked a sleep of 5 ms ends; `at_rest` is what it is when nothing is ranked.
Goal: p99 under 50 ms. The first build also runs the day's checks of the prompts.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench import corpus
from bench.children import listen_for_lag, p99
from bench.worker import Worker, peak_resident_mb, resident_mb, serve
from core.clock import SystemClock
from earmark.collecting import collect_rarely
from store import Store

GATE_LAG_MS = 50.0
_REST_SECONDS = 3.0


def run(*, short: bool) -> dict[str, Any]:
    """See the module; `seconds` is the median of three rebuilds, all in one process that holds nothing else."""
    tracks = 3_000 if short else 100_000
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        database = Path(folder) / "earmark.db"
        asyncio.run(corpus.fill(database, tracks))
        with Worker("bench.snapshots", str(database)) as worker:
            metrics = worker.ask(rounds=1 if short else 3)
    lag = f"no peer; the gate is {GATE_LAG_MS:.0f} ms"
    return {
        "metrics": {"tracks": tracks, "feeds": corpus.FEEDS} | metrics,
        "peer": {},
        "ratio": {"loop_lag_p99_ms": lag},
    }


async def _measure(database: Path, rounds: int) -> dict[str, float]:
    bare = resident_mb()
    store = await Store.open(database, clock=SystemClock())
    began = time.perf_counter()
    feeds = await corpus.open_feeds(store, database.parent)
    opened = time.perf_counter() - began
    opened_mb = resident_mb()
    lags: list[float] = []
    first, seconds, spent = 0.0, [], []
    for number in range(rounds + 1):
        began, cpu = time.perf_counter(), time.process_time()
        async with listen_for_lag(lags):
            await feeds.refresh()
        if number == 0:
            first = time.perf_counter() - began
            lags_of_first, lags = lags, []
        else:
            seconds.append(time.perf_counter() - began)
            spent.append(time.process_time() - cpu)
    at_rest: list[float] = []
    async with listen_for_lag(at_rest):
        await asyncio.sleep(_REST_SECONDS)
    entries = sum(status.entries for status in feeds.statuses())
    await store.close()
    return {
        "seconds": round(median(seconds), 2),
        "cpu_seconds": round(median(spent), 2),
        "first_seconds": round(first, 2),
        "open_index_seconds": round(opened, 2),
        "loop_lag_p99_ms": p99(lags),
        "loop_lag_p99_ms_at_rest": p99(at_rest),
        "loop_lag_worst_ms": round(max(lags), 2),
        "loop_lag_p99_ms_first": p99(lags_of_first),
        "entries": entries,
        "index_mb": round(opened_mb - bare, 1),
        "resident_mb": resident_mb(),
        "peak_mb": peak_resident_mb(),
    }


if __name__ == "__main__":
    collect_rarely()
    serve(lambda rounds: asyncio.run(_measure(Path(sys.argv[1]), rounds)))
