"""What a viewer says of music in their own public repository, read when they ask for a feed of theirs (FEEDS 4, 7).

Likes, playlists, reposts, plays and the record `feedPrefs/self`: a page of each, from their own host, within a second
and a half. Of what is read only known tracks are remembered, in memory, for ten minutes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from core.clock import Clock
from core.errors import AppError
from core.nsids import FEED_PREFS
from core.ports import Directory, HttpAnswer, SafeHttp
from core.taxonomy import Taxonomy
from core.types import Did
from feedgen.taste import Anchor, AnchorKind, Prefs, Reading, newest_anchors
from firehose.answers import RECORD_NOT_FOUND, check_answer, error_name
from firehose.links import LinkRules, created_us
from firehose.signals import SIGNALS, subjects_of
from store import Store, links

PATIENCE_SECONDS = 1.5  # what a viewer waits in all; then what was read so far counts
FRESH_SECONDS = 600.0
PARTIAL_SECONDS = 60.0  # of a reading that lacks something: its host was slow or away
MAX_VIEWERS = 2_000  # remembered, at most some 20 kB each
AT_ONCE = 50  # viewers who are read; further ones are strangers until their next visit
MAX_LISTS = 3  # with two questions more, that is the second's worth of a host (P176)
MAX_BYTES = 2_000_000
MAX_SUBJECTS = 300  # of one viewer, the newest
PAGE_RECORDS = 100  # the most that hosts give
PAGE_LISTS = 20  # a playlist names up to 500 tracks

PLAYS = ("fm.teal.feed.play", "fm.teal.alpha.feed.play")
# What is read of those that a repository has: the first three. The like of a post comes first, for anybody can give it.
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
class _Said:
    """One thing that was said well of: a track, a post or the address of a page."""

    subject: str
    kind: AnchorKind
    at_us: int


@dataclass(frozen=True, slots=True)
class _Cached:
    reading: Reading
    until: float  # monotonic seconds


class Viewers:
    """Reads viewers, each once at a time. Nobody is refused: of who cannot be read nothing is known."""

    def __init__(
        self,
        store: Store,
        http: SafeHttp,
        directory: Directory,
        rules: LinkRules,
        *,
        taxonomy: Taxonomy,
        clock: Clock,
    ) -> None:
        self._store = store
        self._http = http
        self._directory = directory
        self._rules = rules
        self._taxonomy = taxonomy
        self._clock = clock
        self._cache: OrderedDict[Did, _Cached] = OrderedDict()
        self._flights: dict[Did, asyncio.Task[_Cached]] = {}

    async def read(self, did: Did) -> Reading:
        """What the viewer's records say. Never raises for what others do or do not answer."""
        cached = self._cache.get(did)
        if cached is not None and self._clock.monotonic() < cached.until:
            self._cache.move_to_end(did)
            return cached.reading
        flight = self._flights.get(did)
        if flight is None:
            if len(self._flights) >= AT_ONCE:
                return Reading(complete=False)
            flight = self._flights[did] = asyncio.create_task(self._look(did))
            flight.add_done_callback(lambda ended: self._land(did, ended))
        return (await asyncio.shield(flight)).reading

    def forget(self, did: Did) -> None:
        """Remember nothing of this viewer; what is being read is answered and not kept."""
        self._cache.pop(did, None)
        self._flights.pop(did, None)

    async def close(self) -> None:
        """Stop reading. Nobody may be waiting for it any more."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _land(self, did: Did, flight: asyncio.Task[_Cached]) -> None:
        """Keep what a flight brought, unless the viewer was forgotten meanwhile."""
        if self._flights.get(did) is not flight:
            return
        del self._flights[did]
        if flight.cancelled() or flight.exception() is not None:
            return
        self._cache[did] = flight.result()
        self._cache.move_to_end(did)
        while len(self._cache) > MAX_VIEWERS:
            self._cache.popitem(last=False)

    async def _look(self, did: Did) -> _Cached:
        repo = _Repo(did, self._http, self._clock)
        with suppress(TimeoutError, AppError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                identity = await self._directory.resolve(did)
                if identity.pds is not None:
                    await repo.read(identity.pds, self._rules)
        prefs = read_prefs(repo.prefs, self._taxonomy)
        reading = Reading(prefs=prefs, complete=False)
        with suppress(AppError):  # a busy store is asked again as soon as a slow host
            reading = Reading(await self._anchors(did, repo.said), prefs, repo.complete)
        seconds = FRESH_SECONDS if reading.complete else PARTIAL_SECONDS
        return _Cached(reading, self._clock.monotonic() + seconds)

    async def _anchors(self, did: Did, said: Sequence[_Said]) -> tuple[Anchor, ...]:
        """The tracks of others behind what was said; what several tracks claim stands for none of them."""
        newest = sorted(said, key=lambda one: (-one.at_us, one.subject))[:MAX_SUBJECTS]
        anchors = []
        async with self._store.read() as reader:
            for one in newest:
                found = await links.tracks_behind(reader, one.subject)
                if len(found) == 1 and not found[0].startswith(f"at://{did}/"):
                    anchors.append(Anchor(found[0], one.at_us, one.kind))
        return newest_anchors(anchors)


class _Repo:
    """One viewer's repository, as far as it has been read: what takes too long is left out, the rest counts."""

    def __init__(self, did: Did, http: SafeHttp, clock: Clock) -> None:
        self._did = did
        self._http = http
        self._clock = clock
        self.said: list[_Said] = []
        self.prefs: Mapping[str, Any] = {}  # the record
        self.complete = False

    async def read(self, host: str, rules: LinkRules) -> None:
        """Raises AppError when the repository is not there, or not to be had."""
        described = await self._ask(host, "com.atproto.repo.describeRepo", {"repo": self._did})
        names = described.get("collections")
        present = {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
        wanted = [name for name in COLLECTIONS if name in present][:MAX_LISTS]
        parts = [self._list(host, name, rules) for name in wanted]
        if FEED_PREFS in present:
            parts.append(self._read_prefs(host))
        outcomes = await asyncio.gather(*parts, return_exceptions=True)
        failed = [one for one in outcomes if isinstance(one, BaseException)]
        for error in failed:
            if not isinstance(error, AppError):
                raise error
        self.complete = not failed

    async def _list(self, host: str, collection: str, rules: LinkRules) -> None:
        limit = PAGE_LISTS if collection in SIGNALS and SIGNALS[collection].of_list else PAGE_RECORDS
        params = {"repo": self._did, "collection": collection, "limit": str(limit)}
        page = await self._ask(host, "com.atproto.repo.listRecords", params)
        records = page.get("records")
        now_us = self._clock.now_us()
        for record in records[:limit] if isinstance(records, list) else ():
            if isinstance(record, dict) and isinstance(record.get("value"), dict):
                self.said += _said(collection, str(record.get("uri")), record["value"], rules, now_us)

    async def _read_prefs(self, host: str) -> None:
        params = {"repo": self._did, "collection": FEED_PREFS, "rkey": "self"}
        record = (await self._ask(host, "com.atproto.repo.getRecord", params)).get("value")
        if isinstance(record, dict):
            self.prefs = record

    async def _ask(self, host: str, method: str, params: Mapping[str, str]) -> dict[str, Any]:
        answer: HttpAnswer = await self._http.get(
            f"{host}/xrpc/{method}", params=params, max_bytes=MAX_BYTES, timeout_seconds=PATIENCE_SECONDS
        )
        if error_name(answer) == RECORD_NOT_FOUND:
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
    )


def _number(value: object, most: int, usual: float) -> float:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else usual


def _said(collection: str, uri: str, record: Mapping[str, Any], rules: LinkRules, now_us: int) -> Iterator[_Said]:
    rkey = uri.rpartition("/")[2]
    if collection in PLAYS:
        address = record.get("originUri", record.get("originUrl"))
        target = rules.target(address) if isinstance(address, str) else None
        if target is not None:
            yield _Said(target, AnchorKind.PLAY, created_us(record.get("playedTime"), rkey, now_us))
        return
    if record.get("listType") == "album":
        return  # what is sold together, not what is liked
    kind = AnchorKind(SIGNALS[collection].kind.value)
    at_us = created_us(record.get("createdAt"), rkey, now_us)
    for subject in subjects_of(collection, record):
        yield _Said(str(subject), kind, at_us)
