"""Work that nobody waits for any more keeps its place until it is done."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from feedgen.threads import Threads


class Work:
    """Some work that goes on until it may end, and counts how much of it runs at once."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self._lock = threading.Lock()
        self.running = self.most = self.done = 0

    def do(self, answer: int) -> int:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.may_end.wait(60)
        with self._lock:
            self.running -= 1
            self.done += 1
        return answer


async def test_who_gives_up_and_asks_again_never_makes_more_run_than_may() -> None:
    """After a deadline the thread goes on: were its place free, every visit would add one."""
    threads, work = Threads(2), Work()
    for number in range(6):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await threads.run(partial(work.do, number))
    while work.running < 2:
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(threads.run(partial(work.do, 7)))
    work.may_end.set()
    assert await waiting == 7
    assert await threads.run(partial(work.do, 8)) == 8
    assert (work.most, work.done) == (2, 4), "two that ran on, and two that somebody waited for"


async def test_what_work_raises_comes_out_and_frees_the_place() -> None:
    threads = Threads(1)

    def fail() -> None:
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await threads.run(fail)
