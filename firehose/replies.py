"""What artists answer to posts of our announcing account: a `stop` ends the announcements (POSTS.md section 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.types import Did, tid_microseconds
from firehose.apply import RecordReader
from firehose.events import Operation, RecordEvent
from firehose.links import POSTS
from store import Tx, announcements

STOP = "stop"
_BESIDE = frozenset(
    ("please", "announcing", "announcements", "posting", "posts", "me", "my", "music", "tracks", "this", "these", "now")
)
_MENTION = re.compile(r"@\S+")
_WORD = re.compile(r"[^\W_]+")


def read_words(text: Any) -> list[str]:
    """The words of a post in lower case, without those it mentions; none if that is no text."""
    return _WORD.findall(_MENTION.sub(" ", text).casefold()) if isinstance(text, str) else []


def says_stop(text: Any) -> bool:
    """`stop`, `@them please stop`, `stop announcing me`; but not a word about a non-stop mix."""
    words = read_words(text)
    return STOP in words and _BESIDE.issuperset(word for word in words if word != STOP)


class StopReplies:
    """Implements firehose.apply.RecordReader for posts: hands all of them to `posts`, and takes note of every `stop` in
    reply to a post of `announcer` by somebody whom that concerns.
    """

    collections = frozenset((POSTS,))

    def __init__(self, announcer: Did, posts: RecordReader) -> None:
        self._announcer = announcer
        self._posts = posts

    async def apply(self, tx: Tx, event: RecordEvent, *, now_us: int) -> None:
        """See RecordReader.apply. A `stop` that is deleted was said all the same."""
        await self._posts.apply(tx, event, now_us=now_us)
        if event.operation is Operation.DELETE or not self._is_stop(event.record):
            return
        if await announcements.concern(tx, event.did):
            said_us = tid_microseconds(event.rev)  # the host's clock: the record's own may be that of any device
            await announcements.put_stop(tx, str(event.uri), event.did, said_us=said_us, now_us=now_us)

    def _is_stop(self, record: Mapping[str, Any] | None) -> bool:
        reply = record.get("reply") if record is not None else None
        parent = reply.get("parent") if isinstance(reply, Mapping) else None
        answered = parent.get("uri") if isinstance(parent, Mapping) else None
        ours = isinstance(answered, str) and answered.startswith(f"at://{self._announcer}/")
        return ours and record is not None and says_stop(record.get("text"))
