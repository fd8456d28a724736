"""Takes turns with what anybody may ask and what is a good part of a second's work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.errors import XrpcError

AT_ONCE = 2  # leaves a core of two to everything else: numpy works without the interpreter's lock
MOST_WAITING = 20  # some ten seconds, after which nobody listens to the answer


class Turns:
    """A few at once, some waiting; who comes then is told to come back."""

    def __init__(self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most_waiting = most_waiting
        self._waiting = 0

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """One turn. Raises XrpcError RateLimitExceeded when too many wait."""
        if self._waiting >= self._most_waiting:
            raise XrpcError("RateLimitExceeded", "too much is asked at once; come back later", status=429)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
