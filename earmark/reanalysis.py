"""Moves a corpus to other packs: what the coming generation has not heard is heard again, then it serves.

All state is in the store, so it stops and goes on anywhere. After a switch it judges every track anew, deletes what the
old generation held, and hears what could not be heard before (an account that came back) for the one that serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from core.clock import Clock
from core.errors import Corrupt, Misconfigured, StoreBusy, Transient
from core.log import Log
from earmark.deciding import Judge, may_decide_anew
from earmark.rehearing import FAILED_SHARE, Rehearing, count_lost, why_hopeless
from earmark.rejudging import decide_again
from store import Store, generations, jobs, tracks
from store.generations import Generation, Living, Progress

LOOK_SECONDS = 1.0  # how often to look whether new tracks still wait
WAIT_SECONDS = 5.0  # at most, while a generation is being built
IDLE_SECONDS = 300.0  # how often to look for stragglers when none is
BUG_SECONDS = 60.0
WAITED_FOR_SECONDS = 86_400.0  # so long an audio that cannot be had now holds the switch up
JUDGED_AT_ONCE = 25  # tracks in one transaction: each takes about a millisecond
CLEARED_AT_ONCE = 200  # rows in one transaction

PutInPlace = Callable[[], Awaitable[None]]
T = TypeVar("T")


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
        self._unjudgeable = False  # whether a track could not be judged in this pass
        self._next_pass = 0.0  # monotonic seconds
        self._concluding = asyncio.Lock()

    async def run(self) -> None:
        """In the background, until cancelled."""
        while True:
            try:
                pause = await self._patiently(self.step)
            except (Misconfigured, Corrupt):
                raise
            except Exception:
                self._log.exception("bug in reanalysis")
                pause = BUG_SECONDS
            await asyncio.sleep(pause)

    async def finish(self, hands: int) -> None:
        """In the foreground: until no generation is being built any more, all that follows from it is done, and the
        one that serves has heard what can be heard now. Raises Misconfigured and Corrupt.
        """
        await _with_hands(hands, self._work_until_decided)
        while await self._patiently(self._follow_up):
            pass
        await _with_hands(hands, self._hear_stragglers)

    async def _work_until_decided(self) -> None:
        while True:
            if (await self._patiently(self._living)).building is None:
                return
            await asyncio.sleep(await self._patiently(self.step))

    async def _hear_stragglers(self) -> None:
        serving = (await self._patiently(self._living)).serving
        if self._rehearing.can_hear(serving):
            while await self._patiently(partial(self._rehearing.hear_next, serving)) is not None:
                pass

    async def _living(self) -> Living:
        async with self._store.read() as reader:
            return await generations.living(reader)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Again while the store is busy."""
        while True:
            try:
                return await work()
            except StoreBusy as error:
                self._log.warning("reanalysis waits for the store", why=error)
                await asyncio.sleep(LOOK_SECONDS)

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
            since_us = now_us - int(WAITED_FOR_SECONDS * 1e6)
            overdue = await generations.count_overdue(reader, target, since_us=since_us)
            due_us = await generations.next_due_us(reader, target, now_us=now_us)
        wait = IDLE_SECONDS if due_us is None else (due_us - now_us) / 1e6
        if living.building is None:
            return min(wait, IDLE_SECONDS)
        if progress.left > overdue:
            return min(wait, WAIT_SECONDS)
        if overdue and overdue + sum(count_lost(progress.given_up).values()) > FAILED_SHARE * progress.total:
            self._log.warning("the switch waits: too much was not heard yet", waiting=dict(progress.waiting))
            return min(wait, IDLE_SECONDS)
        async with self._concluding:
            return await self._conclude(living.building, progress)

    async def _conclude(self, building: Generation, progress: Progress) -> float:
        """The switch: all that feeds need is made first, then one transaction, then it is put in place."""
        if (await self._living()).building != building:
            return 0.0  # another hand was first
        hopeless = why_hopeless(progress)
        if hopeless is not None:
            return await self._fail(building, hopeless)
        try:
            put_in_place = await self._prepare(building)
        except Transient as error:
            self._log.warning("the switch waits", reason=error.reason, why=error)
            return WAIT_SECONDS
        except Exception as error:
            self._log.exception("the next generation cannot serve; the one that serves goes on")
            return await self._fail(building, f"{type(error).__name__}: {error}")
        async with self._store.write() as tx:
            switched = await generations.switch(tx, building, now_us=self._clock.now_us())
        if switched:
            await put_in_place()
            self._log.info(
                "another generation serves",
                packs=",".join(building.packs),
                heard=progress.heard,
                waiting=dict(progress.waiting),
                given_up=dict(progress.given_up),
            )
        return 0.0

    async def _fail(self, building: Generation, reason: str) -> float:
        async with self._store.write() as tx:
            await generations.fail(tx, building, reason, now_us=self._clock.now_us())
        self._log.error("the move to other packs has failed", packs=",".join(building.packs), reason=reason)
        return 0.0

    async def _follow_up(self) -> bool:
        """Some of what a switch leaves to do: judging anew, then deleting. False when there is nothing."""
        async with self._store.read() as reader:
            serving = (await generations.living(reader)).serving
            judging = self._all_judged != serving.name and self._clock.monotonic() >= self._next_pass
            unjudged = []
            if judging:
                unjudged = await generations.next_unjudged(reader, serving, after=self._judged, limit=JUDGED_AT_ONCE)
            leftovers = await generations.has_leftovers(reader)
        if unjudged:
            await self._judge_anew(unjudged)
            return True
        if judging:
            self._end_pass(serving)
        if leftovers:
            async with self._store.write() as tx:
                await generations.clear_retired(tx, limit=CLEARED_AT_ONCE)
        return leftovers

    def _end_pass(self, serving: Generation) -> None:
        """No track is left to be judged anew, but those that could not be: they are tried again in the next pass."""
        self._judged = 0
        if self._unjudgeable:
            self._unjudgeable = False
            self._next_pass = self._clock.monotonic() + IDLE_SECONDS
        else:
            self._all_judged = serving.name

    async def _judge_anew(self, unjudged: list[tuple[int, str]]) -> None:
        """Verdicts and vectors of these tracks from the analyses of the generation that serves."""
        try:
            async with self._store.write() as tx:
                for _, uri in unjudged:
                    stored = await tracks.get(tx, uri)
                    if stored is not None and await may_decide_anew(
                        tx, stored
                    ):  # it was listed before we had the store
                        await decide_again(tx, stored, self._judge, now_us=self._clock.now_us())
        except (StoreBusy, Misconfigured, Corrupt):
            raise
        except Exception:
            if len(unjudged) > 1:  # each by itself: one must not hold the others up
                for one in unjudged:
                    await self._judge_anew([one])
                return
            self._log.exception("bug while judging anew", uri=unjudged[0][1])
            self._unjudgeable = True
        self._judged = unjudged[-1][0]


async def _with_hands(hands: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Several at once; what one raises ends them all and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as working:
            for _ in range(hands):
                working.create_task(work())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
