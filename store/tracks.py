"""Records and the accounts they belong to. A record's `rev` orders its versions; a deleted one leaves a tombstone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from core.link import Link
from core.taxonomy import Taxonomy
from core.types import AtUri, BlobRef, Cid, Did, Tid, Track, TrackState, Visibility
from store import jobs, sequence
from store.engine import Reader, Row, Tx
from store.links import of_all_tracks

# Self-labels that keep a track out of every feed (POSTS.md section 3 names the same ones for posts).
ADULT_LABELS = frozenset({"porn", "sexual", "nudity", "graphic-media"})
MACHINE_TAGS = frozenset(
    {"ai", "ai-slop", "ai-generated", "suno", "udio"}
)  # as artists write them (LEXICONS section 3)
STYLE_FROM = 0.15  # score of a style that a track is said to be of (FEEDS 2.3: what vetoes count from)
_HEARD = (TrackState.READY, TrackState.UNDECIDED)


@dataclass(frozen=True, slots=True)
class StoredTrack:
    """A track and what became of it. Of a withdrawn one the record is blank but for `uri` and `rev`."""

    track_id: int
    track: Track
    state: TrackState
    reason: str | None
    visibility: Visibility
    first_seen_us: int
    updated_us: int
    account_active: bool


@dataclass(frozen=True, slots=True)
class RankableTrack:
    """A track that a feed may show, with the posts that could stand for it. Times in unix microseconds.

    `music` is None while nothing was heard. `style` is the strongest style of the taxonomy, if one is strong enough to
    speak of. `speech` and `voice` are those of core.analysis.Acoustics; None: not known.
    """

    track_id: int
    uri: str
    did: str
    title: str
    created_us: int
    first_seen_us: int
    duration_seconds: float | None  # decoded if known, else as the record says
    audio_key: str | None
    explicit: bool
    labels: tuple[str, ...]
    credits: tuple[str, ...]
    links: tuple[Link, ...]
    music: bool | None = True
    role: str = "track"
    artist: str | None = None
    album: str | None = None
    isrc: str | None = None
    style: str | None = None
    speech: float | None = None
    voice: float | None = None
    minor: bool | None = None  # the key
    machine: bool = False  # its artist says that a machine made it
    release_us: int = 0  # its artist does not want it to be shown before


async def put(tx: Tx, track: Track, *, state: TrackState, reason: str | None, now_us: int) -> bool:
    """Store a version of a record. False, and nothing changed, unless its `rev` is newer than the stored one, or it is
    proven and the stored one of that `rev` is another and is not: whoever told of that one was behind, or lied. Where
    no version was kept, for its artist's wish, the one of that `rev` may come back.

    A creation time later than our first sight of the record is a mistake or a trick, and becomes that first sight.
    What the publishing app said of visibility is forgotten: it said it of the older version.
    """
    known = await tx.row("tracks.known", uri=str(track.uri))
    track_id, first_seen_us = (known[0], known[2]) if known else (await sequence.take(tx, "track", 1), now_us)
    stored = await tx.value(
        "tracks.put",
        track_id=track_id,
        uri=str(track.uri),
        did=track.did,
        cid=track.cid,
        rev=track.rev,
        state=state.value,
        reason=reason,
        visibility_check=track.visibility_check,
        now_us=now_us,
        title=track.title,
        created_us=min(track.created_us, first_seen_us),
        duration_ms=track.duration_ms,
        audio_key=track.audio_key,
        page_url=track.page_url,
        explicit=int(track.explicit),
        gated=int(track.gated),
        adult=int(not ADULT_LABELS.isdisjoint(track.self_labels)),
        credits=orjson.dumps(track.credits).decode(),
        verified=int(track.verified),
        feeds_min_seconds=track.feeds_min_seconds,
        record=_record_text(track),
    )
    if stored is not None:
        tx.ring("linked")  # posts that came first may stand for it
    return stored is not None


async def withdraw(tx: Tx, uri: str, rev: str, *, now_us: int) -> bool:
    """Leave a tombstone, also for a record never seen, and end its open jobs (P155).

    False, and nothing changed, if a newer version is stored. The caller writes the empty verdict and drops vectors.
    """
    known = await tx.row("tracks.known", uri=uri)
    if known is not None and rev < known[1]:
        return False
    track_id = known[0] if known else await sequence.take(tx, "track", 1)
    did = AtUri.parse(uri).did
    if await tx.value("tracks.withdraw", track_id=track_id, uri=uri, did=did, rev=rev, now_us=now_us) is None:
        return False
    await jobs.supersede(tx, uri, keep_cid="", now_us=now_us)
    return True


async def blank(tx: Tx, did: str, *, reason: str, now_us: int) -> None:
    """Refuse all tracks of an account and keep nothing of their records but `uri` and `rev`; tombstones stay.

    The caller ends jobs, retracts and drops vectors. A walk through the repository finds the records anew: no version
    counts as known any more.
    """
    await tx.run("tracks.blank", did=did, reason=reason, now_us=now_us)


async def unpin(tx: Tx, uri: str) -> None:
    """Let any later version replace a tombstone, whatever its `rev`: its account went, and may come back as it was."""
    await tx.run("tracks.unpin", uri=uri)


async def verify(tx: Tx, uri: str, cid: str) -> bool:
    """This version was found in its account's signed tree. False when the track is another version by now."""
    return await tx.value("tracks.verify", uri=uri, cid=cid) is not None


