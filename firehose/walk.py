"""What a repository holds now of the collections that are asked for, against what is known of it (P164, P175, P177).

The host's listing is its word only: what it lists is proven later, by whoever wants to say something of it; what it
does not list any more is gone only when the account's signed tree lacks it. So no host, however it lies or fails, can
have a track withdrawn that its artist did not delete.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from core.clock import Clock, backoff_seconds, parse_datetime
from core.errors import AccountAway, RateLimited, UnknownDid, Unproven, Unreachable
from core.ports import Directory, Prover, SafeHttp
from core.types import AtUri, Did, Tid, is_tid, tid_microseconds
from firehose.answers import check_answer
from firehose.events import AccountEvent, Event, Interest, Operation, RecordEvent
from firehose.jsonrecord import ToldRecord, record_event
from firehose.repostatus import RepoStatus
from firehose.verify import FUTURE_TOLERANCE_US

PAGE_RECORDS = 100  # the most that hosts give (com.atproto.repo.listRecords)
MAX_PAGE_BYTES = 16_000_000
MAX_SMALL_BYTES = 512 * 1024
MAX_PAGES = 2_000  # of one collection
MAX_LISTED = 200_000  # of one collection, whatever a host puts on its pages
MAX_EVENTS = 5_000  # these two bound the memory of one walk; its events applied, the next one finds what is left
MAX_EVENT_BYTES = 32_000_000
TIMEOUT_SECONDS = 20.0
TRIES = 4  # of a page in the middle of a listing
PATIENCE_SECONDS = 30.0  # a longer pause ends the walk
FEW = 2  # as many collections are listed without asking first which ones there are


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk found. `rev`: as of when; None when the account is away, which its event says. `listed`: how many
    records of each collection the host showed.

    Not `complete`: there are more changes than one walk brings. Apply the events and walk again.
    """

    did: Did
    rev: Tid | None
    events: tuple[Event, ...]
    listed: Counter[str]
    complete: bool


class _Latest(msgspec.Struct):
    rev: str


class _Description(msgspec.Struct):
    collections: list[str]


class _Entry(msgspec.Struct):
    uri: str
    cid: str
    value: msgspec.Raw


class _Page(msgspec.Struct):
    records: list[_Entry]
    cursor: str | None = None


