"""Wakes tasks of this process when something may be new. A hint, never the truth: the log is."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Bell:
    """One counter and one event for each topic.

    A waiter that must not miss a ring takes `count` first, then reads the store, then waits with `seen`:
    a ring that came while it was reading ends the wait at once.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def count(self, topic: str) -> int:
        """How often the topic has rung so far."""
        return self._counts[topic]

    def ring(self, topic: str) -> None:
        """Wake every task that waits for the topic now."""
        self._counts[topic] += 1
        self._events.pop(topic, asyncio.Event()).set()

    async def wait(self, topic: str, timeout_seconds: float, *, seen: int | None = None) -> bool:
        """True when the topic rang since `count` was `seen` (default: since now), False after the timeout."""
        if seen is not None and self._counts[topic] != seen:
            return True
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._events[topic].wait()
        except TimeoutError:
            return False
        return True
