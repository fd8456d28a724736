"""Artists whom several mood feeds admit stand back in all but one of them, another one every day (FEEDS section 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from core.feed import Feed, FeedKind
from feedgen.corpus import Corpus
from feedgen.damping import share_artists
from feedgen.fits import Fits
from feedgen.rank import rank
from feedgen.rules import DAY_US, SLOT_US, Rules
from feedgen.scoring import measure, measure_damping
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
MakeCorpus = Callable[..., Corpus]
RULES = Rules()
MOODS = [Feed(f"mood-{number}", "Mood", "Of a mood.") for number in range(6)]
MIDNIGHT_US = 20_000 * DAY_US


def share(corpus: Corpus, *, least: int = 1, rules: Rules = RULES) -> Corpus:
    return share_artists(MOODS, corpus, now_us=MIDNIGHT_US, rules=rules, least=least)


def of_one_mood_each(track: MakeTrack, corpus: MakeCorpus, moods_of: Mapping[int, range]) -> Corpus:
    """One track of each artist, which fits these moods well and the others not at all."""
    tracks = [track(number, first_seen_us=0) for number in moods_of]
    fits = {
        feed.rkey: Fits(tags=np.array([3.0 if place in moods else -3.0 for moods in moods_of.values()]))
        for place, feed in enumerate(MOODS)
    }
    return corpus(tracks, fits)


def test_who_is_in_one_feed_loses_nothing_and_who_is_in_several_a_tenth_at_most(
    track: MakeTrack, corpus: MakeCorpus
) -> None:
    whole = share(of_one_mood_each(track, corpus, {0: range(1), 1: range(6)}))
    single, star = (one.did for one in whole.tracks)
    assert whole.wanted == {star: tuple(feed.rkey for feed in MOODS)}
    assert measure_damping(single, MOODS[0], whole, MIDNIGHT_US, RULES) == 1.0
    told = sorted(measure_damping(star, feed, whole, MIDNIGHT_US, RULES) for feed in MOODS)
    assert told == pytest.approx([1 - 0.1 * ahead / (ahead + 1) for ahead in (5, 4, 3, 2, 1, 0)])
    assert min(told) >= 0.9


def test_every_day_it_is_another_feeds_turn_and_within_a_day_always_the_same(
    track: MakeTrack, corpus: MakeCorpus
) -> None:
    whole = share(of_one_mood_each(track, corpus, {1: range(6)}))
    (star,) = (one.did for one in whole.tracks)

    def turn(now_us: int) -> str:
        (first,) = (feed.rkey for feed in MOODS if measure_damping(star, feed, whole, now_us, RULES) == 1.0)
        return first

    days = [turn(MIDNIGHT_US + day * DAY_US) for day in range(30)]
    assert set(days) == {feed.rkey for feed in MOODS}, "each has its turn within a month"
    assert max(Counter(days).values()) <= 10
    for day, first in enumerate(days):
        assert {turn(MIDNIGHT_US + day * DAY_US + hour * DAY_US // 24) for hour in range(24)} == {first}


def test_dark_feeds_and_feeds_that_are_of_no_mood_take_no_turn(track: MakeTrack, corpus: MakeCorpus) -> None:
    whole = of_one_mood_each(track, corpus, {0: range(2), 1: range(2), 2: range(1)})
    assert share(whole, least=3).wanted == {}
    assert set(share(whole, least=2).wanted) == {one.did for one in whole.tracks[:2]}
    fresh = Feed("fresh", "Fresh", "New.", FeedKind.FRESH)
    assert share_artists([fresh, MOODS[0]], whole, now_us=MIDNIGHT_US, rules=RULES, least=1).wanted == {}


def test_nobody_is_kept_out_where_there_is_nobody_else(track: MakeTrack, corpus: MakeCorpus) -> None:
    """A corpus of one artist: all its tracks lose the same, so the order and its length are what they were."""
    tracks = [track(number, artist=1, first_seen_us=0) for number in range(60)]
    fits = {feed.rkey: Fits(tags=np.arange(60) / 10 + place) for place, feed in enumerate(MOODS)}
    whole = corpus(tracks, fits)
    shared = share(whole)
    assert shared.wanted
    rules = replace(RULES, near=(60, 60), far=(60, 60))
    for feed in MOODS:
        one, other = (rank(feed, told, now_us=MIDNIGHT_US, rules=rules) for told in (whole, shared))
        assert [entry.track_uri for entry in one.entries] == [entry.track_uri for entry in other.entries]
        assert len(other.entries) == 9


def test_the_weight_says_what_was_lost_whether_or_not_a_track_was_admitted(
    track: MakeTrack, corpus: MakeCorpus
) -> None:
    whole = share(of_one_mood_each(track, corpus, {0: range(6), 1: range(6)}))
    lost = 0
    for feed in MOODS:
        for entry in rank(feed, whole, now_us=MIDNIGHT_US, rules=RULES).entries:
            parts = entry.parts
            product = parts.mood * parts.freshness * parts.popularity * parts.damping
            assert parts.weight == pytest.approx(product, abs=1e-12)
            place = whole.places[entry.track_uri]
            assert measure(feed, whole, place, now_us=MIDNIGHT_US, rules=RULES) == parts
            lost += parts.damping < 1.0
    assert lost == 10, "two artists, each damped in five of six feeds"


def test_readers_of_several_feeds_meet_the_same_artist_less_often(track: MakeTrack, corpus: MakeCorpus) -> None:
    """Twenty artists suit all six feeds best; 80 others suit some. On how many first pages is an artist of the twenty
    at once?
    """
    dice, count = np.random.default_rng(5), 300
    tracks = [track(number, artist=number // 3, first_seen_us=0) for number in range(count)]
    best = np.arange(count) // 3 < 20
    fits = {feed.rkey: Fits(tags=np.where(best, 3.0, 0.0) + dice.random(count)) for feed in MOODS}
    rules = replace(RULES, percentile=0.6, decay=10.0, decay_share=0.0, diversify_from=count + 1)

    def met(damping: float) -> float:
        told = replace(rules, damping=damping)
        whole = share(corpus(tracks, fits), rules=told)
        pages = Counter[str]()
        for slot in range(12):
            for feed in MOODS:
                entries = rank(feed, whole, now_us=MIDNIGHT_US + slot * SLOT_US, rules=told).entries[:10]
                pages.update({whole.tracks[whole.places[entry.track_uri]].did for entry in entries})
        stars = {one.did for one in whole.tracks[:60]}
        return sum(times for artist, times in pages.items() if artist in stars) / 12 / 20

    without, with_damping, strong = (met(damping) for damping in (0.0, 0.1, 0.3))
    assert all(later < earlier for earlier, later in pairwise((without, with_damping, strong)))
