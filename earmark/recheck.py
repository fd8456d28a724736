"""Asks again whether tracks are public: an artist who unlists one changes nothing that the network would tell us.

A record may also reach us before its app knows of it, and many are published only after a listen: what is new and
hidden is asked for sooner, after pauses that double.
"""

from __future__ import annotations

import asyncio

from core.clock import Clock
from store import Store, jobs, tracks

AGAIN_AFTER_SECONDS = 7 * 86_400.0  # LEXICONS section 3.3: weekly
LOOK_EVERY_SECONDS = 600.0
AT_ONCE = 200


async def recheck_visibility(store: Store, clock: Clock) -> None:
    """Until cancelled: puts tracks back in the queue when their answer is a week old. Audio is not heard again."""
    while True:
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        await enqueue_stale(store, now_us=clock.now_us())


async def enqueue_stale(store: Store, *, now_us: int) -> int:
    """One look; how many tracks were put back."""
    async with store.write() as tx:
        before_us = now_us - int(AGAIN_AFTER_SECONDS * 1e6)
        stale = await tracks.to_ask_again(tx, before_us=before_us, now_us=now_us, limit=AT_ONCE)
        for uri, cid in stale:
            await jobs.enqueue(tx, uri, cid, now_us=now_us)
    return len(stale)
