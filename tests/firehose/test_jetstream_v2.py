"""Jetstream's v2 wire: frames, cursors, notices, compression (P166-P170)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import zstandard
from aiohttp import web

from core.clock import SystemClock, format_datetime
from core.errors import Misconfigured
from core.frames import BadFrame, ErrorFrame
from earmark.demo import Network
from firehose.events import MAX_FRAME_BYTES, AccountEvent, GapEvent, IdentityEvent, Interest, RecordEvent, SyncEvent
from firehose.jetevents import Notice, Told, decode_v2
from firehose.jetstream import Jetstream
from firehose.zstd import Inflater

TRACKS = "fm.plyr.track"
MUSIC = Interest(frozenset({TRACKS}))
DID = "did:plc:artist222222222222222222"
NOW = SystemClock().now_us()
T0 = NOW - 600_000_000
V2 = "network.bsky.jetstream.subscribeEvents"


def moment(time_us: int) -> str:
    return f"{format_datetime(time_us)[:-4]}{time_us % 1_000_000:06d}Z"


def message(kind: str, **fields: Any) -> str:
    return json.dumps({"$type": "message", "payload": {"$type": f"{V2}#{kind}", **fields}})


def v2(seq: int, rkey: str = "", *, time_us: int | None = None) -> str:
    body = {"rev": "3kaaaaaaaaaa2", "operation": "delete", "collection": TRACKS, "rkey": rkey or f"r{seq}"}
    return message("commit", seq=seq, did=DID, time=moment(T0 + seq if time_us is None else time_us), **body)


def read(text: str, interest: Interest = MUSIC) -> Any:
    return decode_v2(text, interest, now_us=NOW)


def test_P167_a_commit_has_its_number_and_the_time_at_which_the_host_saw_it() -> None:
    imported = message(
        "commit",
        seq=5,
        did=DID,
        time="2020-01-01T00:00:00.000000Z",
        witnessedAt=moment(T0),
        rev="3kaaaaaaaaaa2",
        operation="delete",
        collection=TRACKS,
        rkey="a",
    )
    told = read(imported)
    assert (told.time_us, told.seq, told.collection, told.event.rkey) == (T0, 5, TRACKS, "a")
    assert not told.event.verified


def test_P168_accounts_and_identities_of_everybody_are_events() -> None:
    account = {"did": DID, "seq": 9, "time": moment(T0 - 5), "active": False, "status": "takendown"}
    told = read(message("account", seq=6, did=DID, time=moment(T0), account=account))
    assert told == Told(T0, 6, None, AccountEvent(DID, False, "takendown", T0, T0))
    told = read(message("identity", seq=7, did=DID, time=moment(T0), identity={"did": DID, "seq": 1, "time": "x"}))
    assert told == Told(T0, 7, None, IdentityEvent(DID, T0))


@pytest.mark.parametrize(
    "text",
    [
        '{"$type": "message", "payload": {"$type": "network.bsky.jetstream.subscribeEvents#new", "x": 1}}',
        '{"$type": "somethingElse"}',
        '{"$type": "message", "payload": {"$type": "com.example.other"}}',
    ],
)
def test_P135_unknown_frames_and_messages_are_ignored(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"$type": "message"}',
        '{"$type": "message", "payload": []}',
        message("commit", seq=1, did=DID, time="yesterday", rev="x", operation="create", collection=TRACKS, rkey="a"),
        message("commit", seq="1", did=DID, time=moment(T0)),
        message("account", seq=-1, did=DID, time=moment(T0), account={"active": True}),
        message("identity", seq=1, did="nobody", time=moment(T0)),
        "[" * 5000,
    ],
)
def test_P135_what_is_no_message_is_a_bad_frame(text: str) -> None:
    with pytest.raises(BadFrame):
        read(text)


def test_P167_error_frames_and_notices_are_told_apart() -> None:
    with pytest.raises(ErrorFrame) as caught:
        read('{"$type": "error", "error": "ConsumerTooSlow", "message": "read faster"}')
    assert (caught.value.name, caught.value.message) == ("ConsumerTooSlow", "read faster")
    assert read(message("info", name="OutdatedCursor", message="from 7")) == Notice("OutdatedCursor", "from 7")


@pytest.fixture
async def jetstream(kit: Any, serve: Any, clock: Any, log: Any) -> AsyncIterator[Any]:
    async def connect(*scripts: Any, **options: Any) -> tuple[Jetstream, list[Any]]:
        upstreams = [kit.Upstream(script) for script in scripts]
        urls = [await serve(upstream.handle) for upstream in upstreams]
        options = {"wire": "v2", "retry_base_seconds": 0.01, **options}
        return Jetstream(urls, MUSIC, clock=clock, log=log, allow_loopback=True, **options), upstreams

    return connect


async def test_P166_one_host_is_resumed_with_its_own_numbers_inclusive(kit: Any, jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        start = T0 if cursor is None else cursor
        assert start > 0
        begin = cursor if connection > 1 and cursor is not None else 1
        for seq in (begin, begin + 1):
            await socket.send_str(v2(seq))
        await socket.close()

    source, (upstream,) = await jetstream(script)
    events = await kit.take(source, 4, cursor=T0)
    assert [event.rkey for event in events] == ["r1", "r2", "r3", "r4"]
    assert upstream.cursors[:3] == [T0 - 5_000_000, 2, 3]
    assert upstream.queries[0].getall("collections") == [TRACKS]
    assert not upstream.queries[0].keys() & {"wantedCollections", "kinds", "zstdDictionary"}


async def test_P158_numbers_of_one_host_are_never_asked_of_another(kit: Any, jetstream: Any) -> None:
    async def first(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(v2(90_000, "a", time_us=T0))
        await socket.close()

    async def second(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(v2(17, "a", time_us=T0 + 3))
        await socket.send_str(v2(18, "b", time_us=T0 + 4))
        await kit.linger(socket)

    source, (_, two) = await jetstream(first, second)
    assert [event.rkey for event in await kit.take(source, 2)] == ["a", "b"]
    assert two.cursors == [T0 - 60_000_000]


async def test_P162_a_number_that_does_not_rise_drops_the_connection(kit: Any, jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for seq in (1, 5, 5) if connection == 1 else (5, 6):
            await socket.send_str(v2(seq))
        await kit.linger(socket)

    source, (upstream,) = await jetstream(script)
    assert [event.rkey for event in await kit.take(source, 3)] == ["r1", "r5", "r6"]
    assert upstream.cursors == [None, 5]


async def test_P168_a_number_that_is_too_old_becomes_a_time_and_the_gap_is_told(
    kit: Any, serve: Any, clock: Any, log: Any
) -> None:
    asked: list[str | None] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("cursor"))
        if asked[-1] is not None and int(asked[-1]) < 10**15:
            return web.json_response({"error": "CursorTooOld", "message": "the floor is 500"}, status=400)
        socket = web.WebSocketResponse(protocols=("xrpc.v1.json",))
        await socket.prepare(request)
        assert socket.ws_protocol == "xrpc.v1.json"
        if len(asked) == 1:
            await socket.send_str(v2(3))
            await socket.close()
        else:
            await socket.send_str(message("info", name="OutdatedCursor"))
            await socket.send_str(v2(500))
            await kit.linger(socket)
        return socket

    source = Jetstream(
        [await serve(handle)], MUSIC, clock=clock, log=log, wire="v2", allow_loopback=True, retry_base_seconds=0.01
    )
    first, gap, last = await kit.take(source, 3)
    assert (first.rkey, type(gap), gap.reason, last.rkey) == ("r3", GapEvent, "OutdatedCursor", "r500")
    assert asked == [None, "3", str(T0 + 3 - 5_000_000)]
    assert source.health.gaps == 1


async def test_P168_a_host_that_refuses_an_old_time_is_heard_from_now_on_with_a_gap(
    kit: Any, serve: Any, clock: Any, log: Any
) -> None:
    asked: list[str | None] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("cursor"))
        if asked[-1] is not None:
            return web.json_response({"error": "CursorTooOld", "message": "no"}, status=400)
        socket = web.WebSocketResponse(protocols=("xrpc.v1.json",))
        await socket.prepare(request)
        await socket.send_str(v2(500))
        await kit.linger(socket)
        return socket

    source = Jetstream(
        [await serve(handle)], MUSIC, clock=clock, log=log, wire="v2", allow_loopback=True, retry_base_seconds=0.01
    )
    gap, event = await kit.take(source, 2, cursor=T0)
    assert (type(gap), gap.reason, event.rkey) == (GapEvent, "OutdatedCursor", "r500")
    assert asked == [str(T0 - 5_000_000), None]


async def test_P168_a_host_whose_numbers_began_anew_is_asked_with_a_time(kit: Any, jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if connection == 1:
            await socket.send_str(v2(9000, "a", time_us=T0))
            await socket.close()
        if cursor == 9000:
            await socket.send_str(message("info", name="FutureCursor"))
            await socket.send_str(v2(4, "live", time_us=T0 + 100))
        else:
            for seq, rkey in ((2, "a"), (3, "b"), (4, "live")):
                await socket.send_str(v2(seq, rkey, time_us=T0 + seq))
        await kit.linger(socket)

    source, (upstream,) = await jetstream(script)
    assert [event.rkey for event in await kit.take(source, 3)] == ["a", "b", "live"]
    assert upstream.cursors == [None, 9000, T0 - 5_000_000]


@pytest.fixture(scope="module")
def dictionary() -> bytes:
    samples = [v2(n, time_us=T0 + n * 7919).encode() for n in range(2000)]
    return zstandard.train_dictionary(4096, samples, dict_id=7).as_bytes()


async def next_records(source: Jetstream, count: int, cursor: int | None) -> list[RecordEvent]:
    found: list[RecordEvent] = []
    async with asyncio.timeout(20), aclosing(source.stream(cursor)) as stream:
        async for event in stream:
            if isinstance(event, RecordEvent):
                found.append(event)
            if len(found) == count:
                return found
    raise AssertionError("a stream never ends by itself")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("wire", ["v1", "v2"])
async def test_P166_both_wires_tell_the_same_plain_and_compressed(
    wire: Any, compressed: bool, dictionary: bytes, clock: Any, log: Any
) -> None:
    async with Network(zstd_dictionary=dictionary) as network:
        account = network.create_account("ada.test")
        uri = network.create_record(account, TRACKS, None, {"title": "One"})
        network.create_record(account, "app.bsky.feed.post", None, {"text": "hello"})
        network.delete_record(account, TRACKS, uri.rkey)
        inflater = Inflater(dictionary, max_bytes=MAX_FRAME_BYTES) if compressed else None
        source = Jetstream(
            [network.url], MUSIC, clock=clock, log=log, wire=wire, inflater=inflater, allow_loopback=True
        )
        created, deleted = await next_records(source, 2, 0)
    assert (created.uri, created.operation, created.record) == (uri, "create", {"$type": TRACKS, "title": "One"})
    assert (deleted.uri, deleted.operation, deleted.cid) == (uri, "delete", None)
    assert deleted.rev > created.rev
    assert not created.verified


async def test_a_dictionary_that_the_host_does_not_know_is_done_without(
    dictionary: bytes, clock: Any, log: Any
) -> None:
    async with Network() as network:
        network.create_record(network.create_account("ada.test"), TRACKS, None, {"title": "One"})
        source = Jetstream(
            [network.url],
            MUSIC,
            clock=clock,
            log=log,
            wire="v2",
            inflater=Inflater(dictionary, max_bytes=MAX_FRAME_BYTES),
            allow_loopback=True,
            retry_base_seconds=0.01,
        )
        assert len(await next_records(source, 1, 0)) == 1
        assert "UnknownZstdDictionary" in (source.health.last_error or "")


async def test_P164_a_sync_of_a_followed_repository_names_its_new_root(clock: Any, log: Any) -> None:
    async with Network() as network:
        ada, bob = network.create_account("ada.test"), network.create_account("bob.test")
        interest = Interest(frozenset({TRACKS}), followed=frozenset({bob.did}))
        source = Jetstream([network.url], interest, clock=clock, log=log, wire="v2", allow_loopback=True)
        async with asyncio.timeout(20), aclosing(source.stream(0)) as stream:
            async for event in stream:
                if isinstance(event, SyncEvent):
                    break
        assert (event.did, event.rev) == (bob.did, bob.repo.head.rev)
        assert ada.did != event.did


def test_compression_is_bounded_and_checked(dictionary: bytes, tmp_path: Any) -> None:
    inflater = Inflater(dictionary, max_bytes=1000)
    known = zstandard.ZstdCompressionDict(dictionary)
    compressor = zstandard.ZstdCompressor(dict_data=known)
    silent = zstandard.ZstdCompressor(dict_data=known, write_content_size=False).compressobj()
    bomb, small = compressor.compress(b"0" * 1_000_000), compressor.compress(b"hello")
    unsaid = silent.compress(b"0" * 1_000_000) + silent.flush()
    assert inflater.open(small) == b"hello"
    for bad in (bomb, unsaid, small + small, small[:-2], b"garbage", zstandard.compress(b"x")[:5]):
        with pytest.raises(BadFrame):
            inflater.open(bad)
    path = tmp_path / "dictionary"
    for content in (b"", b"no dictionary at all"):
        path.write_bytes(content)
        with pytest.raises(Misconfigured):
            Inflater.load(path, max_bytes=1000)
    with pytest.raises(Misconfigured):
        Inflater.load(tmp_path / "missing", max_bytes=1000)
    path.write_bytes(dictionary)
    assert Inflater.load(path, max_bytes=1000).dictionary_id == 7
