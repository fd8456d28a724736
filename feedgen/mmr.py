"""Maximal marginal relevance: an order that is diverse as well as good, one vectorised row a pick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.analysis import Vector

# Of a product: of more, the library makes threads that wait for each other longer than they work.
_NUMBERS_AT_ONCE = 100_000


def diversify(relevance: NDArray[np.float64], vectors: Vector, *, relevance_share: float, count: int) -> list[int]:
    """The `count` best places by lambda * relevance - (1 - lambda) * likeness to the nearest one picked before.

    `relevance` f64 [n] and `vectors` f32 [n, d] of length 1 (zeros: like nothing) belong together; `relevance_share`
    is lambda, 0..1. Of equal ones the most relevant wins, then the first. Carbonell and Goldstein, SIGIR 1998.
    """
    order = np.argsort(-relevance, kind="stable")
    worth = (relevance_share * relevance[order]).astype(np.float32)
    gain, penalty = worth.copy(), np.zeros_like(worth)
    blocks: list[Vector] = []  # of those relevant enough to win: nobody else need be compared
    rows = max(1, _NUMBERS_AT_ONCE // max(1, vectors.shape[1]))
    known = 0
    picked: list[int] = []
    while len(picked) < min(count, len(order)):
        best = int(np.argmax(gain[:known] - penalty[:known])) if known else 0
        if known < len(order) and (not known or gain[best] - penalty[best] <= worth[known]):
            blocks.append(vectors[order[known : known + rows]])
            for one in picked:
                _punish(penalty[known : known + rows], blocks[-1:], vectors[one], relevance_share)
            known = min(known + rows, len(order))
            continue
        picked.append(int(order[best]))
        gain[best] = -np.inf
        _punish(penalty[:known], blocks, vectors[order[best]], relevance_share)
    return picked


def _punish(penalty: Vector, blocks: Sequence[Vector], picked: Vector, relevance_share: float) -> None:
    """Raise the penalties of the tracks in these blocks to what their likeness to a picked one says."""
    likeness = np.concatenate([block @ picked for block in blocks])
    np.maximum(penalty, (1 - relevance_share) * likeness, out=penalty)
