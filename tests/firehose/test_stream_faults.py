"""Jetstream hosts that close, reset, stall, talk nonsense, refuse: nothing is lost and nothing doubled (P157-P170)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from core.clock import SystemClock, format_datetime
from firehose.events import MAX_FRAME_BYTES, Interest, RecordEvent
from firehose.jetstream import Jetstream

TRACKS = "fm.plyr.track"
MUSIC = Interest(frozenset({TRACKS}))
DID = "did:plc:artist222222222222222222"
T0 = SystemClock().now_us() - 600_000_000


def message(wire: str, seq: int) -> str:
    """A deletion with this number, told at this many microseconds after T0."""
    body = {"rev": "3kaaaaaaaaaa2", "operation": "delete", "collection": TRACKS, "rkey": f"r{seq}"}
    if wire == "v1":
        return json.dumps({"did": DID, "time_us": T0 + seq, "kind": "commit", "commit": body})
    time = f"{format_datetime(T0 + seq)[:-4]}{(T0 + seq) % 1_000_000:06d}Z"
    payload = {"$type": "network.bsky.jetstream.subscribeEvents#commit", "seq": seq, "did": DID, "time": time, **body}
    return json.dumps({"$type": "message", "payload": payload})


async def next_records(source: Jetstream, count: int, cursor: int | None) -> list[RecordEvent]:
    found: list[RecordEvent] = []
    async with asyncio.timeout(20), aclosing(source.stream(cursor)) as stream:
        async for event in stream:
            if isinstance(event, RecordEvent):
                found.append(event)
            if len(found) == count:
                return found
    raise AssertionError("a stream never ends by itself")


Fault = Callable[[web.WebSocketResponse], Awaitable[None]]


async def close(socket: web.WebSocketResponse) -> None:
    await socket.close()


async def reset(socket: web.WebSocketResponse) -> None:
    await asyncio.sleep(0.02)
    socket._req.transport.abort()  # type: ignore[union-attr]


async def stall(socket: web.WebSocketResponse) -> None:
    await asyncio.sleep(0.8)  # reads nothing: no pong


async def garbage(socket: web.WebSocketResponse) -> None:
    await socket.send_bytes(b"\xff\xfe not a message")
    await wait(socket)


async def error(socket: web.WebSocketResponse) -> None:
    await socket.send_str('{"$type": "error", "error": "ConsumerTooSlow"}')
    await wait(socket)


async def huge(socket: web.WebSocketResponse) -> None:
    await socket.send_str('{"did": "' + "x" * (MAX_FRAME_BYTES + 1) + '"}')
    await wait(socket)


async def wait(socket: web.WebSocketResponse) -> None:
    async for received in socket:
        if received.type is WSMsgType.CLOSE:
            return


@pytest.mark.parametrize("fault", [close, reset, stall, garbage, error, huge])
@pytest.mark.parametrize("wire", ["v1", "v2"])
async def test_nothing_is_lost_or_doubled_whatever_the_host_does(
    wire: Any, fault: Fault, serve: Any, clock: Any, log: Any
) -> None:
    """Each connection breaks after a few events; numbers jump; what came already is replayed at every return."""
    numbers = [1, 2, 3, 4, 500, 501, 90_000, 90_001, 90_002, 90_003]
    connections = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal connections
        connections += 1
        cursor = int(request.query.get("cursor", 10**15))
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        with suppress(ConnectionError):
            due = [number for number in numbers if (T0 + number if cursor >= 10**15 else number) >= cursor]
            fresh = 4 * connections  # of the whole list, so that every connection brings something new
            for number in due[: max(fresh - (len(numbers) - len(due)), 1)]:
                await socket.send_str(message(wire, number))
            await fault(socket)
        return socket

    source = Jetstream(
        [await serve(handle)],
        MUSIC,
        clock=clock,
        log=log,
        wire=wire,
        allow_loopback=True,
        retry_base_seconds=0.01,
        pong_timeout_seconds=0.2,
    )
    events = await next_records(source, len(numbers), None)
    assert [event.rkey for event in events] == [f"r{number}" for number in numbers]
    assert [event.position for event in events] == [T0 + number for number in numbers]
    assert source.health.gaps == 0
    assert connections > 1
