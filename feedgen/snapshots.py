"""Snapshots: frozen orders of a feed that pages are cut from, so that re-ranking never repeats or skips (P110)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from core.feed import FeedEntry
from feedgen.cursor import Cursor, hash_track

MAX_FEED_CONTEXT_BYTES = 2000  # P130


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One order of one feed. `rendered` holds each entry's JSON, so that a page is a join."""

    snapshot_id: int  # unix microseconds of its making
    entries: tuple[FeedEntry, ...]
    rendered: tuple[bytes, ...]
    places: Mapping[bytes, int]  # hash of a track -> its position
    posts: frozenset[str]  # all that stand for an entry


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, each as JSON, and where the next page begins; None at the end (P108)."""

    entries: tuple[FeedEntry, ...]
    rendered: tuple[bytes, ...]
    next: Cursor | None


def freeze(rkey: str, entries: Sequence[FeedEntry], snapshot_id: int) -> Snapshot:
    """A snapshot of this order."""
    hashes = [hash_track(entry.track_uri) for entry in entries]
    return Snapshot(
        snapshot_id,
        tuple(entries),
        tuple(
            orjson.dumps({"post": entry.post_uri, "feedContext": _context(rkey, track, entry.score)})
            for track, entry in zip(hashes, entries, strict=True)
        ),
        {track: place for place, track in enumerate(hashes)},
        frozenset(entry.post_uri for entry in entries),
    )


class Shelf:
    """The snapshots of one feed that readers may still stand in, the newest last."""

    def __init__(self, rkey: str, *, keep: int = 36) -> None:
        self.rkey = rkey
        self._keep = keep
        self._snapshots: dict[int, Snapshot] = {}
        self.newest: Snapshot | None = None

    def put(self, entries: Sequence[FeedEntry], now_us: int) -> Snapshot:
        """Make this order the newest. An order that did not change stays the snapshot it was."""
        newest = self.newest
        snapshot_id = now_us if newest is None else max(now_us, newest.snapshot_id + 1)
        fresh = freeze(self.rkey, entries, snapshot_id)
        if newest is not None and newest.rendered == fresh.rendered:
            return newest
        self._snapshots[snapshot_id] = self.newest = fresh
        while len(self._snapshots) > self._keep:
            del self._snapshots[next(iter(self._snapshots))]
        return fresh

    def page(self, cursor: Cursor | None, limit: int, posts_of: Callable[[str], Sequence[str]]) -> Page:
        """At most `limit` living entries from where the cursor stands; the newest head without one.

        `posts_of` gives the posts that may show a track now, the best first: an entry whose post is gone is shown by
        the next one, and is dead without any. A cursor into a snapshot that is gone goes on in the newest one behind
        the track served last; if that is gone as well, at the same position. It never starts again from the head. A
        page has a next one only if a living entry remains, so it is never empty and its cursor is never the one that
        came in (P107).
        """
        snapshot = self.newest if cursor is None else self._snapshots.get(cursor.snapshot)
        start = 0 if cursor is None else cursor.position
        if snapshot is None and self.newest is not None and cursor is not None:
            snapshot = self.newest
            place = snapshot.places.get(cursor.last)
            start = cursor.position if place is None else place + 1
        if snapshot is None:
            return Page((), (), None)
        chosen: list[tuple[int, FeedEntry]] = []
        for position in range(start, len(snapshot.entries)):
            entry = _alive(snapshot, snapshot.entries[position], posts_of)
            if entry is None:
                continue
            if len(chosen) == limit:
                place, last = chosen[-1]
                return _cut(snapshot, chosen, Cursor(snapshot.snapshot_id, place + 1, hash_track(last.track_uri)))
            chosen.append((position, entry))
        return _cut(snapshot, chosen, None)


def _alive(snapshot: Snapshot, entry: FeedEntry, posts_of: Callable[[str], Sequence[str]]) -> FeedEntry | None:
    """The entry with a post that can show it; never with one that shows another entry."""
    posts = posts_of(entry.track_uri)
    if entry.post_uri in posts:
        return entry
    spare = next((post for post in posts if post not in snapshot.posts), None)
    return None if spare is None else replace(entry, post_uri=spare)


def _cut(snapshot: Snapshot, chosen: Sequence[tuple[int, FeedEntry]], following: Cursor | None) -> Page:
    return Page(
        tuple(entry for _, entry in chosen),
        tuple(_render(snapshot, position, entry) for position, entry in chosen),
        following,
    )


def _render(snapshot: Snapshot, position: int, entry: FeedEntry) -> bytes:
    rendered = snapshot.rendered[position]
    if entry is snapshot.entries[position]:
        return rendered
    return orjson.dumps(orjson.loads(rendered) | {"post": entry.post_uri})


def _context(rkey: str, track: bytes, score: float) -> str:
    """`track hash|feed|reason|bucket`: comes back with interactions and is visible to clients, so nothing secret and
    no raw score: the bucket is the score in half standard deviations (P130)."""
    context = f"{track.hex()}|{rkey}|mood|{round(score * 2)}"
    if len(context.encode()) > MAX_FEED_CONTEXT_BYTES:
        raise AssertionError("feedContext is too long")
    return context
