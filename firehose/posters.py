"""Finds out since when accounts exist whose posts link tracks: a farm of fresh accounts must not fill feeds."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from core.clock import Clock, backoff_seconds, parse_datetime
from core.errors import AppError, RateLimited, StoreBusy, Unreachable
from core.log import Log
from core.ports import SafeHttp
from core.types import is_plc
from store import Store, posters

MAX_LOG_BYTES = 1024 * 1024
ASK_SECONDS = 10.0
MAX_ATTEMPTS = 8
AT_ONCE = 20
PAUSE_SECONDS = 0.5  # between two questions
LOOK_EVERY_SECONDS = 60.0  # for accounts that were put off; new ones ring


class PosterAges:
    """The role that asks the directory of did:plc. `run` it until cancelled."""

    def __init__(
        self, store: Store, http: SafeHttp, *, plc_url: str, clock: Clock, log: Log, pause: float = PAUSE_SECONDS
    ) -> None:
        self._store = store
        self._http = http
        self._plc_url = plc_url.rstrip("/")
        self._clock = clock
        self._log = log
        self._pause = pause

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            seen = self._store.bell.count("poster")
            try:
                if await self.settle_due():
                    continue
            except StoreBusy as error:
                self._log.warning("ages of accounts wait for the store", reason=str(error))
            await self._store.bell.wait("poster", LOOK_EVERY_SECONDS, seen=seen)

    async def settle_due(self) -> int:
        """Ask about the accounts whose turn it is, a few at most; how many those were."""
        async with self._store.read() as reader:
            waiting = await posters.due(reader, now_us=self._clock.now_us(), limit=AT_ONCE)
        for did, met_us, attempts in waiting:
            await self._settle(did, met_us, attempts + 1)
        return len(waiting)

    async def _settle(self, did: str, met_us: int, attempts: int) -> None:
        """An account that nobody can tell the age of is as old as our first sight of it."""
        born_us = met_us
        try:
            if is_plc(did):
                born_us = min(await self.born_us(did), self._clock.now_us())
                await asyncio.sleep(self._pause)
        except AppError as error:
            limited = isinstance(error, RateLimited)
            if limited or attempts < MAX_ATTEMPTS:
                seconds = backoff_seconds(attempts, self._clock, base=60.0, cap=86_400.0)
                due_us = self._clock.now_us() + int(seconds * 1e6)
                async with self._store.write() as tx:
                    await posters.put_off(tx, did, attempts=attempts - limited, due_us=due_us)
                return
            self._log.info("age of an account not found out", did=did, reason=str(error)[:200])
        async with self._store.write() as tx:
            await posters.settle(tx, did, born_us)

    async def born_us(self, did: str) -> int:
        """Unix microseconds of the account's first entry in the directory's log. Raises Unreachable, RateLimited."""
        answer = await self._http.get(
            f"{self._plc_url}/{did}/log/audit", max_bytes=MAX_LOG_BYTES, timeout_seconds=ASK_SECONDS
        )
        try:
            entries: Any = orjson.loads(answer.body) if answer.status == 200 else None
            return parse_datetime(entries[0]["createdAt"])
        except (ValueError, TypeError, LookupError):
            raise Unreachable(f"{did}: its log cannot be read (status {answer.status})") from None