async def get(r: Reader, uri: str) -> StoredTrack | None:
    """The track, withdrawn or not; None if never seen."""
    row = await r.row("tracks.get", uri=uri)
    return None if row is None else _stored_track(row)


async def set_state(tx: Tx, uri: str, state: TrackState, reason: str | None, *, now_us: int) -> None:
    """Say where the track is on its way, and why."""
    await tx.run("tracks.set_state", uri=uri, state=state.value, reason=reason, now_us=now_us)


async def set_visibility(tx: Tx, uri: str, visibility: Visibility, *, page_url: str | None, now_us: int) -> None:
    """Keep the publishing app's answer; a page address that it told us stays known. Tombstones stay as they are."""
    await tx.run("tracks.set_visibility", uri=uri, visibility=visibility.value, page_url=page_url, now_us=now_us)
    if page_url is not None:
        tx.ring("linked")  # posts that link the page may stand for it


async def to_ask_again(r: Reader, *, before_us: int, now_us: int, limit: int) -> list[tuple[str, str]]:
    """(uri, cid) of tracks whose app was last asked for their visibility before that time, the longest ago first; and
    of hidden ones that have waited since then as long as we knew them at that time.
    """
    rows = await r.rows("tracks.to_ask_again", before_us=before_us, now_us=now_us, limit=limit)
    return [(uri, cid) for uri, cid in rows]


async def of_account(r: Reader, did: str) -> list[StoredTrack]:
    """All tracks of an account, tombstones included, in the order they were first seen."""
    return [_stored_track(row) for row in await r.rows("tracks.of_account", did=did)]


async def created_after(r: Reader, did: str, after_us: int, *, limit: int) -> list[str]:
    """The at-uris of what an account says that it published after a time, the newest `limit` of them first."""
    return [uri for (uri,) in await r.rows("tracks.created_after", did=did, after_us=after_us, limit=limit)]


async def of_audio(r: Reader, audio_key: str) -> list[StoredTrack]:
    """All tracks whose records name this audio, in the order they were first seen."""
    return [_stored_track(row) for row in await r.rows("tracks.of_audio", audio_key=audio_key)]


async def rankable(r: Reader) -> list[RankableTrack]:
    """Everything that feeds may show, with the posts that may stand for it: two statements however many tracks.

    Visible (the publishing app said public, or none has to be asked); not gated; no adult self-label; not
    shorter than its collection asks; its account active and willing to be in feeds. Whether it is music may not be
    known yet; what is silent is left out. Links of authors who are inactive or unwilling are left out.
    """
    links = await of_all_tracks(r)
    return await asyncio.to_thread(_rankable_tracks, await r.rows("tracks.rankable"), links)


def _rankable_tracks(rows: Sequence[Row], links: Mapping[int, Sequence[Link]]) -> list[RankableTrack]:
    styles = Taxonomy.load().styles
    found = (_rankable_track(row, tuple(links.get(row[0], ())), styles) for row in rows)
    return [track for track in found if track is not None]


async def decided(r: Reader, *, after: int, limit: int) -> list[tuple[int, str]]:
    """(track id, uri) of tracks that are not on their way and not withdrawn or gated, by number after one."""
    return [(track_id, uri) for track_id, uri in await r.rows("tracks.decided", after=after, limit=limit)]


