"""One declared file over HTTP: resumed, hashed on the way, never longer than declared, never for ever.

Only https (http for this machine itself), a handful of redirects, a limit on silence and one on crawling. The SHA-256
decides at the end; ETags only save the work of going on with a file that has changed meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx

from core.clock import SystemClock
from core.errors import Corrupt, Misconfigured, RateLimited, Unreachable
from core.sections import is_loopback
from models.catalogue import Download
from models.partial import Partial

Advance = Callable[[str, int, int | None], None]  # file, bytes so far, bytes in all if known

_MAX_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")
_NOT_THERE = {403, 404, 410}  # object stores answer 403 for what does not exist


class NotThere(Unreachable):
    """The address has no such file."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an unresponsive server is borne with."""

    connect_seconds: float = 10.0
    silence_seconds: float = 30.0  # not a byte
    crawl_seconds: float = 60.0  # in which there must come
    crawl_bytes: int = 64 * 1024


class Fetcher:
    """`with Fetcher() as fetcher:` one client for all files of a pull; proxies and certificates of the environment."""

    def __init__(self, *, patience: Patience | None = None, advance: Advance = lambda name, done, total: None) -> None:
        self._patience = patience or Patience()
        self._advance = advance
        self._clock = SystemClock()
        timeout = httpx.Timeout(self._patience.silence_seconds, connect=self._patience.connect_seconds)
        headers = {"User-Agent": "earmark", "Accept-Encoding": "identity"}
        try:
            self._client = httpx.Client(timeout=timeout, headers=headers)
        except (ValueError, ImportError) as error:
            raise Misconfigured("HTTPS_PROXY", f"the proxy settings of the environment do not work: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def fetch(self, download: Download, url: str, folder: Path) -> Path:
        """Put the verified file into the folder, going on where an earlier try was cut.

        Raises NotThere, Unreachable (cut, silent, crawling: what came is kept for the next try), RateLimited, Corrupt
        (other bytes than declared: deleted) and OSError (the disk).
        """
        with Partial(download, folder) as part:
            resumed = part.size > 0
            try:
                self._complete(download, url, part)
                return part.finish()
            except Corrupt:
                if not resumed:
                    raise
        return self.fetch(download, url, folder)  # the earlier bytes may be to blame, and they are gone

    def _complete(self, download: Download, url: str, part: Partial) -> None:
        if part.size == download.size:
            return  # killed between the last byte and the rename
        try:
            while True:
                with closing(self._open(url, part)) as response:
                    if response.status_code != 416 or part.size == 0:
                        self._receive(download, url, response, part)
                        return
                    part.restart()  # the server's file ends where we would go on
        except httpx.TimeoutException as error:
            raise Unreachable(f"{shown(url)}: {_timeout(error)}; {_go_on(part)}") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise Unreachable(f"{shown(url)}: {type(error).__name__}: {error}; {_go_on(part)}") from error

    def _open(self, url: str, part: Partial) -> httpx.Response:
        """The answer behind at most five redirects, its body unread."""
        headers = {}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            if etag := part.etag_of(url):
                headers["If-Range"] = etag
        place = url
        for _ in range(_MAX_REDIRECTS + 1):
            if not is_safe(place, start=url):
                raise Unreachable(f"{shown(place)}: only https is spoken, and http on this machine itself")
            response = self._client.send(self._client.build_request("GET", place, headers=headers), stream=True)
            if not response.has_redirect_location:
                return response
            response.close()
            try:
                place = urljoin(place, response.headers["location"])
            except ValueError:
                raise Unreachable(f"{shown(url)}: redirects to nonsense") from None
        raise Unreachable(f"{shown(url)}: more than {_MAX_REDIRECTS} redirects")

    def _receive(self, download: Download, url: str, response: httpx.Response, part: Partial) -> None:
        _refuse_status(url, response)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise Unreachable(f"{shown(url)}: compressed although asked not to")
        begin, total = _extent(response)
        if response.status_code == 200:
            part.restart()  # all of it, whatever we asked for
        elif begin != part.size:
            part.restart()
            raise Unreachable(f"{shown(url)}: sent another part of the file than asked for; {_go_on(part)}")
        part.remember_origin(url, response.headers.get("etag"))
        if total is not None and (total != download.size if download.size else total > download.limit_bytes):
            part.discard()
            raise Corrupt(f"{shown(url)} has {total} bytes, expected {download.size or 'fewer'}")
        self._advance(download.path, part.size, total or download.size)
        for chunk in self._steady(response.iter_raw(), url, part):
            part.write(chunk)
            self._advance(download.path, part.size, total or download.size)
        if part.size < (download.size or 0):
            raise Unreachable(f"{shown(url)}: ended after {part.size} of {download.size} bytes; {_go_on(part)}")

    def _steady(self, chunks: Iterator[bytes], url: str, part: Partial) -> Iterator[bytes]:
        """The chunks, as long as they come fast enough. A silent server runs into the client's own timeout."""
        began, came = self._clock.monotonic(), 0
        for chunk in chunks:
            yield chunk
            came += len(chunk)
            now = self._clock.monotonic()
            if came >= self._patience.crawl_bytes:
                began, came = now, 0
            elif now - began >= self._patience.crawl_seconds:
                raise Unreachable(f"{shown(url)}: stalled, {came} bytes in {now - began:.0f} s; {_go_on(part)}")


def shown(url: str) -> str:
    """An address for messages: without credentials and signed queries."""
    try:
        split = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"[:300]


def is_safe(url: str, *, start: str) -> bool:
    """Whether to ask this address, on the way from another: https, or http that never leaves this machine."""
    try:
        split, began = urlsplit(url), urlsplit(start)
    except ValueError:
        return False
    loopback = is_loopback(split.hostname or "") and is_loopback(began.hostname or "")
    return split.scheme == "https" or (split.scheme == "http" and loopback)


def _refuse_status(url: str, response: httpx.Response) -> None:
    status = response.status_code
    if status in _NOT_THERE:
        raise NotThere(f"{shown(url)}: not there ({status})")
    if status == 429 or (status == 503 and "retry-after" in response.headers):
        raise RateLimited(f"{shown(url)}: asks to slow down ({status}); run it again later")
    if status not in (200, 206):
        raise Unreachable(f"{shown(url)}: answered {status}")


def _extent(response: httpx.Response) -> tuple[int, int | None]:
    """Where the body begins within the file, and the whole file's size if it is told."""
    if response.status_code == 206:
        match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
        return (int(match[1]), None if match[2] == "*" else int(match[2])) if match else (-1, None)
    length = response.headers.get("content-length", "")
    return 0, int(length) if length.isascii() and length.isdigit() else None


def _timeout(error: httpx.TimeoutException) -> str:
    return "does not connect" if isinstance(error, httpx.ConnectTimeout) else "fell silent"


def _go_on(part: Partial) -> str:
    return f"{part.size} bytes are kept: run it again to go on" if part.size else "run it again"
