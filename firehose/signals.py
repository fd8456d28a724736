"""Likes, reposts and playlists into the store: what listeners say without words. Nothing is fetched for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.types import AtUri
from firehose.events import Operation, RecordEvent
from firehose.links import POSTS, LinkRules, created_us
from store import Tx, links, signals
from store.signals import Signal, SignalKind

MAX_SUBJECTS = 500  # of a list: what its lexicon allows
BLUESKY_LIKES = frozenset(("app.bsky.feed.like", "app.bsky.feed.repost"))


@dataclass(frozen=True, slots=True)
class SignalMap:
    """Where a record of some collection names what it speaks of: a field, or `[]` after it for the members of a list.

    `of_list`: its `listType` may say that it is something else than a playlist.
    """

    kind: SignalKind
    path: str
    of_list: bool = False


SIGNALS: Mapping[str, SignalMap] = {
    "fm.plyr.like": SignalMap(SignalKind.LIKE, "subject.uri"),
    "fm.plyr.list": SignalMap(SignalKind.PLAYLIST, "items[].subject.uri", of_list=True),
    "app.musicsky.temp.like": SignalMap(SignalKind.LIKE, "subject.uri"),
    "app.musicsky.temp.repost": SignalMap(SignalKind.REPOST, "subject.uri"),
    "app.musicsky.temp.playlist": SignalMap(SignalKind.PLAYLIST, "tracks[].uri"),
    "sh.comet.v0.feed.like": SignalMap(SignalKind.LIKE, "subject"),
    "sh.comet.v0.feed.playlistTrack": SignalMap(SignalKind.PLAYLIST, "track"),
    "app.bsky.feed.like": SignalMap(SignalKind.LIKE, "subject.uri"),
    "app.bsky.feed.repost": SignalMap(SignalKind.REPOST, "subject.uri"),
}
_LIST_KINDS = {"album": SignalKind.ALBUM, "liked": SignalKind.LIKE}


class Signals:
    """Implements firehose.apply.RecordReader. What people say of their own records does not count."""

    def __init__(self, rules: LinkRules, *, likes_of_posts: bool) -> None:
        self._rules = rules
        self.collections = frozenset(SIGNALS) if likes_of_posts else frozenset(SIGNALS) - BLUESKY_LIKES

    async def apply(self, tx: Tx, event: RecordEvent, *, now_us: int) -> None:
        """See RecordReader.apply."""
        if event.operation is not Operation.CREATE:
            await signals.drop_record(tx, str(event.uri))
        if event.operation is Operation.DELETE or not isinstance(event.record, dict):
            return
        mapping, record = SIGNALS[event.collection], event.record
        kind = _LIST_KINDS.get(str(record.get("listType")), mapping.kind) if mapping.of_list else mapping.kind
        time_us = created_us(record.get("createdAt"), event.rkey, now_us)
        subjects = [
            subject
            for subject in dict.fromkeys(subjects_of(event.collection, record))
            if subject.did != event.did and await self._is_known(tx, subject)
        ]
        await signals.put(tx, [Signal(event.uri, str(subject), kind, time_us) for subject in subjects])

    async def _is_known(self, tx: Tx, subject: AtUri) -> bool:
        """Whether it is a track, though perhaps one that has not arrived yet, or a post that links one."""
        if subject.collection == POSTS:
            return await links.is_linked(tx, str(subject))
        return subject.collection in self._rules.collections


def subjects_of(collection: str, record: Mapping[str, Any]) -> Iterator[AtUri]:
    """What a record of one of the SIGNALS speaks of, well formed and at most 500."""
    found: list[Any] = [record]
    for step in SIGNALS[collection].path.split("."):
        found = [value.get(step.removesuffix("[]")) for value in found if isinstance(value, dict)]
        if step.endswith("[]"):
            found = [member for value in found if isinstance(value, list) for member in value[:MAX_SUBJECTS]]
    for value in found:
        try:
            yield AtUri.parse(value)
        except (ValueError, AttributeError, TypeError):
            continue
