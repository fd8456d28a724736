"""Cursors only go forward, and a broken one stops the process."""

from __future__ import annotations

import sqlite3

import pytest

from core.errors import Corrupt
from store import cursors
from store.cursors import StoredCursor

SOURCE = "wss://relay.test/xrpc/com.atproto.sync.subscribeRepos"


async def test_p157_a_cursor_only_goes_forward(store):
    async with store.write() as tx:
        assert await cursors.get(tx, SOURCE) is None
        for value, now_us in ((10, 1), (9, 2), (12, 3), (12, 4), (0, 5)):
            await cursors.advance(tx, SOURCE, value, now_us=now_us)
        assert await cursors.get(tx, SOURCE) == StoredCursor(SOURCE, 12, 4)


async def test_p158_sources_do_not_share_cursors(store):
    async with store.write() as tx:
        await cursors.advance(tx, SOURCE, 5, now_us=1)
        await cursors.advance(tx, "wss://other.test", 2**53, now_us=1)
        assert (await cursors.get(tx, SOURCE)).value == 5
        assert (await cursors.get(tx, "wss://other.test")).value == 2**53


async def test_a_negative_cursor_is_refused(store):
    async with store.write() as tx:
        with pytest.raises(ValueError, match="negative"):
            await cursors.advance(tx, SOURCE, -1, now_us=1)


@pytest.mark.parametrize("broken", ["soon", 1.5, -3])
async def test_a_broken_cursor_is_corrupt_for_readers_and_writers(place, broken):
    store = await place.open()
    async with store.write() as tx:
        await cursors.advance(tx, SOURCE, 5, now_us=1)
    await store.close()
    connection = sqlite3.connect(place.path)
    connection.execute("UPDATE cursor SET value = ?", (broken,))
    connection.commit()
    connection.close()
    store = await place.open()
    async with store.read() as r:
        with pytest.raises(Corrupt, match="the cursor of wss"):
            await cursors.get(r, SOURCE)
    with pytest.raises(Corrupt):
        async with store.write() as tx:
            await cursors.advance(tx, SOURCE, 99, now_us=2)
    await store.close()
    assert place.content()["cursor"] == [(SOURCE, broken, 1)]
