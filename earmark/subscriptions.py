"""Open subscriptions: who reads which stream over a WebSocket, how far they are, and when one is let go (P63-P82)."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from core.errors import XrpcError
from core.log import Log
from core.metrics import Metrics
from core.xrpc import Batch, Call, Subscription, decode_params, error_frame

PING_SECONDS = 25.0
MISSED_PINGS = 2  # a reader that shows no life over so many is dropped (P77)
MAX_SUBSCRIBERS = 1200  # each costs a descriptor and a cursor (P79)
MAX_OF_CLIENT = 100  # of those, one client's
STALLED_SECONDS = 30.0  # a live subscriber that accepts nothing for so long and is so far behind is cut off (P76)
MAX_BEHIND = 500
FAREWELL_SECONDS = 10.0  # for an error frame and the close after it to be taken

_PING = bytes((0x89, 0x00))  # RFC 6455 section 5.5.2


def allow_descriptors() -> None:
    """Take as many open files as this process may have: many systems begin with 1 024, which are fewer than readers."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class TooManySubscribers(XrpcError):
    """No place for another subscription (P79)."""

    def __init__(self) -> None:
        super().__init__("RateLimitExceeded", "too many open subscriptions; come back later", status=429)


class _TooSlow(Exception):
    """A live reader takes nothing and falls behind (P76)."""


@dataclass(slots=True, eq=False)
class _Reader:
    """`after`: the last event written to it. `live`: it has caught up once; until then it is paced, however slow."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport
    writer: AbstractStreamWriter
    method: Subscription
    client: str | None
    after: int | None = None
    live: bool = False
    pings: int = 0  # since it last showed life

    def write(self, wire: bytes) -> None:
        """Whole messages, past aiohttp: a call for each frame costs more than all the rest of a replay."""
        if self.socket.closed or self.transport.is_closing():
            raise ConnectionResetError
        self.transport.write(wire)


class Subscriptions:
    """There is no queue between log and socket: each reader has a task that pulls as fast as its socket takes."""

    def __init__(self, *, metrics: Metrics, log: Log) -> None:
        self._readers: set[_Reader] = set()
        self._clients: Counter[str] = Counter()
        self._metrics = metrics
        self._log = log

    async def serve(
        self, request: web.Request, method: Subscription, client: str | None = None
    ) -> web.WebSocketResponse:
        """Until the reader leaves. Raises XrpcError before anything is sent."""
        if request.method != "GET":
            raise XrpcError("InvalidRequest", f"{method.nsid} takes GET", status=405)
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=4096, timeout=5.0)
        if not socket.can_prepare(request):
            raise XrpcError("InvalidRequest", "a subscription needs a WebSocket upgrade", status=426)
        if len(self._readers) >= MAX_SUBSCRIBERS or (client and self._clients[client] >= MAX_OF_CLIENT):
            raise TooManySubscribers
        socket.headers["Access-Control-Allow-Origin"] = "*"
        assert request.transport is not None
        reader = _Reader(socket, request.transport, request.writer, method, client)
        self._enter(reader)
        try:
            await socket.prepare(request)
            writer = asyncio.create_task(self._send(reader, request))
            try:
                await self._listen(reader)
            finally:
                writer.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await writer
        finally:
            self._leave(reader)
        return socket

    async def keep_alive(self) -> None:
        """Pings everybody in turn; who misses two is gone. Until cancelled."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            for reader in list(self._readers):
                reader.pings += 1
                if reader.pings > MISSED_PINGS:
                    reader.transport.abort()
                else:
                    with contextlib.suppress(ConnectionError):
                        reader.write(_PING)

    async def measure(self) -> None:
        """Bring the gauges of lag up to date (P82)."""
        newest = {method: await method.newest() for method in {reader.method for reader in self._readers}}
        lags = [newest[reader.method] - reader.after for reader in self._readers if reader.after is not None]
        self._metrics.subscriber_lag.set(max(lags, default=0))
        self._metrics.subscribers_behind.set(sum(lag > MAX_BEHIND for lag in lags))

    async def close(self) -> None:
        """Tells every subscriber to come back with its cursor (P81)."""
        closing = [
            reader.socket.close(code=WSCloseCode.GOING_AWAY, message=b"restarting") for reader in list(self._readers)
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await asyncio.gather(*closing, return_exceptions=True)

    def _enter(self, reader: _Reader) -> None:
        self._readers.add(reader)
        self._metrics.subscribers.set(len(self._readers))
        if reader.client:
            self._clients[reader.client] += 1

    def _leave(self, reader: _Reader) -> None:
        self._readers.discard(reader)
        self._metrics.subscribers.set(len(self._readers))
        if reader.client:
            self._clients[reader.client] -= 1
            if not self._clients[reader.client]:
                del self._clients[reader.client]

    @staticmethod
    async def _listen(reader: _Reader) -> None:
        """What a reader says is ignored but for signs of life (P77). Ends when it goes away."""
        async for message in reader.socket:
            reader.pings = 0
            if message.type is WSMsgType.PING:
                with contextlib.suppress(ConnectionError):  # gone before it took the answer
                    await reader.socket.pong(message.data)

    async def _send(self, reader: _Reader, request: web.Request) -> None:
        """Everything from its cursor on."""
        method = reader.method
        try:
            params = decode_params(method.params, request.query.items())
            async for batch in method.batches(Call(params, request.headers)):
                await self._send_batch(reader, batch)
        except XrpcError as error:
            await self._refuse(reader, error.name, error.message)
        except _TooSlow:
            self._metrics.slow_subscribers.inc()
            await self._refuse(reader, "ConsumerTooSlow", f"no bytes accepted for {STALLED_SECONDS:.0f} s")
        except ConnectionError:
            pass  # the reader went away
        except Exception:
            self._log.exception("bug in a subscription", method=method.nsid)
            await self._refuse(reader, "InternalServerError", "our fault, logged")

    @staticmethod
    async def _send_batch(reader: _Reader, batch: Batch) -> None:
        reader.write(batch.wire)
        if not reader.live:
            await asyncio.sleep(0)  # one quick reader must not keep all others waiting
        if reader.transport.get_write_buffer_size():
            async for _ in _drained(reader):
                if reader.live and await reader.method.newest() - batch.after > MAX_BEHIND:
                    raise _TooSlow
        reader.after = batch.last
        reader.live = reader.live or batch.last >= await reader.method.newest()

    @staticmethod
    async def _refuse(reader: _Reader, name: str, message: str) -> None:
        """Error frame, then close; a peer that takes not even this is dropped (P71, P76)."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await reader.socket.send_bytes(error_frame(name, message))
                await reader.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=name.encode())
        except (TimeoutError, ConnectionError):
            reader.transport.abort()


async def _drained(reader: _Reader) -> AsyncIterator[None]:
    """Ends once the reader has taken all but little of what was written; yields when it took nothing for 30 seconds."""
    left = reader.transport.get_write_buffer_size()
    draining = asyncio.ensure_future(reader.writer.drain())  # kept: aiohttp never forgets a wait that was cancelled
    try:
        while not (await asyncio.wait([draining], timeout=STALLED_SECONDS))[0]:
            taken, left = left, reader.transport.get_write_buffer_size()
            if taken == left:
                yield
            else:
                reader.pings = 0
        draining.result()
    finally:
        draining.cancel()
