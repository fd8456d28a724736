"""What the taggers of one pack say, patch by patch, before anything is averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.analysis import TaggerName
from core.errors import Undecodable

Rows = NDArray[np.float32]

_ROUNDING = 1e-3  # beyond 0 and 1; more than that is no sigmoid


@dataclass(frozen=True, slots=True, eq=False)
class Tagged:
    """One row a patch, in order of time."""

    centres: NDArray[np.float64]  # [patches], seconds
    scores: Mapping[TaggerName, Rows]  # [patches, tags], 0..1; a column of NaN is a head that is not installed
    embeddings: Mapping[str, Rows]  # [patches, width]


def as_scores(outputs: Rows) -> Rows:
    """Sigmoids clipped to 0..1. Raises Undecodable.

    A model that gave numbers in its self-test and gives none now is right about the file: sound is finite here.
    """
    if not ((outputs >= -_ROUNDING) & (outputs <= 1 + _ROUNDING)).all():  # NaN is neither
        raise Undecodable("a model's scores of this sound are no numbers from 0 to 1")
    return outputs.clip(0, 1)


def as_embeddings(outputs: Rows) -> Rows:
    """The same of numbers of any size. Raises Undecodable."""
    if not np.isfinite(outputs).all():
        raise Undecodable("a model's embeddings of this sound are no numbers")
    return outputs


def average(rows: Rows) -> list[float]:
    """The mean row, summed in float64."""
    mean: list[float] = rows.mean(axis=0, dtype=np.float64).tolist()
    return mean


def average_scores(rows: Rows) -> list[float | None]:
    """The same for scores; None for a head that is not installed."""
    return [None if np.isnan(score) else score for score in average(rows)]
