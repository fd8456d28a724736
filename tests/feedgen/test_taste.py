"""A viewer's taste as numbers: what old likes weigh, which pockets they fall into, and what fits them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.likes import MIN_EDGES, co_likes
from feedgen.personal import STRANGERS_FIRST, strangers_first
from feedgen.taste import (
    FUSION,
    MAX_ANCHORS,
    Anchor,
    AnchorKind,
    Prefs,
    decay,
    find_pockets,
    fuse,
    nearest_to,
    newest_anchors,
    soft_top,
    taste_of,
)

NOW_US = 1_800_000_000_000_000
DAY_US = 86_400_000_000
SIZE = 16


def anchor(name: str, days: float = 0.0, kind: AnchorKind = AnchorKind.LIKE) -> Anchor:
    return Anchor(name, NOW_US - round(days * DAY_US), kind)


def near(axis: int, seed: int, spread: float = 0.1) -> Any:
    """A vector of length 1 beside one axis."""
    vector = np.random.default_rng(seed).standard_normal(SIZE) * spread
    vector[axis] += 1.0
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def rows(*places: int) -> Any:
    return np.array(places, np.intp)


def test_a_like_weighs_half_after_thirty_days_and_never_more_than_now() -> None:
    weights = decay([anchor("a"), anchor("b", 30), anchor("c", 60), anchor("d", -5)], NOW_US)
    assert weights.tolist() == pytest.approx([1.0, 0.5, 0.25, 1.0])


def test_likes_that_are_all_old_still_lie_somewhere() -> None:
    """Whose records claim to be of 1970, or who has not liked anything for years, has a taste all the same."""
    sound = np.stack([near(0, 1), near(0, 2), near(0, 3), near(1, 4), near(0, 5)])
    old = decay([anchor("a", 20_000), anchor("b", 20_001), anchor("c", 20_002)], NOW_US)
    assert 0 < old.max() < 1e-100
    assert taste_of(sound, rows(0, 1, 2), old, pockets=1, together=rows()).rows.tolist() == [4, 3]
    many = np.concatenate([sound, np.stack([near(1, seed) for seed in range(2_000)])])
    assert 4 in taste_of(many, rows(0, 1, 2), old, pockets=1, together=rows()).rows


def test_what_is_liked_stays_a_like_on_a_playlist_and_a_long_playlist_makes_room_for_likes() -> None:
    said = [anchor("a", 3), anchor("a", 1, AnchorKind.PLAYLIST), anchor("b", 2, AnchorKind.PLAY)]
    assert newest_anchors(said) == (anchor("a", 1), anchor("b", 2, AnchorKind.PLAY))
    listed = [anchor(f"listed {number}", 1, AnchorKind.PLAYLIST) for number in range(2 * MAX_ANCHORS)]
    liked = [anchor(f"liked {number}", 100 + number) for number in range(20)]
    found = newest_anchors([*listed, *liked])
    assert len(found) == MAX_ANCHORS
    assert set(liked) <= set(found)
    assert [one.at_us for one in found] == sorted((one.at_us for one in found), reverse=True)


def test_one_anchor_a_track_the_newest_first_and_not_too_many() -> None:
    said = [anchor("a", 3), anchor("b", 2), anchor("a", 1, AnchorKind.REPOST), anchor("c", 9)]
    assert newest_anchors(said) == (anchor("a", 1, AnchorKind.REPOST), anchor("b", 2), anchor("c", 9))
    assert len(newest_anchors([anchor(str(number), number) for number in range(900)])) == MAX_ANCHORS


@pytest.mark.parametrize(("value", "pockets", "relevance", "exploration"), [(0, 1, 0.9, 0), (1, 5, 0.4, 0.4)])
def test_the_knobs_reach_from_end_to_end(value: float, pockets: int, relevance: float, exploration: float) -> None:
    prefs = Prefs(breadth=value, explore=value)
    assert (prefs.pockets, prefs.relevance, prefs.exploration) == (pockets, pytest.approx(relevance), exploration)


def test_without_knobs_feeds_are_as_wide_as_mood_feeds() -> None:
    usual = Prefs()
    assert (usual.pockets, usual.relevance, usual.exploration) == (3, pytest.approx(0.7), pytest.approx(0.16))


def test_pockets_are_the_clusters_that_are_there() -> None:
    axes = [0, 5, 0, 9, 5, 9, 0, 5]
    vectors = np.stack([near(axis, seed) for seed, axis in enumerate(axes)])
    found = find_pockets(vectors, np.ones(len(axes)), 3)
    assert sorted(sorted({axes[place] for place in group}) for group in found) == [[0], [5], [9]]


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 1000))
def test_pockets_part_the_anchors_and_are_the_same_each_time(count: int, wanted: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = random.random(count) + 0.01
    found = find_pockets(vectors, weights, wanted)
    assert sorted(np.concatenate(found).tolist()) == list(range(count))
    assert all(len(group) for group in found)
    assert len(found) <= max(1, min(wanted, count // 2))
    again = find_pockets(vectors, weights, wanted)
    assert [group.tolist() for group in again] == [group.tolist() for group in found]


def test_many_likes_of_one_track_are_one_pocket() -> None:
    vectors = np.repeat(near(3, 1)[np.newaxis], 10, axis=0)
    assert [len(group) for group in find_pockets(vectors, np.ones(10), 5)] == [10]


def test_the_three_nearest_anchors_count_and_what_is_unlike_counts_nothing() -> None:
    similarities = np.array([[0.9, 0.8, 0.7, 0.6], [-0.5, 0.7, -0.9, 0.0]], np.float32)
    found = soft_top(similarities, np.array([1.0, 0.5, 1.0, 1.0]))
    assert found.tolist() == pytest.approx([(4 * 0.9 + 2 * 0.7 + 0.6) / 7, 4 * 0.35 / 7], abs=1e-6)
    assert soft_top(similarities[:, :1], np.ones(1)).tolist() == pytest.approx([4 * 0.9 / 7, 0.0])


def test_reciprocal_ranks() -> None:
    found, scores = fuse([rows(7, 3, 5), rows(3, 9)])
    assert found.tolist() == [3, 7, 9, 5]
    assert scores.tolist() == pytest.approx(
        [1 / (FUSION + 2) + 1 / (FUSION + 1), 1 / (FUSION + 1), 1 / (FUSION + 2), 1 / (FUSION + 3)]
    )
    assert [len(one) for one in fuse([rows()])] == [0, 0]


def _edges(*likes: tuple[int, tuple[int, ...]]) -> tuple[Any, Any]:
    """People 0.. with what they like, and a crowd elsewhere that makes the edges enough."""
    pairs = [(person, row) for person, liked in likes for row in liked]
    pairs += [(1000 + number, 500 + number % 10) for number in range(MIN_EDGES)]
    return rows(*(person for person, _ in pairs)), rows(*(row for _, row in pairs))


def test_who_likes_little_counts_more_and_what_all_like_less() -> None:
    picky, greedy = (0, (1, 2)), (1, (1, 3, *range(20, 60)))
    people, liked = _edges(picky, greedy)
    assert co_likes(people, liked, rows(1)).tolist()[:2] == [2, 3]
    # Two tracks of equally picky people: the one that everybody likes comes behind.
    people, liked = _edges((0, (1, 4)), (1, (1, 5)), *((number, (5,)) for number in range(2, 30)))
    found = co_likes(people, liked, rows(1)).tolist()
    assert found == [4, 5]  # no anchor, nobody from elsewhere


def test_few_edges_say_nothing() -> None:
    people, liked = _edges((0, (1, 2)))
    assert co_likes(people, liked, rows(1)).tolist() == [2]
    assert co_likes(people[: MIN_EDGES - 1], liked[: MIN_EDGES - 1], rows(1)).tolist() == []
    assert co_likes(people, liked, rows()).tolist() == []


def test_every_taste_of_a_viewer_is_served() -> None:
    axes = [axis for axis in (0, 5, 9) for _ in range(20)]
    sound = np.stack([near(axis, seed, 0.2) for seed, axis in enumerate(axes)])
    liked = rows(0, 1, 2, 20, 21)  # of axes 0 and 5
    found = taste_of(sound, liked, np.ones(5), pockets=2, together=rows())
    first = [axes[row] for row in found.rows[:20]]
    assert set(first) == {0, 5}
    assert min(first.count(0), first.count(5)) >= 8
    assert not set(liked.tolist()) & set(found.rows.tolist())
    assert (np.diff(found.scores) <= 0).all()
    for row, place in zip(found.rows, found.anchors, strict=True):
        assert place == int(np.argmax(sound[row] @ sound[liked].T)), "the anchor it is nearest to"


def test_one_pocket_is_the_order_by_hand() -> None:
    sound = np.stack([near(seed % 3, seed, 0.5) for seed in range(40)])
    liked, weights = rows(3, 4, 8), np.array([1.0, 0.5, 0.25])
    by_hand = {}
    for row in set(range(40)) - set(liked.tolist()):
        best = sorted((max(0.0, float(sound[row] @ sound[one])) * w for one, w in zip(liked, weights, strict=True)))
        by_hand[row] = sum(part * value for part, value in zip((4, 2, 1), best[::-1], strict=True))
    found = taste_of(sound, liked, weights, pockets=1, together=rows())
    assert found.rows.tolist() == sorted(by_hand, key=lambda row: -by_hand[row])


def test_what_was_not_heard_is_no_taste_and_fits_none() -> None:
    sound = np.stack([near(0, 1), np.zeros(SIZE, np.float32), near(0, 2)])
    assert taste_of(sound, rows(0), np.ones(1), pockets=1, together=rows()).rows.tolist() == [2]
    assert taste_of(sound, rows(1), np.ones(1), pockets=1, together=rows()).rows.tolist() == []
    assert nearest_to(sound, rows(1)).rows.tolist() == []


def test_people_who_like_the_same_speak_for_what_was_not_heard() -> None:
    sound = np.stack([near(0, 1), np.zeros(SIZE, np.float32), near(0, 2), near(7, 3)])
    found = taste_of(sound, rows(0), np.ones(1), pockets=1, together=rows(1, 0, 3))
    assert set(found.rows.tolist()) == {1, 2, 3}
    assert dict(zip(found.rows.tolist(), found.anchors.tolist(), strict=True))[1] == -1


def test_likes_of_what_nobody_heard_still_join_people() -> None:
    sound = np.zeros((4, SIZE), np.float32)
    found = taste_of(sound, rows(0, 1), np.ones(2), pockets=3, together=rows(1, 3, 2))
    assert (found.rows.tolist(), found.anchors.tolist()) == ([3, 2], [-1, -1])


def test_more_like_is_the_order_by_cosine_to_one_seed_or_to_the_middle_of_several() -> None:
    sound = np.stack([near(seed % 4, seed, 0.6) for seed in range(60)])
    for seeds in ([5], [5, 6, 7]):
        middle = sound[seeds].mean(axis=0)
        by_hand = sorted(set(range(60)) - set(seeds), key=lambda row: -float(sound[row] @ middle))
        found = nearest_to(sound, rows(*seeds))
        assert found.rows.tolist() == by_hand
        assert found.scores[0] == pytest.approx(float(sound[by_hand[0]] @ middle / np.linalg.norm(middle)), abs=1e-5)


@given(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=60), st.sampled_from("abc"))
def test_strangers_come_first(artists: list[str], artist: str) -> None:
    order = strangers_first(artists, {artist})
    assert sorted(order) == list(range(len(artists)))
    told = [artists[place] for place in order]
    if artist in told:
        ahead = set(told[: told.index(artist)])
        assert len(ahead) >= min(STRANGERS_FIRST, len(set(artists) - {artist}))
    strangers = [place for place in order if artists[place] != artist]
    assert strangers == sorted(strangers), "their order stays"
