"""Bluesky posts into the store: which tracks they point at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from core.link import Link, LinkRule
from core.types import AtUri
from firehose.events import Operation, RecordEvent
from firehose.links import POSTS, LinkRules, find_links
from firehose.records import find_values
from store import Tx, links, pages, posters, questions, signals

_POST_KEY = POSTS.encode() + b"/"
_KEY_LENGTH = 13  # posts have TIDs for keys


class LinkedPosts:
    """The keys of posts that link something, in memory: is this like worth decoding? May say yes too often.

    At most `limit`; beyond it likes of the posts that came last are not counted.
    """

    def __init__(self, limit: int = 1_000_000) -> None:
        self._keys: set[bytes] = set()
        self._limit = limit

    def add(self, uris: Iterable[str]) -> None:
        for uri in uris:
            if len(self._keys) < self._limit:
                self._keys.add(uri.rpartition("/")[2].encode()[:_KEY_LENGTH])

    def are_in(self, raw: bytes) -> bool:
        """Whether a record, in JSON or DAG-CBOR, or the blocks around it, names one of them."""
        at = raw.find(_POST_KEY)
        while at >= 0:
            at += len(_POST_KEY)
            if raw[at : at + _KEY_LENGTH] in self._keys:
                return True
            at = raw.find(_POST_KEY, at)
        return False


class PostLinks:
    """Implements firehose.apply.RecordReader for posts. Every link is kept; `linked` learns of posts that have one."""

    collections = frozenset((POSTS,))

    def __init__(self, rules: LinkRules, linked: LinkedPosts | None = None) -> None:
        self._rules = rules
        self._linked = linked or LinkedPosts()

    async def apply(self, tx: Tx, event: RecordEvent, *, now_us: int) -> None:
        """See RecordReader.apply."""
        if event.operation is not Operation.CREATE:
            await self.drop(tx, event.uri)
        if event.operation is not Operation.DELETE:
            await self.put(tx, find_links(self._rules, event.uri, event.record, now_us=now_us), now_us=now_us)

    async def drop(self, tx: Tx, post: AtUri) -> None:
        """The post is gone, or what it held: its links, and what was said of it."""
        if await links.drop_post(tx, str(post)):
            await signals.drop_subject(tx, str(post))

    async def put(self, tx: Tx, found: list[Link], *, now_us: int) -> None:
        """Keep the links of one post; those to pages that are known to show no track are none."""
        if found and found[0].rule is LinkRule.PAGE_SAYS:  # then all are
            found = [link for link in found if await pages.ask(tx, link.target, now_us=now_us)]
            found = [replace(link, targets_in_post=len(found)) for link in found]
        if found:
            if any(not link.target.startswith(f"at://{link.post_did}/") for link in found):
                await posters.meet(tx, found[0].post_did, now_us=now_us)
            await links.put(tx, found, now_us=now_us)
            self._linked.add(link.post_uri for link in found)


SPARK_POSTS = "so.sprk.feed.post"
SPARK_SOUNDS = "so.sprk.sound.audio"


class Crossposts:
    """Implements firehose.apply.RecordReader for Spark posts: a sound, and the Bluesky post that its artist made of it.

    R3 of POSTS.md: counts only if sound, Spark post and Bluesky post are of one account, and once that post was seen.
    """

    collections = frozenset((SPARK_POSTS,))

    def __init__(self, rules: LinkRules) -> None:
        self._rules = rules

    async def apply(self, tx: Tx, event: RecordEvent, *, now_us: int) -> None:
        """See RecordReader.apply."""
        record: Any = event.record
        sound = next(iter(_uris(record, "sound.uri")), None)
        if event.operation is Operation.DELETE or sound is None or sound.did != event.did:
            return
        target = self._rules.target(str(sound))
        for post in _uris(record, "crossposts[].uri"):
            if target is not None and post.collection == POSTS and post.did == event.did:
                await questions.name_post(tx, target, str(post), now_us=now_us)


def _uris(record: Any, path: str) -> list[AtUri]:
    found: list[AtUri] = []
    for value in find_values(record, path):
        try:
            found.append(AtUri.parse(value))
        except (ValueError, AttributeError):
            continue
    return found
