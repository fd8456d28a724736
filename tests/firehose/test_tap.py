"""A Tap: messages are acknowledged once they are in the store, and repeated until then (P173)."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import aclosing, suppress
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from core.errors import Misconfigured
from core.frames import BadFrame
from firehose.events import AccountEvent, IdentityEvent, Interest, Operation, RecordEvent, SeenEvent
from firehose.jsonrecord import cid_of_record
from firehose.tap import Tap, decode_tap, tap_origin

TRACKS = "fm.plyr.track"
MUSIC = Interest(frozenset({TRACKS}))
DID = "did:plc:artist222222222222222222"


def record(number: int, rkey: str, *, action: str = "create", collection: str = TRACKS, **fields: Any) -> str:
    body: dict[str, Any] = {
        "live": True,
        "did": DID,
        "rev": "3kaaaaaaaaaa2",
        "collection": collection,
        "rkey": rkey,
        "action": action,
    }
    if action != "delete":
        content = {"$type": collection, "title": rkey}
        body |= {"cid": cid_of_record(content), "record": content}
    return json.dumps({"id": number, "type": "record", "record": body | fields})


def read(text: str) -> Any:
    return decode_tap(text, MUSIC)


def test_P173_a_record_is_verified_by_the_tap() -> None:
    number, (event,) = read(record(12, "a"))
    assert (number, event.position, event.rkey, event.operation, event.verified) == (12, 12, "a", "create", True)
    assert event.record == {"$type": TRACKS, "title": "a"}
    number, (event,) = read(record(13, "a", action="delete"))
    assert (event.operation, event.cid, event.verified) == (Operation.DELETE, None, True)


def test_P172_a_record_that_does_not_have_its_cid_is_not_verified() -> None:
    told = cid_of_record({"$type": TRACKS, "title": "another"})
    _, (event,) = read(record(12, "a", cid=told))
    assert not event.verified
    assert event.cid == cid_of_record({"$type": TRACKS, "title": "a"})


@pytest.mark.parametrize(("key", "active"), [("identity", "is_active"), ("user", "isActive")])
def test_P173_accounts_as_older_and_newer_taps_write_them(key: str, active: str) -> None:
    def told(**fields: Any) -> Any:
        return read(json.dumps({"id": 7, "type": key, key: {"did": DID, "handle": "a.test", **fields}}))

    assert told(**{active: False, "status": "deleted"}) == (
        7,
        (AccountEvent(DID, False, "deleted", 7), IdentityEvent(DID, 7)),
    )
    assert told(**{active: True, "status": "active"})[1][0] == AccountEvent(DID, True, None, 7)
    assert told() == (7, (IdentityEvent(DID, 7),))


@pytest.mark.parametrize(
    "text",
    [
        record(5, "a", collection="fm.plyr.dev.track"),
        record(5, "a", rev="not a revision"),
        record(5, "a", action="invented"),
        record(5, "a", did="nobody"),
        '{"id": 5, "type": "something new"}',
        '{"id": 5, "type": "record", "record": "text"}',
    ],
)
def test_what_is_of_no_use_is_acknowledged_or_it_would_come_for_ever(text: str) -> None:
    assert read(text) == (5, (SeenEvent(5),))


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "record"}', '{"id": -1}', '{"id": "5"}', "[" * 5000])
def test_P135_what_has_no_number_is_a_bad_frame(text: str) -> None:
    with pytest.raises(BadFrame):
        read(text)


def test_plain_text_goes_to_this_machine_and_to_neighbouring_containers_only() -> None:
    assert tap_origin("ws://localhost:2480") == "ws://localhost:2480"
    assert tap_origin("http://tap:2480/channel") == "ws://tap:2480"
    assert tap_origin("https://tap.example.com") == "wss://tap.example.com"
    for url in ("ws://tap.example.com", "ws://192.0.2.1:2480", "ftp://tap", "ws://tap:port"):
        with pytest.raises(Misconfigured):
            tap_origin(url)


class StandIn:
    """A Tap that sends what is not acknowledged to whoever connects."""

    def __init__(self, *messages: str) -> None:
        self.waiting = {json.loads(text)["id"]: text for text in messages}
        self.acknowledged: list[int] = []
        self.sent: list[int] = []
        self.credentials: list[str | None] = []
        self.break_after: int | None = None
        self.changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.path == "/channel"
        self.credentials.append(request.headers.get("Authorization"))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with suppress(ConnectionError):
            for number, text in list(self.waiting.items()):
                await socket.send_str(text)
                self.sent.append(number)
                if self.break_after is not None and len(self.sent) >= self.break_after:
                    self.break_after = None
                    await socket.close()
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    ack = json.loads(message.data)
                    assert ack["type"] == "ack"
                    self.acknowledged.append(ack["id"])
                    self.waiting.pop(ack["id"], None)
                    self.changed.set()
        return socket

    async def wait_until_empty(self) -> None:
        async with asyncio.timeout(20):
            while self.waiting:
                await self.changed.wait()
                self.changed.clear()


def tap(url: str, clock: Any, log: Any, **options: Any) -> Tap:
    return Tap(url, MUSIC, clock=clock, log=log, retry_base_seconds=0.01, **options)


async def test_P173_messages_are_acknowledged_after_the_commit_and_not_before(serve: Any, clock: Any, log: Any) -> None:
    upstream = StandIn(record(3, "a"), record(1, "b"), '{"id": 2, "type": "new"}')
    source = tap(await serve(upstream.handle), clock, log)
    async with asyncio.timeout(20), aclosing(source.stream(None)) as stream:
        events = [await anext(stream) for _ in range(3)]
        assert [event.position for event in events] == [3, 1, 2]
        assert upstream.acknowledged == []
        await source.committed(events[:2])
        reading = asyncio.ensure_future(anext(stream))
        while len(upstream.acknowledged) < 2:
            await upstream.changed.wait()
            upstream.changed.clear()
        assert upstream.acknowledged == [3, 1]
        await source.committed(events[2:])
        await upstream.wait_until_empty()
        reading.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration):
            await reading


async def test_P173_what_was_not_acknowledged_comes_again_and_nothing_is_lost(serve: Any, clock: Any, log: Any) -> None:
    upstream = StandIn(*(record(number, f"r{number}") for number in range(1, 8)))
    upstream.break_after = 4
    source = tap(await serve(upstream.handle), clock, log)
    seen: set[str] = set()
    async with asyncio.timeout(20), aclosing(source.stream(None)) as stream:
        async for event in stream:
            assert isinstance(event, RecordEvent)
            seen.add(event.rkey)
            await source.committed((event,))
            if len(seen) == 7:
                break
    assert seen == {f"r{number}" for number in range(1, 8)}
    assert source.health.connections == 2


async def test_acknowledging_without_a_connection_is_no_error(clock: Any, log: Any) -> None:
    source = tap("ws://localhost:1", clock, log)
    await source.committed((SeenEvent(1),))


async def test_P173_the_password_is_basic_authentication_and_never_in_the_address(
    serve: Any, clock: Any, log: Any
) -> None:
    upstream = StandIn(record(1, "a"))
    source = tap(await serve(upstream.handle), clock, log, password="secret word")
    async with asyncio.timeout(20), aclosing(source.stream(None)) as stream:
        await anext(stream)
    expected = base64.b64encode(b"admin:secret word").decode()
    assert upstream.credentials == [f"Basic {expected}"]
    assert "secret" not in source.health.address + source.name + repr(source.health)
