"""Tracks and posts by a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from core.analysis import Space, Vector
from core.link import Link, LinkRule
from core.types import Did
from feedgen.corpus import Corpus
from feedgen.fits import Fits
from feedgen.taste import Reading
from store.tracks import RankableTrack

HOUR_US = 3_600_000_000


def artist_did(artist: int) -> Did:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return Did("did:plc:" + "a" * 20 + "".join(letters[artist // 26**place % 26] for place in (3, 2, 1, 0)))


class Records:
    """What viewers say in their records, as if it had been read. Implements feedgen.viewing.ViewerReader."""

    def __init__(self) -> None:
        self.said: dict[str, Reading] = {}
        self.asked: list[str] = []
        self.forgotten: list[str] = []

    async def read(self, did: Did) -> Reading:
        self.asked.append(did)
        return self.said.get(did, Reading())

    def forget(self, did: Did) -> None:
        self.forgotten.append(did)


def make_link(track_uri: str, did: str, **changes: Any) -> Link:
    fields: dict[str, Any] = {
        "post_uri": f"at://{did}/app.bsky.feed.post/{track_uri.rpartition('/')[2]}",
        "post_did": did,
        "target": track_uri,
        "rule": LinkRule.ASSOCIATED_REF,
        "created_us": 1000 * HOUR_US,
        "card": True,
        "author_born_us": 0,
    }
    return Link(**(fields | changes))


def make_track(
    number: int, *, artist: int | None = None, posts: Sequence[dict[str, Any]] = ({},), **changes: Any
) -> RankableTrack:
    """Track `number`, by its own artist and posted by them unless told otherwise."""
    did = artist_did(number if artist is None else artist)
    uri = f"at://{did}/fm.plyr.track/t{number}"
    links = tuple(make_link(uri, post.get("post_did", did), **post) for post in posts)
    fields: dict[str, Any] = {
        "track_id": number,
        "uri": uri,
        "did": did,
        "title": f"Song {number}",
        "created_us": 1000 * HOUR_US,
        "first_seen_us": 1000 * HOUR_US,
        "duration_seconds": 180.0,
        "audio_key": f"audio-{number}",
        "explicit": False,
        "labels": (),
        "credits": (),
        "links": links,
    }
    return RankableTrack(**(fields | changes))


@pytest.fixture(scope="session")
def track() -> Callable[..., RankableTrack]:
    return make_track


@pytest.fixture(scope="session")
def did() -> Callable[[int], Did]:
    return artist_did


def make_corpus(
    tracks: Sequence[RankableTrack],
    fits: Mapping[str, Fits] | None = None,
    *,
    sound: Vector | None = None,
    space: Space | None = Space.EFFNET_SOUND,
    likes: Mapping[int, int] | None = None,
) -> Corpus:
    """A corpus of these tracks; nobody sounds like another and nobody is liked unless told otherwise."""
    places = [place for place, count in (likes or {}).items() for _ in range(count)]
    return Corpus(
        tracks=tuple(tracks),
        fits=fits or {},
        likes=np.bincount(places, minlength=len(tracks)),
        sound=np.zeros((len(tracks), 4), np.float32) if sound is None else sound,
        space=space,
        people=np.arange(len(places)),
        liked=np.array(places, np.intp),
    )


@pytest.fixture(scope="session")
def corpus() -> Callable[..., Corpus]:
    return make_corpus
