"""Moves a corpus to other packs: what the coming generation has not heard is heard again, then it serves.

All state is in the store, so it stops and goes on anywhere. After a switch it judges every track anew, deletes what the
old generation held, and hears what could not be heard before (an account that came back) for the one that serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.clock import Clock
from core.errors import Corrupt, Misconfigured, StoreBusy, Transient
from core.log import Log
from earmark.deciding import Judge, decide, keep, settle
from earmark.rehearing import Rehearing, fail_if_hopeless
from store import Store, generations, jobs, tracks
from store.generations import Generation, Progress

LOOK_SECONDS = 1.0  # how often to look whether new tracks still wait
WAIT_SECONDS = 5.0  # at most, while a generation is being built
IDLE_SECONDS = 300.0  # how often to look for stragglers when none is
BUG_SECONDS = 60.0
JUDGED_AT_ONCE = 25  # tracks in one transaction: each takes about a millisecond
CLEARED_AT_ONCE = 200  # rows in one transaction

PutInPlace = Callable[[], Awaitable[None]]


class Reanalysis:
    """One step at a time. `prepare` makes all that feeds need of a generation and returns what puts it in place.

    `share` (0..1) is how much of one listening process's time it takes; new tracks come first if it is `yielding`.
    """

    def __init__(
        self,
        *,
        store: Store,
        rehearing: Rehearing,
        judge: Judge,
        prepare: Callable[[Generation], Awaitable[PutInPlace]],
        clock: Clock,
        log: Log,
        share: float,
        yielding: bool = True,
    ) -> None:
        self._store = store
        self._rehearing = rehearing
        self._judge = judge
        self._prepare = prepare
        self._clock = clock
        self._log = log
        self._share = share
        self._yielding = yielding
        self._judged = 0  # the last track that was judged anew
        self._all_judged = ""  # the generation whose switch needs no judging any more
        self._concluding = asyncio.Lock()

    async def run(self) -> None:
        """In the background, until cancelled."""
        while True:
            try:
                pause = await self.step()
            except StoreBusy as error:
                self._log.warning("reanalysis waits for the store", why=error)
                pause = LOOK_SECONDS
            except (Misconfigured, Corrupt):
                raise
            except Exception:
                self._log.exception("bug in reanalysis")
                pause = BUG_SECONDS
            await asyncio.sleep(pause)

    async def finish(self, hands: int) -> None:
        """In the foreground: until no generation is being built any more, and all that follows from it is done."""
        async with asyncio.TaskGroup() as working:
            for _ in range(hands):
                working.create_task(self._work_until_decided())
        while await self._follow_up():
            pass

    async def _work_until_decided(self) -> None:
        while True:
            async with self._store.read() as reader:
                if (await generations.living(reader)).building is None:
                    return
            await asyncio.sleep(await self.step())

    async def step(self) -> float:
        """The next thing that there is to do, or nothing; how many seconds to pause after it."""
        if await self._follow_up():
            return 0.0
        now_us = self._clock.now_us()
        async with self._store.read() as reader:
            living = await generations.living(reader)
            target = living.building or living.serving
            if self._yielding and await jobs.ready_count(reader, now_us=now_us) > 0:
                return LOOK_SECONDS
        if self._share == 0.0 or not self._rehearing.can_hear(target):
            return IDLE_SECONDS
        seconds = await self._rehearing.hear_next(target)
        if seconds is not None:
            return seconds * (1.0 / self._share - 1.0)
        if self._rehearing.busy:
            return LOOK_SECONDS
        async with self._store.read() as reader:
            progress = await generations.measure(reader, target)
            due_us = await generations.next_due_us(reader, target, now_us=now_us)
        if living.building is not None and progress.left == 0:
            async with self._concluding:
                return await self._conclude(living.building, progress)
        wait = IDLE_SECONDS if due_us is None else (due_us - now_us) / 1e6
        return min(wait, IDLE_SECONDS if living.building is None else WAIT_SECONDS)

    async def _conclude(self, building: Generation, progress: Progress) -> float:
        """The switch: all that feeds need is made first, then one transaction, then it is put in place."""
        now_us = self._clock.now_us()
        try:
            async with self._store.write() as tx:
                if await fail_if_hopeless(tx, building, progress, now_us=now_us):
                    return 0.0
            put_in_place = await self._prepare(building)
        except Transient as error:
            self._log.warning("the switch waits", reason=error.reason, why=error)
            return WAIT_SECONDS
        except Exception as error:
            self._log.exception("the next generation cannot serve; the one that serves goes on")
            async with self._store.write() as tx:
                await generations.fail(tx, building, f"{type(error).__name__}: {error}", now_us=now_us)
            return 0.0
        async with self._store.write() as tx:
            switched = await generations.switch(tx, building, now_us=self._clock.now_us())
        if switched:
            await put_in_place()
            self._log.info("another generation serves", packs=",".join(building.packs), heard=progress.heard)
        return 0.0

    async def _follow_up(self) -> bool:
        """Some of what a switch leaves to do: judging anew, then deleting. False when there is nothing."""
        async with self._store.read() as reader:
            serving = (await generations.living(reader)).serving
            unjudged = []
            if self._all_judged != serving.name:
                unjudged = await generations.next_unjudged(reader, serving, after=self._judged, limit=JUDGED_AT_ONCE)
            leftovers = await generations.has_leftovers(reader)
        if unjudged:
            await self._judge_anew(serving, unjudged)
            return True
        self._judged, self._all_judged = 0, serving.name
        if leftovers:
            async with self._store.write() as tx:
                await generations.clear_retired(tx, limit=CLEARED_AT_ONCE)
        return leftovers

    async def _judge_anew(self, serving: Generation, unjudged: list[tuple[int, str]]) -> None:
        """Verdicts and vectors of these tracks from the analyses of the generation that serves."""
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            for track_id, uri in unjudged:
                self._judged = track_id
                stored = await tracks.get(tx, uri)
                if stored is None:
                    continue
                for decision in await decide(tx, stored, None, self._judge, [serving]):
                    await keep(tx, stored, decision, now_us=now_us)
                    await settle(tx, stored, decision, now_us=now_us)
