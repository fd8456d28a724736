"""Thirty days of a feed: who had a turn, how evenly, how far apart entries sound, how many belong there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from core.feed import Feed, FeedKind
from feedgen.corpus import Corpus
from feedgen.fits import Fits
from feedgen.likeness import measure_albums
from feedgen.month import live_a_month, measure_distance, measure_gini
from feedgen.rules import Rules
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
MakeCorpus = Callable[..., Corpus]
NOW_US = 4000 * 3_600_000_000
CALM = Feed("calm", "Calm", "Calm music.")


def calm_corpus(track: MakeTrack, corpus: MakeCorpus, scores: list[float], *, artists: int | None = None) -> Corpus:
    """Tracks that fit `calm` so well, in standard deviations; by so many artists, else everybody by another one."""
    tracks = [track(number, artist=number % (artists or len(scores))) for number in range(len(scores))]
    return corpus(tracks, {"calm": Fits(tags=np.array(scores))})


@pytest.mark.parametrize(
    ("counts", "gini"), [([], 0.0), ([0, 0], 0.0), ([3, 3, 3], 0.0), ([0, 0, 0, 8], 0.75), ([1, 3], 0.25)]
)
def test_gini_is_0_for_equals_and_near_1_for_one_who_has_all(counts: list[int], gini: float) -> None:
    assert measure_gini(counts) == pytest.approx(gini)


def test_distance_is_the_mean_over_every_two_that_were_heard(track: MakeTrack, corpus: MakeCorpus) -> None:
    random = np.random.default_rng(3)
    sound = random.standard_normal((6, 8)).astype(np.float32)
    sound /= np.linalg.norm(sound, axis=1, keepdims=True)
    sound[4] = 0.0  # not heard
    some = corpus([track(number) for number in range(6)], sound=sound)
    places = [0, 2, 3, 4, 5]
    pairs = [1 - sound[one] @ sound[other] for one in (0, 2, 3, 5) for other in (0, 2, 3, 5) if one < other]
    assert measure_distance(some, places) == pytest.approx(np.mean(pairs), abs=1e-5)
    assert measure_distance(some, [0, 4]) is None


def test_in_30_days_nine_in_ten_of_the_admitted_have_a_turn_through_the_ranking_itself(
    track: MakeTrack, corpus: MakeCorpus
) -> None:
    """FEEDS 3: 150 admitted tracks. Without exploration and with the first 40 ranks favoured fewer artists get far."""
    scores = [3.0 - number / 1000 for number in range(150)] + [-3.0] * 850
    whole = calm_corpus(track, corpus, scores)
    month = live_a_month(CALM, whole, now_us=NOW_US, rules=Rules(), known={})
    assert (month.admitted, month.artists) == (150, 150)
    assert month.share is not None
    assert month.share >= 0.9
    narrow = live_a_month(
        CALM, whole, now_us=NOW_US, rules=Rules(decay=4.0, decay_share=0.0, exploration=0.0), known={}
    )
    assert narrow.shown < month.shown
    assert narrow.gini > month.gini


def zipf(number: int) -> int:
    """One artist has a third of 900 tracks, the next a sixth, and so on."""
    return int(900 / (900 - number) / 1.5) if number < 870 else number


@pytest.mark.parametrize(
    ("artist_of", "style_of", "step"),
    [
        pytest.param(lambda number: 0, str, 1.0, id="one artist"),
        pytest.param(lambda number: number % 3, str, 1.0, id="three artists"),
        pytest.param(lambda number: number % 25, str, 1.0, id="25 artists"),
        pytest.param(zipf, str, 1.0, id="a few have nearly all"),
        pytest.param(lambda number: number // 2, lambda number: "ambient", 1.0, id="one style"),
        pytest.param(lambda number: number, str, 1e-9, id="all fit nearly as well"),
        pytest.param(lambda number: number, str, 0.0, id="15 percent fit, all as well"),
    ],
)
def test_the_promise_holds_in_corpora_of_any_shape(
    track: MakeTrack,
    corpus: MakeCorpus,
    artist_of: Callable[[int], int],
    style_of: Callable[[int], str],
    step: float,
) -> None:
    """FEEDS 3: of an artist no more are admitted than can have a turn, and equals have equal chances."""
    order = np.random.default_rng(5).permutation(900)
    tracks = [track(number, artist=artist_of(number), style=style_of(number)) for number in range(900)]
    scores = np.where(order < 135, 3.0, 0.0) + step * order
    month = live_a_month(CALM, corpus(tracks, {"calm": Fits(tags=scores)}), now_us=NOW_US, rules=Rules(), known={})
    assert month.share is not None
    assert month.admitted >= 30
    assert month.share >= 0.9


def test_one_recording_is_owed_one_turn(track: MakeTrack, corpus: MakeCorpus) -> None:
    whole = calm_corpus(track, corpus, [2.0] * 6)
    twin = replace(whole.tracks[5], audio_key=whole.tracks[0].audio_key)
    twins = corpus([*whole.tracks[:5], twin], whole.fits)
    month = live_a_month(CALM, twins, now_us=NOW_US, rules=Rules(), known={})
    assert (month.admitted, month.shown, month.share) == (5, 5, 1.0)


def test_precision_is_of_what_something_is_known_of_and_stands_beside_chance(
    track: MakeTrack, corpus: MakeCorpus
) -> None:
    """Two tracks in the feed: one belongs there, of one nothing is known. Outside, three belong elsewhere."""
    whole = calm_corpus(track, corpus, [2.0, 2.0, -2.0, -2.0, -2.0])
    uris = [one.uri for one in whole.tracks]
    known = {uris[0]: frozenset({"calm"})} | dict.fromkeys(uris[2:], frozenset({"heavy"}))
    month = live_a_month(CALM, whole, now_us=NOW_US, rules=Rules(), known=known)
    assert month.precision is not None
    assert (month.precision.share, month.precision.chance) == (1.0, 0.25)
    assert (month.precision.judged, month.precision.known, month.precision.right) == (1, 4, 1)
    assert month.entries == 2
    nobody_said = live_a_month(CALM, whole, now_us=NOW_US, rules=Rules(), known={uris[2]: frozenset({"heavy"})})
    assert nobody_said.precision is None


def test_a_feed_without_draws_owes_nobody_a_turn(track: MakeTrack, corpus: MakeCorpus) -> None:
    fresh = Feed("fresh", "Fresh", "New.", kind=FeedKind.FRESH)
    with pytest.raises(ValueError, match="fresh"):
        live_a_month(fresh, corpus([track(1)]), now_us=NOW_US, rules=Rules(), known={})


def test_same_album_precision_is_of_albums_that_have_five_others(track: MakeTrack, corpus: MakeCorpus) -> None:
    """Two albums of six, one by each artist, in two corners of the space; one track of the first lies in the second."""
    tracks = [track(number, artist=number // 6, album=f"Album {number // 6}") for number in range(12)]
    tracks += [track(12, artist=1, album="A single")]
    sound = np.zeros((13, 4), np.float32)
    sound[:6, 0] = sound[6:, 1] = 1.0
    found = measure_albums(corpus(tracks, sound=sound))
    assert found is not None
    assert (found.tracks, found.albums, found.share) == (12, 2, pytest.approx(1.0, abs=0.1))
    assert found.chance == pytest.approx(5 / 12)
    sound[0] = (0.0, 1.0, 0.0, 0.0)
    moved = measure_albums(corpus(tracks, sound=sound))
    assert moved is not None
    assert moved.share < found.share
    assert measure_albums(corpus(tracks[5:8], sound=sound[5:8])) is None
