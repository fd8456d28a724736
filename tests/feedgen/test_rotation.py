"""Rotation: the same draw in a slot, another one in the next, and everybody's turn within a month (FEEDS section 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.feed import Parts, Reason
from feedgen.candidates import Candidate
from feedgen.rotation import draw, name_slot
from feedgen.rules import DAY_US, SLOT_US, Rules
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
RULES = Rules()
NOW_US = 2000 * 3_600_000_000


def ranked(track: MakeTrack, count: int) -> list[Candidate]:
    return [Candidate(number, track(number), Parts(weight=-number), Reason.MOOD) for number in range(count)]


def numbers(order: list[Candidate]) -> list[int]:
    return [one.place for one in order]


@given(count=st.integers(0, 60), slot=st.integers(0, 10**6))
def test_a_draw_has_everybody_once_and_is_the_same_again(track: MakeTrack, count: int, slot: int) -> None:
    order = draw(ranked(track, count), seed=f"calm {slot}", decay=40.0, exploration=0.15)
    assert sorted(numbers(order)) == list(range(count))
    assert numbers(draw(ranked(track, count), seed=f"calm {slot}", decay=40.0, exploration=0.15)) == numbers(order)


def test_a_slot_is_six_hours_of_one_feed() -> None:
    start = NOW_US - NOW_US % SLOT_US
    assert name_slot("calm", start) == name_slot("calm", start + SLOT_US - 1)
    names = {name_slot("calm", start), name_slot("calm", start + SLOT_US), name_slot("heavy", start)}
    assert len(names) == 3
    assert name_slot("deep-cuts", NOW_US, length_us=DAY_US) == name_slot("deep-cuts", NOW_US + 1, length_us=DAY_US)


def test_every_slot_draws_anew_and_the_better_come_first_more_often(track: MakeTrack) -> None:
    candidates = ranked(track, 100)
    heads, places = Counter[int](), np.zeros(100)
    for slot in range(400):
        order = numbers(draw(candidates, seed=f"calm {slot}", decay=40.0, exploration=0.15))
        heads[order[0]] += 1
        places[order] += np.arange(100)
    assert len(heads) > 30
    assert places[:20].mean() < places[40:60].mean() < places[80:].mean()


def test_chances_fall_by_exp_of_the_rank_over_the_decay(track: MakeTrack) -> None:
    """Who is drawn first: of neighbours 40 ranks apart the better is first e times as often."""
    candidates = ranked(track, 120)
    heads = Counter(
        draw(candidates, seed=f"s{slot}", decay=40.0, exploration=0.0)[0].place // 40 for slot in range(3_000)
    )
    assert heads[0] / heads[1] == pytest.approx(np.e, rel=0.2)
    assert heads[1] / heads[2] == pytest.approx(np.e, rel=0.3)


def test_equals_have_equal_chances_wherever_their_addresses_put_them(track: MakeTrack) -> None:
    """A hundred that are as good as each other, behind a hundred that are better."""
    better = ranked(track, 100)
    equal = [Candidate(number, track(number), Parts(weight=-500.0), Reason.MOOD) for number in range(100, 200)]
    times = np.zeros(200)
    for slot in range(600):
        times[numbers(draw([*better, *equal], seed=f"s{slot}", decay=40.0, exploration=0.15)[:30])] += 1
    assert times[100:150].sum() == pytest.approx(times[150:].sum(), rel=0.15)
    assert times[:50].sum() > 1.5 * times[50:100].sum()


def test_15_percent_of_places_ignore_the_rank_but_never_the_first(track: MakeTrack) -> None:
    candidates = ranked(track, 400)
    shares = []
    for slot in range(30):
        order = draw(candidates, seed=f"calm {slot}", decay=80.0, exploration=0.15)
        shares.append(np.mean([one.reason is Reason.EXPLORE for one in order]))
        assert order[0].reason is Reason.MOOD
    assert np.mean(shares) == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize("admitted", [150, 400, 500])
def test_in_30_days_nine_in_ten_are_shown_to_who_reads_a_page_four_times_a_day(track: MakeTrack, admitted: int) -> None:
    """The promise to artists: 30 entries of each of 120 draws. Without exploration a large feed breaks it."""
    candidates = ranked(track, admitted)
    decay = max(RULES.decay, RULES.decay_share * admitted)

    def share_shown(exploration: float) -> float:
        shown: set[int] = set()
        for slot in range(120):
            seed = name_slot("calm", NOW_US + slot * SLOT_US)
            shown.update(numbers(draw(candidates, seed=seed, decay=decay, exploration=exploration)[:30]))
        return len(shown) / admitted

    assert share_shown(RULES.exploration) >= 0.9
    assert share_shown(0.0) <= share_shown(RULES.exploration)
