"""Host names to addresses, on threads that nobody has to wait for.

The event loop's own look-ups share its few worker threads: a stranger's slow names would starve everything else that
runs there, and the process could not end before they answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

MAX_LOOK_UPS = 64  # under way at once; abandoned ones count until the system gives up on them


class Resolver(Protocol):
    """Host name -> IP addresses as text."""

    async def addresses(self, host: str) -> list[str]:
        """Raises OSError."""
        ...


class SystemResolver:
    """The operating system's resolver, one daemon thread a look-up."""

    def __init__(self, look_up: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._under_way = 0

    async def addresses(self, host: str) -> list[str]:
        """See Resolver.addresses. Raises BlockingIOError (an OSError) when too many look-ups are under way."""
        if self._under_way >= MAX_LOOK_UPS:
            raise BlockingIOError(f"{MAX_LOOK_UPS} names are being looked up already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def work() -> None:
            found: list[Any] | Exception
            try:
                found = self._look_up(host, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                found = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                loop.call_soon_threadsafe(finish, found)

        def finish(found: list[Any] | Exception) -> None:
            self._under_way -= 1
            if answer.done():  # abandoned
                return
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result([str(address[0]) for *_, address in found])

        self._under_way += 1
        threading.Thread(target=work, name="resolver", daemon=True).start()
        return await answer
