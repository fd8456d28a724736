"""What was published before we listened, or while we did not: many repositories walked, each once (P175, P176).

Who is to be walked is written down first, and what a walk brought is applied as live events are: by `rev`, so that live
ones win. A backfill that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

import orjson

from core.clock import Clock, backoff_seconds
from core.errors import Permanent, RateLimited, Transient, Unreachable
from core.log import Log
from core.ports import SafeHttp
from core.types import Did
from firehose.apply import Applier
from firehose.census import list_accounts
from firehose.events import AccountEvent, Event, Operation, RecordEvent
from firehose.walk import RepoWalker
from store import Store, Tx, accounts, backfills, jobs, repos
from store.backfills import BackfillProgress, StoredBackfill

SOURCE = "backfill"
BATCH_EVENTS = 200
MAX_ROUNDS = 1_000  # walks of one repository that has more changes than a walk brings
MAX_ATTEMPTS = 8  # of one repository, the first pause of RETRY_SECONDS doubling: ten minutes in all
RETRY_SECONDS = 5.0
LONG_PAUSE_SECONDS = 60.0  # being told to wait that long is an attempt: the host is in trouble, not only busy
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a backfill is to bring. No `dids`: everybody who has such records. `limit`: the most tracks written."""

    collections: tuple[str, ...]
    dids: tuple[str, ...] = ()
    since_us: int | None = None
    limit: int | None = None

    def text(self) -> str:
        """The same for the same wish."""
        fields = asdict(self) | {"collections": sorted(self.collections), "dids": sorted(self.dids)}
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode()


