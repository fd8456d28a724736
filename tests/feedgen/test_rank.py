"""Ranking: admission, vetoes, duplicates, artist caps, and which post stands for a track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.feed import MoodFeed
from core.link import LinkRule
from feedgen.posts import PostRules, usable_posts
from feedgen.rank import Ranked, Rules, admission_threshold, normalise_title, rank, space_artists, weigh
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
RULES = Rules()
FEED = MoodFeed("calm", "Calm", "Quiet.", {"mtt:quiet": 1.0}, veto=("rock", "rock-punk"))
NOW_US = 2000 * 3_600_000_000
DAY_US = 24 * 3_600_000_000


def order(tracks: Sequence[RankableTrack], scores: dict[int, float] | None = None, **changes: Any) -> list[int]:
    given_scores = scores if scores is not None else {track.track_id: 2.0 for track in tracks}
    ranking = rank(FEED, tracks, given_scores, now_us=NOW_US, rules=replace(RULES, **changes))
    return [one.track.track_id for one in ranking.ranked]


# Admission


def test_below_50_tracks_scores_are_absolute(track: MakeTrack) -> None:
    tracks = [track(number) for number in range(49)]
    scores = {number: number / 10 for number in range(49)}  # 0.0 .. 4.8
    ranking = rank(FEED, tracks, scores, now_us=NOW_US, rules=RULES)
    assert (ranking.threshold, ranking.scored) == (0.75, 49)
    assert [one.track.track_id for one in ranking.ranked] == list(range(48, 7, -1))


def test_from_50_tracks_the_upper_15_percent_are_admitted(track: MakeTrack) -> None:
    tracks = [track(number) for number in range(100)]
    scores = {number: number / 100 - 5 for number in range(100)}  # all far below the absolute bar
    ranking = rank(FEED, tracks, scores, now_us=NOW_US, rules=RULES)
    assert [one.track.track_id for one in ranking.ranked] == list(range(99, 84, -1))
    assert admission_threshold([1.0] * 50, RULES) == 1.0
    assert admission_threshold([], RULES) == 0.75


def test_only_scored_tracks_are_the_corpus(track: MakeTrack) -> None:
    ranking = rank(FEED, [track(1), track(2)], {1: 1.0, 3: 9.0}, now_us=NOW_US, rules=RULES)
    assert (ranking.scored, ranking.matching, ranking.with_post) == (1, 1, 1)


def test_labels_and_durations_keep_out(track: MakeTrack) -> None:
    tracks = [
        track(1, labels=("rock", "electronic")),
        track(2, labels=("electronic",)),
        track(3, duration_seconds=29.9),
        track(4, duration_seconds=30.0),
        track(5, duration_seconds=1200.0),
        track(6, duration_seconds=1200.1),
        track(7, duration_seconds=None),
    ]
    assert order(tracks) == [2, 4, 5, 7]


def test_a_track_without_a_usable_post_counts_as_coverage_only(track: MakeTrack) -> None:
    ranking = rank(FEED, [track(1, posts=()), track(2)], {1: 2.0, 2: 1.0}, now_us=NOW_US, rules=RULES)
    assert [one.track.track_id for one in ranking.ranked] == [2]
    assert (ranking.matching, ranking.with_post) == (2, 1)


# Order


def test_a_fresh_track_gains_at_most_30_percent_and_loses_half_in_14_days() -> None:
    assert weigh(1.0, NOW_US, NOW_US, RULES) == pytest.approx(1.3)
    assert weigh(1.0, NOW_US - 14 * DAY_US - NOW_US % (DAY_US // 4), NOW_US, RULES) == pytest.approx(1.15)
    assert weigh(-1.0, NOW_US, NOW_US, RULES) == pytest.approx(-0.7)  # fresh is better on the negative side, too
    assert weigh(1.0, 0, NOW_US, RULES) == pytest.approx(1.0, abs=0.01)


def test_p113_weights_hold_still_within_six_hours() -> None:
    start = NOW_US - NOW_US % (DAY_US // 4)
    weights = {weigh(1.0, start - 5 * DAY_US, start + minute * 60_000_000, RULES) for minute in range(360)}
    assert len(weights) == 1


def test_freshness_decides_between_near_scores(track: MakeTrack) -> None:
    old, new = track(1, first_seen_us=0), track(2, first_seen_us=NOW_US)
    assert order([old, new], {1: 1.1, 2: 1.0}) == [2, 1]
    assert order([old, new], {1: 1.4, 2: 1.0}) == [1, 2]


@given(scores=st.lists(st.floats(-5, 5), min_size=1, max_size=30), shuffled=st.randoms())
def test_rank_does_not_depend_on_the_order_of_tracks(track: MakeTrack, scores: list[float], shuffled: Any) -> None:
    tracks = [track(number) for number in range(len(scores))]
    wanted = order(tracks, dict(enumerate(scores)))
    shuffled.shuffle(tracks)
    assert order(tracks, dict(enumerate(scores))) == wanted


# Duplicates


def test_the_same_audio_is_shown_once_with_the_best_post(track: MakeTrack) -> None:
    other = track(1, audio_key="same", posts=[{"post_did": "did:plc:" + "z" * 24}])
    own = track(2, audio_key="same")
    assert order([other, own], {1: 3.0, 2: 2.0}) == [2]
    assert order([track(1, audio_key=None), track(2, audio_key=None)]) == [1, 2]


def test_one_post_stands_for_one_track(track: MakeTrack) -> None:
    """Somebody else's record that claims the page of a song does not get the song's post a second time."""
    song = track(1)
    thief = track(2, posts=[{"post_uri": song.links[0].post_uri, "post_did": song.did}])
    assert order([song, thief], {1: 1.0, 2: 5.0}) == [1]


@pytest.mark.parametrize(
    ("title", "seconds", "duplicate"),
    [
        ("SONG", 182.0, True),
        ("Song (2011 Remaster)", 178.0, True),
        ("Song - Remastered", 180.0, True),
        ("Song [feat. Somebody]", 180.0, True),
        ("Song feat. Somebody", 180.0, True),
        ("Song (live in Bern)", 240.0, False),
        ("Song", 240.0, False),
        ("Song (Part 2)", 180.0, False),
        ("Songs", 180.0, False),
        ("Song", None, True),
    ],
)
def test_the_same_title_of_an_account_at_the_same_length(
    track: MakeTrack, title: str, seconds: float | None, duplicate: bool
) -> None:
    tracks = [track(1, artist=1, title="Song"), track(2, artist=1, title=title, duration_seconds=seconds)]
    # The artist cap would hide the second track in any case: ask for a wide one.
    shown = order(tracks, near=(2, 10))
    assert shown == ([1] if duplicate else [1, 2])
    assert order([tracks[0], track(3, artist=3, title=title)]) == [1, 3]


@pytest.mark.parametrize(
    ("title", "plain"),
    [
        ("Delivery (Live)", "delivery"),
        ("Alive", "alive"),
        ("(live)", "(live)"),
        ("???", "???"),
        ("", ""),
        ("Ｗｉｄｅ", "wide"),
        ("A - B - 2009 Remaster", "ab"),
        ("(" * 300, "(" * 300),
    ],
)
def test_normalise_title(title: str, plain: str) -> None:
    assert normalise_title(title) == plain


# Artist caps


def ranked_by(track: MakeTrack, artists: Iterable[int]) -> list[Ranked]:
    tracks = [track(number, artist=artist) for number, artist in enumerate(artists)]
    return [Ranked(one, one.links[0], 1.0, -float(one.track_id)) for one in tracks]


@given(artists=st.lists(st.integers(0, 25), max_size=150))
def test_artist_caps_hold_in_every_window(track: MakeTrack, artists: list[int]) -> None:
    order = ranked_by(track, artists)
    placed = space_artists(order, RULES)
    names = [one.track.did for one in placed]
    for width, most in ((10, 1), (50, 2)):
        for start in range(len(names)):
            assert max(Counter(names[start : start + width]).values()) <= most
    assert len({one.track.track_id for one in placed}) == len(placed)
    for artist in set(names):  # an artist's own order is kept, and nobody is left out altogether
        own = [one.track.track_id for one in placed if one.track.did == artist]
        assert own == [one.track.track_id for one in order if one.track.did == artist][: len(own)]
    assert set(names) == {one.track.did for one in order}


def test_who_comes_too_soon_waits_for_the_next_free_place(track: MakeTrack) -> None:
    placed = space_artists(ranked_by(track, [0, 0, 0, *range(1, 40), 0]), RULES)
    artists = [one.track.track_id for one in placed if one.track.track_id in (0, 1, 2, 42)]
    places = [place for place, one in enumerate(placed) if one.track.track_id in (0, 1, 2, 42)]
    assert (artists, places) == ([0, 1], [0, 10])


def test_at_most_500_entries(track: MakeTrack) -> None:
    assert len(space_artists(ranked_by(track, range(700)), RULES)) == 500


# Posts


def post(number: int, **changes: Any) -> dict[str, Any]:
    return {"post_uri": f"at://did:plc:{'a' * 24}/app.bsky.feed.post/{number}"} | changes


ARTIST, CREDITED, OTHER = ("did:plc:" + "aaaaaaaaaaaaaaaaaaaaaaab", "did:plc:" + "c" * 24, "did:plc:" + "z" * 24)
ANNOUNCER = "did:plc:" + "n" * 24


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"rule": LinkRule.PAGE_IN_FACET}, {"post_did": CREDITED}),
        ({"post_did": CREDITED, "rule": LinkRule.PAGE_IN_FACET}, {"post_did": OTHER}),
        ({"post_did": CREDITED, "rule": LinkRule.PAGE_SAYS}, {"post_did": ANNOUNCER}),
        ({"post_did": ANNOUNCER, "created_us": 9 * NOW_US}, {"post_did": OTHER}),
        ({"rule": LinkRule.PAGE_IN_FACET, "card": False}, {"rule": LinkRule.PAGE_SAYS}),
        ({"rule": LinkRule.RECORD_TO_POST, "created_us": 9 * NOW_US}, {"rule": LinkRule.PAGE_IN_EMBED}),
        ({"rule": LinkRule.SOUNDSKY_TAG, "created_us": 9 * NOW_US}, {"rule": LinkRule.PAGE_IN_EMBED}),
        ({"rule": LinkRule.PAGE_IN_EMBED, "card": False}, {"rule": LinkRule.PAGE_IN_FACET}),
        ({"rule": LinkRule.ASSOCIATED_REF, "card": True}, {"rule": LinkRule.EMBED_RECORD, "card": False}),
        ({"rule": LinkRule.EMBED_RECORD, "created_us": NOW_US}, {"created_us": NOW_US + 1}),
        ({}, {"reply": True, "created_us": NOW_US // 2}),
        ({"post_did": OTHER, "rule": LinkRule.PAGE_IN_FACET, "card": False}, {"adult": True}),
        ({"post_did": OTHER, "rule": LinkRule.PAGE_IN_FACET, "card": False}, {"targets_in_post": 2}),
        ({"post_did": OTHER}, {"created_us": NOW_US // 2 - DAY_US - 1}),
        ({"post_did": OTHER}, {"post_uri": f"at://{ARTIST}/fm.plyr.track/t1"}),
    ],
)
def test_best_post_order(track: MakeTrack, better: dict[str, Any], worse: dict[str, Any]) -> None:
    pair = [post(1, post_did=ARTIST) | better, post(0, post_did=ARTIST) | worse]
    for posts in (pair, pair[::-1]):
        one = track(1, posts=posts, credits=(CREDITED,), created_us=NOW_US // 2)
        assert one.did == ARTIST
        chosen = usable_posts(one, PostRules(announcer=ANNOUNCER), now_us=NOW_US)
        assert chosen[0].post_uri == pair[0]["post_uri"]


def test_posts_of_others_can_be_left_out(track: MakeTrack) -> None:
    one = track(1, posts=[post(1, post_did=OTHER)])
    assert len(usable_posts(one, PostRules(), now_us=NOW_US)) == 1
    assert usable_posts(one, PostRules(others=False), now_us=NOW_US) == []
    assert len(usable_posts(one, PostRules(others=False, announcer=OTHER), now_us=NOW_US)) == 1
    assert len(usable_posts(replace(one, credits=(OTHER,)), PostRules(others=False), now_us=NOW_US)) == 1


@pytest.mark.parametrize(
    ("did", "fields", "stands"),
    [
        (OTHER, {"author_born_us": NOW_US - 30 * DAY_US}, True),
        (OTHER, {"author_born_us": NOW_US - 30 * DAY_US + 1}, False),
        (OTHER, {"author_born_us": None}, False),
        (OTHER, {"author_born_us": NOW_US, "liked": True}, True),
        (ARTIST, {"author_born_us": NOW_US}, True),
        (CREDITED, {"author_born_us": None}, True),
        (ANNOUNCER, {"author_born_us": None}, True),
    ],
)
def test_posts_of_others_need_a_like_or_a_grown_account(
    track: MakeTrack, did: str, fields: dict[str, Any], stands: bool
) -> None:
    one = track(1, posts=[post(1, post_did=did) | fields], credits=(CREDITED,))
    assert bool(usable_posts(one, PostRules(announcer=ANNOUNCER), now_us=NOW_US)) is stands


@pytest.mark.parametrize(
    "uri",
    [
        f"at://{ARTIST}/fm.plyr.track/t1",
        f"at://{ARTIST}/app.bsky.feed.repost/t1",
        "at://alice.example.com/app.bsky.feed.post/t1",
        f"at://{ARTIST}/app.bsky.feed.post/t1?x",
        "https://bsky.app/profile/x/post/y",
        "",
    ],
)
def test_p105_what_is_no_post_never_becomes_an_entry(track: MakeTrack, uri: str) -> None:
    one = track(1, posts=[post(1, post_uri=uri)])
    assert order([one]) == []
    with pytest.raises(AssertionError, match="must be a post"):
        Ranked(one, one.links[0], 1.0, 1.0).entry()


def test_p105_an_entry_is_the_post(track: MakeTrack) -> None:
    ranking = rank(FEED, [track(1)], {1: 2.0}, now_us=NOW_US, rules=RULES)
    entry = ranking.ranked[0].entry()
    assert entry.post_uri.split("/")[3] == "app.bsky.feed.post"
    assert (entry.track_uri, entry.score) == (ranking.ranked[0].track.uri, 2.0)
