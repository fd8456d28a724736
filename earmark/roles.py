"""Which tasks run, who supervises them, and the order in which they stop.

Starting: outermost last, so that nobody is served before there is something to serve. Stopping (ARCHITECTURE
section 7): stop reading -> stop claiming -> give leases back -> drain the publisher -> close sockets with a reason ->
checkpoint the index -> close the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from core.log import Log

Role = Callable[[], Coroutine[Any, Any, None]]


class Roles:
    """Long-running tasks by name. One that ends early ends the process with its error."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, role: Role) -> None:
        self._tasks[name] = asyncio.create_task(role(), name=name)

    async def watch(self, stop: asyncio.Event) -> None:
        """Returns when asked to stop; raises what a task raised."""
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopping, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        for name, task in self._tasks.items():
            if task.done():
                await task  # raises its error
                raise RuntimeError(f"the role {name} ended by itself")

    async def stop(self, *prefixes: str) -> None:
        """Cancels the tasks whose names begin so and waits for them."""
        ending = {name: task for name, task in self._tasks.items() if name.startswith(prefixes)}
        for task in ending.values():
            task.cancel()
        if ending:
            await asyncio.wait(ending.values())
        for name, task in ending.items():
            if not task.cancelled() and (error := task.exception()) is not None:
                self._log.error("a role failed while it stopped", role=name, error=error)
            del self._tasks[name]


async def within(seconds: float, ending: Awaitable[Any]) -> None:
    """Waits for one step of a shutdown, but not longer: SIGTERM promises an end within ten seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ending
