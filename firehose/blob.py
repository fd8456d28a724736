"""Fetches a track's audio into a private temporary file: vetted, capped, hashed while it streams (P181-P191)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AddressFamily
from typing import BinaryIO, Self
from urllib.parse import urlencode, urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from core.clock import Clock
from core.dagcbor import RAW, cid_binary
from core.errors import (
    BlobGone,
    BlobMismatch,
    BlobTooLarge,
    Deadline,
    NoAudio,
    RateLimited,
    UnknownDid,
    Unreachable,
    UnsafeHost,
)
from core.ports import Directory
from core.types import Track
from firehose.guard import Guard
from firehose.safehttp import retry_after_seconds

MAX_REDIRECTS = 3  # P187
PER_HOST = 2  # P190
CONNECT_SECONDS = 10.0
CHUNK_BYTES = 256 * 1024
SPEED_GRACE_SECONDS = 10.0
_PREFIX = "earmark-audio-"


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Caps on one download."""

    max_bytes: int = 209_715_200
    deadline_seconds: float = 300.0
    min_bytes_per_second: float = 16_384.0  # mean, judged after ten seconds
    stall_seconds: float = 20.0  # longest silence


class AudioFetcher:
    """Implements core.ports.Audio. Use as an async context manager; files that dead processes left are removed then."""

    def __init__(
        self,
        directory: Directory,
        guard: Guard,
        *,
        folder: Path,
        clock: Clock,
        user_agent: str,
        limits: FetchLimits | None = None,
    ) -> None:
        self._directory = directory
        self._guard = guard
        self._folder = folder
        self._clock = clock
        self._user_agent = user_agent
        self._limits = limits or FetchLimits()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_stale_files(self._folder)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_VettedResolver(self._guard), use_dns_cache=False, limit_per_host=PER_HOST
            ),
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

    @asynccontextmanager
    async def fetch(self, track: Track) -> AsyncIterator[Path]:
        """See Audio.fetch; also raises UnknownDid. A blob that is not where we think it is, is sought once more at the
        PDS that a fresh DID document names.
        """
        if track.gated or track.audio_key is None:
            raise NoAudio(f"{track.uri}: nothing to fetch")
        descriptor, name = tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=self._folder)
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if track.blob is None:
                    await self._download(track.audio_url or "", file, None, None)
                else:
                    await self._download_blob(track, file)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _download_blob(self, track: Track, file: BinaryIO) -> None:
        assert track.blob is not None
        expected = cid_binary(track.blob.cid)
        if expected[1] != RAW:
            raise NoAudio(f"{track.uri}: {track.blob.cid} is not the CID of a blob")
        url = await self._blob_url(track, refresh=False)
        try:
            await self._download(url, file, expected[4:], track.blob.size)
        except (BlobGone, Unreachable):
            moved = await self._blob_url(track, refresh=True)
            if moved == url:
                raise
            file.seek(0)
            file.truncate()
            await self._download(moved, file, expected[4:], track.blob.size)

    async def _blob_url(self, track: Track, *, refresh: bool) -> str:
        assert track.blob is not None
        identity = await self._directory.resolve(track.did, refresh=refresh)
        if identity.pds is None:
            raise UnknownDid(f"{track.did} names no PDS")
        query = urlencode({"did": track.did, "cid": track.blob.cid})
        return f"{identity.pds}/xrpc/com.atproto.sync.getBlob?{query}"

    async def _download(self, url: str, file: BinaryIO, digest: bytes | None, declared: int | None) -> None:
        """Stream to the file; `digest` is the SHA-256 that the bytes must have, `declared` their number."""
        if declared is not None and declared > self._limits.max_bytes:
            raise BlobTooLarge(f"{url}: declares {declared} bytes, more than {self._limits.max_bytes}")
        try:
            async with asyncio.timeout(self._limits.deadline_seconds), self._opened(url) as response:
                await self._receive(response, file, digest, declared)
        except TimeoutError as error:  # ours, or one of aiohttp's
            if isinstance(error, aiohttp.ServerTimeoutError):
                raise Unreachable(f"{url}: {error}") from None
            raise Deadline(f"{url}: not done within {self._limits.deadline_seconds:g} s") from None
        except aiohttp.InvalidURL:
            raise UnsafeHost(f"{url[:200]} is not a URL") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{url}: {type(error).__name__} {error}"[:400]) from None

    @asynccontextmanager
    async def _opened(self, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The 200 answer at the end of at most three redirects, each vetted."""
        assert self._session is not None
        for _ in range(MAX_REDIRECTS + 1):
            self._guard.check(url)
            async with self._session.get(url, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status in (301, 302, 303, 307, 308) and location:
                    url = _join(url, location)
                    continue
                self._check_status(url, response)
                yield response
                return
        raise Unreachable(f"{url}: more than {MAX_REDIRECTS} redirects")

    def _check_status(self, url: str, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status in (429, 503):
            pause = retry_after_seconds(response.headers.get("Retry-After"), now_us=self._clock.now_us())
            raise RateLimited(f"{url} answers {status}", retry_after_seconds=pause)
        if 400 <= status < 500 and status != 408:
            raise BlobGone(f"{url} answers {status}")  # P186
        if status != 200:
            raise Unreachable(f"{url} answers {status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise BlobMismatch(f"{url} compresses although asked not to")

    async def _receive(
        self, response: aiohttp.ClientResponse, file: BinaryIO, digest: bytes | None, declared: int | None
    ) -> None:
        limit = self._limits.max_bytes if declared is None else declared
        hashed, received, started = hashlib.sha256(), 0, self._clock.monotonic()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            received += len(chunk)
            if received > limit:
                raise BlobTooLarge(f"{response.url}: more than {limit} bytes")
            hashed.update(chunk)
            file.write(chunk)
            seconds = self._clock.monotonic() - started
            if seconds > SPEED_GRACE_SECONDS and received < seconds * self._limits.min_bytes_per_second:
                raise Deadline(f"{response.url}: {received} bytes in {seconds:.0f} s is too slow")
        if declared is not None and received != declared:
            raise BlobMismatch(f"{response.url}: {received} bytes instead of {declared}")
        if digest is not None and hashed.digest() != digest:
            raise BlobMismatch(f"{response.url}: the bytes do not hash to the CID")
        if received == 0:
            raise BlobMismatch(f"{response.url}: no bytes")


class _VettedResolver(AbstractResolver):
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


def remove_stale_files(folder: Path) -> int:
    """Remove audio that an earlier process left; how many. The folder is ours alone: the store's lock says so."""
    stale = list(folder.glob(f"{_PREFIX}*"))
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise UnsafeHost(f"{url[:200]} redirects to what is not a URL") from None