class RepoWalker:
    """Reads repositories from their own hosts, one at a time for each call."""

    def __init__(
        self, http: SafeHttp, directory: Directory, prover: Prover, *, clock: Clock, max_events: int = MAX_EVENTS
    ) -> None:
        self._http = http
        self._directory = directory
        self._prover = prover
        self._status = RepoStatus(http, directory)
        self._clock = clock
        self._max_events = max_events

    async def walk(
        self,
        did: str,
        collections: Collection[str],
        known: Mapping[str, str],
        *,
        since_us: int | None = None,
    ) -> Walk:
        """The changes that lead from `known` (CID by uri, of what is there as far as we know) to what the host has.

        Written records become creations of the revision that the repository had before it was listed, not verified:
        whatever a stream brings of a later commit is newer. Records that nobody knows and that claim to be made before
        `since_us` are passed over. An account that is away becomes its event.

        Raises AccountAway (it left meanwhile), UnknownDid, UnsafeHost, Unproven (the host lacks a method), Unreachable,
        RateLimited.
        """
        account = Did(did)
        try:
            host, rev = await self._find(account)
        except (AccountAway, UnknownDid, Unreachable):  # gone, or elsewhere: a fresh DID document tells
            asked_us, status = self._clock.now_us(), await self._status.ask(account)
            if not status.active:
                away = AccountEvent(account, False, status.status, 0, asked_us)  # what is written later is spared
                return Walk(account, None, (away,), Counter(), True)
            host, rev = await self._find(account)
        events, weight = list[Event](), 0
        missing = dict.fromkeys(known)
        counts: Counter[str] = Counter()
        async for collection, entry in self._list(host, did, await self._present(host, did, collections)):
            missing.pop(entry.uri, None)
            counts[collection] += 1
            if known.get(entry.uri) == entry.cid:
                continue
            written = _written(account, rev, entry)
            if written is None or (entry.uri not in known and _made_before(since_us, written)):
                continue
            weight += len(entry.value)
            if len(events) >= self._max_events or weight > MAX_EVENT_BYTES:
                return Walk(account, rev, _wishes_first(events), counts, False)
            events.append(written)
        for uri in map(AtUri.parse, missing):
            if uri.collection not in collections:
                continue
            if len(events) >= self._max_events:
                return Walk(account, rev, _wishes_first(events), counts, False)
            if (found := await self._prove_missing(uri, known[str(uri)])) is not None:
                events.append(found)
        return Walk(account, rev, _wishes_first(events), counts, True)

    async def _find(self, did: Did) -> tuple[str, Tid]:
        """The host of the account, and the newest revision there."""
        identity = await self._directory.resolve(did)
        if identity.pds is None:
            raise UnknownDid(f"{did} names no PDS")
        return identity.pds, await self._latest_rev(identity.pds, did)

    async def _latest_rev(self, host: str, did: str) -> Tid:
        body = await self._ask(host, "com.atproto.sync.getLatestCommit", {"did": did})
        rev = _read(body, _Latest, host).rev
        if not is_tid(rev) or tid_microseconds(rev) > self._clock.now_us() + FUTURE_TOLERANCE_US:  # P146
            raise Unreachable(f"{host} names a revision of {did} that cannot be: {rev[:40]!r}")
        return Tid(rev)

    async def _present(self, host: str, did: str, collections: Collection[str]) -> list[str]:
        """Those of the collections that the repository has, if the host tells; else all."""
        if len(collections) <= FEW:
            return sorted(collections)
        try:
            body = await self._ask(host, "com.atproto.repo.describeRepo", {"repo": did})
            return sorted(set(collections).intersection(_read(body, _Description, host).collections))
        except (Unproven, Unreachable):
            return sorted(collections)

    async def _list(self, host: str, did: str, collections: Collection[str]) -> AsyncIterator[tuple[str, _Entry]]:
        """Every record of these collections once, the newest keys of each first."""
        for collection in collections:
            params = {"repo": did, "collection": collection, "limit": str(PAGE_RECORDS)}
            prefix, seen = f"at://{did}/{collection}/", set[str]()
            for _ in range(MAX_PAGES):
                body = await self._ask(
                    host, "com.atproto.repo.listRecords", params, tries=TRIES if seen else 1, max_bytes=MAX_PAGE_BYTES
                )
                page = _read(body, _Page, host)
                before = len(seen)
                for entry in page.records:
                    if entry.uri not in seen and entry.uri.startswith(prefix) and len(seen) < MAX_LISTED:
                        seen.add(entry.uri)
                        yield collection, entry
                if len(seen) == before or not page.cursor:  # a host that goes round in circles ends here, too
                    break
                params["cursor"] = page.cursor[:2048]

    async def _prove_missing(self, uri: AtUri, known_cid: str) -> RecordEvent | None:
        """What the signed tree says of a record of ours that was not listed; None when it is there as we know it."""
        try:
            proven = await self._prover.prove(uri)
        except Unproven:
            return None
        operation = Operation.DELETE if proven.cid is None else Operation.UPDATE
        if proven.cid == known_cid:
            return None
        return RecordEvent(
            uri.did, uri.collection, uri.rkey, proven.rev, operation, proven.cid, proven.record, 0, verified=True
        )

    async def _ask(
        self, host: str, method: str, params: Mapping[str, str], *, tries: int = 1, max_bytes: int = MAX_SMALL_BYTES
    ) -> bytes:
        """The body of the answer. Asked several times, a host that wants us to wait a little gets its wish."""
        attempt = 1
        while True:
            try:
                answer = await self._http.get(
                    f"{host}/xrpc/{method}", params=params, max_bytes=max_bytes, timeout_seconds=TIMEOUT_SECONDS
                )
                return check_answer(answer)
            except (RateLimited, Unreachable) as error:
                pause = error.retry_after_seconds
                if pause is None:
                    pause = backoff_seconds(attempt, self._clock, base=1.0, cap=PATIENCE_SECONDS)
                if attempt >= tries or pause > PATIENCE_SECONDS:
                    raise
            attempt += 1
            await asyncio.sleep(pause)


_Shape = TypeVar("_Shape")


def _read(body: bytes, shape: type[_Shape], host: str) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, RecursionError):
        raise Unreachable(f"{host} does not answer as the method says") from None


def _written(did: Did, rev: Tid, entry: _Entry) -> RecordEvent | None:
    """The event of a listed record; None when it breaks a rule of the network."""
    collection, rkey = entry.uri.split("/", 4)[3:]
    told = ToldRecord(rev, Operation.CREATE, collection, rkey, entry.value, entry.cid)
    return record_event(did, told, 0, Interest(frozenset((collection,))))


def _wishes_first(events: Iterable[Event]) -> tuple[Event, ...]:
    """What the artist says of all tracks (records with the key `self`) before the tracks: an opt-out that is over must
    not keep away what the same walk brings.
    """
    return tuple(sorted(events, key=lambda event: not (isinstance(event, RecordEvent) and event.rkey == "self")))


def _made_before(since_us: int | None, event: RecordEvent) -> bool:
    """Whether the record says so: its `createdAt`, else its key if that is a TID. What has the key `self` says what
    counts now, since whenever.
    """
    if since_us is None or event.rkey == "self":
        return False
    created = (event.record or {}).get("createdAt")
    try:
        return (
            parse_datetime(created) < since_us if isinstance(created, str) else tid_microseconds(event.rkey) < since_us
        )
    except ValueError:
        return False
