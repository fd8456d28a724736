"""How right labels are on known tracks, and thresholds from them: made-up tracks whose right answer is plain."""

from __future__ import annotations

import pytest

from core.taxonomy import Taxonomy
from labeler.fitting import MIN_POSITIVES, PRECISION, Known, fit, measure, tell
from labeler.musicnn import TagMapping
from labeler.policy import Policy
from labeler.thresholds import Thresholds
from tests.labeler import test_effnet, test_policy

TAXONOMY = Taxonomy.load()
MAPPING = TagMapping.load(TAXONOMY)
AMBIENT, DRONE, PUNK, BOP = test_effnet.AMBIENT, test_effnet.DRONE, test_effnet.PUNK, test_effnet.BOP


def policy_with(thresholds: Thresholds) -> Policy:
    return Policy(TAXONOMY, MAPPING, thresholds=thresholds)


def known(scores: dict[str, float], *genres: str) -> Known:
    return Known(test_effnet.heard(scores), frozenset(genres))


def test_what_is_published_is_compared_with_what_is_known() -> None:
    tracks = [
        known({AMBIENT: 0.5}, "electronic-ambient"),
        known({AMBIENT: 0.5}, "electronic"),  # filed under the parent: nothing is known of its styles
        known({AMBIENT: 0.5}, "electronic-drone"),
        known({AMBIENT: 0.5}, "jazz"),
        known({AMBIENT: 0.01}, "jazz"),
    ]
    found = measure(tracks, policy_with(Thresholds()), TAXONOMY)
    rows = {row.identifier: row for row in found.labels}
    assert (found.tracks, found.labelled, found.undecided, found.refused) == (5, 4, 1, 0)
    ambient, electronic, jazz = rows["electronic-ambient"], rows["electronic"], rows["jazz"]
    assert (ambient.positives, ambient.judged, ambient.right) == (1, 3, 1)
    assert (electronic.positives, electronic.judged, electronic.right) == (3, 4, 3)
    assert (jazz.positives, jazz.judged, jazz.precision, jazz.found) == (2, 0, None, 0.0)
    assert (found.judged, found.right) == (7, 4)
    assert found.top_ten == 1.0
    told = tell(found)
    assert (told["share_labelled"], told["precision"]) == (0.8, pytest.approx(4 / 7, abs=1e-4))
    assert tell(measure([], policy_with(Thresholds()), TAXONOMY))["share_labelled"] is None


def test_a_threshold_is_the_lowest_at_which_labels_are_right_often_enough() -> None:
    right = [known({AMBIENT: 0.5 + place / 100}, "electronic-ambient") for place in range(MIN_POSITIVES)]
    wrong = [known({AMBIENT: 0.2 + place / 200}, "rock-punk") for place in range(2 * MIN_POSITIVES)]
    fitted = fit(right + wrong, policy_with, TAXONOMY, pack="effnet")
    threshold = fitted.floor("electronic-ambient")
    assert threshold is not None
    before, after = (measure(right + wrong, policy_with(one), TAXONOMY) for one in (Thresholds(), fitted))
    row = next(row for row in after.labels if row.identifier == "electronic-ambient")
    assert (row.right, row.positives) == (MIN_POSITIVES, MIN_POSITIVES)
    assert row.precision is not None
    assert before.precision is not None
    assert after.precision is not None
    assert PRECISION <= row.precision < 0.65  # not a step higher than need be
    assert after.precision > before.precision


def test_styles_with_few_examples_or_never_right_speak_for_their_parent_only() -> None:
    few = [known({DRONE: 0.5}, "electronic-drone") for _ in range(MIN_POSITIVES - 1)]
    never = [known({AMBIENT: 0.5}, "electronic-drone", "rock-punk") for _ in range(MIN_POSITIVES)]
    fitted = fit(few, policy_with, TAXONOMY, pack="effnet")
    assert fitted.silences("electronic-drone")
    assert "electronic" not in fitted.floors  # too few of the parent as well: the built-in floor
    assert policy_with(fitted).judge(few[0].analysis).labels == ("electronic",)
    fitted = fit(few + never, policy_with, TAXONOMY, pack="effnet")
    assert fitted.floor("electronic-drone") is not None  # 39 examples now
    assert fitted.silences("electronic-ambient")
    assert policy_with(fitted).judge(never[0].analysis).labels == ("electronic",)


def test_a_parent_that_is_never_right_is_not_published() -> None:
    tracks = [known({PUNK: 0.5}, "jazz") for _ in range(50)] + [known({BOP: 0.5}, "rock") for _ in range(MIN_POSITIVES)]
    fitted = fit(tracks, policy_with, TAXONOMY, pack="effnet")
    assert fitted.silences("rock")
    assert policy_with(fitted).judge(tracks[0].analysis).labels == ()


def test_musicnns_parents_are_fitted_too() -> None:
    right = [Known(test_policy.heard({"jazz": 0.9}, {}), frozenset({"jazz"})) for _ in range(MIN_POSITIVES)]
    wrong = [Known(test_policy.heard({"jazz": 0.4}, {}), frozenset({"blues"})) for _ in range(MIN_POSITIVES)]
    fitted = fit(right + wrong, policy_with, TAXONOMY, pack="musicnn")
    assert fitted.floor("jazz") == pytest.approx(0.6, abs=1e-3)  # 2/3 of 0.9
    assert policy_with(fitted).judge(wrong[0].analysis).labels == ()
