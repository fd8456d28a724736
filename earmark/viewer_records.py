"""What somebody says of music in their own public repository, and how they want feeds: pages of records, as values.

Everything here is a stranger's word, from a host of theirs: bounded in number and size, and what makes no sense is left
out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from core.clock import Clock
from core.errors import AppError
from core.link import primary_langs
from core.nsids import FEED_PREFS
from core.ports import HttpAnswer, SafeHttp
from core.taxonomy import Taxonomy
from core.types import Did
from feedgen.taste import AnchorKind, Prefs
from firehose.answers import RECORD_NOT_FOUND, check_answer, error_name
from firehose.links import LinkRules, created_us
from firehose.signals import SIGNALS, subjects_of

ASK_SECONDS = 1.5  # of one question
MAX_PAGES = 3  # with two questions more, that is the second's worth of a host (P176)
PAGE_RECORDS = 100  # the most that hosts give
PAGE_LISTS = 10  # a playlist names up to 500 tracks
MAX_BYTES = 1_000_000  # of a page
MAX_SUBJECTS = 300  # of a page
MAX_OF_LIST = 100  # of a playlist: a long one must not be all that is known
MAX_CURSOR_CHARS = 1_000
MAX_LANGS = 20  # of the knobs

PLAYS = ("fm.teal.feed.play", "fm.teal.alpha.feed.play")
# What is read of those that a repository has: the first three; pages that are left go to the first of them. The like of
# a post comes first, for anybody can give it, and most are not of music.
COLLECTIONS = (
    "app.bsky.feed.like",
    "fm.plyr.like",
    "fm.plyr.list",
    "app.bsky.feed.repost",
    "app.musicsky.temp.like",
    "sh.comet.v0.feed.like",
    *PLAYS,
)


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that was said well of: a track, a post or the address of a page."""

    subject: str
    kind: AnchorKind
    at_us: int


class ViewerRecords:
    """One viewer's repository, as far as it has been read: what takes too long is left out, the rest counts."""

    def __init__(self, did: Did, http: SafeHttp, clock: Clock) -> None:
        self._did = did
        self._http = http
        self._clock = clock
        self.said: list[Said] = []
        self.prefs: Mapping[str, Any] = {}  # the record
        self.complete = False

    async def read(self, host: str, rules: LinkRules) -> None:
        """Raises AppError when the repository is not there, or not to be had."""
        described = await self._ask(host, "com.atproto.repo.describeRepo", {"repo": self._did})
        names = described.get("collections")
        present = {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
        wanted = [name for name in COLLECTIONS if name in present][:MAX_PAGES]
        parts = [self._list(host, name, rules, 1) for name in wanted[1:]]
        if wanted:
            parts.append(self._list(host, wanted[0], rules, MAX_PAGES - len(parts)))
        if FEED_PREFS in present:
            parts.append(self._read_prefs(host))
        outcomes = await asyncio.gather(*parts, return_exceptions=True)
        failed = [one for one in outcomes if isinstance(one, BaseException)]
        for error in failed:
            if not isinstance(error, AppError):
                raise error
        self.complete = not failed

    async def _list(self, host: str, collection: str, rules: LinkRules, pages: int) -> None:
        """At most so many pages, the newest records first."""
        limit = PAGE_LISTS if collection in SIGNALS and SIGNALS[collection].of_list else PAGE_RECORDS
        params = {"repo": self._did, "collection": collection, "limit": str(limit)}
        for _ in range(pages):
            page = await self._ask(host, "com.atproto.repo.listRecords", params)
            records, cursor = page.get("records"), page.get("cursor")
            listed = records[:limit] if isinstance(records, list) else []
            self.said += islice(self._read_records(collection, listed, rules), MAX_SUBJECTS)
            if len(listed) < limit or not isinstance(cursor, str) or not 0 < len(cursor) <= MAX_CURSOR_CHARS:
                return
            params["cursor"] = cursor

    def _read_records(self, collection: str, records: Sequence[Any], rules: LinkRules) -> Iterator[Said]:
        now_us = self._clock.now_us()
        for record in records:
            if isinstance(record, dict) and isinstance(record.get("value"), dict):
                yield from _said(collection, str(record.get("uri")), record["value"], rules, now_us)

    async def _read_prefs(self, host: str) -> None:
        params = {"repo": self._did, "collection": FEED_PREFS, "rkey": "self"}
        record = (await self._ask(host, "com.atproto.repo.getRecord", params)).get("value")
        if isinstance(record, dict):
            self.prefs = record

    async def _ask(self, host: str, method: str, params: Mapping[str, str]) -> dict[str, Any]:
        answer: HttpAnswer = await self._http.get(
            f"{host}/xrpc/{method}", params=params, max_bytes=MAX_BYTES, timeout_seconds=ASK_SECONDS
        )
        if answer.status != 200 and error_name(answer) == RECORD_NOT_FOUND:
            return {}
        try:
            body = orjson.loads(check_answer(answer))
        except orjson.JSONDecodeError:
            body = None
        return body if isinstance(body, dict) else {}


def read_prefs(record: Mapping[str, Any], taxonomy: Taxonomy) -> Prefs:
    """The knobs of a `feedPrefs` record; what is missing or makes no sense is as if it were not there. To mute a parent
    is to mute every style under it.
    """
    usual = Prefs()
    told = record.get("mutedStyles")
    named = {style for style in (told[:200] if isinstance(told, list) else ()) if isinstance(style, str)}
    muted = named.intersection(taxonomy.identifiers)  # what is kept in memory is no stranger's text
    under = {style.identifier for style in taxonomy.styles.values() if style.parent in muted}
    return Prefs(
        breadth=_number(record.get("breadth"), 100, usual.breadth * 100) / 100,
        explore=_number(record.get("explore"), 100, usual.explore * 100) / 100,
        hide_machines=record.get("hideAi") is True,
        instrumental_only=record.get("instrumentalOnly") is True,
        min_seconds=_number(record.get("minSeconds"), 10_800, usual.min_seconds),
        muted_styles=frozenset(muted | under),
        langs=frozenset(primary_langs(record.get("langs"), MAX_LANGS)),
    )


def _number(value: object, most: int, usual: float) -> float:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else usual


def _said(collection: str, uri: str, record: Mapping[str, Any], rules: LinkRules, now_us: int) -> Iterator[Said]:
    rkey = uri.rpartition("/")[2]
    if collection in PLAYS:
        address = record.get("originUri", record.get("originUrl"))
        target = rules.target(address) if isinstance(address, str) else None
        if target is not None:
            yield Said(target, AnchorKind.PLAY, created_us(record.get("playedTime"), rkey, now_us))
        return
    if record.get("listType") == "album":
        return  # what is sold together, not what is liked
    kind = AnchorKind(SIGNALS[collection].kind.value)
    at_us = created_us(record.get("createdAt"), rkey, now_us)
    for subject in islice(subjects_of(collection, record), MAX_OF_LIST):
        yield Said(str(subject), kind, at_us)
