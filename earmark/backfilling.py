"""Backfills of this process: begun by the verb itself, or by a service that the verb asks."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from core.clock import Clock
from core.config import Settings
from core.errors import Misconfigured
from core.log import Log
from core.ports import SafeHttp
from earmark.control import Refused, read_params
from earmark.intake import Intake
from firehose.backfill import Backfill, Wanted
from store import Store

TELL_SECONDS = 0.5
ROUTE = "backfill"


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the verb was asked for. No `collections`: all that are mapped."""

    collections: tuple[str, ...] = ()
    dids: tuple[str, ...] = ()
    since_us: int | None = None
    limit: int | None = None
    dry_run: bool = False
    concurrency: int | None = None  # None: as configured


class Backfilling:
    """One backfill at a time, which tells how far it is."""

    def __init__(
        self, store: Store, intake: Intake, *, http: SafeHttp, settings: Settings, working: bool, clock: Clock, log: Log
    ) -> None:
        """`working`: this process also works on the jobs that come of it, so walks must not run ahead of that."""
        self._store = store
        self._intake = intake
        self._http = http
        self._settings = settings
        self._working = working
        self._clock = clock
        self._log = log
        self._busy = False

    async def answer(self, params: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """A command of earmark.control."""
        async for progress in self.run(read_params(params, Wish)):
            yield progress

    async def run(self, wish: Wish) -> AsyncIterator[dict[str, Any]]:
        """Its progress (Backfill.progress) now and then, and once more at the end. Closing it stops the backfill.

        Raises Refused while there is another one, and Misconfigured when there is nobody to walk.
        """
        if self._busy:
            raise Refused("busy", "a backfill is under way already")
        self._busy = True
        try:
            async with AsyncExitStack() as stack:
                backfill = await self._prepare(wish, stack)
                running = asyncio.create_task(backfill.run())
                try:
                    while not running.done():
                        yield await backfill.progress()
                        await asyncio.wait([running], timeout=TELL_SECONDS)
                    await running
                    yield await backfill.progress()
                finally:
                    running.cancel()
                    await asyncio.wait([running])
        finally:
            self._busy = False

    async def _prepare(self, wish: Wish, stack: AsyncExitStack) -> Backfill:
        settings, intake = self._settings, self._intake
        if not (wish.dids or settings.network.relay_url or settings.backfill.dids):
            raise Misconfigured("network.relay_url", "nobody lists accounts: name a relay, or set backfill.dids")
        book = None
        if wish.dry_run:  # what it would do is worked off a list of its own
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="earmark-backfill-"))
            book = await Store.open(Path(folder) / "book.db", clock=self._clock)
            stack.push_async_callback(book.close)
        return Backfill(
            self._store,
            intake.walker,
            None if wish.dry_run else intake.applier,
            wanted=Wanted(wish.collections or tuple(intake.mapping), wish.dids, wish.since_us, wish.limit),
            http=self._http,
            relay_url=settings.network.relay_url,
            dids=settings.backfill.dids,
            beside=intake.control.of_artists,
            clock=self._clock,
            log=self._log,
            concurrency=wish.concurrency or settings.backfill.concurrency,
            high_water=settings.queue.high_water if self._working and not wish.dry_run else None,
            book=book,
        )
