"""Scores of mood feeds: percentiles, two opinions, what keeps a track out, freshness and fame (FEEDS section 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.feed import Feed, TagRule, Veto
from feedgen.checks import Checks
from feedgen.corpus import Corpus
from feedgen.fits import Fits
from feedgen.hearsay import Gate
from feedgen.opinions import place_among
from feedgen.ranking import Ledger, Why
from feedgen.rules import Rules
from feedgen.scoring import Admitted, admit, measure_freshness, measure_popularity
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
MakeCorpus = Callable[..., Corpus]
RULES = Rules()
FEED = Feed("calm", "Calm", "Quiet.", tags={"mtt:quiet": 1.0})
NOW_US = 2000 * 3_600_000_000
DAY_US = 24 * 3_600_000_000


def scores(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.float64)


def judge(corpus: Corpus, feed: Feed = FEED, **changes: Any) -> tuple[Admitted, Ledger]:
    ledger = Ledger()
    return admit(feed, corpus, now_us=NOW_US, rules=replace(RULES, **changes), ledger=ledger), ledger


def numbers(admitted: Admitted) -> list[int]:
    return [candidate.track.track_id for candidate in admitted.candidates]


def test_below_50_tracks_scores_are_absolute(track: MakeTrack, corpus: MakeCorpus) -> None:
    """A piece 0.75 standard deviations up is as calm as music gets, however few pieces there are (issue 2)."""
    tracks = [track(number) for number in range(49)]
    admitted, _ = judge(corpus(tracks, {"calm": Fits(tags=np.arange(49) / 10)}))
    assert admitted.scored == 49
    assert admitted.threshold == pytest.approx(0.7734, abs=1e-4)  # the normal distribution below 0.75
    assert numbers(admitted) == list(range(48, 7, -1))
    assert admitted.candidates[0].parts.mood == pytest.approx(1.0, abs=1e-5)


def test_from_50_tracks_the_upper_15_percent_are_admitted(track: MakeTrack, corpus: MakeCorpus) -> None:
    tracks = [track(number) for number in range(100)]
    admitted, _ = judge(corpus(tracks, {"calm": Fits(tags=np.arange(100) / 100 - 5)}))  # all below the absolute bar
    assert numbers(admitted) == list(range(99, 84, -1))
    assert admitted.candidates[0].parts.mood == pytest.approx(0.995)


def test_only_tracks_with_a_score_are_the_corpus(track: MakeTrack, corpus: MakeCorpus) -> None:
    admitted, _ = judge(corpus([track(1), track(2)], {"calm": Fits(tags=scores(1.0, np.nan))}))
    assert (admitted.scored, numbers(admitted)) == (1, [1])
    assert judge(corpus([track(1)]))[0].candidates == [], "a feed that nothing was asked for"


def test_a_percentile_is_the_share_that_scores_less() -> None:
    placed = place_among(scores(*range(100), np.nan), RULES)
    assert placed is not None
    assert placed[[0, 50, 99]] == pytest.approx([0.005, 0.505, 0.995])
    assert np.isnan(placed[100])
    same = place_among(np.zeros(60), RULES)
    assert same is not None
    assert set(same.tolist()) == {0.5}, "whoever is like all others is in the middle"


def test_prompts_count_more_than_tags_and_each_has_to_agree(track: MakeTrack, corpus: MakeCorpus) -> None:
    """FEEDS 2.3: 0.6 of the one, 0.4 of the other, and neither below the 60th percentile."""
    tracks = [track(number) for number in range(100)]
    prompts, tags = np.arange(100.0), np.arange(100.0)
    tags[99], tags[98] = 58.5, 60.5  # among the others: 59 and 61 of them score less
    admitted, ledger = judge(corpus(tracks, {"calm": Fits(prompts, tags)}), percentile=0.8)
    best = {candidate.track.track_id: candidate.parts for candidate in admitted.candidates}
    assert best[98].prompt == pytest.approx(0.985)
    assert best[98].mood == pytest.approx(0.6 * 0.985 + 0.4 * best[98].tags, abs=1e-9)  # type: ignore[operator]
    assert 99 not in best
    assert [(one.track_uri, one.why) for one in ledger.rows] == [(tracks[99].uri, Why.ONE_OPINION)]


def test_where_one_model_is_missing_the_other_counts(track: MakeTrack, corpus: MakeCorpus) -> None:
    tracks = [track(number) for number in range(100)]
    rising = np.arange(100.0)
    alone, _ = judge(corpus(tracks, {"calm": Fits(prompts=rising)}))
    assert numbers(alone) == list(range(99, 84, -1))
    half = np.where(rising < 50, rising, np.nan)
    both, _ = judge(corpus(tracks, {"calm": Fits(prompts=half, tags=rising)}))
    assert both.scored == 100
    assert {candidate.parts.prompt for candidate in both.candidates if candidate.track.track_id > 49} == {None}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"labels": ("rock", "electronic")}, Why.VETO),
        ({"duration_seconds": 29.9}, Why.DURATION),
        ({"duration_seconds": 30.0}, None),
        ({"duration_seconds": 1200.0}, None),
        ({"duration_seconds": 1200.1}, Why.DURATION),
        ({"duration_seconds": None}, None),
        ({"music": False}, Why.NOT_MUSIC),
        ({"music": None}, Why.NOT_MUSIC),
        ({"speech": 0.51}, Why.SPEECH),
        ({"speech": 0.5}, None),
    ],
)
def test_what_keeps_a_track_out_whatever_its_score(
    track: MakeTrack, corpus: MakeCorpus, changes: dict[str, Any], why: Why | None
) -> None:
    feed = replace(FEED, vetoes=(Veto(("rock",), TagRule({"mtt:rock": 1.0}, 1.0)),))
    admitted, ledger = judge(corpus([track(1, **changes)], {"calm": Fits(tags=scores(3.0))}), feed)
    assert [one.why for one in ledger.rows] == ([] if why is None else [why])
    assert numbers(admitted) == ([1] if why is None else [])


def test_field_recordings_enter_where_a_feed_wants_them(track: MakeTrack, corpus: MakeCorpus) -> None:
    night = track(1, music=False, labels=("non-music", "non-music-field-recording"), speech=0.9)
    talk = track(2, music=False, labels=("non-music", "non-music-speech"))
    sleep = replace(FEED, non_music=("non-music-field-recording",))
    told = corpus([night, talk], {"calm": Fits(tags=scores(3.0, 3.0))})
    assert numbers(judge(told, sleep)[0]) == [1]
    assert numbers(judge(told)[0]) == []


def test_a_gate_bars_and_says_by_how_much(track: MakeTrack, corpus: MakeCorpus) -> None:
    gate = Gate(Why.VETO, "rock-punk", scores(0.2, 0.1), np.array([True, False]))
    admitted, ledger = judge(corpus([track(1), track(2)], {"calm": Fits(tags=scores(3.0, 3.0), gates=(gate,))}))
    assert numbers(admitted) == [2]
    assert [(one.why, one.detail) for one in ledger.rows] == [(Why.VETO, "rock-punk 0.20")]


def test_a_feed_whose_prompts_mean_nothing_and_that_has_no_tags_is_paused(track: MakeTrack, corpus: MakeCorpus) -> None:
    checks = Checks(0.1, 2.5, 0.0, 0.3, None)
    admitted, _ = judge(corpus([track(1)], {"calm": Fits(checks=checks)}))
    assert (admitted.candidates, admitted.checks) == ([], checks)
    assert "0 of 3" in admitted.paused
    goes_on, _ = judge(corpus([track(1)], {"calm": Fits(tags=scores(3.0), checks=checks)}))
    assert (goes_on.paused, numbers(goes_on)) == ("", [1])


def test_a_feed_is_made_from_the_best_400_by_each_opinion_and_what_is_new(track: MakeTrack, corpus: MakeCorpus) -> None:
    tracks = [track(number, first_seen_us=NOW_US if number == 4000 else 0) for number in range(6000)]
    rising = np.arange(6000.0)
    admitted, _ = judge(corpus(tracks, {"calm": Fits(prompts=rising)}), percentile=0.5)
    assert set(numbers(admitted)) == {*range(5600, 6000), 4000}
    crossed = np.where(rising >= 5600, rising - 1000, np.where(rising >= 4600, rising + 1000, rising))
    both, _ = judge(corpus(tracks, {"calm": Fits(prompts=rising, tags=crossed)}), percentile=0.5)
    found = set(numbers(both))
    assert 4000 in found
    assert len(found) == 501, "more could not have their turn within a month"
    assert found <= {*range(5200, 6000), 4000}
    assert found & {*range(5200, 5600)}
    assert found & {*range(5600, 6000)}


def test_who_may_not_enter_takes_nobodys_place_in_the_pool(track: MakeTrack, corpus: MakeCorpus) -> None:
    """A veto bars the 600 best by either opinion: the feed is made of the 400 best of the others, not of nobody."""
    tracks = [track(number, first_seen_us=0) for number in range(4000)]
    rising = np.arange(4000.0)
    gate = Gate(Why.VETO, "rock-punk", np.ones(4000), rising >= 3400)
    admitted, ledger = judge(corpus(tracks, {"calm": Fits(prompts=rising, gates=(gate,))}), percentile=0.5)
    assert set(numbers(admitted)) == set(range(3000, 3400))
    assert {one.why for one in ledger.rows} == {Why.VETO}
    assert ledger.rows[0].track_uri == tracks[3999].uri, "the best of those that were kept out are told of"
    disagreeing = np.where(rising >= 3400, 0.0, rising)  # tags speak against the 600 best by prompts
    both, ledger = judge(corpus(tracks, {"calm": Fits(prompts=rising, tags=disagreeing)}), percentile=0.5)
    assert set(range(3000, 3400)) == set(numbers(both))
    assert {one.why for one in ledger.rows} == {Why.ONE_OPINION}


def test_of_an_artist_a_feed_takes_no_more_than_have_their_turn_within_a_month(
    track: MakeTrack, corpus: MakeCorpus
) -> None:
    """One who has the 500 best tracks leaves the pool to others but for the best 30; what is new comes on top."""
    tracks = [
        track(number, artist=0 if number >= 3500 else number + 1, first_seen_us=NOW_US if number == 3600 else 0)
        for number in range(4000)
    ]
    admitted, _ = judge(corpus(tracks, {"calm": Fits(tags=np.arange(4000.0))}), percentile=0.5)
    assert set(numbers(admitted)) == {*range(3970, 4000), 3600, *range(3130, 3500)}


@pytest.mark.parametrize("count", [3, 60])
def test_what_is_no_number_is_no_score(track: MakeTrack, corpus: MakeCorpus, count: int) -> None:
    """NaN and infinity, in a corpus of any size, are as if nobody had listened."""
    values = np.full(count, 3.0) + np.arange(count)
    values[:3] = (np.nan, np.inf, -np.inf)
    admitted, _ = judge(corpus([track(number) for number in range(count)], {"calm": Fits(values, values)}))
    assert admitted.scored == count - 3
    assert not {0, 1, 2} & set(numbers(admitted))


def test_a_fresh_track_gains_at_most_30_percent_and_loses_half_in_14_days() -> None:
    assert measure_freshness(NOW_US, NOW_US, RULES) == pytest.approx(1.3)
    assert measure_freshness(NOW_US - 14 * DAY_US - NOW_US % (DAY_US // 4), NOW_US, RULES) == pytest.approx(1.15)
    assert measure_freshness(0, NOW_US, RULES) == pytest.approx(1.0, abs=0.01)


def test_p113_freshness_holds_still_within_six_hours() -> None:
    start = NOW_US - NOW_US % (DAY_US // 4)
    told = {measure_freshness(start - 5 * DAY_US, start + minute * 60_000_000, RULES) for minute in range(360)}
    assert len(told) == 1


def test_fame_is_worth_5_percent_at_most() -> None:
    assert measure_popularity(0, RULES) == pytest.approx(0.95)
    assert measure_popularity(100, RULES) == pytest.approx(1.05)
    assert measure_popularity(10**9, RULES) == pytest.approx(1.05)
    rising = [measure_popularity(likes, RULES) for likes in range(101)]
    assert rising == sorted(rising)


def test_the_weight_is_the_product_of_its_parts(track: MakeTrack, corpus: MakeCorpus) -> None:
    admitted, _ = judge(corpus([track(1)], {"calm": Fits(tags=scores(2.0))}, likes={0: 7}))
    parts = admitted.candidates[0].parts
    assert parts.weight == pytest.approx(parts.mood * parts.freshness * parts.popularity, abs=1e-12)
    assert parts.popularity == measure_popularity(7, RULES)
    assert (parts.prompt, parts.tags) == (None, parts.mood)


def test_equal_weights_do_not_depend_on_the_order_of_tracks(track: MakeTrack, corpus: MakeCorpus) -> None:
    tracks = [track(number) for number in range(20)]
    level = Fits(tags=np.full(20, 2.0))
    assert numbers(judge(corpus(tracks, {"calm": level}))[0]) == numbers(
        judge(corpus(tracks[::-1], {"calm": level}))[0]
    )
