"""The two stream clients against stand-ins that close, garble, repeat, refuse, stall (P142, P157-P170, P240-P244)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest
from aiohttp import WSCloseCode, WSMsgType, web

from core.errors import Misconfigured, Unreachable
from core.keys import SigningKey
from core.ports import Identity
from core.xrpc import error_frame, message_frame
from firehose.events import Event, GapEvent, IdentityEvent, Interest, RecordEvent, SeenEvent
from firehose.jetstream import Jetstream
from firehose.relay import Relay
from firehose.source import Source

MUSIC = Interest(frozenset({"fm.plyr.track"}))
DID = "did:plc:artist222222222222222222"
Script = Callable[[web.WebSocketResponse, int | None, int], Awaitable[None]]


class Upstream:
    """A websocket server that plays a script: (socket, cursor asked for, number of the connection)."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.cursors: list[int | None] = []
        self.queries: list[Any] = []

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        cursor = request.query.get("cursor")
        self.cursors.append(None if cursor is None else int(cursor))
        self.queries.append(request.query)
        socket = web.WebSocketResponse(max_msg_size=0, autoping=True)
        await socket.prepare(request)
        with suppress(ConnectionError):
            await self.script(socket, self.cursors[-1], len(self.cursors))
        return socket


def identity_frame(seq: int) -> bytes:
    return message_frame("#identity", {"seq": seq, "did": DID, "time": "2026-01-01T00:00:00Z"})


async def linger(socket: web.WebSocketResponse) -> None:
    """Stay connected until the client leaves."""
    async for message in socket:
        if message.type is WSMsgType.CLOSE:
            return


async def take(source: Source, count: int, cursor: int | None = None, seconds: float = 10.0) -> list[Event]:
    out: list[Event] = []
    async with asyncio.timeout(seconds), aclosing(source.stream(cursor)) as stream:
        async for event in stream:
            if not isinstance(event, SeenEvent):
                out.append(event)
            if len(out) == count:
                return out
    raise AssertionError("a stream never ends by itself")


def positions(events: list[Event]) -> list[int]:
    return [event.position for event in events]


@pytest.fixture
async def relay(serve: Any, clock: Any, log: Any) -> AsyncIterator[Any]:
    async def connect(script: Script, **options: Any) -> tuple[Relay, Upstream]:
        upstream = Upstream(script)
        options = {"interest": MUSIC, "retry_base_seconds": 0.01, **options}
        url = await serve(upstream.handle)
        return Relay(url, clock=clock, log=log, allow_loopback=True, **options), upstream

    return connect


