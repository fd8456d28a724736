"""Work for threads, a few at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_Found = TypeVar("_Found")


class Threads:
    """A thread cannot be stopped: its place is free when its work is done, not when nobody waits for it any more. So
    whoever gives up and asks again never has more than `at_once` rankings run.
    """

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)

    async def run(self, work: Callable[[], _Found]) -> _Found:
        """What the work yields, once there is a place for it; it raises what the work raises."""
        await self._free.acquire()
        running = asyncio.ensure_future(asyncio.to_thread(work))
        running.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(running)
