"""MMR: what it picks is what the textbook's loops pick."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import Vector
from feedgen.mmr import diversify


def by_loops(relevance: list[float], vectors: Vector, share: float, count: int) -> list[int]:
    """Carbonell and Goldstein, word by word."""
    picked: list[int] = []
    while len(picked) < min(count, len(relevance)):
        best, best_gain = -1, -np.inf
        for place, worth in enumerate(relevance):
            if place in picked:
                continue
            likeness = max((float(vectors[place] @ vectors[other]) for other in picked), default=0.0)
            gain = share * worth - (1 - share) * max(likeness, 0.0)
            if gain > best_gain:
                best, best_gain = place, gain
        picked.append(best)
    return picked


@given(seed=st.integers(0, 10_000), count=st.integers(0, 40), share=st.sampled_from([0.0, 0.4, 0.7, 1.0]))
def test_the_same_picks_as_by_loops(seed: int, count: int, share: float) -> None:
    dice = np.random.default_rng(seed)
    vectors = dice.standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = dice.random(40)
    told = diversify(relevance, vectors, relevance_share=share, count=count)
    assert len(told) == len(set(told)) == count
    wanted = by_loops(relevance.tolist(), vectors, share, count)
    if told != wanted:  # sums in another order: a tie may fall either way
        first = next(place for place, pair in enumerate(zip(told, wanted, strict=True)) if pair[0] != pair[1])
        gains = [
            share * relevance[one] - (1 - share) * max([0.0, *(float(vectors[one] @ vectors[o]) for o in told[:first])])
            for one in (told[first], wanted[first])
        ]
        assert gains[0] == pytest.approx(gains[1], abs=1e-6)


def test_two_that_sound_the_same_are_kept_apart() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert diversify(np.array([1.0, 0.9, 0.5]), vectors, relevance_share=0.7, count=3) == [0, 2, 1]
    assert diversify(np.array([1.0, 0.9, 0.5]), vectors, relevance_share=1.0, count=3) == [0, 1, 2]


def test_what_nobody_heard_is_like_nothing() -> None:
    vectors = np.zeros((3, 2), np.float32)
    assert diversify(np.array([0.1, 0.3, 0.2]), vectors, relevance_share=0.7, count=9) == [1, 2, 0]
    assert diversify(np.empty(0), np.empty((0, 2), np.float32), relevance_share=0.7, count=5) == []
