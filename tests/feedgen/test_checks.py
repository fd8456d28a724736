"""Do prompts mean anything here? The three tests on noise, on signal, and at three sizes of the corpus (FEEDS 2.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from feedgen.checks import Checks, Trust, check

Array = np.ndarray[Any, Any]


def similarities(seed: int, tracks: int, *, signal: float) -> tuple[Array, Array, Array, Array]:
    """Three prompts, 200 neutral ones, what the feed makes of its prompts, and tags: cosines have a spread of 0.06.

    A tenth of the tracks are what the prompts mean, `signal` spreads nearer; tags know that as well.
    """
    dice = np.random.default_rng(seed)
    meant = (np.arange(tracks) % 10 == 0) * signal
    prompts = 0.06 * (dice.standard_normal((tracks, 3)) + meant[:, np.newaxis])
    neutral = 0.06 * dice.standard_normal((tracks, 200))
    fit = prompts.mean(axis=1)
    tags = dice.standard_normal(tracks) + meant
    return prompts.astype(np.float32), neutral.astype(np.float32), fit.astype(np.float64), tags


@pytest.mark.parametrize("tracks", [300, 1_300, 10_000])
def test_prompts_that_find_something_are_trusted_in_a_corpus_of_any_size(tracks: int) -> None:
    prompts, neutral, fit, tags = similarities(1, tracks, signal=3.0)
    found = check(prompts, neutral, fit, tags, seed=5)
    assert found.passed == 3
    assert found.trust is Trust.BOTH
    assert found == check(prompts, neutral, fit, tags, seed=5), "the same night says the same"


@pytest.mark.parametrize("tracks", [300, 1_300, 10_000])
def test_pure_noise_is_not_trusted_however_far_its_best_twenty_stand_out(tracks: int) -> None:
    outcomes = []
    for seed in range(8):
        prompts, neutral, fit, tags = similarities(seed, tracks, signal=0.0)
        outcomes.append(check(prompts, neutral, fit, tags, seed=seed))
    assert max(found.passed for found in outcomes) <= 1
    assert np.mean([found.passed for found in outcomes]) < 0.5
    assert min(found.reach for found in outcomes) > 1.5, "the obvious statistic calls this a find"


def test_texture_that_matches_without_the_genre_leaves_two_of_three() -> None:
    """CLAP puts metal into a jazz list (AudioMuse 306): the tags disagree, the prompts agree with each other."""
    prompts, neutral, fit, tags = similarities(2, 1_300, signal=3.0)
    found = check(prompts, neutral, fit, np.roll(tags, 1), seed=1)
    assert found.concordance is not None
    assert found.concordance < found.concordance_needed
    assert found.trust is Trust.BOTH


def test_without_tags_both_others_have_to_hold() -> None:
    prompts, neutral, fit, _ = similarities(3, 1_300, signal=3.0)
    found = check(prompts, neutral, fit, None, seed=1)
    assert (found.concordance, found.passed, found.trust) == (None, 2, Trust.BOTH)


def test_tracks_without_a_score_in_either_are_left_out() -> None:
    prompts, neutral, fit, tags = similarities(4, 1_300, signal=3.0)
    tags[:600] = np.nan
    fit[600:700] = np.nan
    found = check(prompts, neutral, fit, tags, seed=1)
    assert found.concordance is not None
    assert found.concordance > 0.65


def test_one_prompt_agrees_with_itself_and_a_flat_corpus_breaks_nothing() -> None:
    prompts, neutral, fit, tags = similarities(6, 300, signal=3.0)
    assert check(prompts[:, :1], neutral, fit, tags, seed=1).overlap == 1.0
    flat = np.zeros((300, 3), np.float32)
    assert np.isfinite(check(flat, neutral, np.zeros(300), np.zeros(300), seed=1).reach)


@pytest.mark.parametrize(
    ("reach", "overlap", "concordance", "trust"),
    [
        (3.0, 0.5, 0.7, Trust.BOTH),
        (3.0, 0.5, 0.6, Trust.BOTH),
        (3.0, 0.1, 0.7, Trust.BOTH),
        (2.0, 0.5, 0.7, Trust.BOTH),
        (2.0, 0.1, 0.65, Trust.TAGS),
        (2.5, 0.1, 0.6, Trust.TAGS),
        (2.0, 0.3, None, Trust.TAGS),
        (2.0, 0.1, 0.6, Trust.NOTHING),
    ],
)
def test_two_of_three_count_one_leaves_the_tags_none_pauses(
    reach: float, overlap: float, concordance: float | None, trust: Trust
) -> None:
    assert Checks(reach, 2.5, overlap, 0.3, concordance).trust is trust


def test_each_number_is_what_loops_make_of_it() -> None:
    """Reach, overlap and the area under the curve, reckoned one by one: few enough tracks that all others are drawn."""
    prompts, neutral, fit, tags = similarities(7, 400, signal=1.0)
    found = check(prompts, neutral, fit, tags, seed=1)

    def reach(column: Array) -> float:
        values = [float(value) for value in column]
        mean = sum(values) / len(values)
        spread = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        return (sum(sorted(values)[-20:]) / 20 - mean) / spread

    usual = [reach(column) for column in neutral.T]
    middle = sum(usual) / len(usual)
    assert found.reach == pytest.approx(sum(reach(column) for column in prompts.T) / 3, rel=1e-6)
    spread = (sum((one - middle) ** 2 for one in usual) / len(usual)) ** 0.5
    assert found.reach_needed == pytest.approx(middle + 2 * spread, rel=1e-6)

    first, second, third = ({*sorted(range(400), key=column.__getitem__)[-40:]} for column in prompts.T)
    pairs = (first & second, first & third, second & third)
    assert found.overlap == pytest.approx(sum(len(pair) for pair in pairs) / 3 / 40)
    chance = 40 / 400  # of any track to be among the nearest forty of a neutral prompt
    assert chance < found.overlap_needed < 4 * chance

    ordered = sorted(range(400), key=lambda place: -fit[place])
    wins = sum(
        (tags[one] > tags[other]) + 0.5 * (tags[one] == tags[other]) for one in ordered[:40] for other in ordered[40:]
    )
    assert found.concordance == pytest.approx(wins / (40 * 360))
