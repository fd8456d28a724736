"""One websocket kept open for ever: reconnects with backoff, notices silence, skips poison (P159, P240-P244).

Frames are received without a timer each, which would cost as much as reading them: one task a connection watches the
clock instead.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import aiohttp

from core.clock import Clock, backoff_seconds
from core.errors import Misconfigured
from core.frames import BadFrame, ErrorFrame
from core.log import Log
from firehose.events import MAX_FRAME_BYTES, Event, GapEvent, RecordEvent
from firehose.guard import is_loopback_host
from firehose.handshake import read_refusal
from firehose.source import Health, HostHealth

BACKOFF_CAP_SECONDS = 60.0  # P159, like the next
HEALTHY_SECONDS = 60.0
CONNECT_SECONDS = 20.0
NOTE_SECONDS = 1.0  # how old what health tells may be
STRIKES = 3  # connections that end at the same place on a bad frame before bad frames are skipped (P244)
LENIENT_FRAME_BYTES = 32_000_000  # a frame over the limit is read and thrown away then
LENIENT_SKIPS = 100
_BINARY, _TEXT = aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT  # looked up once: one of them is what every frame is


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


def purpose_suffix(purpose: str) -> str:
    """What tells the cursors of two readers of one endpoint apart. The music one keeps the name it always had."""
    return "" if purpose == "music" else f"#{purpose}"


class ReconnectingSource(ABC):
    """The loop that all wires share. A subclass says where to connect and how to read a frame."""

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
        protocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.health = Health()
        self._clock = clock
        self._log = log.bind(source=name)
        self._headers = {"User-Agent": user_agent, **(headers or {})}
        self._protocols = tuple(protocols)
        self._frame_timeout = frame_timeout_seconds
        self._pong_timeout = pong_timeout_seconds
        self._retry_base = retry_base_seconds
        self._position: int | None = None
        self._was_healthy = False  # the latest connection, once it has ended
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._host_health = HostHealth()
        self._waiting = False  # for a frame
        self._noted = 0  # of the frames, those that health tells of
        self._read_next = True  # one frame is not skimmed: the first, and one a second
        self._heard_at = 0.0  # when anything came, even a pong
        self._hung_up: str | None = None  # why we close

    @abstractmethod
    def _address(self, position: int | None) -> str:
        """Where to connect in order to continue after `position`; called once for each connection."""

    @abstractmethod
    async def _read(self, frame: bytes | str) -> tuple[int | None, Sequence[Event]]:
        """Position of a frame and its events. Raises BadFrame, ErrorFrame, Dropped."""

    def _skim(self, frame: bytes | str) -> int | None:
        """The position of a frame that only moves us forward, where the wire has so many that they must be cheap. The
        first frame of a connection, and one a second, are not skimmed but read, for the cursor and the time.
        """
        return None

    def _lost(self, error: Exception) -> None:  # noqa: B027 - an optional hook
        """Called when a connection has ended."""

    async def committed(self, events: Sequence[Event]) -> None:  # noqa: B027 - an optional hook
        """See Source.committed."""

    async def stream(self, cursor: int | None) -> AsyncIterator[Event]:
        """See Source.stream."""
        self._position = cursor
        strikes = failures = 0
        async with aiohttp.ClientSession(
            headers=self._headers, trust_env=False, middlewares=(read_refusal,)
        ) as session:
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
                                if isinstance(event, RecordEvent):
                                    self.health.last_event_us = self._clock.now_us()
                                yield event
                            if position is not None and (self._position is None or position > self._position):
                                self._position = self.health.position = position
                except (Dropped, ErrorFrame, aiohttp.ClientError, OSError, TimeoutError) as error:
                    progressed = self._position != before
                    strikes = strikes + 1 if isinstance(error, Dropped) and error.poison and not progressed else 0
                    self._was_healthy = self._clock.monotonic() - started >= HEALTHY_SECONDS
                    failures = 1 if self._was_healthy else failures + 1
                    reason = str(error) or type(error).__name__
                    self._host_health.failures += 1
                    self._host_health.last_error = reason
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
        self._host_health = self.health.hosts.setdefault(urlsplit(address).netloc, HostHealth())
        async with asyncio.timeout(CONNECT_SECONDS):
            socket = await session.ws_connect(
                address,
                protocols=self._protocols,
                max_msg_size=LENIENT_FRAME_BYTES if lenient else MAX_FRAME_BYTES,
                autoping=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
            )
        self._socket, self._hung_up, self._waiting, self._read_next = socket, None, False, True
        self.health.connected = True
        self.health.connections += 1
        self._host_health.connections += 1
        self._log.info("upstream connected", address=self.health.address, position=self._position)
        attending = asyncio.create_task(self._attend(socket))
        try:
            yield socket
        finally:
            self._note_frames()
            self.health.connected, self._socket = False, None
            attending.cancel()
            await asyncio.gather(attending, return_exceptions=True)
            await socket.close()

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> bytes | str:
        """The next frame that `_skim` leaves. Raises Dropped when the stream ends, or when `_attend` hung up."""
        self._waiting = True
        health, receive, skim = self.health, socket.receive, self._skim
        while True:
            message = await receive()
            if message.type is _BINARY or message.type is _TEXT:
                health.frames += 1
                passed = None if self._read_next else skim(message.data)
                if passed is not None:
                    self._position = passed
                    continue
                self._waiting = self._read_next = False
                self._note_frames()
                return message.data  # type: ignore[no-any-return]
            match message.type:
                case aiohttp.WSMsgType.PING:
                    self._heard_at = self._clock.monotonic()
                    await socket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    self._heard_at = self._clock.monotonic()
                case aiohttp.WSMsgType.ERROR:
                    too_big = socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
                    raise Dropped(f"websocket error: {message.data}", poison=too_big)
                case _:
                    raise Dropped(self._hung_up or f"closed by the server ({socket.close_code})")

    def _note_frames(self) -> None:
        """Bring health up to date. Not for each frame: that would cost as much as skimming it."""
        if self.health.frames != self._noted:
            host, health = self._host_health, self.health
            host.frames += health.frames - self._noted
            self._noted, health.position = health.frames, self._position
            health.last_frame_us = host.last_frame_us = self._clock.now_us()

    async def _attend(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Ping an upstream that says nothing while we wait for it, and hang up when it stays silent."""
        tick = min(NOTE_SECONDS, self._pong_timeout / 4, (self._frame_timeout or self._pong_timeout) / 4)
        quiet_since, seen = self._clock.monotonic(), self.health.frames
        pinged_at: float | None = None
        while self._hung_up is None:
            await asyncio.sleep(tick)
            now = self._clock.monotonic()
            self._note_frames()
            self._read_next = True
            if not self._waiting or self.health.frames != seen:  # a busy reader is not the upstream's silence
                quiet_since, seen, pinged_at = now, self.health.frames, None
                continue
            heard_at = max(quiet_since, self._heard_at)
            if pinged_at is not None and heard_at >= pinged_at:
                pinged_at = None
            if self._frame_timeout is not None and now - quiet_since >= self._frame_timeout:
                self._hung_up = f"no frame for {now - quiet_since:.0f} s"
            elif pinged_at is not None and now - pinged_at >= self._pong_timeout:
                self._hung_up = "no pong"
            elif pinged_at is None and now - heard_at >= self._pong_timeout:
                pinged_at = now
                with suppress(ConnectionError):  # the reader learns of it too
                    await socket.ping()
        await socket.close()

    def _gap(self, reason: str, detail: str) -> GapEvent:
        self.health.gaps += 1
        self._log.error("events were missed", reason=reason, detail=detail, position=self._position)
        return GapEvent(self._position or 0, reason, detail)
