"""Handles, verified in both directions and only for display (P208, P209, P211)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.rdatatype

from core.clock import Clock
from core.errors import AppError, UnsafeHost
from core.ports import Directory, Identity, SafeHttp
from core.types import Did, parse_did
from firehose.guard import check_host

FRESH_SECONDS = 3600.0  # P210, like the next two
DEAD_SECONDS = 86_400.0
NEGATIVE_SECONDS = 60.0
LOOK_UP_SECONDS = 3.0
MAX_BYTES = 4096
AT_ONCE = 8
_PREFIX = "did="


class Ambiguous(AppError):
    """The handle's owner names more than one account."""


@dataclass(frozen=True, slots=True)
class _Cached:
    identity: Identity  # as it was then: another one means that something has changed since (P154)
    handle: str | None
    verified: float  # monotonic seconds, like the next
    until: float  # nobody is asked before


class Handles:
    """DID -> the handle that its document claims and that leads back to it.

    `resolver` asks the name servers that the system names, unless it is given others.
    """

    def __init__(
        self,
        http: SafeHttp,
        directory: Directory,
        *,
        clock: Clock,
        resolver: dns.asyncresolver.Resolver | None = None,
        capacity: int = 5_000,
    ) -> None:
        self._http = http
        self._directory = directory
        self._clock = clock
        self._resolver = resolver
        self._capacity = capacity
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._flights: dict[str, asyncio.Task[str | None]] = {}
        self._asking: dict[str, asyncio.Task[str | None]] = {}

    def known(self, did: Did) -> str | None:
        """What is known of an account's handle now. It is asked for meanwhile: the next one to look may see it."""
        cached = self._cache.get(did)
        if did not in self._asking and len(self._asking) < self._capacity:
            asking = self._asking[did] = asyncio.ensure_future(self.of(did))
            asking.add_done_callback(lambda _: self._asking.pop(did, None))
        return None if cached is None else cached.handle

    async def of(self, did: Did) -> str | None:
        """The verified handle in lower case; None when there is none, or none that can be verified now. No trouble is
        raised: a handle is only shown.
        """
        try:
            identity = await self._directory.resolve(did)
        except AppError:
            return None
        if identity.handle_claim is None:
            return None
        cached = self._cache.get(did)
        if cached is not None and cached.identity == identity and self._clock.monotonic() < cached.until:
            return cached.handle
        flight = self._flights.get(did)
        if flight is None:
            flight = self._flights[did] = asyncio.ensure_future(self._verify(identity, cached))
            flight.add_done_callback(lambda _: self._flights.pop(did, None))
        return await asyncio.shield(flight)

    async def _verify(self, identity: Identity, known: _Cached | None) -> str | None:
        claim = identity.handle_claim
        assert claim is not None
        now = verified = self._clock.monotonic()
        lifetime = FRESH_SECONDS
        handle: str | None = claim
        try:
            async with self._turns:
                if await self.resolve(claim) != identity.did:
                    handle, lifetime = None, NEGATIVE_SECONDS
        except (Ambiguous, UnsafeHost):
            handle, lifetime = None, NEGATIVE_SECONDS
        except AppError:  # nobody answers: what was verified within a day stands
            lifetime = NEGATIVE_SECONDS
            if known is not None and known.handle == claim and now - known.verified < DEAD_SECONDS:
                verified = known.verified
            else:
                handle = None
        self._cache[identity.did] = _Cached(identity, handle, verified, now + lifetime)
        self._cache.move_to_end(identity.did)
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)
        return handle

    async def resolve(self, handle: str) -> Did | None:
        """The DID that a handle's owner names: in DNS, else on the handle's own host; None if nowhere.

        Raises Ambiguous, UnsafeHost for what cannot be a public host name, and Unreachable or RateLimited.
        """
        name = check_host(handle)
        named = {did for text in await self._texts(f"_atproto.{name}") if (did := _read(text)) is not None}
        if len(named) > 1:
            raise Ambiguous(f"{name} names {len(named)} accounts")
        if named:
            return named.pop()
        answer = await self._http.get(
            f"https://{name}/.well-known/atproto-did", max_bytes=MAX_BYTES, timeout_seconds=LOOK_UP_SECONDS
        )
        if not 200 <= answer.status < 300:
            return None
        return _read(_PREFIX + answer.body.decode("utf-8", "replace").strip())

    async def _texts(self, name: str) -> list[str]:
        """The TXT records of a name; none when it has none, or no name server answers in time."""
        try:
            resolver = self._resolver or dns.asyncresolver.Resolver()
            found = await resolver.resolve(name, dns.rdatatype.TXT, lifetime=LOOK_UP_SECONDS, search=False)
        except (dns.exception.DNSException, OSError):
            return []
        return [b"".join(record.strings).decode("utf-8", "replace") for record in found]


def _read(text: str) -> Did | None:
    """The DID of `did=...`; None for any other text."""
    try:
        return parse_did(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else None
    except ValueError:
        return None
