"""Cuts long tracks into stretches, so that a mix can be described over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.child.tagged import Tagged, average_scores
from models.wire import HeardSegment

LONG_SECONDS = 900.0  # shorter tracks are one thing
PATCHES = 6  # a segment, at least, that each tagger's budget has to allow for
_LEAST_SECONDS = 300.0  # a segment
_MOST = 24


def cut(seconds: float) -> list[tuple[float, float]]:
    """(start, end) of each segment, of equal length, at least five minutes; none for a track of up to 15 minutes."""
    if seconds <= LONG_SECONDS:
        return []
    edges = np.linspace(0.0, seconds, min(_MOST, int(seconds // _LEAST_SECONDS)) + 1).tolist()
    return list(pairwise(edges))


def describe(seconds: float, packs: Sequence[Tagged]) -> list[HeardSegment]:
    """Mean scores of the patches in each segment, by the middle of a patch."""
    return [
        HeardSegment(
            start,
            end,
            {
                tagger: average_scores(rows[inside])
                for tagged in packs
                if (inside := (tagged.centres >= start) & (tagged.centres < end)).any()
                for tagger, rows in tagged.scores.items()
            },
        )
        for start, end in cut(seconds)
    ]
