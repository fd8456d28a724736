"""What the taggers of one pack say, patch by patch, before anything is averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.analysis import TaggerName

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Tagged:
    """One row a patch, in order of time."""

    centres: NDArray[np.float64]  # [patches], seconds
    scores: Mapping[TaggerName, Rows]  # [patches, tags], 0..1; a column of NaN is a head that is not installed
    embeddings: Mapping[str, Rows]  # [patches, width]


def average(rows: Rows) -> list[float]:
    """The mean row, summed in float64."""
    mean: list[float] = rows.mean(axis=0, dtype=np.float64).tolist()
    return mean


def average_scores(rows: Rows) -> list[float | None]:
    """The same for scores; None for a head that is not installed."""
    return [None if np.isnan(score) else score for score in average(rows)]
