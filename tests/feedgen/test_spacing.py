"""Caps: who stands how near to whom, in every window (FEEDS section 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from core.feed import Parts, Reason
from feedgen.candidates import Candidate
from feedgen.ranking import Ledger, Why
from feedgen.rules import Rules
from feedgen.spacing import space_out
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
RULES = Rules()


def line_up(tracks: Sequence[RankableTrack]) -> list[Candidate]:
    return [Candidate(place, one, Parts(), Reason.MOOD, one.links[0]) for place, one in enumerate(tracks)]


def by_artists(track: MakeTrack, artists: Sequence[int]) -> list[Candidate]:
    return line_up([track(number, artist=artist) for number, artist in enumerate(artists)])


def most_in_a_window(kinds: Sequence[Hashable], width: int) -> int:
    windows = [kinds[at : at + width] for at in range(max(1, len(kinds) - width + 1))]
    return max(max(Counter(kind for kind in window if kind is not None).values(), default=0) for window in windows)


TRACKS = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)), max_size=150)


@settings(max_examples=60, deadline=None)
@given(made=TRACKS)
def test_every_cap_holds_in_every_window(track: MakeTrack, made: list[tuple[int, int, int, int]]) -> None:
    """1 of an artist in any 10, 2 in any 50, 1 of an album in any 20, 1 of a song in any 50."""
    order = line_up(
        [
            track(number, artist=artist, album=f"Album {album}", title=f"Song {song}", style=f"style-{style}")
            for number, (artist, album, song, style) in enumerate(made)
        ]
    )
    placed = space_out(order, RULES, Ledger())
    artists = [one.track.did for one in placed]
    assert most_in_a_window(artists, 10) <= 1
    assert most_in_a_window(artists, 50) <= 2
    assert most_in_a_window([(one.track.did, one.track.album) for one in placed], 20) <= 1
    assert most_in_a_window([(one.track.did, one.track.title) for one in placed], 50) <= 1
    assert len({one.track.track_id for one in placed}) == len(placed)
    assert set(artists) == {one.track.did for one in order}, "nobody is left out altogether"


@settings(max_examples=60, deadline=None)
@given(styles=st.lists(st.integers(0, 2), min_size=1, max_size=120))
def test_a_style_takes_more_than_40_percent_only_where_nothing_else_is_left(
    track: MakeTrack, styles: list[int]
) -> None:
    order = line_up([track(number, style=f"style-{style}") for number, style in enumerate(styles)])
    placed = [one.track.style for one in space_out(order, RULES, Ledger())]
    assert len(placed) == len(order)
    left = Counter(f"style-{style}" for style in styles)
    for place, style in enumerate(placed):
        before = Counter(placed[max(0, place - 9) : place])
        if before[style] >= 4:
            free = [other for other, count in left.items() if count and before[other] < 4]
            assert not free, "another style had to come first"
        assert style is not None
        left[style] -= 1


def test_a_feed_of_one_style_shows_them_all(track: MakeTrack) -> None:
    order = line_up([track(number, style="electronic-drone") for number in range(80)])
    ledger = Ledger()
    assert space_out(order, RULES, ledger) == order
    assert ledger.rows == [], "nobody gave way to anybody"


@given(artists=st.lists(st.integers(0, 25), max_size=150))
def test_an_artists_own_order_is_kept(track: MakeTrack, artists: list[int]) -> None:
    order = by_artists(track, artists)
    placed = space_out(order, RULES, Ledger())
    for artist in {one.track.did for one in order}:
        own = [one.track.track_id for one in placed if one.track.did == artist]
        assert own == [one.track.track_id for one in order if one.track.did == artist][: len(own)]


def test_who_comes_too_soon_waits_for_the_next_free_place_and_is_told_of(track: MakeTrack) -> None:
    ledger = Ledger()
    placed = space_out(by_artists(track, [0, 0, 0, *range(1, 40), 0]), RULES, ledger)
    places = {one.track.track_id: place for place, one in enumerate(placed) if one.track.track_id in (0, 1, 2, 42)}
    assert places == {0: 0, 1: 10}
    assert [(one.why, one.place) for one in ledger.rows] == [(Why.ARTIST, 10), (Why.ARTIST, None), (Why.ARTIST, None)]


def test_versions_of_a_song_keep_their_distance(track: MakeTrack) -> None:
    rules = replace(RULES, near=(50, 50), far=(50, 50))
    titles = ["Song", "Song (live in Bern)", *(f"Other {number}" for number in range(60))]
    order = line_up([track(number, artist=1, title=title) for number, title in enumerate(titles)])
    placed = [one.track.title for one in space_out(order, rules, Ledger())]
    assert (placed.index("Song"), placed.index("Song (live in Bern)")) == (0, 50)


def test_at_most_500_entries(track: MakeTrack) -> None:
    ledger = Ledger()
    assert len(space_out(by_artists(track, range(700)), RULES, ledger)) == 500
    assert ledger.rows == [], "whoever is beyond the end is not set aside"
