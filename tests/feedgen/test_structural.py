"""Feeds that need no mood: the newest with artists in turn, the overlooked, and what is not music (FEEDS section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.feed import Feed, FeedKind, Parts, Reason
from feedgen.candidates import Candidate
from feedgen.corpus import Corpus
from feedgen.rank import rank
from feedgen.rules import DAY_US, SLOT_US, Rules
from feedgen.structural import find_deep_cuts, measure_depth, take_turns
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
MakeCorpus = Callable[..., Corpus]
NOW_US = 2000 * DAY_US
HOUR_US = DAY_US // 24
FRESH = Feed("fresh", "Fresh", "New.", FeedKind.FRESH, min_seconds=20.0, max_seconds=1e5)
VOICES = Feed("voices", "Voices", "Said.", FeedKind.VOICES, min_seconds=20.0, max_seconds=1e5)
DEEP = Feed("deep-cuts", "Deep", "Old.", FeedKind.DEEP_CUTS)


def shown(feed: Feed, corpus: Corpus, now_us: int = NOW_US) -> list[int]:
    ranking = rank(feed, corpus, now_us=now_us, rules=Rules())
    numbers = {track.uri: track.track_id for track in corpus.tracks}
    return [numbers[entry.track_uri] for entry in ranking.entries]


def test_fresh_is_the_newest_first_by_when_we_saw_it(track: MakeTrack, corpus: MakeCorpus) -> None:
    tracks = [track(number, first_seen_us=NOW_US - number * HOUR_US, created_us=number) for number in (3, 1, 2)]
    ranking = rank(FRESH, corpus(tracks), now_us=NOW_US, rules=Rules())
    assert shown(FRESH, corpus(tracks)) == [1, 2, 3]
    assert {entry.reason for entry in ranking.entries} == {Reason.FRESH}
    assert [entry.score for entry in ranking.entries] == sorted((one.score for one in ranking.entries), reverse=True)


@pytest.mark.parametrize(
    ("changes", "in_fresh", "in_voices"),
    [
        ({}, True, False),
        ({"music": None}, True, False),  # fresh does not wait for anything to be heard
        ({"music": False, "labels": ("non-music", "non-music-speech")}, False, True),
        ({"music": False}, False, True),
        ({"music": None, "role": "speech"}, False, True),
        ({"duration_seconds": 19.0}, False, False),
        ({"duration_seconds": None}, True, False),
        ({"duration_seconds": 7200.0}, True, False),  # a mix of two hours is at home here
        ({"posts": ()}, False, False),
    ],
)
def test_who_is_in_fresh_and_who_in_voices(
    track: MakeTrack, corpus: MakeCorpus, changes: dict[str, Any], in_fresh: bool, in_voices: bool
) -> None:
    told = corpus([track(1, **changes)])
    assert (bool(shown(FRESH, told)), bool(shown(VOICES, told))) == (in_fresh, in_voices)


def test_a_third_track_within_24_hours_comes_after_the_next_other_artist(track: MakeTrack, corpus: MakeCorpus) -> None:
    flood = [track(number, artist=1, first_seen_us=NOW_US - number * HOUR_US) for number in range(5)]
    others = [track(10 + number, first_seen_us=NOW_US - (10 + number) * HOUR_US) for number in range(2)]
    assert shown(FRESH, corpus(flood + others)) == [0, 1, 10, 2, 11, 3, 4], "nobody is hidden"


def test_who_posts_two_a_day_never_waits(track: MakeTrack, corpus: MakeCorpus) -> None:
    steady = [track(number, artist=1, first_seen_us=NOW_US - number * 12 * HOUR_US) for number in range(8)]
    assert shown(FRESH, corpus(steady)) == list(range(8))


@given(made=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 72)), max_size=40))
def test_turns_lose_nobody_and_keep_each_artists_order(track: MakeTrack, made: list[tuple[int, int]]) -> None:
    tracks = [
        track(number, artist=artist, first_seen_us=NOW_US - hours * HOUR_US)
        for number, (artist, hours) in enumerate(sorted(made, key=lambda one: one[1]))
    ]
    newest = [Candidate(place, one, Parts(), Reason.FRESH) for place, one in enumerate(tracks)]
    order = take_turns(newest)
    assert sorted(one.place for one in order) == list(range(len(tracks)))
    for artist in {one.did for one in tracks}:
        own = [one.place for one in order if one.track.did == artist]
        assert own == sorted(own), "an artist's newer track comes before the older one"


def names(candidates: Sequence[Candidate]) -> list[int]:
    return [one.track.track_id for one in candidates]


def test_deep_cuts_are_old_unheard_and_music(track: MakeTrack, corpus: MakeCorpus) -> None:
    old, older, loved = (
        track(number, first_seen_us=NOW_US - days * DAY_US) for number, days in enumerate((40, 90, 90))
    )
    new = track(3, first_seen_us=NOW_US - 29 * DAY_US)
    talk = track(4, first_seen_us=0, music=False)
    mix = track(5, first_seen_us=0, duration_seconds=3600.0)
    found = find_deep_cuts(DEEP, corpus([old, older, loved, new, talk, mix], likes={2: 50}), now_us=NOW_US)
    assert names(found) == [1, 0, 2]
    assert found[0].reason is Reason.DEEP


def test_what_its_artist_shows_with_a_card_goes_a_little_ahead(track: MakeTrack, corpus: MakeCorpus) -> None:
    bare = track(1, first_seen_us=0, posts=[{"card": False}])
    shown_with_card = track(2, first_seen_us=0)
    assert names(find_deep_cuts(DEEP, corpus([bare, shown_with_card]), now_us=NOW_US)) == [2, 1]


def test_depth_grows_with_age_and_falls_with_likes() -> None:
    assert measure_depth(30.0, 0) == 0.63
    assert measure_depth(1e6, 0) == pytest.approx(1.0)
    assert measure_depth(90.0, 0) > measure_depth(90.0, 1) > measure_depth(90.0, 30) > 0


def test_what_was_found_in_the_same_weeks_is_equally_overlooked(track: MakeTrack, corpus: MakeCorpus) -> None:
    """As after a backfill: nobody likes anything yet, all were found within days. Neither the hour nor an address says
    who is seen first.
    """
    count = 200
    tracks = [track(number, first_seen_us=NOW_US - 200 * DAY_US - number * HOUR_US) for number in range(count)]
    told, firsts = corpus(tracks), list[int]()
    for day in range(60):
        firsts += shown(DEEP, told, NOW_US + day * DAY_US)[:30]
    assert sum(number < count // 2 for number in firsts) / len(firsts) == pytest.approx(0.5, abs=0.05)


def test_deep_cuts_change_every_day_and_not_within_one(track: MakeTrack, corpus: MakeCorpus) -> None:
    told = corpus([track(number, first_seen_us=0) for number in range(60)])
    day = NOW_US - NOW_US % DAY_US
    morning, evening, tomorrow = (shown(DEEP, told, day + hours * HOUR_US) for hours in (0, 23, 24))
    assert morning == evening != tomorrow
    assert sorted(morning) == sorted(tomorrow) == list(range(60))


def test_a_slot_is_a_quarter_of_a_day() -> None:
    assert SLOT_US * 4 == DAY_US
