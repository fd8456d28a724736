"""Maximal marginal relevance: an order that is diverse as well as good, one vectorised row a pick."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.analysis import Vector

_NUMBERS_AT_ONCE = (
    200_000  # of a product: of more, the library makes threads that wait for each other longer than they work
)


def diversify(relevance: NDArray[np.float64], vectors: Vector, *, relevance_share: float, count: int) -> list[int]:
    """The `count` best places by lambda * relevance - (1 - lambda) * likeness to the nearest one picked before.

    `relevance` f64 [n] and `vectors` f32 [n, d] of length 1 (zeros: like nothing) belong together; `relevance_share`
    is lambda, 0..1. Ties go to the earlier place. Carbonell and Goldstein, SIGIR 1998.
    """
    rows = max(1, _NUMBERS_AT_ONCE // max(1, vectors.shape[1]))
    blocks = [vectors[at : at + rows] for at in range(0, len(vectors), rows)]
    gain = relevance_share * relevance.astype(np.float32)
    penalty = np.zeros(len(gain), np.float32)
    picked: list[int] = []
    for _ in range(min(count, len(gain))):
        best = int(np.argmax(gain - penalty))
        picked.append(best)
        gain[best] = -np.inf
        likeness = np.concatenate([block @ vectors[best] for block in blocks])
        np.maximum(penalty, (1 - relevance_share) * likeness, out=penalty)
    return picked
