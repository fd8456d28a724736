"""Tracks and posts by a few words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from core.link import Link, LinkRule
from core.types import Did
from store.tracks import RankableTrack

HOUR_US = 3_600_000_000


def artist_did(artist: int) -> Did:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return Did("did:plc:" + "a" * 20 + "".join(letters[artist // 26**place % 26] for place in (3, 2, 1, 0)))


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
