"""One large file from outside into a local one: vetted, capped, hashed while it streams (P183, P187, P206)."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from socket import AddressFamily
from typing import BinaryIO, Self
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from core.clock import Clock
from core.errors import AccountAway, BlobGone, BlobMismatch, BlobTooLarge, Deadline, DiskFull, Unreachable, UnsafeHost
from core.ports import HttpAnswer
from firehose.answers import NOT_FOUND, STATUS_OF_ERROR, error_name
from firehose.guard import Guard
from firehose.manners import Manners, Visit

MAX_REDIRECTS = 3  # P187
PATIENCE_SECONDS = 1.0  # how long a turn at a host is waited for: a worker has better things to do
CONNECT_SECONDS = 10.0
CHUNK_BYTES = 256 * 1024
MAX_ERROR_BYTES = 4096
SPEED_GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Caps on one download."""

    max_bytes: int = 209_715_200
    deadline_seconds: float = 300.0
    min_bytes_per_second: float = 16_384.0  # mean, judged after ten seconds
    stall_seconds: float = 20.0  # longest silence


@dataclass(frozen=True, slots=True)
class Promise:
    """What a blob's reference says of its bytes; None: nothing."""

    sha256: bytes | None = None
    size: int | None = None


class Downloader:
    """Use as an async context manager."""

    def __init__(self, guard: Guard, manners: Manners, *, clock: Clock, user_agent: str, limits: FetchLimits) -> None:
        self._guard = guard
        self._manners = manners
        self._clock = clock
        self._user_agent = user_agent
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=VettedResolver(self._guard), use_dns_cache=False, limit=0),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=self._limits.stall_seconds
            ),
            headers={"User-Agent": self._user_agent, "Accept": "*/*", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def download(self, url: str, file: BinaryIO, promise: Promise) -> None:
        """Stream to the file, which has no buffer, and follow at most three redirects, each vetted and each a visit of
        its own.

        Raises BlobGone, BlobTooLarge, BlobMismatch, UnsafeHost, AccountAway, Unreachable, RateLimited, Deadline,
        DiskFull.
        """
        if promise.size is not None and promise.size > self._limits.max_bytes:
            raise BlobTooLarge(f"{url}: declares {promise.size} bytes, more than {self._limits.max_bytes}")
        until = asyncio.get_running_loop().time() + self._limits.deadline_seconds
        address = url
        for _ in range(MAX_REDIRECTS + 1):
            origin = self._guard.check(address)
            async with self._manners.visit(origin, patience_seconds=PATIENCE_SECONDS) as visit:
                moved = await self._ask(visit, address, file, promise, until)
            if moved is None:
                return
            address = moved
        raise Unreachable(f"{url}: more than {MAX_REDIRECTS} redirects")

    async def _ask(self, visit: Visit, url: str, file: BinaryIO, promise: Promise, until: float) -> str | None:
        """One request: its answer goes to the file; or the address that it leads to."""
        assert self._session is not None
        try:
            async with asyncio.timeout_at(until), self._session.get(url, allow_redirects=False) as response:
                location = response.headers.get("Location")
                visit.heed(response.status, {name.lower(): text for name, text in response.headers.items()}, url)
                if response.status in (301, 302, 303, 307, 308) and location:
                    return _join(url, location)
                await _check_status(url, response)
                await self._receive(response, file, promise)
                return None
        except TimeoutError as error:  # ours, or one of aiohttp's
            if isinstance(error, aiohttp.ServerTimeoutError):
                raise Unreachable(f"{url}: {error}") from None
            raise Deadline(f"{url}: not done within {self._limits.deadline_seconds:g} s") from None
        except aiohttp.InvalidURL:
            raise UnsafeHost(f"{url[:200]} is not a URL") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{url}: {type(error).__name__} {error}"[:400]) from None

    async def _receive(self, response: aiohttp.ClientResponse, file: BinaryIO, promise: Promise) -> None:
        limit = self._limits.max_bytes if promise.size is None else promise.size
        hashed, received, started = hashlib.sha256(), 0, self._clock.monotonic()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            received += len(chunk)
            if received > limit:
                raise BlobTooLarge(f"{response.url}: more than {limit} bytes")
            hashed.update(chunk)
            _write(file, chunk)
            seconds = self._clock.monotonic() - started
            if seconds > SPEED_GRACE_SECONDS and received < seconds * self._limits.min_bytes_per_second:
                raise Deadline(f"{response.url}: {received} bytes in {seconds:.0f} s is too slow")
        if promise.size is not None and received != promise.size:
            raise BlobMismatch(f"{response.url}: {received} bytes instead of {promise.size}")
        if promise.sha256 is not None and hashed.digest() != promise.sha256:
            raise BlobMismatch(f"{response.url}: the bytes do not hash to the CID")
        if received == 0:
            raise BlobMismatch(f"{response.url}: no bytes")


class VettedResolver(AbstractResolver):
    """Gives aiohttp only addresses that the guard vetted, so it connects to exactly those."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=AddressFamily.AF_INET6 if ":" in address else AddressFamily.AF_INET,
                proto=0,
                flags=0,
            )
            for address in await self._guard.addresses(host)
        ]

    async def close(self) -> None:
        pass


def _write(file: BinaryIO, chunk: bytes) -> None:
    """All of it, into an unbuffered file. That there is no room is not the host's fault."""
    left = memoryview(chunk)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise DiskFull(f"audio cannot be kept: {error.strerror}") from None


async def _check_status(url: str, response: aiohttp.ClientResponse) -> None:
    """Raises unless this is a plain 200 (P177, P186)."""
    status = response.status
    if 400 <= status < 500 and status != 408:
        body = await response.content.read(MAX_ERROR_BYTES)
        name = error_name(HttpAnswer(status, {}, body, url))
        account_status = STATUS_OF_ERROR.get(name)
        if account_status not in (None, NOT_FOUND):  # a host that has lost an account is not the one to say that
            raise AccountAway(f"{url} answers {status} {name}", status=account_status)
        raise BlobGone(f"{url} answers {status} {name}".rstrip())
    if status != 200:
        raise Unreachable(f"{url} answers {status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BlobMismatch(f"{url} compresses although asked not to")


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise UnsafeHost(f"{url[:200]} redirects to what is not a URL") from None
