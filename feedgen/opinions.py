"""What prompts and tags say of every track, as shares of the corpus (FEEDS section 2, steps 1 to 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from feedgen.fits import Fits
from feedgen.hearsay import Scores
from feedgen.ranking import Why
from feedgen.rules import Rules


@dataclass(frozen=True, slots=True, eq=False)
class Opinions:
    """f64 [tracks] each, 0..1: of prompts, of tags, and both together. None where nothing was asked; not a number where
    nobody listened.
    """

    prompts: Scores | None
    tags: Scores | None
    mood: Scores

    @classmethod
    def form(cls, fits: Fits, rules: Rules) -> Opinions:
        """From standard deviations to shares."""
        prompts, tags = place_among(fits.prompts, rules), place_among(fits.tags, rules)
        return cls(prompts, tags, _blend(prompts, tags, rules))

    def known(self, place: int) -> tuple[float | None, float | None]:
        """What prompts and tags say of one track."""
        return _known(self.prompts, place), _known(self.tags, place)

    def disagree(self, place: int, rules: Rules) -> tuple[Why, str] | None:
        """Texture may match where the genre does not: each of the two has to find the track fitting (FEEDS 2.3)."""
        for name, share in zip(("prompts", "tags"), self.known(place), strict=True):
            if share is not None and share < rules.second_opinion:
                return Why.ONE_OPINION, f"{name} {share:.2f}"
        return None


def place_among(scores: Scores | None, rules: Rules) -> Scores | None:
    """The share of tracks that score less, and half of those that score the same, 0..1: of this corpus, or of a usual
    one while this one is small. Not a number where the score is none.
    """
    if scores is None:
        return None
    heard = np.isfinite(scores)
    count = np.count_nonzero(heard)
    if count < rules.percentile_from:
        return _usual_share(np.where(heard, scores, np.nan))
    _, group, sizes = np.unique(scores[heard], return_inverse=True, return_counts=True)
    shares = np.full(len(scores), np.nan)
    shares[heard] = (np.cumsum(sizes) - sizes / 2)[group] / count
    return shares


def admission_threshold(mood: Scores, rules: Rules) -> float:
    """The score that admits: absolute in a small corpus, else the percentile of this one."""
    if len(mood) < rules.percentile_from:
        return float(_usual_share(np.array(rules.absolute_score)))
    return float(np.quantile(mood, rules.percentile))


def _blend(prompts: Scores | None, tags: Scores | None, rules: Rules) -> Scores:
    """Both where both are known, else the one there is."""
    if prompts is None or tags is None:
        return prompts if prompts is not None else tags if tags is not None else np.empty(0)
    both = rules.prompt_share * prompts + (1 - rules.prompt_share) * tags
    return cast("Scores", np.where(np.isfinite(both), both, np.where(np.isfinite(prompts), prompts, tags)))


def _known(scores: Scores | None, place: int) -> float | None:
    return None if scores is None or not np.isfinite(scores[place]) else float(scores[place])


def _usual_share(scores: NDArray[np.float64]) -> Scores:
    """The normal distribution's share below so many standard deviations."""
    share = np.vectorize(lambda score: 0.5 * (1.0 + math.erf(score / math.sqrt(2.0))), otypes=[np.float64])
    return cast("Scores", share(scores))
