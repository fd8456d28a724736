"""Fetches a track's audio into a private temporary file that is gone whatever happens (P181-P191)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import urlencode

from core.clock import Clock
from core.dagcbor import RAW, cid_binary
from core.errors import AccountAway, BlobGone, Crowded, DiskFull, NoAudio, UnknownDid, Unreachable
from core.ports import Directory
from core.types import Track
from firehose.download import Downloader, FetchLimits, Promise
from firehose.guard import Guard
from firehose.manners import Manners

SAME_AUDIO_SECONDS = 2.0  # when to come again for audio that is being fetched already
_PREFIX = "earmark-audio-"


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
        manners: Manners | None = None,
        limits: FetchLimits | None = None,
    ) -> None:
        self._directory = directory
        self._folder = folder
        self._downloader = Downloader(
            guard, manners or Manners(clock), clock=clock, user_agent=user_agent, limits=limits or FetchLimits()
        )
        self._in_hand: set[tuple[str, str]] = set()  # (account, audio key)

    async def __aenter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_stale_files(self._folder)
        await self._downloader.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._downloader.__aexit__(*exc)

    @asynccontextmanager
    async def fetch(self, track: Track) -> AsyncIterator[Path]:
        """See Audio.fetch; also raises UnknownDid. A blob that is not where we think it is, is sought once more at the
        PDS that a fresh DID document names. One account's audio is in one hand at a time (P190): Crowded for others.
        """
        if track.gated or track.audio_key is None:
            raise NoAudio(f"{track.uri}: nothing to fetch")
        wanted = (track.did, track.audio_key)
        if wanted in self._in_hand:
            raise Crowded(f"{track.uri}: its audio is being fetched", retry_after_seconds=SAME_AUDIO_SECONDS)
        self._in_hand.add(wanted)
        try:
            async with self._fetched(track) as path:
                yield path
        finally:
            self._in_hand.discard(wanted)

    @asynccontextmanager
    async def _fetched(self, track: Track) -> AsyncIterator[Path]:
        try:
            descriptor, name = tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=self._folder)
        except OSError as error:
            raise DiskFull(f"audio cannot be kept in {self._folder}: {error.strerror}") from None
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                if track.blob is None:
                    await self._downloader.download(track.audio_url or "", file, Promise())
                else:
                    await self._download_blob(track, file)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _download_blob(self, track: Track, file: BinaryIO) -> None:
        assert track.blob is not None
        cid = cid_binary(track.blob.cid)
        if cid[1] != RAW:
            raise NoAudio(f"{track.uri}: {track.blob.cid} is not the CID of a blob")
        promise = Promise(cid[4:], track.blob.size)
        url = await self._blob_url(track, refresh=False)
        try:
            await self._downloader.download(url, file, promise)
        except (AccountAway, BlobGone, Unreachable):
            moved = await self._blob_url(track, refresh=True)
            if moved == url:
                raise
            file.seek(0)
            file.truncate()
            await self._downloader.download(moved, file, promise)

    async def _blob_url(self, track: Track, *, refresh: bool) -> str:
        assert track.blob is not None
        identity = await self._directory.resolve(track.did, refresh=refresh)
        if identity.pds is None:
            raise UnknownDid(f"{track.did} names no PDS")
        query = urlencode({"did": track.did, "cid": track.blob.cid})
        return f"{identity.pds}/xrpc/com.atproto.sync.getBlob?{query}"


def remove_stale_files(folder: Path) -> int:
    """Remove audio that an earlier process left; how many. The folder is ours alone: the store's lock says so."""
    stale = list(folder.glob(f"{_PREFIX}*"))
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)
