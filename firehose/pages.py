"""Asks pages which record they show: `<meta name="at:canonical" content="at://...">` (R7 of POSTS.md).

Only pages on hosts of the operator's list are fetched, never what a stranger's post names (SSRF, load), one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import urljoin

from core.clock import Clock, backoff_seconds
from core.errors import AppError, RateLimited, StoreBusy, Transient, Unreachable
from core.log import Log
from core.ports import SafeHttp
from firehose.links import LinkRules
from store import Store, pages

MAX_PAGE_BYTES = 512 * 1024
PAGE_SECONDS = 10.0
MAX_REDIRECTS = 3
MAX_ATTEMPTS = 8
MAX_META_TAGS = 500
LOOK_EVERY_SECONDS = 30.0  # for pages that were put off; new ones ring
PAUSE_SECONDS = 1.0  # between two pages
AT_ONCE = 20
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class PageReader:
    """The role that settles waiting pages. `run` it until cancelled."""

    def __init__(
        self, store: Store, http: SafeHttp, rules: LinkRules, *, clock: Clock, log: Log, pause: float = PAUSE_SECONDS
    ) -> None:
        self._store = store
        self._http = http
        self._rules = rules
        self._clock = clock
        self._log = log
        self._pause = pause

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            seen = self._store.bell.count("page")
            try:
                if await self.settle_due():
                    continue
            except StoreBusy as error:
                self._log.warning("pages wait for the store", reason=str(error))
            await self._store.bell.wait("page", LOOK_EVERY_SECONDS, seen=seen)

    async def settle_due(self) -> int:
        """Ask the pages whose turn it is, a few at most; how many that were."""
        async with self._store.read() as reader:
            waiting = await pages.due(reader, now_us=self._clock.now_us(), limit=AT_ONCE)
        for url, attempts in waiting:
            await self._settle(url, attempts + 1)
            await asyncio.sleep(self._pause)
        return len(waiting)

    async def _settle(self, url: str, attempts: int) -> None:
        try:
            uri = await self.shown_record(url)
        except RateLimited as error:  # says nothing of the page
            await self._put_off(url, attempts - 1, max(60.0, error.retry_after_seconds or 0.0))
            return
        except Transient as error:
            if attempts < MAX_ATTEMPTS:
                await self._put_off(url, attempts, backoff_seconds(attempts, self._clock, base=60.0, cap=86_400.0))
                return
            self._log.info("page given up", url=url, reason=error.reason)
            uri = None
        except AppError as error:
            self._log.info("page not asked", url=url, reason=str(error)[:200])
            uri = None
        async with self._store.write() as tx:
            await pages.settle(tx, url, uri, now_us=self._clock.now_us())

    async def _put_off(self, url: str, attempts: int, seconds: float) -> None:
        async with self._store.write() as tx:
            await pages.put_off(tx, url, attempts=attempts, due_us=self._clock.now_us() + int(seconds * 1e6))

    async def shown_record(self, url: str) -> str | None:
        """The track that the page says it shows; None for none. Raises Unreachable, RateLimited, UnsafeHost."""
        for _ in range(1 + MAX_REDIRECTS):
            answer = await self._http.get(
                url, headers={"Accept": "text/html"}, max_bytes=MAX_PAGE_BYTES, timeout_seconds=PAGE_SECONDS
            )
            if answer.status not in _REDIRECTS:
                break
            following = self._following(url, answer.headers.get("location", ""))
            if following is None:
                return None  # to a host that is not on the list
            url = following
        if answer.status >= 500:
            raise Unreachable(f"{url} answers {answer.status}")
        # Off the loop: half a megabyte of nothing but `<` takes seconds.
        named = await asyncio.to_thread(read_canonical, answer.body) if answer.status == 200 else None
        return self._rules.target(named) if named is not None and named.startswith("at://") else None

    def _following(self, url: str, location: str) -> str | None:
        try:
            return self._rules.page(urljoin(url, location))
        except ValueError:  # of urljoin
            return None


def read_canonical(body: bytes) -> str | None:
    """What the head of an HTML page names as its record; None unless it names exactly one."""
    parser = _MetaTags()
    try:
        parser.feed(body.decode("utf-8", "replace"))
    except AssertionError:  # what the standard library says of `<![nonsense`
        return None
    return next(iter(parser.named)) if len(parser.named) == 1 else None


class _MetaTags(HTMLParser):
    """Collects the contents of `at:canonical`; what comes after the head was written by strangers and is not read."""

    def __init__(self) -> None:
        super().__init__()
        self.named: set[str] = set()
        self._left = MAX_META_TAGS

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self._left = 0
        if tag != "meta" or self._left <= 0:
            return
        self._left -= 1
        fields: Mapping[str, str | None] = dict(attrs)
        content = fields.get("content")
        if "at:canonical" in (fields.get("name"), fields.get("property")) and content:
            self.named.add(content.strip())

    def handle_endtag(self, tag: str) -> None:
        if tag == "head":
            self._left = 0