async def test_P240_P243_a_clean_close_reconnects_with_the_newest_cursor(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        start = cursor or 0
        for seq in (start + 1, start + 2):
            await socket.send_bytes(identity_frame(seq))
        await socket.close(code=WSCloseCode.OK if connection % 2 else WSCloseCode.GOING_AWAY)

    source, upstream = await relay(script)
    assert positions(await take(source, 5)) == [1, 2, 3, 4, 5]
    assert upstream.cursors == [None, 2, 4]
    assert source.health.connections == 3
    assert "closed" in source.health.last_error


async def test_a_reset_connection_reconnects(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(identity_frame((cursor or 0) + 1))
        await asyncio.sleep(0.02)
        socket._req.transport.abort()

    source, _ = await relay(script)
    assert positions(await take(source, 3, cursor=10)) == [11, 12, 13]


async def test_P135_P241_garbage_drops_the_connection_and_the_stream_goes_on(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if connection == 1:
            await socket.send_bytes(identity_frame(1))
            await socket.send_bytes(b"\xff\xff")
            await socket.send_bytes(identity_frame(99))
        elif connection == 2:
            await socket.send_str("a text message")
        else:
            await socket.send_bytes(identity_frame(2))
        await linger(socket)

    source, upstream = await relay(script)
    assert positions(await take(source, 2)) == [1, 2]
    assert upstream.cursors == [None, 1, 1]


@pytest.mark.parametrize("poison", [b"\xff\xff", message_frame("#sync", {"seq": 6, "blocks": b"x" * 5_100_000})])
async def test_P244_a_frame_that_poisons_the_same_cursor_three_times_is_skipped_with_a_gap(
    relay: Any, poison: bytes
) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if (cursor or 0) < 6:
            await socket.send_bytes(poison)
        await socket.send_bytes(identity_frame(7))
        await linger(socket)

    source, upstream = await relay(script)
    gap, after = await take(source, 2, cursor=5)
    assert isinstance(gap, GapEvent)
    assert (gap.position, after.position) == (5, 7)
    assert upstream.cursors == [5, 5, 5, 5]
    assert source.health.gaps == 1


async def test_P162_a_sequence_number_that_does_not_rise_drops_the_connection(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        numbers = {1: (1, 2, 2), 2: (3, 2, 9)}.get(connection, (4,))
        for seq in numbers:
            await socket.send_bytes(identity_frame(seq))
        await linger(socket)

    source, upstream = await relay(script)
    assert positions(await take(source, 4)) == [1, 2, 3, 4]
    assert upstream.cursors == [None, 2, 3]


async def test_P162_events_up_to_the_cursor_are_not_processed_again(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for seq in (3, 4, 5, 6):
            await socket.send_bytes(identity_frame(seq))
        await linger(socket)

    source, _ = await relay(script)
    assert positions(await take(source, 1, cursor=5)) == [6]
    assert source.health.refused["stale"] == 3


async def test_P161_a_future_cursor_waits_with_the_stored_one(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if connection < 3:
            await socket.send_bytes(error_frame("FutureCursor", "in the future"))
            await socket.close(code=1008)
        else:
            await socket.send_bytes(identity_frame(1001))
            await linger(socket)

    source, upstream = await relay(script)
    assert positions(await take(source, 1, cursor=1000)) == [1001]
    assert upstream.cursors == [1000, 1000, 1000]


async def test_P161_a_future_cursor_goes_live_when_the_operator_says_so(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if cursor is not None:
            await socket.send_bytes(error_frame("FutureCursor"))
            await socket.close(code=1008)
        else:
            await socket.send_bytes(identity_frame(7))
            await linger(socket)

    source, _ = await relay(script, on_future_cursor="live")
    gap, event = await take(source, 2, cursor=1000)
    assert isinstance(gap, GapEvent)
    assert (gap.reason, event.position) == ("FutureCursor", 7)


async def test_P160_an_outdated_cursor_is_a_recorded_gap(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(message_frame("#info", {"name": "OutdatedCursor", "message": "gone"}))
        await socket.send_bytes(message_frame("#info", {"name": "Hello"}))
        await socket.send_bytes(identity_frame(500))
        await linger(socket)

    source, _ = await relay(script)
    gap, event = await take(source, 2, cursor=3)
    assert gap == GapEvent(3, "OutdatedCursor", "gone")
    assert event.position == 500


async def test_P159_silence_is_pinged_and_then_dropped(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(identity_frame(connection))
        if connection == 1:
            await asyncio.sleep(2)  # reads nothing: no pong
        else:
            await linger(socket)

    source, _ = await relay(script, pong_timeout_seconds=0.1, frame_timeout_seconds=None)
    assert positions(await take(source, 2)) == [1, 2]
    assert source.health.last_error == "no pong"


async def test_P159_an_upstream_that_only_pongs_is_dropped_after_the_frame_timeout(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(identity_frame(connection))
        await linger(socket)

    source, _ = await relay(script, pong_timeout_seconds=0.05, frame_timeout_seconds=0.3)
    assert positions(await take(source, 2)) == [1, 2]
    assert "no frame" in source.health.last_error


async def test_an_upstream_that_is_not_there_is_retried(clock: Any, log: Any, serve: Any) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=502)

    for url in ("http://127.0.0.1:1", await serve(refuse)):
        source = Relay(url, MUSIC, clock=clock, log=log, allow_loopback=True, retry_base_seconds=0.01)
        with pytest.raises(TimeoutError):
            await take(source, 1, seconds=0.3)
        assert source.health.last_error
        assert not source.health.connected


async def test_frames_of_no_interest_move_the_cursor(relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(message_frame("#sync", {"seq": 41, "did": DID}))
        await linger(socket)

    source, _ = await relay(script)
    async with asyncio.timeout(5), aclosing(source.stream(None)) as stream:
        assert await anext(stream) == SeenEvent(41)
        assert source.health.connected
        assert source.health.last_frame_us is not None


@pytest.mark.parametrize(
    "url", ["ws://relay.example.com", "http://relay.example.com", "ftp://x.com", "wss://", "wss://a:b"]
)
def test_an_upstream_beyond_loopback_is_wss(url: str, clock: Any, log: Any) -> None:
    with pytest.raises(Misconfigured):
        Relay(url, MUSIC, clock=clock, log=log, allow_loopback=True)


def test_P158_the_name_of_a_cursor_is_kind_host_and_path(clock: Any, log: Any) -> None:
    relay = Relay("https://relay.example.com", MUSIC, clock=clock, log=log)
    assert relay.name == "relay:relay.example.com/xrpc/com.atproto.sync.subscribeRepos"
    hosts = ["jet1.example.com", "wss://jet2.example.com:8443"]
    assert Jetstream(hosts, MUSIC, clock=clock, log=log).name == "jetstream:jet1.example.com/subscribe"
    with pytest.raises(Misconfigured):
        Jetstream([], MUSIC, clock=clock, log=log)


PATH = "fm.plyr.track/3kaaaaaaaaaa2"


async def verified(
    kit: Any, relay: Any, directory: Any, *bodies: dict[str, Any], end: int = 99
) -> tuple[list[Event], Any]:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for body in bodies:
            await socket.send_bytes(message_frame("#commit", body))
        await socket.send_bytes(identity_frame(end))
        await linger(socket)

    source, _ = await relay(script, directory=directory)
    events: list[Event] = []
    async with asyncio.timeout(10), aclosing(source.stream(None)) as stream:
        async for event in stream:
            if isinstance(event, IdentityEvent):
                return events, source
            if not isinstance(event, SeenEvent):
                events.append(event)
    raise AssertionError("a stream never ends by itself")


async def test_P142_P143_commits_are_verified(kit: Any, relay: Any) -> None:
    repo = kit.Repo()
    bodies = [
        repo.body(1, ("create", PATH, kit.track_record())),
        repo.body(2, ("update", PATH, kit.track_record(b"new"))),
        repo.body(3, ("delete", PATH, None), ("create", "fm.plyr.track/3kbbbbbbbbbb2", kit.track_record())),
    ]
    events, source = await verified(kit, relay, kit.KnownIdentities(repo.identity()), *bodies)
    assert [(event.position, event.operation.value, event.verified) for event in events] == [
        (1, "create", True),
        (2, "update", True),
        (3, "delete", True),
        (3, "create", True),
    ]
    assert not source.health.refused


async def test_P142_commits_that_fail_their_proof_are_dropped_and_counted(kit: Any, relay: Any) -> None:
    repo = kit.Repo()
    good = repo.body(1, ("create", PATH, kit.track_record()))
    forged = good | {"seq": 2, "ops": [dict(good["ops"][0], path="fm.plyr.track/3kcccccccccc2")]}
    renamed = good | {"seq": 3, "rev": "3kaaaaaaaaaa2"}
    events, source = await verified(
        kit, relay, kit.KnownIdentities(repo.identity()), forged, renamed, good | {"seq": 4}
    )
    assert positions(events) == [4]
    assert source.health.refused == {"tree": 1, "rev": 1}


async def test_P142_a_key_that_changed_is_looked_up_once_more(kit: Any, relay: Any) -> None:
    repo = kit.Repo()
    body = repo.body(1, ("create", PATH, kit.track_record()))

    class Rotating:
        def __init__(self) -> None:
            self.asked: list[bool] = []

        async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
            self.asked.append(refresh)
            return repo.identity() if refresh else Identity(did, signing_key=SigningKey(b"\x09" * 32).public)

        def forget(self, did: str) -> None: ...

    directory = Rotating()
    events, _ = await verified(kit, relay, directory, body)
    assert [event.verified for event in events] == [True]
    assert directory.asked == [False, True]


async def test_P147_without_identity_nothing_passes_and_without_an_answer_it_passes_unverified(
    kit: Any, relay: Any
) -> None:
    repo = kit.Repo()
    body = repo.body(1, ("create", PATH, kit.track_record()))
    events, source = await verified(kit, relay, kit.KnownIdentities(), body)
    assert (events, source.health.refused) == ([], {"unknown_did": 1})
    events, source = await verified(kit, relay, kit.KnownIdentities(Identity(repo.did)), body)
    assert (events, source.health.refused) == ([], {"sig": 1})

    class Down:
        async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
            raise Unreachable("down")

        def forget(self, did: str) -> None: ...

    (event,), _ = await verified(kit, relay, Down(), body)
    assert isinstance(event, RecordEvent)
    assert not event.verified


def jet(time_us: int, rkey: str, collection: str = "fm.plyr.track", rev: str = "3kaaaaaaaaaa2") -> str:
    commit = {"rev": rev, "operation": "delete", "collection": collection, "rkey": rkey}
    return json.dumps({"did": DID, "time_us": time_us, "kind": "commit", "commit": commit})


T0 = 1_700_000_000_000_000


@pytest.fixture
async def jetstream(serve: Any, clock: Any, log: Any) -> AsyncIterator[Any]:
    async def connect(*scripts: Script) -> tuple[Jetstream, list[Upstream]]:
        upstreams = [Upstream(script) for script in scripts]
        urls = [await serve(upstream.handle) for upstream in upstreams]
        return Jetstream(urls, MUSIC, clock=clock, log=log, allow_loopback=True, retry_base_seconds=0.01), upstreams

    return connect


async def test_P166_P170_a_reconnect_goes_back_five_seconds_and_repeats_are_dropped(jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for n in range(connection + 1):
            await socket.send_str(jet(T0 + n, f"r{n}"))
        await socket.close()

    source, (upstream,) = await jetstream(script)
    events = await take(source, 4, cursor=T0 - 1)
    assert [event.rkey for event in events] == ["r0", "r1", "r2", "r3"]
    assert upstream.cursors[:3] == [T0 - 1 - 5_000_000, T0 + 1 - 5_000_000, T0 + 2 - 5_000_000]
    assert upstream.queries[0].getall("wantedCollections") == ["fm.plyr.track"]


async def test_a_new_reader_gets_what_an_earlier_one_may_not_have_kept(jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(jet(T0, "r"))
        await linger(socket)

    source, _ = await jetstream(script)
    assert len(await take(source, 1)) == len(await take(source, 1)) == 1


async def test_hosts_rotate_on_failure_and_the_new_one_is_asked_further_back(jetstream: Any) -> None:
    async def first(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(jet(T0, "a"))
        await socket.close()

    async def second(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(jet(T0, "a"))
        await socket.send_str(jet(T0 + 7, "b"))
        await linger(socket)

    source, (one, two) = await jetstream(first, second)
    assert [event.rkey for event in await take(source, 2)] == ["a", "b"]
    assert (one.cursors, two.cursors) == ([None], [T0 - 60_000_000])


async def test_garbage_messages_drop_the_connection_and_are_skipped_in_the_end(jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str("{")
        await socket.send_str(jet(2**61, "far-future"))
        await socket.send_bytes(jet(T0, "a").encode())
        await linger(socket)

    source, (upstream,) = await jetstream(script)
    events = await take(source, 3)
    assert [type(event) for event in events] == [GapEvent, GapEvent, RecordEvent]
    assert len(upstream.cursors) == 4


async def test_other_collections_of_a_careless_host_are_not_events(jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(jet(T0, "x", collection="fm.plyr.dev.track"))
        await socket.send_str(json.dumps({"did": DID, "time_us": T0 + 1, "kind": "identity"}))
        await linger(socket)

    source, _ = await jetstream(script)
    assert await take(source, 1) == [IdentityEvent(DID, T0 + 1)]
