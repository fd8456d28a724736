"""A session with a PDS that answers badly: bounded, never followed elsewhere, nothing secret in what is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from core.errors import RateLimited, Unreachable, UnsafeHost
from core.types import Did
from earmark.session import MAX_ANSWER_BYTES, Refused, open_session
from firehose.guard import Guard

DID = Did("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
PASSWORD = "correct horse"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def pds() -> AsyncIterator[Callable[[Answer], Awaitable[str]]]:
    """Starts a server that answers everything like this."""
    runners: list[web.AppRunner] = []

    async def start(answer: Answer) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def sign_in(url: str) -> None:
    async with open_session(url, guard=Guard(allow_loopback=True), user_agent="test") as session:
        await session.sign_in(DID, PASSWORD)


async def huge(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b" " * (MAX_ANSWER_BYTES + 1))


async def elsewhere(request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": "https://thief.example.com/"})


async def no_json(request: web.Request) -> web.StreamResponse:
    return web.Response(status=400, body=b"<html>")


async def a_list(request: web.Request) -> web.StreamResponse:
    return web.json_response([])


async def broken(request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": "InternalServerError"}, status=500)


async def slow_down(request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": "RateLimitExceeded"}, status=429)


async def somebody_else(request: web.Request) -> web.StreamResponse:
    return web.json_response({"did": "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb", "accessJwt": "t"})


async def no_token(request: web.Request) -> web.StreamResponse:
    return web.json_response({"did": DID, "accessJwt": None})


async def drip(request: web.Request) -> web.StreamResponse:
    """Never silent for long, and never done."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" ")
        await asyncio.sleep(0.02)


async def wrong_password(request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": "AuthenticationRequired", "message": "m" * 10_000}, status=401)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (huge, Unreachable),
        (elsewhere, Unreachable),
        (no_json, Unreachable),
        (a_list, Unreachable),
        (broken, Unreachable),
        (slow_down, RateLimited),
        (somebody_else, Refused),
        (no_token, Refused),
        (wrong_password, Refused),
    ],
)
async def test_what_a_pds_may_answer_instead(
    pds: Callable[[Answer], Awaitable[str]], answer: Answer, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        await sign_in(await pds(answer))
    assert PASSWORD not in str(caught.value)
    assert len(str(caught.value)) < 500


async def test_an_answer_without_end_is_not_waited_for(
    pds: Callable[[Answer], Awaitable[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.session.TIMEOUT_SECONDS", 0.2)
    with pytest.raises(Unreachable, match="TimeoutError"):
        await sign_in(await pds(drip))


async def test_a_password_goes_nowhere_without_tls() -> None:
    with pytest.raises(UnsafeHost):
        async with open_session("http://pds.example.com", guard=Guard(), user_agent="test"):
            raise AssertionError("it must not open")