async def count_by_state(r: Reader) -> dict[str, int]:
    """Number of tracks by state; states without tracks are 0."""
    found: dict[str, int] = dict(await r.rows("tracks.count_by_state"))
    return {state.value: found.get(state.value, 0) for state in TrackState}


def _record_text(track: Track) -> str:
    """What no statement asks for, as JSON. Bytes, which DAG-CBOR has and JSON has not, become hex."""
    blob = track.blob
    fields: dict[str, Any] = {
        "artist": track.artist,
        "album": track.album,
        "blob": None if blob is None else [blob.cid, blob.mime, blob.size],
        "audio_url": track.audio_url,
        "self_labels": track.self_labels,
        "author_tags": track.author_tags,
        "role": track.role,
        "hold_until_us": track.hold_until_us,
        "post_refs": track.post_refs,
        "isrc": track.isrc,
        "extra": track.extra,
    }
    return orjson.dumps(fields, default=bytes.hex).decode()


def _stored_track(row: Row) -> StoredTrack:
    (
        track_id,
        uri,
        cid,
        rev,
        state,
        reason,
        visibility,
        visibility_check,
        first_seen_us,
        updated_us,
        title,
        created_us,
        duration_ms,
        page_url,
        explicit,
        gated,
        credits_text,
        verified,
        feeds_min_seconds,
        record_text,
        account_active,
    ) = row
    record = orjson.loads(record_text)
    blob = record.get("blob")
    track = Track(
        uri=AtUri.parse(uri),
        cid=Cid(cid),
        rev=Tid(rev),
        title=title,
        created_us=created_us,
        artist=record.get("artist"),
        album=record.get("album"),
        duration_ms=duration_ms,
        blob=None if blob is None else BlobRef(*blob),
        audio_url=record.get("audio_url"),
        page_url=page_url,
        self_labels=tuple(record.get("self_labels", ())),
        author_tags=tuple(record.get("author_tags", ())),
        credits=tuple(orjson.loads(credits_text)),
        explicit=bool(explicit),
        gated=bool(gated),
        visibility_check=visibility_check,
        role=record.get("role", "track"),
        feeds_min_seconds=feeds_min_seconds,
        hold_until_us=record.get("hold_until_us"),
        post_refs=tuple(record.get("post_refs", ())),
        verified=bool(verified),
        isrc=record.get("isrc"),
        extra=record.get("extra", {}),
    )
    return StoredTrack(
        track_id=track_id,
        track=track,
        state=TrackState(state),
        reason=reason,
        visibility=Visibility(visibility),
        first_seen_us=first_seen_us,
        updated_us=updated_us,
        account_active=bool(account_active),
    )


def _rankable_track(row: Row, links: tuple[Link, ...], styles: Collection[str]) -> RankableTrack | None:
    track_id, uri, did, title, created_us, first_seen_us, duration_ms, decoded_seconds, audio_key, explicit = row[:10]
    credits_text, min_seconds, record_text, state, labels_text, genres_text, is_music, reason, *measured = row[10:]
    speech, voice, minor = measured if state in _HEARD else (None, None, None)
    record = orjson.loads(record_text)
    heard = state in _HEARD and labels_text is not None
    seconds = decoded_seconds if decoded_seconds is not None or duration_ms is None else duration_ms / 1000
    if heard and not is_music and reason == "silence":
        return None
    if min_seconds is not None and (seconds or 0.0) < min_seconds:
        return None
    genres = orjson.loads(genres_text) if heard else ()
    return RankableTrack(
        track_id=track_id,
        uri=uri,
        did=Did(did),
        title=title,
        created_us=created_us,
        first_seen_us=first_seen_us,
        duration_seconds=seconds,
        audio_key=audio_key,
        explicit=bool(explicit),
        labels=tuple(orjson.loads(labels_text)) if heard else (),
        credits=tuple(orjson.loads(credits_text)),
        links=links,
        music=bool(is_music) if heard else None,
        role=record.get("role", "track"),
        artist=record.get("artist"),
        album=record.get("album"),
        isrc=record.get("isrc"),
        style=next((name for name, _, score in genres if score >= STYLE_FROM and name in styles), None),
        speech=speech if heard else None,
        voice=voice,
        minor=None if minor is None else bool(minor),
        machine=not MACHINE_TAGS.isdisjoint(
            tag.casefold() for tag in (*record.get("author_tags", ()), *record.get("self_labels", ()))
        ),
        release_us=record.get("hold_until_us") or 0,
    )
