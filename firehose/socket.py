"""One websocket kept open for ever: reconnects with backoff, notices silence, skips poison (P159, P240-P244)."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp

from core.clock import Clock, backoff_seconds
from core.errors import Misconfigured
from core.frames import BadFrame, ErrorFrame
from core.log import Log
from firehose.events import MAX_FRAME_BYTES, Event, GapEvent
from firehose.guard import is_loopback_host
from firehose.source import Health

BACKOFF_CAP_SECONDS = 60.0  # P159, like the next
HEALTHY_SECONDS = 60.0
CONNECT_SECONDS = 20.0
STRIKES = 3  # connections that end at the same place on a bad frame before bad frames are skipped (P244)
LENIENT_FRAME_BYTES = 32_000_000  # a frame over the limit is read and thrown away then
LENIENT_SKIPS = 100


class Dropped(Exception):
    """This connection is over. `poison`: because of a frame that will come again at the same cursor."""

    def __init__(self, reason: str, *, poison: bool = False) -> None:
        super().__init__(reason)
        self.poison = poison


def stream_origin(url: str, *, allow_loopback: bool) -> str:
    """`wss://host[:port]` of a configured URL. Raises Misconfigured for plain text beyond an allowed loopback."""
    try:
        parsed = urlsplit(url if "://" in url else f"wss://{url}")
        host, port = (parsed.hostname or "").lower(), parsed.port
    except ValueError:
        raise Misconfigured("source.urls", f"{url!r} is not a URL") from None
    scheme = {"https": "wss", "wss": "wss", "http": "ws", "ws": "ws"}.get(parsed.scheme)
    if scheme is None or not host:
        raise Misconfigured("source.urls", f"{url!r} is not a wss:// address")
    if scheme == "ws" and not (allow_loopback and is_loopback_host(host)):
        raise Misconfigured(
            "source.urls", f"{url!r}: use wss:// (ws:// only to loopback, with development.allow_loopback)"
        )
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" + (f":{port}" if port else "")


class ReconnectingSource(ABC):
    """The loop that both wires share. A subclass says where to connect and how to read a frame."""

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        log: Log,
        user_agent: str,
        frame_timeout_seconds: float | None,
        pong_timeout_seconds: float,
        retry_base_seconds: float,
    ) -> None:
        self.name = name
        self.health = Health()
        self._clock = clock
        self._log = log.bind(source=name)
        self._user_agent = user_agent
        self._frame_timeout = frame_timeout_seconds
        self._pong_timeout = pong_timeout_seconds
        self._retry_base = retry_base_seconds
        self._position: int | None = None

    @abstractmethod
    def _address(self, position: int | None) -> str:
        """Where to connect in order to continue after `position`; called once for each connection."""

    @abstractmethod
    async def _read(self, frame: bytes | str) -> tuple[int | None, Sequence[Event]]:
        """Position of a frame and its events. Raises BadFrame, ErrorFrame, Dropped."""

    def _lost(self, error: Exception) -> None:  # noqa: B027 - an optional hook
        """Called when a connection has ended."""

    async def stream(self, cursor: int | None) -> AsyncIterator[Event]:
        """See Source.stream."""
        self._position = cursor
        strikes = failures = 0
        headers = {"User-Agent": self._user_agent}
        async with aiohttp.ClientSession(headers=headers, trust_env=False) as session:
            while True:
                before, started, skipped = self._position, self._clock.monotonic(), 0
                lenient = strikes >= STRIKES
                try:
                    async with self._connection(session, lenient=lenient) as socket:
                        while True:
                            frame = await self._receive(socket)
                            try:
                                position, events = await self._read(frame)
                            except BadFrame as error:
                                if not lenient or self._position != before or skipped >= LENIENT_SKIPS:
                                    raise Dropped(f"bad frame: {error}", poison=True) from None
                                skipped += 1
                                position, events = None, (self._gap("skipped a bad frame", str(error)),)
                            for event in events:
                                self.health.last_event_us = self._clock.now_us()
                                yield event
                            if position is not None and (self._position is None or position > self._position):
                                self._position = self.health.position = position
                except (Dropped, ErrorFrame, aiohttp.ClientError, OSError, TimeoutError) as error:
                    progressed = self._position != before
                    strikes = strikes + 1 if isinstance(error, Dropped) and error.poison and not progressed else 0
                    if self._clock.monotonic() - started >= HEALTHY_SECONDS:
                        failures = 0
                    failures += 1
                    reason = str(error) or type(error).__name__
                    self._lost(error)
                pause = backoff_seconds(failures, self._clock, base=self._retry_base, cap=BACKOFF_CAP_SECONDS)
                self.health.last_error = reason
                self._log.warning(
                    "upstream lost", reason=reason, retry_seconds=round(pause, 1), position=self._position
                )
                await asyncio.sleep(pause)

    @asynccontextmanager
    async def _connection(
        self, session: aiohttp.ClientSession, *, lenient: bool
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        address = self._address(self._position)
        self.health.address = address.partition("?")[0]
        async with asyncio.timeout(CONNECT_SECONDS):
            socket = await session.ws_connect(
                address,
                max_msg_size=LENIENT_FRAME_BYTES if lenient else MAX_FRAME_BYTES,
                autoping=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            )
        self.health.connected = True
        self.health.connections += 1
        self._log.info("upstream connected", address=self.health.address, position=self._position)
        try:
            yield socket
        finally:
            self.health.connected = False
            await socket.close()

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> bytes | str:
        """The next frame. Raises Dropped when the stream ends, or is silent for too long even when pinged."""
        waiting_since, pinged = self._clock.monotonic(), False
        while True:
            try:
                message = await socket.receive(timeout=self._pong_timeout)
            except TimeoutError:
                if pinged:
                    raise Dropped("no pong") from None
                pinged = True
                await socket.ping()
                continue
            match message.type:
                case aiohttp.WSMsgType.BINARY | aiohttp.WSMsgType.TEXT:
                    self.health.last_frame_us = self._clock.now_us()
                    return message.data  # type: ignore[no-any-return]
                case aiohttp.WSMsgType.PING:
                    await socket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    pinged = False
                case aiohttp.WSMsgType.ERROR:
                    too_big = socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
                    raise Dropped(f"websocket error: {message.data}", poison=too_big)
                case _:
                    raise Dropped(f"closed by the server ({socket.close_code})")
            silent = self._clock.monotonic() - waiting_since
            if self._frame_timeout is not None and silent >= self._frame_timeout:
                raise Dropped(f"no frame for {silent:.0f} s")

    def _gap(self, reason: str, detail: str) -> GapEvent:
        self.health.gaps += 1
        self._log.error("events were missed", reason=reason, detail=detail, position=self._position)
        return GapEvent(self._position or 0, reason, detail)
