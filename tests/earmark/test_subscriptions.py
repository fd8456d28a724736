"""Open subscriptions over real sockets: places, pings, slow readers and lag (P76-P82)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import AppRunner

from core.clock import SystemClock
from core.dagcbor import decode_multi
from core.log import Log, set_up
from core.metrics import Metrics
from core.sections import Limits as LimitSettings
from core.xrpc import Batch, Call, Param, Subscription, message_frame, websocket_message
from earmark import subscriptions
from earmark.limits import Limits
from earmark.web import Web

PATH = "/xrpc/com.example.stream"
MANY = 200_000  # far more than any socket's buffers take


class Stream:
    """A log of frames of some 4 KB that grows when told to."""

    def __init__(self) -> None:
        self.newest = 0
        self.grown = asyncio.Event()
        self.wire = websocket_message(message_frame("#labels", {"seq": 1, "labels": [], "padding": "x" * 4_000})) * 16

    def grow(self, events: int) -> None:
        self.newest += events
        self.grown.set()
        self.grown = asyncio.Event()

    async def batches(self, call: Call) -> AsyncIterator[Batch]:
        seq = self.newest if call.params["cursor"] is None else call.params["cursor"]
        while True:
            if seq >= self.newest:
                await self.grown.wait()
                continue
            last = min(seq + 16, self.newest)
            yield Batch(self.wire, seq, last)
            seq = last

    async def newest_seq(self) -> int:
        return self.newest


class Server(TestServer):
    """Like the service, and unlike the test server, it cancels nobody whose client is gone."""

    async def _make_runner(self, **options: Any) -> AppRunner:
        return await super()._make_runner(**(options | {"handler_cancellation": False}))  # type: ignore[return-value]


class Bench:
    """A server of one stream."""

    def __init__(self, client: TestClient, stream: Stream, web: Web, metrics: Metrics) -> None:
        self.client, self.stream, self.web, self.metrics = client, stream, web, metrics
        self.writers: list[asyncio.StreamWriter] = []

    async def raw(self, query: str = "") -> asyncio.StreamReader:
        """A subscriber that answers nothing by itself and reads only when asked to. Its writer is the last one."""
        server = self.client.server
        assert server is not None
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=1024)
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        upgrade = f"GET {PATH}{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n"
        self.writers.append(writer)
        writer.write(upgrade.encode())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        return reader

    def gauge(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async def healthy() -> None:
        return None

    stream, metrics = Stream(), Metrics()
    cursor = Param("cursor", "integer", minimum=0)
    web = Web(
        methods=[Subscription("com.example.stream", stream.batches, stream.newest_seq, (cursor,))],
        pages={},
        healthy=healthy,
        version="1.2.3",
        limits=Limits(LimitSettings(client_header="X-Client"), SystemClock()),
        metrics=metrics,
        log=set_up(level="error"),
    )
    async with TestClient(Server(web.app)) as client:
        bench = Bench(client, stream, web, metrics)
        yield bench
        for writer in bench.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # until the transports are closed


async def until(done: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.01)


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What arrives until the other side ends the connection."""
    got = bytearray()
    async with asyncio.timeout(30):
        while True:
            try:
                piece = await reader.read(1 << 20)
            except ConnectionError:
                return bytes(got)
            if not piece:
                return bytes(got)
            got += piece


async def test_a_reader_that_leaves_frees_its_place(bench: Bench) -> None:
    socket = await bench.client.ws_connect(PATH)
    await until(lambda: bench.gauge("earmark_label_subscribers") == 1)
    await socket.close()
    await until(lambda: bench.gauge("earmark_label_subscribers") == 0)


async def _refused(opening: Callable[[], Awaitable[Any]]) -> aiohttp.WSServerHandshakeError:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await opening()
    return refused.value


async def test_p79_too_many_subscribers_are_sent_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_SUBSCRIBERS", 1)
    async with bench.client.ws_connect(PATH):
        error = await _refused(lambda: bench.client.ws_connect(PATH))
    assert error.status == 429
    assert error.headers is not None
    assert error.headers["Retry-After"] == "60"


async def test_p79_one_client_cannot_take_all_places(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_OF_CLIENT", 2)
    greedy = {"X-Client": "198.51.100.1"}
    sockets = [await bench.client.ws_connect(PATH, headers=greedy) for _ in range(2)]
    assert (await _refused(lambda: bench.client.ws_connect(PATH, headers=greedy))).status == 429
    sockets.append(await bench.client.ws_connect(PATH, headers={"X-Client": "198.51.100.2"}))
    await sockets[0].close()
    await until(lambda: bench.gauge("earmark_label_subscribers") == 2)
    sockets.append(await bench.client.ws_connect(PATH, headers=greedy))
    for socket in sockets:
        await socket.close()


async def test_p77_who_answers_pings_stays_and_who_misses_two_is_dropped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "PING_SECONDS", 1.0)
    silent = await bench.raw()
    pinging = asyncio.create_task(bench.web.subscriptions.keep_alive())
    async with bench.client.ws_connect(PATH) as living:  # a client that answers pings by itself, while it reads
        hearing = asyncio.ensure_future(living.receive(60))
        pings = await everything(silent)
        assert pings == b"\x89\x00" * 2
        assert not hearing.done()
        bench.stream.grow(1)
        assert (await hearing).type is aiohttp.WSMsgType.BINARY
    pinging.cancel()


