"""The control channel over its real socket: who gets in, what arrives, and what happens when either side goes away."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from core.config import Settings
from core.errors import RateLimited
from core.log import set_up
from earmark import control
from earmark.control import Control, NotRunning, Refused, call, control_file


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path, storage={"folder": tmp_path})


@asynccontextmanager
async def service(settings: Settings, **handlers: control.Handler) -> AsyncIterator[Control]:
    made = Control(settings.data, log=set_up(level="critical"))
    for name, handler in handlers.items():
        made.route(name, handler)
    async with made.opened():
        yield made


async def asked(settings: Settings, name: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    return await asyncio.to_thread(lambda: list(call(settings, name, params)))


async def count(params: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for number in range(params["to"]):
        yield {"number": number}


async def test_lines_arrive_in_order_and_the_parameters_with_them(settings: Settings) -> None:
    async with service(settings, count=count):
        assert await asked(settings, "count", {"to": 3}) == [{"number": 0}, {"number": 1}, {"number": 2}]
        assert await asked(settings, "count", {"to": 0}) == []


async def test_a_line_arrives_before_the_next_one_is_made(settings: Settings) -> None:
    seen = asyncio.Event()

    async def answer(_: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"first": True}
        await seen.wait()  # for ever, if answers were collected
        yield {"second": True}

    async with service(settings, answer=answer):
        loop = asyncio.get_running_loop()

        def read() -> int:
            lines = 0
            for _ in call(settings, "answer"):
                lines += 1
                loop.call_soon_threadsafe(seen.set)
            return lines

        assert await asyncio.to_thread(read) == 2


async def test_a_handler_that_thinks_for_long_is_not_taken_for_hung(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ALIVE_SECONDS", 0.01)

    async def answer(_: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(0.1)
        yield {"thought": True}

    async with service(settings, answer=answer):
        assert await asked(settings, "answer") == [{"thought": True}]


async def test_the_file_is_private_and_goes_with_the_service(settings: Settings) -> None:
    control_file(settings.data).write_text("left by a service that was killed")
    async with service(settings, count=count):
        assert stat.S_IMODE(control_file(settings.data).stat().st_mode) == 0o600
        address = orjson.loads(control_file(settings.data).read_bytes())
        assert address["url"].startswith("http://127.0.0.1:")
        assert len(address["secret"]) == 43, "256 bits in base64"
    assert list(settings.data.iterdir()) == []


async def test_without_the_secret_nobody_learns_even_which_commands_there_are(settings: Settings) -> None:
    async with service(settings, count=count):
        address = orjson.loads(control_file(settings.data).read_bytes())
        async with httpx.AsyncClient(base_url=address["url"], trust_env=False) as client:
            for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": address["secret"]}):
                for path in ("/count", "/other"):
                    assert (await client.post(path, headers=headers, content=b'{"to":1}')).status_code == 401


async def test_what_a_handler_refuses_is_told_by_its_word(settings: Settings) -> None:
    async def refuse(_: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"begun": True}
        raise RateLimited("come back later")

    async def fail(_: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {}
        raise ZeroDivisionError("secret detail")

    async with service(settings, refuse=refuse, fail=fail):
        with pytest.raises(Refused, match="come back later") as refused:
            await asked(settings, "refuse")
        assert refused.value.reason == "rate_limited"
        with pytest.raises(Refused, match="our fault"):
            await asked(settings, "fail")
        with pytest.raises(Refused, match="does not know the command other"):
            await asked(settings, "other")


async def test_no_service_is_said_plainly(settings: Settings) -> None:
    with pytest.raises(NotRunning, match="earmark serve"):
        await asked(settings, "count")
    async with service(settings):
        left = control_file(settings.data).read_bytes()
    control_file(settings.data).write_bytes(left)  # as kill -9 leaves it
    with pytest.raises(NotRunning, match="earmark serve"):
        await asked(settings, "count")
    control_file(settings.data).write_bytes(b"no json")
    with pytest.raises(NotRunning, match="earmark serve"):
        await asked(settings, "count")


async def test_another_program_on_the_old_port_is_not_the_service(settings: Settings, tmp_path: Path) -> None:
    other = Settings.load(home=tmp_path, storage={"folder": tmp_path / "other"})
    other.data.mkdir()
    async with service(other, count=count):
        address = orjson.loads(control_file(other.data).read_bytes())
        control_file(settings.data).write_bytes(orjson.dumps(address | {"secret": "another"}))
        with pytest.raises(NotRunning):
            await asked(settings, "count", {"to": 1})


async def test_a_caller_that_goes_away_ends_its_command(settings: Settings) -> None:
    ended = asyncio.Event()

    async def endless(_: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"first": True}
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with service(settings, endless=endless):

        def leave() -> None:
            lines = call(settings, "endless")
            next(lines)
            lines.close()

        await asyncio.to_thread(leave)
        await asyncio.wait_for(ended.wait(), 15)


async def test_a_service_that_ends_ends_its_commands_and_says_so(settings: Settings) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(_: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"first": True}
            begun.set()
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with service(settings, endless=endless):
        asking = asyncio.create_task(asked(settings, "endless"))
        await begun.wait()
    assert ended.is_set()
    with pytest.raises(NotRunning, match="ended before"):
        await asking
