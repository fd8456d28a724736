"""Likes joined to tracks: by the track or any post that shows it, each person once; of many not read each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.clock import SystemClock
from core.types import AtUri
from feedgen import likes
from feedgen.likes import Likes, join_likes
from store import Store, signals
from store.signals import Edges, Signal, SignalKind
from tests.feedgen.conftest import artist_did, make_track


def edges(*said: tuple[int, str]) -> Edges:
    names = tuple(dict.fromkeys(name for _, name in said))
    places = [names.index(name) for _, name in said]
    return Edges(np.array([person for person, _ in said], np.intp), np.array(places, np.intp), names)


def test_a_track_is_liked_by_its_own_address_and_by_its_posts_once_each() -> None:
    tracks = [make_track(1), make_track(2, posts=({}, {"post_uri": "at://x/app.bsky.feed.post/y"})), make_track(3)]
    post = tracks[1].links[0].post_uri
    people, liked = join_likes(
        tracks,
        edges(
            (7, tracks[0].uri),
            (7, tracks[1].uri),
            (7, post),
            (8, "at://x/app.bsky.feed.post/y"),
            (9, "at://nobody/knows/it"),
        ),
    )
    assert sorted(zip(people.tolist(), liked.tolist(), strict=True)) == [(7, 0), (7, 1), (8, 1)]
    assert np.bincount(liked, minlength=3).tolist() == [1, 2, 0]


def test_nobody_likes_anything() -> None:
    for told in (edges(), edges((1, "at://x/y/z"))):
        assert [part.tolist() for part in join_likes([make_track(1)], told)] == [[], []]
    assert [part.tolist() for part in join_likes([], edges((1, "at://x/y/z")))] == [[], []]


@pytest.mark.parametrize(("few", "later"), [(10, True), (0, False)])
async def test_many_likes_are_read_every_ten_minutes_and_few_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int, later: bool
) -> None:
    monkeypatch.setattr(likes, "_FEW", few)
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    known = Likes()
    async with store.write() as tx:
        for number in range(2):
            record = AtUri.parse(f"at://{artist_did(number)}/app.bsky.feed.like/a")
            await signals.put(tx, [Signal(record, f"at://x/fm.plyr.track/{number}", SignalKind.LIKE, number)])
            if number == 0:
                assert len((await known.read(tx, now_us=5)).people) == 1
        assert (len((await known.read(tx, now_us=6)).people) == 2) is later
        assert len((await known.read(tx, now_us=5 + likes._LATE_US)).people) == 2
    await store.close()
