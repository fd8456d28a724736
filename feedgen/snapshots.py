"""Snapshots: frozen orders of a feed that pages are cut from, so that re-ranking never repeats or skips (P110)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from core.feed import FeedEntry
from feedgen.context import Contexts
from feedgen.cursor import Cursor
from feedgen.served import MAX_SERVED, Marks, Served, hash_track, marks_of

PostsOf = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One order of one feed, by place. `rendered` holds each entry's JSON, so that a page is a join."""

    snapshot_id: int  # unix microseconds of its making
    tracks: tuple[str, ...]
    posts: tuple[str, ...]
    rendered: tuple[bytes, ...]
    marks: Marks


@dataclass(frozen=True, slots=True)
class Page:
    """Some tracks, each as JSON, and where the next page begins; None at the end (P108)."""

    tracks: tuple[str, ...]
    rendered: tuple[bytes, ...]
    next: Cursor | None


EMPTY = Page((), (), None)


def freeze(rkey: str, entries: Sequence[FeedEntry], snapshot_id: int, contexts: Contexts) -> Snapshot:
    """A snapshot of this order. Raises AssertionError for an entry without a post."""
    posts = []
    for entry in entries:
        if entry.post_uri is None:
            raise AssertionError(f"nothing in a skeleton shows {entry.track_uri}")
        posts.append(sys.intern(entry.post_uri))  # the same in the next snapshot, and there are many
    return Snapshot(
        snapshot_id,
        tuple(sys.intern(entry.track_uri) for entry in entries),
        tuple(posts),
        tuple(orjson.dumps({"post": entry.post_uri, "feedContext": contexts.write(rkey, entry)}) for entry in entries),
        marks_of([hash_track(entry.track_uri) for entry in entries]),
    )


class Shelf:
    """The snapshots of one feed that readers may still stand in, the newest last, and the newest order in full."""

    def __init__(self, rkey: str, *, keep: int = 36, contexts: Contexts | None = None) -> None:
        self.rkey = rkey
        self._contexts = contexts or Contexts()
        self.newest: Snapshot | None = None
        self.entries: tuple[FeedEntry, ...] = ()
        self._keep = keep
        self._snapshots: dict[int, Snapshot] = {}

    def freeze(self, entries: Sequence[FeedEntry], now_us: int) -> Snapshot:
        """The snapshot of this order that could be the next one: some milliseconds, in whichever thread."""
        snapshot_id = now_us if self.newest is None else max(now_us, self.newest.snapshot_id + 1)
        return freeze(self.rkey, entries, snapshot_id, self._contexts)

    def put(self, entries: Sequence[FeedEntry], fresh: Snapshot) -> Snapshot:
        """Make this order, frozen just now, the newest. An order that did not change stays the snapshot it was."""
        self.entries = tuple(entries)
        newest = self.newest
        if newest is not None and newest.rendered == fresh.rendered and newest.tracks == fresh.tracks:
            return newest
        self._snapshots[fresh.snapshot_id] = self.newest = fresh
        while len(self._snapshots) > self._keep:
            del self._snapshots[next(iter(self._snapshots))]
        return fresh

    def page(self, cursor: Cursor | None, limit: int, posts_of: PostsOf) -> Page:
        """At most `limit` living entries from where the cursor stands, in its snapshot or, if that is gone, in the
        newest one (see `cut`); the newest head without one.
        """
        snapshot = self.newest if cursor is None else self._snapshots.get(cursor.snapshot, self.newest)
        return EMPTY if snapshot is None else cut(snapshot, cursor, limit, posts_of)


def cut(snapshot: Snapshot, cursor: Cursor | None, limit: int, posts_of: PostsOf) -> Page:
    """A page of this snapshot, whichever the cursor comes from.

    `posts_of` gives the posts that may show a track now, the best first: an entry whose post is gone is shown by the
    next one, and is dead without any. A cursor from a snapshot that is gone goes on behind the track served last, or
    from the same position if that is gone as well, once around, past what was served: nothing comes twice, and what was
    ranked before that place meanwhile is not lost. A page has a next one only if a living entry remains, so it is never
    empty and its cursor is never the one that came in (P107). A reading ends after `MAX_SERVED` tracks, beyond which
    the filter in the cursor would take too much for served.
    """
    start, position, served = _stand(snapshot, cursor)
    size = len(snapshot.tracks)
    passed = None if start is None else served.holds(snapshot.marks)
    chosen: list[tuple[int, bytes]] = []  # place, as JSON
    behind = position
    for offset in range(position, size):
        place = offset if start is None else (start + offset) % size
        if passed is not None and passed[place]:
            continue
        rendered = _render(snapshot, place, posts_of)
        if rendered is None:
            continue
        if len(chosen) == limit:
            places = [place for place, _ in chosen]
            before = snapshot.marks[:behind] if start is None else snapshot.marks[places]
            now_served = (Served() if start is None else served).add(before)
            last = hash_track(snapshot.tracks[places[-1]])
            follow = Cursor(snapshot.snapshot_id, start, behind, last, now_served)
            return _page(snapshot, chosen, follow if now_served.count < MAX_SERVED else None)
        chosen.append((place, rendered))
        behind = offset + 1
    return _page(snapshot, chosen, None)


def _stand(snapshot: Snapshot, cursor: Cursor | None) -> tuple[int | None, int, Served]:
    """Where to begin, how many entries to pass from there, and what not to serve again."""
    if cursor is None:
        return None, 0, Served()
    if cursor.snapshot == snapshot.snapshot_id:
        return cursor.start, cursor.position, cursor.served
    size = max(1, len(snapshot.tracks))
    last = marks_of([cursor.last])[0]
    found = (place for place in (snapshot.marks == last).all(axis=1).nonzero()[0].tolist())
    behind = next((place + 1 for place in found if hash_track(snapshot.tracks[place]) == cursor.last), None)
    start = (cursor.start or 0) + cursor.position if behind is None else behind
    return start % size, 0, cursor.served


def choose_post(snapshot: Snapshot, place: int, posts_of: PostsOf) -> str | None:
    """The post that shows an entry now, never one that shows another entry; None when it is dead.

    A post that could stand in for several entries is that of the first of them, whether it needs it now or not: on
    whatever page, and whenever, the answer is the same.
    """
    posts = posts_of(snapshot.tracks[place])
    if snapshot.posts[place] in posts:
        return snapshot.posts[place]
    spares = (post for post in posts if post not in snapshot.posts)
    return next((one for one in spares if not any(one in posts_of(uri) for uri in snapshot.tracks[:place])), None)


def _render(snapshot: Snapshot, place: int, posts_of: PostsOf) -> bytes | None:
    """The entry as JSON with the post that shows it now; None when it is dead."""
    post = choose_post(snapshot, place, posts_of)
    if post == snapshot.posts[place]:
        return snapshot.rendered[place]
    return None if post is None else orjson.dumps(orjson.loads(snapshot.rendered[place]) | {"post": post})


def _page(snapshot: Snapshot, chosen: Sequence[tuple[int, bytes]], follow: Cursor | None) -> Page:
    return Page(tuple(snapshot.tracks[place] for place, _ in chosen), tuple(rendered for _, rendered in chosen), follow)
