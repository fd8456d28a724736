"""What one round of the announcer has to do, within all limits (POSTS.md section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.sections import Announcer as AnnouncerSettings
from core.types import Did
from earmark.announcement import announce_since, is_due, is_quiet, must_go, post_uri
from earmark.report import is_public
from store import Reader, Store, announcements, labels, tracks, wishes
from store.announcements import Announcement, AnnouncementState, AnnouncementWish
from store.tracks import StoredTrack

DAY_US = 86_400_000_000
MAX_A_DAY = 200  # posts, all artists together
ALBUM_US = 7 * DAY_US  # so long an album's further tracks join its first one's thread


@dataclass(frozen=True, slots=True)
class Work:
    """What one round has to do."""

    post: tuple[Announcement, ...]
    take_back: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """Of one artist: all that was made, and of it what goes and what waits; tracks to be announced, oldest first."""

    made: list[Announcement]
    take_back: list[Announcement] = field(default_factory=list)
    waiting: list[Announcement] = field(default_factory=list)
    due: list[StoredTrack] = field(default_factory=list)


async def plan_work(
    store: Store, said: Mapping[Did, Sequence[AnnouncementWish]], bot: Did, settings: AnnouncerSettings, *, now_us: int
) -> Work:
    """What is due within all limits; what is to be posted is written down."""
    quiet = is_quiet(settings.quiet_hours, now_us)
    old: list[Announcement] = []
    new: list[Announcement] = []
    take_back: list[Announcement] = []
    async with store.read() as reader:
        left = 0 if quiet else MAX_A_DAY - await announcements.made_since(reader, now_us - DAY_US)
        wanted = {did: since for did, ones in said.items() if (since := announce_since(ones)) is not None}
        for did in sorted({*wanted, *await announcements.artists(reader)} - {bot}):
            look = await _look_at(reader, did, wanted.get(did), now_us)
            take_back += look.take_back
            old += [] if quiet else look.waiting
            made = look.made
            for stored in look.due:
                planned = _place(stored, made, bot, settings.per_day, now_us) if left > 0 else None
                if planned is not None:
                    made, left = [*made, planned], left - 1
                    new.append(planned)
    if new:
        async with store.write() as tx:
            for one in new:
                await announcements.plan(tx, one)
    return Work((*old, *new), (*take_back,))


async def _look_at(reader: Reader, did: Did, since_us: int | None, now_us: int) -> _Look:
    """What one artist's tracks and our posts of them call for."""
    standing, made = await wishes.of(reader, did), await announcements.of_artist(reader, did)
    known = {str(one.track.uri): one for one in await tracks.of_account(reader, did)}
    look = _Look(made)
    for one in made:
        waits = one.state is AnnouncementState.PLANNED
        late = waits and one.made_us < now_us - DAY_US  # whatever was in its way: it is no news any more
        if one.state is not AnnouncementState.GONE:
            if late or must_go(known.get(one.track_uri), standing, since_us):
                look.take_back.append(one)
            elif waits:
                look.waiting.append(one)
    for uri in known.keys() - {one.track_uri for one in made}:
        stored = known[uri]
        if is_due(stored, standing, since_us, now_us=now_us) and await is_public(reader, stored):
            verdict = await labels.get_verdict(reader, uri)
            if verdict is not None and verdict.verdict.rankable:
                look.due.append(stored)
    look.due.sort(key=lambda stored: (stored.track.created_us, str(stored.track.uri)))
    return look


def _place(
    stored: StoredTrack, made: Sequence[Announcement], bot: Did, per_day: int, now_us: int
) -> Announcement | None:
    """As a post of its own while the artist has one left today, or in the thread of its album; else None."""
    track = stored.track
    album = track.album.casefold() if track.album else None
    thread = any(
        one.album == album and one.state is not AnnouncementState.GONE and one.made_us > now_us - ALBUM_US
        for one in made
        if album
    )
    today = sum(not one.thread and one.made_us > now_us - DAY_US for one in made)
    if not thread and today >= per_day:
        return None
    uri = str(track.uri)
    place = str(post_uri(bot, uri))
    return Announcement(uri, track.did, album, thread, place, None, AnnouncementState.PLANNED, now_us)
