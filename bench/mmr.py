"""MMR of 500 tracks to 50: one vectorised row a pick, against the textbook's loops over a matrix of similarities."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from core.analysis import Vector
from feedgen.mmr import diversify

TRACKS, PICKS, DIMENSIONS, SHARE = 500, 50, 1280, 0.7


def run(*, short: bool) -> dict[str, Any]:
    """Medians of CPU milliseconds, the two taking turns; both pick the same tracks."""
    dice = np.random.default_rng(7)
    vectors = dice.standard_normal((TRACKS, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = dice.random(TRACKS)
    if by_loops(relevance, vectors) != diversify(relevance, vectors, relevance_share=SHARE, count=PICKS):
        raise AssertionError("the two do not pick the same tracks")
    ours, naive = [], []
    for _ in range(5 if short else 25):
        ours.append(timed(lambda: diversify(relevance, vectors, relevance_share=SHARE, count=PICKS)))
        naive.append(timed(lambda: by_loops(relevance, vectors)))
    figures = statistics.median(ours), statistics.median(naive)
    return {
        "metrics": {"milliseconds": round(figures[0], 3)},
        "peer": {"milliseconds": round(figures[1], 1)},
        "ratio": {"milliseconds": round(figures[1] / figures[0], 1)},
    }


def by_loops(relevance: np.ndarray[Any, Any], vectors: Vector) -> list[int]:
    """Carbonell and Goldstein, word by word."""
    alike = (vectors @ vectors.T).tolist()
    worth = relevance.tolist()
    picked: list[int] = []
    left = list(range(len(worth)))
    while left and len(picked) < PICKS:
        best, best_gain = left[0], float("-inf")
        for one in left:
            nearest = max((alike[one][other] for other in picked), default=0.0)
            gain = SHARE * worth[one] - (1 - SHARE) * max(nearest, 0.0)
            if gain > best_gain:
                best, best_gain = one, gain
        picked.append(best)
        left.remove(best)
    return picked


def timed(work: Callable[[], Any]) -> float:
    """CPU milliseconds of this process, all threads: once those of a product before have spun out."""
    time.sleep(0.05)
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3
