"""Posts that announce tracks: which artists asked for them, and what was posted (POSTS.md section 5)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

from core.types import Did
from store.engine import Reader, Row, Tx


class Said(StrEnum):
    """What a record says of being announced."""

    YES = "yes"
    ASKED = "asked"  # it would, if its artist followed our account
    STOP = "stop"  # once said it stays said, whatever becomes of the record
    NOTHING = "nothing"  # it was looked at, and need not be again


@dataclass(frozen=True, slots=True)
class AnnouncementWish:
    """What one record of an artist says, or (`record_uri` is the DID) the operator's configuration.

    `said_us` is the record's own time, not later than `seen_us`, when we first saw it say so; at `checked_us` it still
    did. Unix microseconds.
    """

    record_uri: str
    did: Did
    said: Said
    mention: bool
    said_us: int
    seen_us: int
    checked_us: int


class AnnouncementState(StrEnum):
    """What became of a post."""

    PLANNED = "planned"  # it may have been made
    POSTED = "posted"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Announcement:
    """The post of a track; `post_cid` once it is known. `thread`: it continues another one of the same album."""

    track_uri: str
    did: Did
    album: str | None
    thread: bool
    post_uri: str
    post_cid: str | None
    state: AnnouncementState
    made_us: int


async def put_wish(
    tx: Tx, record_uri: str, did: str, said: Said, *, mention: bool = False, said_us: int, now_us: int
) -> None:
    """What a record says now, whatever it said before."""
    await tx.run(
        "announcements.put_wish",
        record_uri=record_uri,
        did=did,
        said=said.value,
        mention=int(mention),
        said_us=min(said_us, now_us),
        now_us=now_us,
    )


async def put_stop(tx: Tx, record_uri: str, did: str, *, said_us: int, now_us: int) -> None:
    """A `stop` takes the place of those before it: however often it is said, one row is kept."""
    await tx.run("announcements.drop_stops", did=did, upto_us=said_us)
    await put_wish(tx, record_uri, did, Said.STOP, said_us=said_us, now_us=now_us)


async def drop_wish(tx: Tx, record_uri: str) -> None:
    """Nothing is known of that record any more."""
    await tx.run("announcements.drop_wish", record_uri=record_uri)


async def forget_idle(tx: Tx, said: Said, *, before_us: int) -> None:
    """Forget records that said this when they were looked at before that time: they are read anew if they are named."""
    await tx.run("announcements.forget_idle", said=said.value, before_us=before_us)


async def concern(r: Reader, did: str) -> bool:
    """Whether an account asked for announcements, or had some: only then its `stop` is worth a row."""
    return await r.value("announcements.concern", did=did) is not None


async def wishes(r: Reader) -> dict[Did, list[AnnouncementWish]]:
    """What artists said, the oldest first."""
    found: defaultdict[Did, list[AnnouncementWish]] = defaultdict(list)
    for row in await r.rows("announcements.wishes"):
        wish = _wish(row)
        found[wish.did].append(wish)
    return dict(found)


async def wishes_of(r: Reader, did: str, *, limit: int) -> list[AnnouncementWish]:
    """What one account said, the newest first."""
    return [_wish(row) for row in await r.rows("announcements.wishes_of", did=did, limit=limit)]


async def plan(tx: Tx, one: Announcement) -> None:
    """A post is going to be made; whatever happens then, no other one is made of this track."""
    await tx.run(
        "announcements.plan",
        track_uri=one.track_uri,
        did=one.did,
        album=one.album,
        thread=int(one.thread),
        post_uri=one.post_uri,
        now_us=one.made_us,
    )


async def posted(tx: Tx, track_uri: str, post_cid: str) -> None:
    """The post stands."""
    await tx.run("announcements.posted", track_uri=track_uri, post_cid=post_cid)


async def gone(tx: Tx, track_uri: str) -> None:
    """The post was taken back, or is not to be made any more."""
    await tx.run("announcements.gone", track_uri=track_uri)


async def of_artist(r: Reader, did: str) -> list[Announcement]:
    """All of an artist's, whatever became of them, the oldest first."""
    return [_announcement(row) for row in await r.rows("announcements.of_artist", did=did)]


async def of_track(r: Reader, track_uri: str) -> Announcement | None:
    """Whatever became of it; None if there never was one."""
    row = await r.row("announcements.of_track", track_uri=track_uri)
    return None if row is None else _announcement(row)


async def artists(r: Reader) -> list[Did]:
    """Whose posts stand, or are about to."""
    return [Did(did) for (did,) in await r.rows("announcements.artists")]


async def made_since(r: Reader, since_us: int) -> int:
    """How many were decided on since a time."""
    count: int = await r.value("announcements.made_since", since_us=since_us)
    return count


def _wish(row: Row) -> AnnouncementWish:
    uri, did, said, mention, *times = row
    return AnnouncementWish(uri, Did(did), Said(said), bool(mention), *times)


def _announcement(row: Row) -> Announcement:
    uri, artist, album, thread, post, cid, state, made_us = row
    return Announcement(uri, Did(artist), album, bool(thread), post, cid, AnnouncementState(state), made_us)
