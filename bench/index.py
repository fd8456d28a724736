"""The vector index: recall, build, search, rebuild after removals, by what the graph keeps of a vector.

`exact` compares with every row, as below 20 000 tracks; `bf16` is the graph that stands above; `b1` the one for a
million: one bit a number, candidates scored again by the rows. `recall` is recall@50 against exact products. `wanted`
of the numbers: .99, and no removed track returned. `heard` are real embeddings with the graph forced.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.embeddings import clustered, heard, near
from bench.worker import cpu_seconds, resident_mb
from core.analysis import Space, Vector
from core.home import default_home
from models.pull import pull
from store import nearest
from store.graph import Precision
from store.nearest import Nearest
from store.rows import Rows

K = 50
_SIZE = 512


def run(*, short: bool) -> dict[str, Any]:
    """Seconds of the clock on one thread, kilobytes a vector of the graph's file."""
    count, queries, hop = (5_000, 100, 2.0) if short else (100_000, 500, 0.4)
    vectors = clustered(count, _SIZE)
    metrics: dict[str, Any] = {"vectors": count, "exact": _exact(vectors, near(vectors, 50))}
    for precision in Precision:
        metrics[precision.value] = _measure(vectors, near(vectors, queries), precision)
    pull("musicnn", default_home())
    real = heard(default_home(), hop_seconds=hop)
    metrics["heard"] = {"vectors": len(real)} | {
        precision.value: _recall(_graphed(real, Space.MUSICNN_SOUND, precision), real, near(real, min(300, len(real))))
        for precision in Precision
    }
    bf16 = metrics["bf16"]
    return {
        "metrics": metrics,
        "peer": {},
        "ratio": {
            "bf16.searches_per_second": round(bf16["searches_per_second"] * metrics["exact"]["search_ms"] / 1000, 1)
        },
    }


def _exact(vectors: Vector, queries: Vector) -> dict[str, float]:
    whole = _filled(vectors, Space.CLAP)
    took = _timed(lambda query: whole.search(query, K, None), queries)
    hundredth = np.arange(1, len(vectors) + 1, 100)
    filtered = _timed(lambda query: whole.search(query, K, hundredth), queries)
    return {"search_ms": round(1000 * took, 3), "one_percent_filter_ms": round(1000 * filtered, 3)}


def _measure(vectors: Vector, queries: Vector, precision: Precision) -> dict[str, Any]:
    before = resident_mb()
    began = time.perf_counter()
    whole = _graphed(vectors, Space.CLAP, precision)
    build = time.perf_counter() - began
    built_mb = resident_mb() - before
    assert whole.graph is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph"
        whole.graph.save(path)
        kilobytes = path.stat().st_size / 1024 / len(vectors)
    figures = {
        "build_seconds": round(build, 1),
        "graph_kb_a_vector": round(kilobytes, 2),
        "resident_mb": round(built_mb),
        "recall": _recall(whole, vectors, queries),
        "searches_per_second": round(1 / _timed(lambda query: whole.search(query, K, None), queries)),
    }
    gone = np.random.default_rng(3).choice(len(vectors), 2 * len(vectors) // 5, replace=False)
    for number in gone.tolist():
        whole.put(number + 1, None)
    figures["removed_returned"] = _removed_returned(whole, queries, gone)
    figures["rebuild_cpu_seconds"] = round(cpu_seconds(whole.renew), 1)
    left = vectors.copy()
    left[gone] = 0.0  # behind every other
    return figures | {
        "recall_after_rebuild": _recall(whole, left, queries),
        "removed_returned_after_rebuild": _removed_returned(whole, queries, gone),
    }


def _filled(vectors: Vector, space: Space) -> Nearest:
    whole = Nearest(space, Rows(vectors.shape[1]), exact_below=1)
    for number, vector in enumerate(vectors):
        whole.put(number + 1, vector)
    return whole


def _graphed(vectors: Vector, space: Space, precision: Precision) -> Nearest:
    """With a graph, however few there are."""
    whole = _filled(vectors, space)
    usual = nearest.SIGNS_FROM
    nearest.SIGNS_FROM = 0 if precision is Precision.SIGNS else 10**9
    try:
        whole.renew()
    finally:
        nearest.SIGNS_FROM = usual
    return whole


def _recall(whole: Nearest, vectors: Vector, queries: Vector) -> float:
    hits = 0
    for query in queries:
        products = vectors @ query
        best = set(np.argpartition(-products, K)[:K].tolist())
        hits += len(best & {track_id - 1 for track_id, _ in whole.search(query, K, None)})
    return round(hits / (K * len(queries)), 4)


def _removed_returned(whole: Nearest, queries: Vector, gone: Vector) -> int:
    removed = set((gone + 1).tolist())
    return sum(track_id in removed for query in queries for track_id, _ in whole.search(query, K, None))


def _timed(search: Callable[[Vector], object], queries: Vector) -> float:
    """Median seconds of one."""
    took = []
    for query in queries:
        began = time.perf_counter()
        search(query)
        took.append(time.perf_counter() - began)
    return median(took)
