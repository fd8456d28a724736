"""One websocket kept open for ever: reconnects with backoff, notices silence, skips poison (P159, P240-P244).

Frames are received without a timer each, which would cost as much as reading them: one task a connection watches the
clock instead. Most frames of a relay are skimmed: they move the position, and wake nobody.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from core.clock import Clock, backoff_seconds
from core.errors import Misconfigured
from core.frames import BadFrame, ErrorFrame
from core.log import Log
from firehose.events import MAX_FRAME_BYTES, Event, GapEvent, RecordEvent
from firehose.guard import is_loopback_host
from firehose.handshake import open_line
from firehose.line import Dropped, Line
from firehose.source import Health, HostHealth

BACKOFF_CAP_SECONDS = 60.0  # P159, like the next
HEALTHY_SECONDS = 60.0
NOTE_SECONDS = 1.0  # how old what health tells may be
STRIKES = 3  # connections that end at the same place on a bad frame before bad frames are skipped (P244)
LENIENT_FRAME_BYTES = 32_000_000  # a frame over the limit is read and thrown away then
LENIENT_SKIPS = 100


def stream_origin(url: str, *, allow_loopback: bool) -> str:
    """`wss://host[:port]` of a configured URL. Raises Misconfigured for plain text beyond an allowed loopback."""
    try:
        parsed = urlsplit(url if "://" in url else f"wss://{url}")
        host, port = (parsed.hostname or "").encode("idna").decode().lower(), parsed.port
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
        self._line: Line | None = None
        self._host_health = HostHealth()
        self._noted = 0  # of the connection's frames, those that health tells of
        self._read_next = True  # one frame is not skimmed: the first, and one a second

    @abstractmethod
    def _address(self, position: int | None) -> str:
        """Where to connect in order to continue after `position`; called once for each connection."""

    @abstractmethod
    async def _read(self, frame: bytes | str) -> tuple[int | None, Sequence[Event]]:
        """Position of a frame and its events. Raises BadFrame, ErrorFrame, Dropped."""

    def _skim(self, frame: bytes, caught_up: bool) -> int | None:
        """The position of a frame that only moves us forward, where the wire has so many that they must be cheap; if we
        are `caught_up`, we move here. None while `_read_next`: some frames are read, for the cursor and the time.
        """
        return None

    def _catch_up(self, first: int, last: int) -> None:  # noqa: B027 - only for those who skim
        """Move past a run of frames that were skimmed while we were busy with earlier ones. Raises Dropped."""

    def _lost(self, error: Exception) -> None:  # noqa: B027 - an optional hook
        """Called when a connection has ended."""

    async def committed(self, events: Sequence[Event]) -> None:  # noqa: B027 - an optional hook
        """See Source.committed."""

    async def stream(self, cursor: int | None) -> AsyncGenerator[Event, None]:
        """See Source.stream."""
        self._position = cursor
        strikes = failures = 0
        while True:
            before, started, skipped = self._position, self._clock.monotonic(), 0
            lenient = strikes >= STRIKES
            try:
                async with self._connection(lenient=lenient) as line:
                    while True:
                        frame = await line.receive()
                        self._note_frames(line)
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
            except (Dropped, ErrorFrame, OSError) as error:
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
            self._log.warning("upstream lost", reason=reason, retry_seconds=round(pause, 1), position=self._position)
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def _connection(self, *, lenient: bool) -> AsyncIterator[Line]:
        address = self._address(self._position)
        self.health.address = address.partition("?")[0]
        self._host_health = self.health.hosts.setdefault(urlsplit(address).netloc, HostHealth())
        self._read_next = True
        line = Line(self._skim, self._catch_up, limit=LENIENT_FRAME_BYTES if lenient else MAX_FRAME_BYTES)
        await open_line(address, line, headers=self._headers, protocols=self._protocols)
        self._line, self._noted = line, 0
        self.health.connected = True
        self.health.connections += 1
        self._host_health.connections += 1
        self._log.info("upstream connected", address=self.health.address, position=self._position)
        attending = asyncio.create_task(self._attend(line))
        try:
            yield line
        finally:
            self._note_frames(line)
            self.health.connected, self._line = False, None
            attending.cancel()
            await asyncio.gather(attending, return_exceptions=True)
            await line.close()

    def _note_frames(self, line: Line) -> None:
        """Bring health up to date. Not for each frame: that would cost as much as skimming it."""
        if line.messages != self._noted:
            host, health, came = self._host_health, self.health, line.messages - self._noted
            health.frames += came
            host.frames += came
            self._noted, health.position = line.messages, self._position
            health.last_frame_us = host.last_frame_us = self._clock.now_us()

    async def _attend(self, line: Line) -> None:
        """Ping an upstream that says nothing while we wait for it, and hang up when it stays silent."""
        tick = min(NOTE_SECONDS, self._pong_timeout / 4, (self._frame_timeout or self._pong_timeout) / 4)
        quiet_since = heard_at = self._clock.monotonic()
        messages, signs = line.messages, line.signs
        pinged_at: float | None = None
        while True:
            await asyncio.sleep(tick)
            now = self._clock.monotonic()
            self._note_frames(line)
            self._read_next = True
            if not line.idle or line.messages != messages:  # a busy reader is not the upstream's silence
                quiet_since, messages = now, line.messages
            if quiet_since == now or line.signs != signs:
                heard_at, signs, pinged_at = now, line.signs, None
            if self._frame_timeout is not None and now - quiet_since >= self._frame_timeout:
                return line.end(Dropped(f"no frame for {now - quiet_since:.0f} s"))
            if pinged_at is not None and now - pinged_at >= self._pong_timeout:
                return line.end(Dropped("no pong"))
            if pinged_at is None and now - heard_at >= self._pong_timeout:
                pinged_at = now
                line.ping()

    def _gap(self, reason: str, detail: str) -> GapEvent:
        self.health.gaps += 1
        self._log.error("events were missed", reason=reason, detail=detail, position=self._position)
        return GapEvent(self._position or 0, reason, detail)
