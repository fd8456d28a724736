"""How old accounts are whose posts link other people's tracks: asked of the directory's log, never guessed upwards."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from core.errors import RateLimited, StoreBusy, Unreachable
from firehose.guard import Guard
from firehose.posters import MAX_ATTEMPTS, PosterAges
from firehose.safehttp import GuardedHttp
from store import Store, posters

FAN = "did:plc:fan222222222222222222222"
MET_US = 1_750_000_000_000_000
LOG = [{"did": FAN, "createdAt": "2023-11-14T22:13:20.000Z"}, {"did": FAN, "createdAt": "2025-01-01T00:00:00.000Z"}]


@pytest.fixture
async def ages(store: Store, clock: Any, log: Any, serve: Any) -> AsyncIterator[Callable[..., Any]]:
    """Asks a directory that answers so."""
    http = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test")

    async def build(answer: Callable[[], web.Response]) -> PosterAges:
        async def handle(request: web.Request) -> web.Response:
            assert request.path == f"/{FAN}/log/audit"
            return answer()

        return PosterAges(store, http, plc_url=await serve(handle) + "/", clock=clock, log=log, pause=0.0)

    yield build
    await http.close()


@pytest.fixture
def settled(store: Store, tmp_path: Any) -> Any:
    async def settle(ages: PosterAges, did: str) -> Any:
        async with store.write() as tx:
            await posters.meet(tx, did, now_us=MET_US)
        assert await ages.settle_due() == 1
        connection = sqlite3.connect(tmp_path / "earmark.db")
        ((born_us,),) = connection.execute("SELECT born_us FROM poster").fetchall()
        connection.close()
        return born_us

    return settle


async def test_an_account_is_as_old_as_its_first_entry(ages: Any, settled: Any) -> None:
    assert await settled(await ages(lambda: web.json_response(LOG)), FAN) == 1_700_000_000_000_000


async def test_a_did_web_is_as_old_as_our_first_sight_of_it(ages: Any, settled: Any) -> None:
    assert await settled(await ages(lambda: web.Response(status=500)), "did:web:fan.example") == MET_US


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: web.Response(status=404, text="[]"), Unreachable),
        (lambda: web.Response(status=500), Unreachable),
        (lambda: web.Response(status=429), RateLimited),
        (lambda: web.Response(text="x"), Unreachable),
        (lambda: web.json_response([]), Unreachable),
        (lambda: web.json_response([7]), Unreachable),
        (lambda: web.json_response({"message": "x"}), Unreachable),
        (lambda: web.json_response([{"createdAt": "yesterday"}]), Unreachable),
        (lambda: web.json_response([{"createdAt": 7}]), Unreachable),
    ],
)
async def test_what_is_no_log(ages: Any, answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await (await ages(answer)).born_us(FAN)


async def test_a_busy_store_does_not_end_the_role(
    ages: Any, store: Store, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = await ages(lambda: web.json_response(LOG))
    settle, looks = asking.settle_due, 0

    async def settle_due() -> int:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise StoreBusy("locked by another program")
        return int(await settle())

    monkeypatch.setattr(asking, "settle_due", settle_due)
    task = asyncio.create_task(asking.run())
    async with asyncio.timeout(10):
        while not looks:
            await asyncio.sleep(0.01)
        async with store.write() as tx:
            await posters.meet(tx, FAN, now_us=clock.now_us())
        while True:
            async with store.read() as reader:
                if not await posters.due(reader, now_us=2**62, limit=5):
                    break
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_trouble_is_asked_again_and_then_given_up(ages: Any, settled: Any, store: Store) -> None:
    asking = await ages(lambda: web.Response(status=500))
    assert await settled(asking, FAN) is None
    for attempt in range(2, MAX_ATTEMPTS + 1):
        async with store.write() as tx:
            assert await posters.due(tx, now_us=2**62, limit=5) == [(FAN, MET_US, attempt - 1)]
            await posters.put_off(tx, FAN, attempts=attempt - 1, due_us=MET_US)
        assert await asking.settle_due() == 1
    async with store.read() as reader:
        assert await posters.due(reader, now_us=2**62, limit=5) == []