class Backfill:
    """One run. `store` has the tracks; `book` has the list of accounts, and is another store in a dry run."""

    def __init__(
        self,
        store: Store,
        walker: RepoWalker,
        applier: Applier | None,
        *,
        wanted: Wanted,
        http: SafeHttp,
        relay_url: str,
        dids: Collection[str],
        beside: Collection[str] = (),
        clock: Clock,
        log: Log,
        concurrency: int = 4,
        high_water: int | None = None,
        book: Store | None = None,
    ) -> None:
        """`dids` are walked besides those that the relay lists ("": none does); `beside` are collections that are read
        in a walk and not looked for. Without `applier` nothing changes. Above `high_water` ready jobs no further
        repository is begun; None: nobody works on them here.
        """
        self.stage = "listing"  # then walking, paused (by backpressure), ended
        self.trouble: str | None = None  # why not all accounts could be listed
        self._store = store
        self._book = book or store
        self._walker = walker
        self._applier = applier
        self._wanted = wanted
        self._http = http
        self._relay_url = relay_url
        self._dids = dids
        self._walked = frozenset((*wanted.collections, *beside))
        self._clock = clock
        self._log = log
        self._concurrency = concurrency
        self._high_water = high_water
        self._stored: StoredBackfill | None = None
        self._busy: set[Did] = set()
        self._choosing = asyncio.Lock()
        self._full = False

    async def run(self) -> None:
        """Returns when every repository was walked or given up, or the limit is reached. Cancel it at any time: the
        next run for the same wish goes on. Raises StoreBusy, Corrupt.
        """
        stored = self._stored = await self._begin()
        await self._list(stored)
        self.stage = "walking"
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(self._work(stored.backfill_id))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        if self._full or self.trouble is None:  # else the next run lists again
            state = "limited" if self._full else "done"
            async with self._book.write() as tx:
                await backfills.finish(tx, stored.backfill_id, state, now_us=self._clock.now_us())
        self.stage = "ended"

    async def progress(self) -> dict[str, Any]:
        """How far it is, as JSON."""
        async with self._book.read() as reader:
            stored, found = self._stored, BackfillProgress()
            found = found if stored is None else await backfills.progress(reader, stored.backfill_id)
        return {
            "stage": self.stage,
            "asking": self._relay_url if self.stage == "listing" else None,
            "limited": self._full,
            "trouble": self.trouble,
            "repositories": found.waiting + found.done + found.failed,
            **asdict(found),
        }

    async def _begin(self) -> StoredBackfill:
        """Take up what was begun, else write down whom we know: who deleted everything is on no relay's list."""
        dids, listing = set(self._wanted.dids), None
        if not dids:
            async with self._store.read() as reader:
                dids = {*await backfills.accounts(reader), *self._dids}
            if self._relay_url:
                listing = {"left": sorted(self._wanted.collections), "cursor": None}
        async with self._book.write() as tx:
            stored = await backfills.begin(tx, self._wanted.text(), listing, now_us=self._clock.now_us())
            await backfills.add(tx, stored.backfill_id, sorted(dids))
        return stored

    async def _list(self, stored: StoredBackfill) -> None:
        """Ask the relay who has such records. Each page is kept before the next one is asked for."""
        listing = stored.listing
        while listing is not None:
            dids: tuple[Did, ...] = ()
            try:
                page = await list_accounts(
                    self._http, self._relay_url, listing["left"][0], listing["cursor"], clock=self._clock
                )
            except (Unreachable, RateLimited, Permanent) as error:
                self.trouble = str(error)
                self._log.warning("not all accounts could be listed", reason=self.trouble)
                listing = {**listing, "cursor": None}  # it may be what the relay did not like
            else:
                dids, left = page.dids, listing["left"] if page.cursor else listing["left"][1:]
                listing = {"left": left, "cursor": page.cursor} if left else None
            async with self._book.write() as tx:
                await backfills.add(tx, stored.backfill_id, dids)
                await backfills.note_listing(tx, stored.backfill_id, listing)
            if self.trouble is not None:
                return

    async def _work(self, backfill_id: int) -> None:
        """Walk one repository after the other."""
        while (turn := await self._next(backfill_id)) is not None:
            did, attempts = turn
            try:
                await self._take(backfill_id, did)
            except (Transient, Permanent) as error:
                await self._give_way(backfill_id, did, attempts, error)
            finally:
                self._busy.discard(did)

    async def _next(self, backfill_id: int) -> tuple[Did, int] | None:
        """The account whose turn it is, with the attempts made, as soon as there is one; None when all are done."""
        while not self._full:
            now_us, high_water = self._clock.now_us(), self._high_water
            async with self._choosing:
                busy = frozenset(self._busy)  # also those that end while we look: what we read may be older than that
                async with self._book.read() as reader:
                    due = await backfills.due(reader, backfill_id, now_us=now_us, limit=len(busy) + 1)
                    if not due and await backfills.next_due_us(reader, backfill_id) is None:
                        return None
                if high_water is not None:
                    async with self._store.read() as reader:
                        crowded = await jobs.ready_count(reader, now_us=now_us) > high_water
                    self.stage = "paused" if crowded else "walking"
                    due = [] if crowded else due
                for did, attempts in due:
                    if did not in busy:
                        self._busy.add(did)
                        return did, attempts
            await asyncio.sleep(LOOK_SECONDS)
        return None

    async def _take(self, backfill_id: int, did: Did) -> None:
        """Walk until there is nothing new; then it is done."""
        found, before = 0, tuple[Event, ...]()
        for _ in range(MAX_ROUNDS):
            async with self._store.read() as reader:
                known, account = await repos.known(reader, did), await accounts.get(reader, did)
            walk = await self._walker.walk(did, self._walked, known, since_us=self._wanted.since_us)
            found = max(found, sum(walk.listed[name] for name in self._wanted.collections))
            if walk.rev is not None and not account.active:
                await self._apply(backfill_id, did, (AccountEvent(did, True, None, 0),))
            for start in range(0, len(walk.events), BATCH_EVENTS):
                await self._apply(backfill_id, did, walk.events[start : start + BATCH_EVENTS])
            if walk.complete or self._full or self._applier is None or walk.events == before:
                break
            before = walk.events
        if not self._full:
            async with self._book.write() as tx:
                await backfills.settle(tx, backfill_id, did, "done", found=found)

    async def _apply(self, backfill_id: int, did: Did, events: Sequence[Event]) -> None:
        now_us = self._clock.now_us()
        async with self._book.write() as tx:
            events = await self._within_limit(tx, backfill_id, events)
            if self._applier is not None:
                await self._applier.apply(tx, events, now_us=now_us)
            tracks_of = [event for event in events if self._is_track(event)]
            withdrawn = sum(event.operation is Operation.DELETE for event in tracks_of)
            await backfills.count(tx, backfill_id, did, changed=len(tracks_of) - withdrawn, withdrawn=withdrawn)
        if self._applier is not None:
            self._applier.note(events, SOURCE)

    async def _within_limit(self, tx: Tx, backfill_id: int, events: Sequence[Event]) -> Sequence[Event]:
        if self._wanted.limit is None:
            return events
        room = self._wanted.limit - await backfills.changed(tx, backfill_id)
        writes = [event for event in events if self._is_track(event) and event.operation is not Operation.DELETE]
        self._full = self._full or len(writes) >= room
        left_out = {event.uri for event in writes[max(room, 0) :]}
        return [event for event in events if not isinstance(event, RecordEvent) or event.uri not in left_out]

    def _is_track(self, event: Event) -> TypeGuard[RecordEvent]:
        return isinstance(event, RecordEvent) and event.collection in self._wanted.collections

    async def _give_way(self, backfill_id: int, did: Did, attempts: int, error: Transient | Permanent) -> None:
        """Later again, unless it is no use."""
        pause = error.retry_after_seconds if isinstance(error, Transient) else None
        if not isinstance(error, RateLimited) or pause is None or pause >= LONG_PAUSE_SECONDS:
            attempts += 1
            pause = max(pause or 0.0, backoff_seconds(attempts, self._clock, base=RETRY_SECONDS))
        final = isinstance(error, Permanent) or attempts >= MAX_ATTEMPTS
        self._log.info("repository not walked", did=did, reason=error.reason, detail=str(error), final=final)
        due_us = self._clock.now_us() + round(pause * 1_000_000)
        async with self._book.write() as tx:
            if final:
                await backfills.settle(tx, backfill_id, did, "failed", reason=error.reason)
            else:
                await backfills.put_off(tx, backfill_id, did, reason=error.reason, attempts=attempts, due_us=due_us)