async def _read_on(socket: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        await socket.receive_bytes(timeout=20)


async def test_p76_a_live_reader_that_takes_nothing_is_cut_off_and_others_are_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "STALLED_SECONDS", 1.0)
    stuck = await bench.raw()
    async with bench.client.ws_connect(PATH, max_msg_size=0) as other:
        bench.stream.grow(1)  # both have caught up once
        await other.receive_bytes(timeout=20)
        await stuck.readexactly(4)
        await until(lambda: all(reader.live for reader in bench.web.subscriptions._readers))
        bench.stream.grow(MANY)
        for _ in range(2_000):
            await other.receive_bytes(timeout=20)
        reading = asyncio.create_task(_read_on(other))
        await until(lambda: bench.gauge("earmark_label_subscribers_slow_total") == 1)
        assert not reading.done()
        reading.cancel()


async def test_p76_a_replaying_reader_is_paced_however_slow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "STALLED_SECONDS", 0.05)
    bench.stream.grow(MANY)
    slow = await bench.raw("?cursor=0")
    await asyncio.sleep(1.0)  # far longer than a live one may
    (reader,) = bench.web.subscriptions._readers
    stopped_at = reader.after
    for _ in range(60):  # and it goes on where it stood
        await slow.readexactly(100_000)
    await until(lambda: (reader.after or 0) > (stopped_at or 0))
    assert bench.gauge("earmark_label_subscribers_slow_total") == 0
    assert reader.transport.get_write_buffer_size() < 256 * 1024


async def test_p76_p64_the_one_that_is_cut_off_is_told_why(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads again within the seconds that it has for its farewell."""
    monkeypatch.setattr(subscriptions, "STALLED_SECONDS", 1.0)
    stuck = await bench.raw()
    bench.stream.grow(1)
    await until(lambda: all(reader.live for reader in bench.web.subscriptions._readers))
    bench.stream.grow(MANY)
    await until(lambda: bench.gauge("earmark_label_subscribers_slow_total") == 1)
    end = (await everything(stuck))[-200:]
    at = end.index(b"\xa1bop\x20")  # an error header: {op: -1} and nothing else
    header, body = decode_multi(end[at : end.rindex(b"\x88")])
    assert (header, body["error"]) == ({"op": -1}, "ConsumerTooSlow")
    assert end[end.rindex(b"\x88") + 2 :][:2] == (1008).to_bytes(2)


async def _ping_on(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\x89\xfd\0\0\0\0".ljust(131, b"p") * 1_000)
        await writer.drain()


async def test_p77_one_that_pings_without_reading_is_bounded_and_its_end_is_no_bug(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs: list[object] = []
    monkeypatch.setattr(Log, "exception", lambda *said, **_: bugs.append(said))
    bench.stream.grow(MANY)
    await bench.raw("?cursor=0")
    (reader,) = bench.web.subscriptions._readers
    (writer,) = bench.writers
    with pytest.raises(TimeoutError):  # it is not read any more itself
        await asyncio.wait_for(_ping_on(writer), 3.0)
    assert reader.transport.get_write_buffer_size() < 512 * 1024
    writer.transport.abort()
    await until(lambda: bench.gauge("earmark_label_subscribers") == 0)
    assert bugs == []


async def test_p82_lag_is_measured(bench: Bench) -> None:
    async with bench.client.ws_connect(PATH, max_msg_size=0) as socket:
        bench.stream.grow(1)
        await socket.receive_bytes(timeout=20)
        bench.stream.newest += 700  # nobody has been told yet
        page = await (await bench.client.get("/metrics")).text()
    assert "earmark_label_subscriber_lag 700.0" in page
    assert "earmark_label_subscribers_behind 1.0" in page


async def test_a_reader_may_talk_as_it_likes_but_not_without_bound(bench: Bench) -> None:
    async with bench.client.ws_connect(PATH) as socket:
        await socket.send_str("hello")
        await socket.send_bytes(b"x" * 1_000)
        await socket.ping(b"there?")
        bench.stream.grow(1)
        await socket.receive_bytes(timeout=20)
        await socket.send_bytes(b"x" * 10_000)
        async with asyncio.timeout(20):
            while (await socket.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
        assert socket.close_code == 1009
