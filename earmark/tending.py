"""Keeps the vector index that feeds are ranked from stored, and its graphs fresh."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from core.errors import Transient
from core.log import Log
from feedgen.live import LiveFeeds

EVERY_SECONDS = 60.0


async def tend_index(feeds: LiveFeeds, log: Log) -> None:
    """Until cancelled. What could not be stored is tried again; the log of vectors has everything meanwhile."""
    while True:
        await _try(feeds.index.tend(), log)
        await asyncio.sleep(EVERY_SECONDS)


async def store_index(feeds: LiveFeeds, log: Log) -> None:
    """Once, before the end."""
    await _try(feeds.index.checkpoint(), log)


async def _try(work: Awaitable[object], log: Log) -> None:
    try:
        await work
    except Transient as error:
        log.warning("the vector index was not stored", reason=error.reason, error=error)
