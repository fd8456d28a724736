"""Personal feeds as a part of the service: what viewers said goes when its time is over."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from core import sections
from core.clock import SystemClock
from core.config import Settings
from core.log import Log
from core.taxonomy import Taxonomy
from earmark.steering import DAY_US, Steering
from store import Store, feedback, used_tokens
from store.feedback import FeedWish, viewer_key

SECRET = b"s" * 32


async def test_what_viewers_said_is_erased_after_so_many_days(tmp_path: Path) -> None:
    clock, unused = SystemClock(), SimpleNamespace(feeds=())
    nothing: Any = unused
    store = await Store.open(tmp_path / "earmark.db", clock=clock)
    steering = Steering(
        store,
        nothing,
        Settings(feeds=sections.Feeds(feedback_days=10)),
        {},
        http=nothing,
        directory=nothing,
        taxonomy=Taxonomy.load(),
        secret=SECRET,
        clock=clock,
        log=Log(logging.getLogger("earmark.test")),
    )
    key = viewer_key("did:plc:" + "a" * 24, SECRET)
    tracks = {days: f"at://did:plc:{'b' * 24}/fm.plyr.track/t{days}" for days in (9, 11)}
    async with store.write() as tx:
        for days, uri in tracks.items():
            await feedback.put(tx, key, "for-you", {uri: FeedWish.LESS}, now_us=clock.now_us() - days * DAY_US)
        now_us = clock.now_us()
        assert await used_tokens.use(tx, "did:plc:" + "a" * 24, "token", until_us=now_us - 1, now_us=now_us)
    erasing = asyncio.create_task(steering.erase_old())
    async with asyncio.timeout(20):
        while True:
            async with store.read() as reader:
                held = await reader.value("used_tokens.held")
                left = [said.track_uri for said in await feedback.of_viewer(reader, key)]
            if left != [tracks[9], tracks[11]]:
                break
            await asyncio.sleep(0.01)
    assert left == [tracks[9]]
    assert held == 0, "who spoke is not kept for longer than the token is good for"
    assert not erasing.done(), "a role does not end"
    erasing.cancel()
    await steering.close()
    await store.close()
