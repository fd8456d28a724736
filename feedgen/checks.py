"""Do a feed's prompts mean anything in this corpus? Three tests that do not depend on its size (FEEDS 2.4).

Fixed numbers fail: the best twenty of pure noise lie 2.5 standard deviations up, and further in a larger corpus. So
what a prompt finds is compared with what some 200 neutral prompts find today.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.analysis import Vector

Scores = NDArray[np.float64]

_TOP = 20  # whose mean is compared
_NEAREST = 50  # whose overlap and tags are looked at
_DEVIATIONS = 2.0  # above the mean of neutral prompts
_OVERLAP_PERCENTILE = 95.0  # of neutral pairs
_PAIRS = 400  # of neutral prompts, at random
_OTHERS = 500  # random tracks
_AREA = 0.65  # under the ROC curve
_NONE_ABOVE = 1e-9


class Trust(StrEnum):
    """What a feed may be made from."""

    BOTH = "prompts and tags"
    TAGS = "tags only"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Checks:
    """Each number beside what it has to reach. `concordance` is None where there are no tags to compare with."""

    reach: float  # standard deviations of the corpus: how far the best twenty stand out
    reach_needed: float
    overlap: float  # 0..1: of the nearest fifty of the prompts, two by two
    overlap_needed: float
    concordance: float | None  # 0.5..1: how well tags tell the nearest fifty from others
    concordance_needed: float = _AREA

    @property
    def passed(self) -> int:
        """How many of the three hold."""
        means = self.reach >= self.reach_needed
        paraphrase = self.overlap >= self.overlap_needed
        concordance = self.concordance is not None and self.concordance >= self.concordance_needed
        return sum((means, paraphrase, concordance))

    @property
    def trust(self) -> Trust:
        """Two of three make prompts count; one leaves the tags; none pauses the feed."""
        return (Trust.NOTHING, Trust.TAGS, Trust.BOTH, Trust.BOTH)[self.passed]


def check(prompts: Vector, neutral: Vector, fit: Scores, tags: Scores | None, *, seed: int) -> Checks:
    """Checks of one feed on a sample of the corpus.

    `prompts` f32 [tracks, positives] and `neutral` f32 [tracks, neutral prompts] are similarities of the same tracks;
    `fit` f64 [tracks] is what the feed makes of its prompts, `tags` what its tags say. The same seed gives the same
    random pairs and tracks.
    """
    dice = np.random.default_rng(seed)
    usual = _reaches(neutral)
    nearest, neutral_nearest = _nearest(prompts), _nearest(neutral)
    return Checks(
        reach=float(_reaches(prompts).mean()),
        reach_needed=float(usual.mean() + _DEVIATIONS * usual.std()),
        overlap=_mean_overlap(nearest),
        overlap_needed=_usual_overlap(neutral_nearest, dice),
        concordance=None if tags is None else _concordance(fit, tags, dice),
    )


def _reaches(similarities: Vector) -> Scores:
    """By prompt, how many standard deviations the mean of its best twenty lies above the mean: f64 [prompts]."""
    values = similarities.astype(np.float64)
    top = np.partition(values, -min(_TOP, len(values)), axis=0)[-_TOP:]
    reaches: Scores = (top.mean(axis=0) - values.mean(axis=0)) / np.maximum(values.std(axis=0), _NONE_ABOVE)
    return reaches


def _nearest(similarities: Vector) -> list[frozenset[int]]:
    """By prompt, the rows of its nearest fifty (a tenth of a small corpus)."""
    count = max(1, min(_NEAREST, len(similarities) // 10))
    rows = np.argpartition(-similarities, count - 1, axis=0)[:count]
    return [frozenset(rows[:, column].tolist()) for column in range(similarities.shape[1])]


def _mean_overlap(nearest: list[frozenset[int]]) -> float:
    """Of every two; 1 for a single prompt, which agrees with itself."""
    pairs = [_overlap(one, other) for place, one in enumerate(nearest) for other in nearest[place + 1 :]]
    return float(np.mean(pairs)) if pairs else 1.0


def _usual_overlap(nearest: list[frozenset[int]], dice: np.random.Generator) -> float:
    pairs = [dice.choice(len(nearest), 2, replace=False).tolist() for _ in range(_PAIRS)]
    return float(np.percentile([_overlap(nearest[one], nearest[other]) for one, other in pairs], _OVERLAP_PERCENTILE))


def _overlap(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one)


def _concordance(fit: Scores, tags: Scores, dice: np.random.Generator) -> float | None:
    """The chance that a track which fits the prompts best has better tags than another one (Mann and Whitney)."""
    known = np.flatnonzero(np.isfinite(tags) & np.isfinite(fit))
    count = max(1, min(_NEAREST, len(known) // 10))
    by_fit = known[np.argsort(-fit[known], kind="stable")]
    best, rest = tags[by_fit[:count]], tags[by_fit[count:]]
    if not len(rest):
        return None
    others = np.sort(dice.choice(rest, min(_OTHERS, len(rest)), replace=False))
    below, upto = np.searchsorted(others, best, "left"), np.searchsorted(others, best, "right")
    return float((below + upto).mean() / (2 * len(others)))
