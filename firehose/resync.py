"""Repositories in doubt are walked anew, one after another, until nothing is missing any more (P164, P165)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from core.clock import Clock, backoff_seconds
from core.errors import AccountAway, AppError, Permanent, RateLimited, StoreBusy, Transient
from core.log import Log
from firehose.answers import NOT_FOUND
from firehose.apply import Applier
from firehose.backfill import BATCH_EVENTS
from firehose.events import AccountEvent
from firehose.walk import RepoWalker
from store import Store, accounts, repos
from store.repos import StoredRepo

WALKERS = 3  # at once
LOOK_SECONDS = 60.0  # at least this often for what is due, should a bell be missed
RETRY_BASE_SECONDS = 30.0
RETRY_CAP_SECONDS = 6 * 3600.0
BUSY_SECONDS = 60.0  # being asked to wait that long is no failure
SOURCE = "resync"  # as the events' origin in logs and counters


class Resync:
    """One for the process. Live events go on meanwhile and win by their revision."""

    def __init__(
        self,
        store: Store,
        walker: RepoWalker,
        applier: Applier,
        *,
        collections: Collection[str],
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._walker = walker
        self._applier = applier
        self._collections = collections
        self._clock = clock
        self._log = log
        self._walking: set[str] = set()

    async def run(self) -> None:
        """Ends by cancellation only."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WALKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            rung = self._store.bell.count("doubt")
            try:
                if await self.walk_next():
                    continue
                pause = await self._seconds_to_next()
            except StoreBusy as error:
                self._log.warning("resync waits for the store", reason=str(error))
                pause = RETRY_BASE_SECONDS
            await self._store.bell.wait("doubt", pause, seen=rung)

    async def walk_next(self) -> bool:
        """Walk the repository whose turn it is. False when there is none."""
        async with self._store.read() as reader:
            due = await repos.due(reader, now_us=self._clock.now_us(), limit=WALKERS)
            repo = next((repo for repo in due if repo.did not in self._walking), None)
            if repo is None:
                return False
            self._walking.add(repo.did)  # before anybody else gets a turn
        try:
            await self._walk(repo)
        except RateLimited as error:
            if error.retry_after_seconds is None or error.retry_after_seconds > BUSY_SECONDS:
                await self._fail(repo, error, error.retry_after_seconds or 0.0)
            else:  # busy, not in trouble
                await self._put_off(repo, repo.attempts, error.retry_after_seconds)
        except Transient as error:
            await self._fail(repo, error, error.retry_after_seconds or 0.0)
        except Permanent as error:
            await self._fail(repo, error, RETRY_CAP_SECONDS)
        finally:
            self._walking.discard(repo.did)
        return True

    async def _walk(self, repo: StoredRepo) -> None:
        began_us = self._clock.now_us()
        async with self._store.read() as reader:
            known, account = await repos.known(reader, repo.did), await accounts.get(reader, repo.did)
        walk = await self._walker.walk(repo.did, self._collections, known)
        events = walk.events
        if walk.rev is not None and not account.active:
            events = (AccountEvent(repo.did, True, None, 0), *events)
        for start in range(0, len(events), BATCH_EVENTS):
            batch = events[start : start + BATCH_EVENTS]
            async with self._store.write() as tx:
                await self._applier.apply(tx, batch, now_us=self._clock.now_us())
            self._applier.note(batch, SOURCE)
        async with self._store.read() as reader:
            account = await accounts.get(reader, repo.did)
        if walk.rev is None and account.status == NOT_FOUND:
            raise AccountAway(f"{repo.did}: its host does not know it")  # it may again: it is asked until it does
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            if walk.rev is not None:
                await repos.advance(tx, repo.did, rev=walk.rev, data=None, now_us=now_us)
            settled = walk.complete and await repos.settle(tx, repo.did, since_us=began_us, now_us=now_us)
        if not settled:  # there is more to fetch, or new doubt came up
            await self._put_off(repo, repo.attempts + 1, repos.REST_US / 1_000_000)
        self._log.info("repository walked", did=repo.did, reason=repo.reason, changes=len(events), settled=settled)

    async def _fail(self, repo: StoredRepo, error: AppError, at_least_seconds: float) -> None:
        backoff = backoff_seconds(repo.attempts + 1, self._clock, base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS)
        pause = max(backoff, min(at_least_seconds, RETRY_CAP_SECONDS))
        self._log.warning("repository could not be walked", did=repo.did, reason=str(error), retry_seconds=round(pause))
        await self._put_off(repo, repo.attempts + 1, pause)

    async def _put_off(self, repo: StoredRepo, attempts: int, pause_seconds: float) -> None:
        now_us = self._clock.now_us()
        due_us = now_us + int(pause_seconds * 1_000_000)
        async with self._store.write() as tx:
            await repos.put_off(tx, repo.did, reason=repo.reason or "", attempts=attempts, due_us=due_us, now_us=now_us)

    async def _seconds_to_next(self) -> float:
        now_us = self._clock.now_us()
        async with self._store.read() as reader:
            next_us = await repos.next_due_us(reader, now_us=now_us)
        return LOOK_SECONDS if next_us is None else min(LOOK_SECONDS, (next_us - now_us) / 1_000_000)
