"""How a verb reads the store: beside the service, which may run meanwhile, and without changing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from core.config import Settings
from store import Reader, Store

_Found = TypeVar("_Found")


def read_stored(settings: Settings, read: Callable[[Reader], Awaitable[_Found]]) -> _Found:
    """What `read` finds in one snapshot of the store of these settings. Raises Misconfigured, Corrupt."""
    return asyncio.run(_read(settings, read))


async def _read(settings: Settings, read: Callable[[Reader], Awaitable[_Found]]) -> _Found:
    store = await Store.open_to_read(settings.database)
    try:
        async with store.read() as reader:
            return await read(reader)
    finally:
        await store.close()
