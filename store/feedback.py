"""What viewers said about tracks in feeds of their own: less of it, or more (FEEDS section 7).

It is not public, unlike likes: who said it is a hash under a secret that lies outside the database. All of it is
bounded in number and in time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from store.engine import Reader, Tx

MAX_OF_VIEWER = 500
MAX_HELD = 1_000_000  # of all viewers, some 200 MB: who mints accounts by the thousand must not fill the disk
_DROPPED_AT_ONCE = 1_000

ViewerKey = NewType("ViewerKey", bytes)


class FeedWish(StrEnum):
    """What a viewer wants of a track."""

    LESS = "less"
    MORE = "more"


@dataclass(frozen=True, slots=True)
class Feedback:
    """One viewer's last word on a track, a feed (rkey) where it was said, and when (unix microseconds)."""

    track_uri: str
    feed: str
    wish: FeedWish
    at_us: int


def viewer_key(did: str, secret: bytes) -> ViewerKey:
    """What stands for a viewer in the database. `secret`: 32 bytes that are nowhere in it."""
    return ViewerKey(hashlib.blake2b(did.encode(), digest_size=16, key=secret, person=b"earmark-viewer").digest())


async def put(tx: Tx, viewer: ViewerKey, feed: str, wishes: Mapping[str, FeedWish], *, now_us: int) -> None:
    """Keep a viewer's last word on some tracks (by uri): it counts in every feed, and of each feed it is known that it
    was said there. Their oldest words go when there are too many.
    """
    if await tx.value("feedback.held") >= MAX_HELD:
        await tx.run("feedback.drop_oldest", count=_DROPPED_AT_ONCE)
    rows = [
        {"viewer": viewer, "track_uri": uri, "feed": feed, "wish": wish.value, "at_us": now_us}
        for uri, wish in wishes.items()
    ]
    await tx.run_many("feedback.turn", rows)
    await tx.run_many("feedback.put", rows)
    await tx.run("feedback.drop_beyond", viewer=viewer, keep=MAX_OF_VIEWER)


async def of_viewer(r: Reader, viewer: ViewerKey) -> list[Feedback]:
    """All that a viewer said, the newest first."""
    rows = await r.rows("feedback.of_viewer", viewer=viewer, limit=MAX_OF_VIEWER)
    return [Feedback(uri, feed, FeedWish(wish), at_us) for uri, feed, wish, at_us in rows]


async def forget(tx: Tx, viewer: ViewerKey) -> int:
    """Forget all that a viewer said; how many tracks that was about."""
    return len(set(await tx.rows("feedback.forget", viewer=viewer)))


async def erase(tx: Tx, *, before_us: int) -> int:
    """Forget what was said before that time; how much."""
    return len(await tx.rows("feedback.erase", before_us=before_us))


async def drop_track(tx: Tx, uri: str) -> None:
    """Forget what was said of a track: it is gone."""
    await tx.run("feedback.drop_track", track_uri=uri)
