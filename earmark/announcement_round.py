"""What one round of the announcer has to do, within all limits (POSTS.md section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.sections import Announcer as AnnouncerSettings
from core.types import Did
from earmark.announcement import Case, announce_since, is_due, is_quiet, must_go, post_uri
from earmark.report import is_public
from store import Reader, Store, accounts, announcements, labels, tracks, wishes
from store.announcements import Announcement, AnnouncementState, AnnouncementWish
from store.tracks import StoredTrack

DAY_US = 86_400_000_000
MAX_A_DAY = 200  # posts, all artists together
MAX_IN_THREADS = 30  # of these in threads, of one artist: or an album of two hundred would be all that is said that day
MAX_TRACKS = 500  # the newest of an artist, which are looked at
RELEASE_US = 90 * DAY_US  # a record may wait so long for its release, and still be announced
ALBUM_US = 7 * DAY_US  # so long an album's further tracks join its first one's thread


@dataclass(frozen=True, slots=True)
class Work:
    """What one round has to do."""

    post: tuple[Announcement, ...]
    take_back: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """Of one artist: all that was made, and of it what goes and what waits; tracks to be announced."""

    made: list[Announcement]
    take_back: list[Announcement] = field(default_factory=list)
    waiting: list[Announcement] = field(default_factory=list)
    due: list[StoredTrack] = field(default_factory=list)


async def plan_work(
    store: Store, said: Mapping[Did, Sequence[AnnouncementWish]], bot: Did, settings: AnnouncerSettings, *, now_us: int
) -> Work:
    """What is due within all limits, of all artists what was seen first before the rest; what is to be posted is
    written down.
    """
    quiet = is_quiet(settings.quiet_hours, now_us)
    wanted = {did: since for did, ones in said.items() if (since := announce_since(ones)) is not None}
    async with store.read() as reader:
        left = 0 if quiet else MAX_A_DAY - await announcements.made_since(reader, now_us - DAY_US)
        dids = sorted({*wanted, *await announcements.artists(reader)} - {bot})
    looks: dict[Did, _Look] = {}
    for did in dids:
        async with store.read() as reader:
            looks[did] = await _look_at(reader, did, wanted.get(did), bot, now_us)
    new: list[Announcement] = []
    due = (stored for look in looks.values() for stored in look.due)
    for stored in sorted(due, key=lambda stored: (stored.first_seen_us, str(stored.track.uri))):
        made = looks[stored.track.did].made
        planned = _place(stored, made, bot, settings.per_day, now_us + len(new)) if len(new) < left else None
        if planned is not None:
            made.append(planned)
            new.append(planned)
    if new:
        async with store.write() as tx:
            for one in new:
                await announcements.plan(tx, one)
    old = [] if quiet else [one for look in looks.values() for one in look.waiting]
    return Work((*old, *new), tuple(one for look in looks.values() for one in look.take_back))


async def read_case(reader: Reader, uri: str, did: Did, since_us: int | None) -> Case:
    """All that is known now of whether a track may have a post."""
    judged = await labels.get_verdict(reader, uri)
    return Case(
        await tracks.get(reader, uri),
        judged.verdict if judged is not None else None,
        await wishes.of(reader, did),
        await accounts.get(reader, did),
        since_us,
    )


async def _look_at(reader: Reader, did: Did, since_us: int | None, bot: Did, now_us: int) -> _Look:
    """What one artist's tracks and our posts of them call for. Posts of an account that was ours once stay."""
    look = _Look([])
    for one in await announcements.of_artist(reader, did):
        look.made.append(one)
        if one.state is AnnouncementState.GONE or not one.post_uri.startswith(f"at://{bot}/"):
            continue
        waits = one.state is AnnouncementState.PLANNED
        late = waits and one.made_us < now_us - DAY_US  # whatever was in its way: it is no news any more
        if late or must_go(await read_case(reader, one.track_uri, did, since_us)):
            look.take_back.append(one)
            look.made[-1] = replace(one, state=AnnouncementState.GONE)  # nothing new may continue it
        elif waits:
            look.waiting.append(one)
    if since_us is not None:
        known = {one.track_uri: one.state is not AnnouncementState.GONE for one in look.made}
        after_us = max(since_us, now_us - RELEASE_US)
        for uri in await tracks.created_after(reader, did, after_us, limit=MAX_TRACKS):
            case = None if uri in known else await read_case(reader, uri, did, since_us)
            if case is None or case.stored is None or not is_due(case, now_us=now_us):
                continue
            if await is_public(reader, case.stored) and not await _is_twin(reader, case.stored, known):
                look.due.append(case.stored)
                known[uri] = True
    return look


async def _is_twin(reader: Reader, stored: StoredTrack, known: Mapping[str, bool]) -> bool:
    """Whether the artist published the same audio elsewhere too, and that record has a post or is to have one."""
    key = stored.track.audio_key
    return key is not None and any(known.get(str(one.track.uri)) for one in await tracks.of_audio(reader, key))


def _place(
    stored: StoredTrack, made: Sequence[Announcement], bot: Did, per_day: int, now_us: int
) -> Announcement | None:
    """As a post of its own while the artist has one left today, or in the thread of its album; else None."""
    track = stored.track
    album = track.album.casefold() if track.album else None
    thread = album is not None and find_first(album, made, since_us=now_us - ALBUM_US) is not None
    today = sum(one.thread is thread and one.made_us > now_us - DAY_US for one in made)
    if today >= (MAX_IN_THREADS if thread else per_day):
        return None
    uri = str(track.uri)
    place = str(post_uri(bot, uri))
    return Announcement(uri, track.did, album, thread, place, None, AnnouncementState.PLANNED, now_us)


def find_first(album: str, made: Sequence[Announcement], *, since_us: int = 0) -> Announcement | None:
    """The post, made or about to be, that an album's thread begins with now."""
    firsts = (
        one
        for one in reversed(made)
        if one.album == album and not one.thread and one.state is not AnnouncementState.GONE
    )
    first = next(firsts, None)
    return first if first is not None and first.made_us > since_us else None
