"""Feeds of one viewer's own, ranked as they are served: whom they suit, what they leave out, how long they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import Space
from core.feed import Feed, FeedKind, Reason
from feedgen.corpus import Corpus
from feedgen.likes import MIN_EDGES
from feedgen.rank import rank
from feedgen.ranking import Ranking, Why
from feedgen.rules import SLOT_US, Rules
from feedgen.taste import Anchor, AnchorKind, Prefs, Viewer
from store.tracks import RankableTrack
from tests.feedgen.conftest import artist_did, make_track

NOW_US = 1_800_000_000_000_000 // SLOT_US * SLOT_US
DAY_US = 86_400_000_000
SIZE = 24
FOR_YOU = Feed("for-you", "For you", "Yours.", FeedKind.FOR_YOU)
MORE_LIKE = Feed("more-like", "More like", "Like it.", FeedKind.MORE_LIKE)
VIEWER = artist_did(9_999)


def axis_of(number: int) -> int:
    return number % 3


def vector(number: int, spread: float = 0.15) -> Any:
    found = np.random.default_rng(number).standard_normal(SIZE) * spread
    found[axis_of(number)] += 1.0
    return found / np.linalg.norm(found)


def build(tracks: Sequence[RankableTrack], **changes: Any) -> Corpus:
    """A corpus in which track n lies on axis n % 3."""
    fields: dict[str, Any] = {
        "tracks": tuple(tracks),
        "fits": {},
        "likes": np.zeros(len(tracks), np.int64),
        "sound": np.stack([vector(track.track_id) for track in tracks]).astype(np.float32),
        "space": Space.EFFNET_SOUND,
    }
    return Corpus(**(fields | changes))


CORPUS = build([make_track(number) for number in range(120)])


def uri(number: int) -> str:
    return make_track(number).uri


def likes(*numbers: int, kind: AnchorKind = AnchorKind.LIKE, days: float = 1.0) -> tuple[Anchor, ...]:
    return tuple(
        Anchor(uri(number), NOW_US - round(days * DAY_US) - place, kind) for place, number in enumerate(numbers)
    )


def viewer(*numbers: int, **changes: Any) -> Viewer:
    return Viewer(**({"did": VIEWER, "anchors": likes(*numbers)} | changes))


def show(feed: Feed, who: Viewer | None, corpus: Corpus = CORPUS, now_us: int = NOW_US, **options: Any) -> Ranking:
    return rank(feed, corpus, who, now_us=now_us, rules=Rules(), **options)


def numbers(ranking: Ranking) -> list[int]:
    return [int(entry.track_uri.rpartition("/t")[2]) for entry in ranking.entries]


def reasons(ranking: Ranking) -> set[Reason]:
    return {entry.reason for entry in ranking.entries}


FAMILIAR = Prefs(breadth=0.0, explore=0.0)


def test_for_you_is_near_what_the_viewer_likes() -> None:
    shown = numbers(show(FOR_YOU, viewer(0, 3, 6, prefs=FAMILIAR)))
    assert not {0, 3, 6} & set(shown), "what they like already they know"
    near = [axis_of(number) == 0 for number in shown]
    assert sum(near[:20]) >= 15
    assert len(shown) == 117


@pytest.mark.parametrize("number", range(20))
def test_of_a_few_tracks_those_that_suit_come_first_for_everybody(number: int) -> None:
    corpus = build([make_track(one) for one in range(12)])
    who = Viewer(artist_did(5_000 + number), likes(0, 3, 6), FAMILIAR)
    assert 9 in numbers(show(FOR_YOU, who, corpus))[:4], "the only other one of that axis"


def test_two_tastes_are_both_served() -> None:
    shown = numbers(show(FOR_YOU, viewer(0, 3, 6, 1, 4, 7)))[:30]
    axes = [axis_of(number) for number in shown]
    assert min(axes.count(0), axes.count(1)) >= 8
    assert axes.count(2) < 10


def test_old_likes_give_way_to_new_ones() -> None:
    told = (*likes(0, 3, 6, days=400), *likes(1, 4, 7, days=1))
    shown = numbers(show(FOR_YOU, Viewer(VIEWER, told, FAMILIAR)))[:15]
    assert [axis_of(number) for number in shown].count(1) >= 5


@pytest.mark.parametrize("known", [0, 1, 2])
def test_with_fewer_than_three_likes_a_viewer_gets_the_mix(known: int) -> None:
    ranking = show(FOR_YOU, viewer(*range(known)))
    assert reasons(ranking) <= {Reason.POPULAR, Reason.EXPLORE}
    everybody = numbers(show(FOR_YOU, None))
    assert set(numbers(ranking)) == {number for number in everybody if number >= known}
    assert numbers(ranking)[:10] == [number for number in everybody if number >= known][:10]
    assert reasons(show(FOR_YOU, viewer(0, 3, 6))) == {Reason.LIKED_SIMILAR, Reason.EXPLORE}


def test_the_mix_begins_with_what_people_like() -> None:
    liked = np.zeros(120, np.int64)
    liked[[5, 50, 100]] = 40
    shown = numbers(show(FOR_YOU, None, build(CORPUS.tracks, likes=liked)))
    assert all(shown.index(number) < 50 for number in (5, 50, 100))


def test_more_like_begins_with_the_nearest_sounds_to_the_newest_like() -> None:
    told = (*likes(7, kind=AnchorKind.PLAY, days=0), *likes(4, kind=AnchorKind.REPOST, days=1), *likes(0, 3, 6, days=2))
    ranking = show(MORE_LIKE, Viewer(VIEWER, told))
    nearest = sorted(set(range(120)) - {0, 3, 4, 6, 7}, key=lambda number: -float(vector(number) @ vector(4)))
    assert numbers(ranking)[0] == nearest[0]
    assert len(set(numbers(ranking)[:10]) & set(nearest[:14])) >= 8
    assert reasons(ranking) == {Reason.SIMILAR}
    cosine = float(vector(nearest[0]) @ vector(4))
    assert ranking.entries[0].score == pytest.approx(cosine, abs=1e-5)


def test_more_like_shows_strangers_first() -> None:
    tracks = [make_track(number, artist=1 if number % 2 else number) for number in range(60)]
    anchor = Anchor(tracks[1].uri, NOW_US, AnchorKind.LIKE)
    ranking = show(MORE_LIKE, Viewer(VIEWER, (anchor,)), build(tracks))
    own = [place for place, entry in enumerate(ranking.entries) if artist_did(1) in entry.track_uri]
    assert own
    assert min(own) >= 10


def test_without_a_seed_that_was_heard_more_like_is_the_mix() -> None:
    sound = CORPUS.sound.copy()
    sound[4] = 0.0
    ranking = show(MORE_LIKE, viewer(4), build(CORPUS.tracks, sound=sound))
    assert reasons(ranking) <= {Reason.POPULAR, Reason.EXPLORE}


@pytest.mark.parametrize("feed", [FOR_YOU, MORE_LIKE])
def test_the_same_viewer_and_slot_give_the_same_order(feed: Feed) -> None:
    who = viewer(0, 3, 6, 1)
    first = numbers(show(feed, who))
    assert numbers(show(feed, who, now_us=NOW_US + SLOT_US - 1)) == first
    if feed is FOR_YOU:
        assert numbers(show(feed, who, now_us=NOW_US + SLOT_US)) != first
        other = Viewer(artist_did(8_888), who.anchors)
        assert numbers(show(feed, other)) != first, "people who like the same do not see the same hour by hour"


def test_who_stood_first_stays_there() -> None:
    who = viewer(0, 3, 6)
    last = show(FOR_YOU, who).entries[40].track_uri
    assert show(FOR_YOU, who, head=last).entries[0].track_uri == last
    assert show(FOR_YOU, viewer(0, 3, 6, disliked=frozenset({last})), head=last).entries[0].track_uri != last


def twin(**changes: Any) -> Callable[[], list[RankableTrack]]:
    """Track 200 made like track 10 in some way."""
    return lambda: [*(make_track(number) for number in range(60)), make_track(200, **changes)]


@pytest.mark.parametrize(
    ("changes", "alike", "is_twin"),
    [
        ({"audio_key": "audio-10"}, False, True),
        ({"artist": 10, "title": "Song 10 (2011 Remaster)", "duration_seconds": 182.0}, False, True),
        ({"artist": 10, "title": "Song 10 (live)", "duration_seconds": 300.0}, False, False),
        ({"title": "Song 10", "duration_seconds": 300.0}, True, True),  # the title says so too
        ({"title": "Quite another", "duration_seconds": 300.0}, True, False),  # never by sound alone
    ],
)
def test_less_of_a_track_is_less_of_its_duplicates(changes: dict[str, Any], alike: bool, is_twin: bool) -> None:
    tracks = twin(**changes)()
    sound = np.stack([vector(track.track_id) for track in tracks]).astype(np.float32)
    if alike:
        sound[-1] = sound[10]
    disliked = frozenset({tracks[10].uri})
    ranking = show(FOR_YOU, viewer(0, 3, 6, disliked=disliked), build(tracks, sound=sound))
    shown = numbers(ranking)
    assert 10 not in shown
    assert (200 not in shown) is is_twin
    told = {aside.track_uri: aside.why for aside in ranking.aside}
    assert told[tracks[10].uri] is Why.UNWANTED


def test_artists_left_out_and_the_viewers_own_music() -> None:
    tracks = [make_track(number, artist=number // 2) for number in range(60)]
    who = Viewer(tracks[20].did, likes(), left_out=frozenset({tracks[30].did}))
    shown = set(numbers(show(FOR_YOU, who, build(tracks))))
    assert not shown & {20, 21, 30, 31}
    assert {number // 2 for number in shown} == set(range(30)) - {10, 15}


@pytest.mark.parametrize(
    ("prefs", "changes"),
    [
        (Prefs(min_seconds=200), {"duration_seconds": 180.0}),
        (Prefs(min_seconds=200), {"duration_seconds": None}),
        (Prefs(instrumental_only=True), {"voice": 0.5, "duration_seconds": 300.0}),
        (Prefs(instrumental_only=True), {"voice": None, "duration_seconds": 300.0}),
        (Prefs(muted_styles=frozenset({"rock-punk"})), {"style": "rock-punk"}),
        (Prefs(muted_styles=frozenset({"rock"})), {"labels": ("rock",)}),
        (Prefs(hide_machines=True), {"machine": True, "duration_seconds": 300.0}),
    ],
)
@pytest.mark.parametrize("feed", [FOR_YOU, MORE_LIKE])
@pytest.mark.parametrize("liked", [(), (0, 3, 6)])
def test_the_knobs_hold_for_every_personal_feed(
    feed: Feed, liked: tuple[int, ...], prefs: Prefs, changes: dict[str, Any]
) -> None:
    fine = {"voice": 0.1, "duration_seconds": 300.0}
    tracks = [make_track(number, **(changes if number % 2 else fine)) for number in range(60)]
    shown = numbers(show(feed, viewer(*liked, prefs=prefs), build(tracks)))
    assert shown
    assert all(number % 2 == 0 for number in shown)
    assert len(shown) >= 60 // 2 - len(liked)


@pytest.mark.parametrize("feed", [FOR_YOU, MORE_LIKE])
@pytest.mark.parametrize("liked", [(), (0, 3, 6)])
def test_posts_are_in_the_languages_of_the_viewer_or_say_of_none(feed: Feed, liked: tuple[int, ...]) -> None:
    own, other = (
        {"langs": ("ja",)},
        {"langs": ("de", "pt"), "post_uri": f"at://{artist_did(1)}/app.bsky.feed.post/other"},
    )
    posts: tuple[tuple[dict[str, Any], ...], ...] = ((own,), (other,), ({},), (own, other))
    tracks = [make_track(number, posts=posts[number % 4]) for number in range(60)]
    for number in range(60):  # the post of somebody else is another one for each
        named = [replace(link, post_uri=f"{link.post_uri}{number}") for link in tracks[number].links]
        tracks[number] = replace(tracks[number], links=tuple(named))
    who = viewer(*liked, prefs=Prefs(langs=frozenset({"pt", "en"})))
    entries = show(feed, who, build(tracks)).entries
    shown = {int(entry.track_uri.rpartition("/t")[2]): str(entry.post_uri) for entry in entries}
    assert set(shown) == {number for number in range(60) if number % 4} - set(liked)
    assert all("other" in post for number, post in shown.items() if number % 4 == 3), "by the one that they read"
    everybody = show(feed, viewer(*liked), build(tracks))
    assert len(everybody.entries) == 60 - len(liked)


@pytest.mark.parametrize("feed", [FOR_YOU, MORE_LIKE])
def test_what_cannot_be_shown_takes_no_place_among_the_nearest(feed: Feed) -> None:
    """1 100 tracks lie around the taste that are not wanted, or have no post: the 20 behind them are shown."""
    tilts = np.concatenate([np.linspace(0.01, 0.4, 1_103), np.linspace(0.5, 0.6, 20)])
    sound = np.zeros((len(tilts), SIZE))
    sound[:, 0] = np.cos(tilts)
    sound[np.arange(len(tilts)), 1 + np.arange(len(tilts)) % (SIZE - 1)] = np.sin(tilts)
    odd: dict[str, Any]
    for odd in ({"voice": 0.9}, {"posts": ()}, {"posts": ({"langs": ("ja",)},)}):
        tracks = [make_track(n, **({"voice": 0.1} | (odd if 3 <= n < 1_103 else {}))) for n in range(len(tilts))]
        who = viewer(0, 1, 2, prefs=Prefs(instrumental_only=True, langs=frozenset({"en"})))
        assert set(numbers(show(feed, who, build(tracks, sound=sound.astype(np.float32))))) == set(range(1_103, 1_123))


def test_the_explore_knob_is_the_share_of_surprises() -> None:
    def surprises(explore: float) -> int:
        ranking = show(FOR_YOU, viewer(0, 3, 6, prefs=Prefs(explore=explore)))
        return sum(entry.reason is Reason.EXPLORE for entry in ranking.entries)

    assert surprises(0.0) == 0
    assert surprises(1.0) > surprises(0.3) > 0


def test_people_who_like_the_same_recommend_what_nobody_could_hear() -> None:
    tracks = [make_track(number) for number in range(120)]
    sound = CORPUS.sound.copy()
    sound[77] = 0.0
    people = [person for person in range(MIN_EDGES // 2) for _ in range(2)]
    liked = [row for person in range(MIN_EDGES // 2) for row in (0, 77)]
    edges = {"people": np.array(people, np.intp), "liked": np.array(liked, np.intp)}
    ranking = show(FOR_YOU, viewer(0, 3, 6, prefs=FAMILIAR), build(tracks, sound=sound, **edges))
    entry = next(entry for entry in ranking.entries if entry.track_uri == tracks[77].uri)
    assert entry.reason is Reason.CO_LIKED
    few = {name: rows[: MIN_EDGES - 2] for name, rows in edges.items()}
    assert 77 not in numbers(show(FOR_YOU, viewer(0, 3, 6), build(tracks, sound=sound, **few)))


def test_a_track_without_a_post_is_shown_only_where_none_is_needed() -> None:
    tracks = [make_track(number, posts=({},) if number < 30 else ()) for number in range(60)]
    assert max(numbers(show(FOR_YOU, viewer(0, 3, 6), build(tracks)))) < 30
    assert len(numbers(show(FOR_YOU, viewer(0, 3, 6), build(tracks), with_posts=False))) == 57


@given(
    liked=st.lists(st.integers(0, 59), max_size=12, unique=True),
    disliked=st.frozensets(st.integers(0, 59), max_size=12),
    left_out=st.frozensets(st.integers(0, 14), max_size=4),
    breadth=st.floats(0, 1),
    explore=st.floats(0, 1),
    feed=st.sampled_from([FOR_YOU, MORE_LIKE]),
)
def test_whatever_a_viewer_says_holds(
    liked: list[int], disliked: frozenset[int], left_out: frozenset[int], breadth: float, explore: float, feed: Feed
) -> None:
    tracks = [make_track(number, artist=number // 4) for number in range(60)]
    anchors = tuple(Anchor(tracks[number].uri, NOW_US - number, AnchorKind.LIKE) for number in liked)
    who = Viewer(
        VIEWER,
        anchors,
        Prefs(breadth, explore),
        frozenset(tracks[number].uri for number in disliked),
        frozenset(artist_did(artist) for artist in left_out),
    )
    shown = numbers(show(feed, who, build(tracks)))
    assert len(set(shown)) == len(shown)
    assert not disliked & set(shown)
    artists = [number // 4 for number in shown]
    assert not left_out & set(artists)
    assert all(len(set(artists[at : at + 10])) == len(artists[at : at + 10]) for at in range(len(artists)))
