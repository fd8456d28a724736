"""Tracks as everybody may see them: what a list of them says of each, outside Bluesky."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from core.errors import AppError
from core.feed import FeedEntry
from core.ports import Directory
from core.types import AtUri, Did, TrackState
from earmark.report import is_public
from feedgen.corpus import Corpus
from feedgen.live import LiveFeeds
from feedgen.posts import POST_COLLECTION
from store import Reader, Store, tracks, wishes
from store.tracks import StoredTrack
from store.wishes import Scope

HOST_SECONDS = 2.0  # that a list waits for where its artists' audio lies; without an answer it is listed without
_NOT_THERE = (TrackState.REFUSED, TrackState.WITHDRAWN)
_UNSAFE = frozenset(' "<>\\^`{|}')


@dataclass(frozen=True, slots=True)
class ShownTrack:
    """What people who are logged out may know of a track. `audio_url`: where its artist keeps it."""

    uri: str
    title: str
    artist: str | None
    album: str | None
    duration_ms: int | None
    published_us: int
    page_url: str | None
    post_uri: str | None
    audio_url: str | None = None
    audio_mime: str = ""  # as its record claims
    audio_bytes: int | None = None  # likewise

    @property
    def address(self) -> str | None:
        """Where people can go: its app's page, else the post about it."""
        if self.page_url is not None or self.post_uri is None:
            return self.page_url
        post = AtUri.parse(self.post_uri)
        return f"https://bsky.app/profile/{post.did}/post/{post.rkey}" if post.collection == POST_COLLECTION else None

    def tell(self) -> dict[str, Any]:
        """The part of a `#rankedTrack` that does not depend on where it is ranked."""
        told = {
            "artist": self.artist and self.artist[:640],
            "album": self.album and self.album[:640],
            "durationMs": self.duration_ms,
            "page": self.page_url,
            "post": self.post_uri,
        }
        return {"uri": self.uri, "title": self.title[:640]} | {name: value for name, value in told.items() if value}


class Showing:
    """Looks at every track anew: what its artist or the app that published it keeps back is not there."""

    def __init__(self, store: Store, feeds: LiveFeeds, directory: Directory) -> None:
        self._store = store
        self._feeds = feeds
        self._directory = directory

    async def filter(self) -> Callable[[str], bool]:
        """Whether a track's at-uri may be listed, as of now: quick, for long orders. `look` is sure."""
        living = await self._feeds.living()
        async with self._store.read() as reader:
            hidden = await wishes.all_logged_in_only(reader)
        return lambda uri: uri in living and AtUri.parse(uri).did not in hidden

    async def look(self, uris: Iterable[str], *, audio: bool = False) -> dict[str, ShownTrack]:
        """Those that may be shown, by at-uri, in the order given. `audio`: also where it lies."""
        living = await self._feeds.living()
        shown: list[tuple[StoredTrack, str | None]] = []
        async with self._store.read() as reader:
            hidden = await wishes.all_logged_in_only(reader)
            for uri in dict.fromkeys(uris):
                stored = await tracks.get(reader, uri) if uri in living else None
                if stored is not None and await _may_be_listed(reader, stored):
                    posts = (post for post in living[uri] if AtUri.parse(post).did not in hidden)
                    shown.append((stored, next(posts, None)))
        hosts = await self._find_hosts({stored.track.did for stored, _ in shown}) if audio else {}
        found = [_show(stored, post, hosts.get(stored.track.did), audio=audio) for stored, post in shown]
        corpus = await self._feeds.corpus()
        return {one.uri: _with_duration(one, corpus) for one in found}

    async def _find_hosts(self, dids: Iterable[Did]) -> dict[Did, str]:
        wanted = sorted(dids)
        hosts = await asyncio.gather(*(self._find_host(did) for did in wanted))
        return {did: host for did, host in zip(wanted, hosts, strict=True) if host is not None}

    async def _find_host(self, did: Did) -> str | None:
        try:
            async with asyncio.timeout(HOST_SECONDS):
                return (await self._directory.resolve(did)).pds
        except (AppError, TimeoutError):
            return None


def _with_duration(shown: ShownTrack, corpus: Corpus) -> ShownTrack:
    """As decoded, where that is known, instead of as the record says."""
    place = corpus.places.get(shown.uri)
    seconds = None if place is None else corpus.tracks[place].duration_seconds
    return shown if seconds is None else replace(shown, duration_ms=round(seconds * 1000))


def tell_ranked(shown: Mapping[str, ShownTrack], entries: Iterable[FeedEntry]) -> list[dict[str, Any]]:
    """A `#rankedTrack` of each entry that may be shown."""
    return [
        shown[entry.track_uri].tell() | {"score": tell_number(entry.score), "reason": entry.reason.value}
        for entry in entries
        if entry.track_uri in shown
    ]


def tell_number(number: float) -> int:
    """A score or a factor, which may be beyond 1, in millionths: the network's data model has no fractions."""
    return max(0, round(number * 1_000_000))


async def _may_be_listed(reader: Reader, stored: StoredTrack) -> bool:
    """It is there and public, and its artist wants to be in feeds."""
    if stored.state in _NOT_THERE:
        return False
    return await is_public(reader, stored) and (await wishes.of(reader, stored.track.did)).scope is Scope.NONE


def _show(stored: StoredTrack, post_uri: str | None, host: str | None, *, audio: bool) -> ShownTrack:
    track = stored.track
    shown = ShownTrack(
        str(track.uri),
        track.title,
        track.artist,
        track.album,
        track.duration_ms,
        max(0, min(track.created_us, stored.first_seen_us)),
        _web_address(track.page_url),
        post_uri,
    )
    if not audio:
        return shown
    address, mime, size = track.audio_url, "", None
    if track.blob is not None:
        query = urlencode({"did": track.did, "cid": track.blob.cid})
        address = host and f"{host}/xrpc/com.atproto.sync.getBlob?{query}"
        mime, size = track.blob.mime, track.blob.size
    return replace(shown, audio_url=_web_address(address), audio_mime=mime, audio_bytes=size)


def _web_address(text: str | None) -> str | None:
    """An address that a reader may follow: a stranger wrote it."""
    if not text or not text.startswith(("https://", "http://")) or len(text) > 2_000:
        return None
    return text if text.isascii() and text.isprintable() and _UNSAFE.isdisjoint(text) else None
