"""Jetstream's v1 wire: JSON, filtered by the server, unsigned (P166-P170)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlencode

from core.clock import Clock
from core.errors import Misconfigured
from core.frames import BadFrame
from core.log import Log
from firehose.events import Event, Interest, RecordEvent, SeenEvent
from firehose.jetevents import decode_message
from firehose.socket import ReconnectingSource, stream_origin

PATH = "/subscribe"
REWIND_US = 5_000_000  # P170
HOST_CHANGE_REWIND_US = 60_000_000  # hosts stamp the same event with their own clocks
FUTURE_TOLERANCE_US = 3_600_000_000
REMEMBERED = 50_000  # events recognised when a rewind brings them again
MAX_COLLECTIONS = 100  # P166


class Jetstream(ReconnectingSource):
    """One or more v1 hosts, tried in turn; the cursor is time, and goes back a little at every connection.

    The cursor's name is that of the first host: times of one operator's hosts are exchangeable up to the rewind.
    """

    def __init__(
        self,
        urls: Sequence[str],
        interest: Interest,
        *,
        clock: Clock,
        log: Log,
        user_agent: str = "earmark",
        allow_loopback: bool = False,
        frame_timeout_seconds: float | None = 90.0,
        pong_timeout_seconds: float = 30.0,
        retry_base_seconds: float = 1.0,
    ) -> None:
        if not urls:
            raise Misconfigured("source.urls", "name at least one Jetstream host")
        if len(interest.collections) > MAX_COLLECTIONS:
            raise Misconfigured("source.collections", f"Jetstream takes at most {MAX_COLLECTIONS}")
        self._origins = [stream_origin(url, allow_loopback=allow_loopback) for url in urls]
        super().__init__(
            f"jetstream:{self._origins[0].partition('://')[2]}{PATH}",
            clock=clock,
            log=log,
            user_agent=user_agent,
            frame_timeout_seconds=frame_timeout_seconds,
            pong_timeout_seconds=pong_timeout_seconds,
            retry_base_seconds=retry_base_seconds,
        )
        self._interest = interest
        self._turn = 0
        self._last_origin = self._origins[0]
        self._remembered: OrderedDict[tuple[str, str, str, str], None] = OrderedDict()
        self._last_seen_us = 0

    def stream(self, cursor: int | None) -> AsyncIterator[Event]:
        """See Source.stream."""
        self._remembered.clear()  # what an earlier reader took may not have been kept
        return super().stream(cursor)

    def _address(self, position: int | None) -> str:
        origin = self._origins[self._turn % len(self._origins)]
        query = [("wantedCollections", name) for name in sorted(self._interest.collections)]
        if position is not None:
            back = REWIND_US if origin == self._last_origin else HOST_CHANGE_REWIND_US
            query.append(("cursor", str(max(position - back, 0))))
        self._last_origin = origin
        return f"{origin}{PATH}?{urlencode(query)}"

    async def _read(self, frame: bytes | str) -> tuple[int | None, Sequence[Event]]:
        event = decode_message(frame, self._interest)
        if event.position > self._clock.now_us() + FUTURE_TOLERANCE_US:
            raise BadFrame("time_us lies in the future")  # as a cursor it would skip everything until then
        if isinstance(event, RecordEvent):
            if self._remember(event):
                self.health.refused["repeated"] += 1
                return event.position, ()
        elif isinstance(event, SeenEvent):
            if event.position < self._last_seen_us + 1_000_000:
                return event.position, ()
            self._last_seen_us = event.position
        return event.position, (event,)

    def _lost(self, error: Exception) -> None:
        self._turn += 1

    def _remember(self, event: RecordEvent) -> bool:
        """Whether the event came before (P169)."""
        key = (event.did, event.rev, event.collection, event.rkey)
        if key in self._remembered:
            return True
        self._remembered[key] = None
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return False
