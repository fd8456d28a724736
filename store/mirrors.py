"""Posts that carry the labels of a track. Each has a verdict of its own, which follows the track's."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from core.analysis import Verdict, VerdictStatus
from store.engine import Reader, Tx

MAX_POSTS = 10  # of one track, the earliest: a flood of posts must not use up what may be published


def reflect(labels: tuple[str, ...]) -> Verdict:
    """The verdict on a post that carries these labels of a track."""
    return Verdict(VerdictStatus.OK if labels else VerdictStatus.UNDECIDED, labels, reason="mirror")


@dataclass(frozen=True, slots=True)
class Reflection:
    """The track whose labels a post carries or ought to carry, and those labels.

    `away`: the account of the track or of the post is not active; what is said stays as it is (P151).
    """

    track_uri: str
    labels: tuple[str, ...]
    away: bool = False


async def range_end(r: Reader, after: int, limit: int) -> int | None:
    """The number of the last of the next `limit` tracks after a number; None when there is none."""
    last: int | None = await r.value("mirrors.range_end", after=after, limit=limit)
    return last


async def wanted(r: Reader, after: int, upto: int, *, own: bool, announcer: str, src: str) -> dict[str, Reflection]:
    """Post -> what it ought to carry, of tracks numbered after..upto: posts of `announcer` (a DID; "": nobody) and, if
    `own`, of the artists themselves, that link one track and nothing else. None by `src`, the labeler (P27).
    """
    rows = await r.rows(
        "mirrors.wanted", after=after, upto=upto, own=int(own), announcer=announcer, src=src, limit=MAX_POSTS
    )
    return {post: Reflection(track, tuple(orjson.loads(labels)), bool(away)) for post, track, labels, away in rows}


async def held(r: Reader, after: int, upto: int) -> dict[str, Reflection]:
    """Post -> what it has been given to carry, of tracks numbered after..upto."""
    rows = await r.rows("mirrors.held", after=after, upto=upto)
    return {post: Reflection(track, tuple(orjson.loads(labels))) for post, track, labels in rows}


async def put(tx: Tx, post_uri: str, track_uri: str, *, now_us: int) -> None:
    """From now on the post's verdict follows this track's. The caller puts the first one."""
    await tx.run("mirrors.put", post_uri=post_uri, track_uri=track_uri, now_us=now_us)


async def drop(tx: Tx, post_uri: str) -> None:
    """The post follows no track any more. The caller retracts its labels."""
    await tx.run("mirrors.drop", post_uri=post_uri)


async def track_of(r: Reader, post_uri: str) -> str | None:
    """The track whose labels the post carries."""
    uri: str | None = await r.value("mirrors.track_of", post_uri=post_uri)
    return uri


async def posts_of(r: Reader, track_uri: str) -> list[str]:
    """The posts that carry the labels of a track."""
    return [uri for (uri,) in await r.rows("mirrors.posts_of", track_uri=track_uri)]
