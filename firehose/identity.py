"""DID -> Identity: did:plc from a directory, did:web from its host, with a bounded cache (P205, P210)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote

import orjson

from core.clock import Clock
from core.errors import AppError, Crowded, Permanent, RateLimited, Tombstoned, UnknownDid, Unreachable, UnsafeHost
from core.keys import PublicKey
from core.ports import HttpAnswer, Identity, SafeHttp
from core.types import Did, is_plc, parse_did
from firehose.diddoc import read_document
from firehose.guard import check_host

FRESH_SECONDS = 3600.0  # P210, like the next two
DEAD_SECONDS = 86_400.0  # older than this is not even used when the directory is down
NEGATIVE_SECONDS = 60.0  # also for a host that did not answer
REFRESH_SECONDS = 10.0  # between two questions to a host that did not answer, when the caller insists
TIMEOUT_SECONDS = 3.0  # P205, like the next
MAX_DOCUMENT_BYTES = 64 * 1024
_Kept = TypeVar("_Kept")


@dataclass(frozen=True, slots=True)
class _Cached:
    answer: Identity | Permanent
    at: float  # monotonic seconds


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    retry_after_seconds: float | None
    at: float  # monotonic seconds


class DidDirectory:
    """Implements core.ports.Directory. Concurrent questions about one DID make one request."""

    def __init__(
        self,
        http: SafeHttp,
        *,
        clock: Clock,
        plc_url: str = "https://plc.directory",
        allow_loopback: bool = False,
        capacity: int = 20_000,
    ) -> None:
        self._http = http
        self._clock = clock
        self._plc_url = plc_url.rstrip("/")
        self._allow_loopback = allow_loopback
        self._capacity = capacity
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._failures: OrderedDict[str, _Failure] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Identity]] = {}

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        """See Directory.resolve. While the directory is unreachable an answer of up to a day ago still counts.

        A failure is remembered, so that a host that stalls does not hold up every commit of its accounts.
        """
        cached = self._cache.get(did)
        if cached is not None and not refresh and self._clock.monotonic() - cached.at < _lifetime(cached.answer):
            self._cache.move_to_end(did)
            if isinstance(cached.answer, Permanent):
                raise type(cached.answer)(*cached.answer.args)
            return cached.answer
        try:
            self._check_failure(did, REFRESH_SECONDS if refresh else NEGATIVE_SECONDS)
            flight = self._flights.get(did)
            if flight is None or refresh:
                flight = asyncio.ensure_future(self._fetch(did))
                self._flights[did] = flight
                flight.add_done_callback(lambda ended: self._land(did, ended))
            return await asyncio.shield(flight)
        except (Unreachable, Crowded):
            if refresh or cached is None or isinstance(cached.answer, Permanent):
                raise
            if self._clock.monotonic() - cached.at >= DEAD_SECONDS:
                raise
            return cached.answer

    def known_key(self, did: str) -> PublicKey | None:
        """The key that an account signs with as far as it is remembered and fresh; nobody is asked."""
        cached = self._cache.get(did)
        if cached is None or not isinstance(cached.answer, Identity):
            return None
        return cached.answer.signing_key if self._clock.monotonic() - cached.at < FRESH_SECONDS else None

    def forget(self, did: str) -> None:
        """See Directory.forget. A question under way is answered and not kept; a failure stays remembered, or an
        account could have its silent host asked as often as it announces a change.
        """
        self._cache.pop(did, None)
        self._flights.pop(did, None)

    def _land(self, did: str, flight: asyncio.Task[Identity]) -> None:
        """Keep what a flight brought, unless it was overtaken by another or by `forget`."""
        error = None if flight.cancelled() else flight.exception()
        if self._flights.get(did) is not flight:
            return
        del self._flights[did]
        if isinstance(error, Unreachable):
            failure = _Failure(str(error), error.retry_after_seconds, self._clock.monotonic())
            _keep(self._failures, did, failure, self._capacity)
        if flight.cancelled() or not (error is None or isinstance(error, Permanent)):
            return
        self._failures.pop(did, None)
        answer = error if isinstance(error, Permanent) else flight.result()
        _keep(self._cache, did, _Cached(answer, self._clock.monotonic()), self._capacity)

    def _check_failure(self, did: str, seconds: float) -> None:
        failure = self._failures.get(did)
        if failure is not None and self._clock.monotonic() - failure.at < seconds:
            raise Unreachable(failure.message, retry_after_seconds=failure.retry_after_seconds)

    async def _fetch(self, did: str) -> Identity:
        url = document_url(did, self._plc_url, allow_loopback=self._allow_loopback)
        try:
            answer = await self._http.get(url, max_bytes=MAX_DOCUMENT_BYTES, timeout_seconds=TIMEOUT_SECONDS)
        except Crowded:  # nobody was asked: no failure to remember
            raise
        except RateLimited as error:
            raise Unreachable(str(error), retry_after_seconds=error.retry_after_seconds) from None
        if answer.status in (404, 410) and is_plc(did):
            raise await self._why_absent(did, answer)
        return read_document(Did(did), _json(did, answer), allow_loopback=self._allow_loopback)

    async def _why_absent(self, did: str, answer: HttpAnswer) -> UnknownDid:
        """Some directories answer 404 for a tombstone as for a DID that never was (P205): the log tells which."""
        gone = f"{did}: {answer.url} answers {answer.status}"
        if answer.status == 410:
            return Tombstoned(gone)
        url = f"{self._plc_url}/{did}/log/last"
        try:
            told = await self._http.get(url, max_bytes=MAX_DOCUMENT_BYTES, timeout_seconds=TIMEOUT_SECONDS)
            last = orjson.loads(told.body) if told.status == 200 else None
        except (Unreachable, RateLimited, orjson.JSONDecodeError):
            last = None
        tombstoned = isinstance(last, dict) and last.get("type") == "plc_tombstone"
        return Tombstoned(gone) if tombstoned else UnknownDid(gone)


def document_url(did: str, plc_url: str, *, allow_loopback: bool = False) -> str:
    """Where the document of a DID is. Raises UnknownDid for what the network does not use, UnsafeHost."""
    try:
        parse_did(did)
    except ValueError as error:
        raise UnknownDid(str(error)) from None
    if is_plc(did):
        return f"{plc_url}/{did}"
    if not did.startswith("did:web:"):
        raise UnknownDid(f"{did[:100]} is neither a did:plc nor a did:web")
    host = unquote(did.removeprefix("did:web:"))
    name, _, port = host.partition(":")
    if allow_loopback and name == "localhost" and "%3A" in did and port.isascii() and port.isdigit():
        return f"http://{host}/.well-known/did.json"
    if host != host.lower():
        raise UnsafeHost(f"{did[:100]}: a host name is written in lower case")
    return f"https://{check_host(host)}/.well-known/did.json"


def _keep(kept: OrderedDict[str, _Kept], did: str, value: _Kept, capacity: int) -> None:
    kept[did] = value
    kept.move_to_end(did)
    while len(kept) > capacity:
        kept.popitem(last=False)


def _json(did: str, answer: HttpAnswer) -> object:
    if answer.status in (404, 410):
        raise UnknownDid(f"{did}: {answer.url} answers {answer.status}")
    if answer.status != 200:
        raise Unreachable(f"{did}: {answer.url} answers {answer.status}")
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise Unreachable(f"{did}: {answer.url} does not answer with JSON") from None


def _lifetime(answer: Identity | AppError) -> float:
    return FRESH_SECONDS if isinstance(answer, Identity) else NEGATIVE_SECONDS
