"""Jetstream: JSON, filtered by the server, unsigned (P166-P170). Several hosts that are asked in turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Literal
from urllib.parse import urlencode, urlsplit

from core.clock import Clock
from core.errors import Misconfigured
from core.frames import ErrorFrame
from core.log import Log
from firehose.events import Event, Interest, RecordEvent, SeenEvent
from firehose.jetevents import Notice, Told
from firehose.jetwires import V1, V2, Wire
from firehose.line import Dropped
from firehose.socket import ReconnectingSource, purpose_suffix, stream_origin
from firehose.source import HostHealth
from firehose.watch import SKEW_US, Watch
from firehose.zstd import Inflater

REWIND_US = 5_000_000  # P170
SEEN_US = 1_000_000  # the cursor moves at least so often past messages of no interest
REMEMBERED = 50_000  # records recognised when a rewind brings them again
MAX_COLLECTIONS = 100  # P166


class Jetstream(ReconnectingSource):
    """One or more hosts of one operator; the cursor is time, which all of them understand, and goes back a little at
    every connection. Sequence numbers (v2) are used while one host stays, and never for another one (P158).

    The stored cursor moves only as far as it is sure that we heard everything of our collections: when the hosts are
    changed, or after a restart, the next one is asked for the time that the last one may have been blind for (Watch).
    """

    def __init__(
        self,
        urls: Sequence[str],
        interest: Interest,
        *,
        clock: Clock,
        log: Log,
        wire: Literal["v1", "v2"] = "v1",
        inflater: Inflater | None = None,
        purpose: str = "music",
        user_agent: str = "earmark",
        allow_loopback: bool = False,
        frame_timeout_seconds: float | None = 90.0,
        pong_timeout_seconds: float = 30.0,
        retry_base_seconds: float = 1.0,
    ) -> None:
        """`inflater` holds the dictionary with which both sides compress; None: plain JSON."""
        if not urls:
            raise Misconfigured("source.urls", "name at least one Jetstream host")
        if len(interest.collections) > MAX_COLLECTIONS:
            raise Misconfigured("source.collections", f"Jetstream takes at most {MAX_COLLECTIONS}")
        self._wire: Wire = V2(inflater) if wire == "v2" else V1(inflater)
        self._origins = [stream_origin(url, allow_loopback=allow_loopback) for url in urls]
        super().__init__(
            f"jetstream:{self._origins[0].partition('://')[2]}{self._wire.path}{purpose_suffix(purpose)}",
            clock=clock,
            log=log,
            user_agent=user_agent,
            frame_timeout_seconds=frame_timeout_seconds,
            pong_timeout_seconds=pong_timeout_seconds,
            retry_base_seconds=retry_base_seconds,
            protocols=self._wire.protocols,
        )
        self.health.window_us = self._wire.window_us
        self.health.hosts = {urlsplit(origin).netloc: HostHealth() for origin in self._origins}
        self._interest = interest
        # Their silence tells that a host is blind; what is sifted from a flood comes in any case.
        whole = {name for name in interest.collections - interest.own if not interest.sifts(name)}
        self._watched = whole or interest.collections
        self._turn = 0
        self._begin(None)

    def stream(self, cursor: int | None) -> AsyncGenerator[Event, None]:
        """See Source.stream."""
        self._begin(cursor)  # what an earlier reader took may not have been kept
        return super().stream(cursor)

    def _begin(self, cursor: int | None) -> None:
        self._watch = Watch(cursor or None)  # 0 is "all you have", which begins with the first message
        self._remembered: OrderedDict[tuple[str, str, str, str], None] = OrderedDict()
        self._host: str | None = None  # origin of this or the latest connection
        self._left: str | None = None  # the one before it, as long as it may turn out to have been blind
        self._seq: int | None = None  # newest of `_host`
        self._fresh = True  # no message came in this connection
        self._outdated = False
        self._too_old = False  # the host would not even begin later than asked
        self._seen_us = 0
        self.health.blind = False

    def _address(self, position: int | None) -> str:
        origin = self._origins[self._turn % len(self._origins)]
        stays = origin == self._host or (self._host is None and len(self._origins) == 1)
        since = position
        if position is not None and stays and not self.health.blind:
            since = position - REWIND_US
        elif position is not None:
            since = min(position, self._watch.sure_us or position) - SKEW_US
            self._watch.change_host(position)
            self._left, self._seq = self._host, None
        self._outdated = bool(position) and (since or 0) < self._clock.now_us() - self._wire.window_us
        if self._too_old:
            since, self._outdated = None, True
        self._host, self._fresh = origin, True
        query = self._wire.query(sorted(self._interest.collections), since_us=since, seq=self._seq)
        return f"{origin}{self._wire.path}?{urlencode(query)}"

    async def _read(self, frame: bytes | str) -> tuple[int | None, Sequence[Event]]:
        told = self._wire.read(frame, self._interest, now_us=self._clock.now_us())
        if told is None:
            return None, ()
        if isinstance(told, Notice):
            self._heed(told)
            return None, ()
        if told.seq is not None:
            if not self._fresh and self._seq is not None and told.seq <= self._seq:
                raise Dropped(f"sequence number {told.seq} after {self._seq}")  # P162
            self._seq = told.seq
        gap: tuple[Event, ...] = ()
        if self._fresh and self._outdated:  # P160: v1 moves an old cursor up without saying so
            gap = (self._gap("OutdatedCursor", f"the host begins at {told.time_us}"),)
            self._watch.start_over(told.time_us)
        self._fresh = self._too_old = False
        self.health.heard_us = max(told.time_us, self.health.heard_us or 0)
        return told.time_us, (*gap, *self._events(told))

    def _events(self, told: Told) -> Sequence[Event]:
        """What a message is to the reader, with the position up to which we are sure. Raises Dropped when the host
        seems to be blind.
        """
        event = told.event
        repeated = self._remember(event) if isinstance(event, RecordEvent) else event is None
        if told.collection in self._watched:
            if self._watch.hear_ours(told.time_us, repeated=repeated):
                self._accuse(told)
        elif self._watch.hear_other(told.time_us):
            self.health.blind = True
            silent = (told.time_us - (self._watch.sure_us or 0)) // 1_000_000
            raise Dropped(f"nothing about our collections for {silent} s, while it tells of others")
        if not self._watch.asking_again:
            self.health.blind, self._left = False, None
        sure = self._watch.sure_us or told.time_us
        if event is not None and not (repeated and isinstance(event, RecordEvent)):
            return (replace(event, position=sure),)
        if event is not None:
            self.health.refused["repeated"] += 1
        if sure < self._seen_us + SEEN_US:
            return ()
        self._seen_us = sure
        return (SeenEvent(sure),)

    def _heed(self, notice: Notice) -> None:
        """`#info` comes before the first event."""
        if notice.name == "OutdatedCursor":
            self._outdated = bool(self._position)
        elif notice.name == "FutureCursor" and self._seq is not None:
            self._seq = None  # the host lost its archive: a time still means something to it
            raise Dropped("the sequence numbers of the host began anew")

    def _lost(self, error: Exception) -> None:
        said = error.name if isinstance(error, ErrorFrame) else ""
        if said == "CursorTooOld":  # the same host again, with a time: it says then where it begins; else from now on
            self._too_old, self._seq = self._seq is None, None
        elif said == "UnknownZstdDictionary" and self._wire.inflater is not None:
            self._log.error("the host has another zstd dictionary: going on without compression", detail=str(error))
            self._wire.inflater = None
        elif self.health.blind or not self._was_healthy:
            self._turn += 1

    def _accuse(self, told: Told) -> None:
        """The host before this one kept this from us."""
        if self._left is None:
            return
        host = urlsplit(self._left).netloc
        self.health.hosts[host].blind += 1
        self._log.error("a host was blind: another one tells more of the same time", host=host, time_us=told.time_us)
        self._left = None  # once is enough

    def _remember(self, event: RecordEvent) -> bool:
        """Whether the event came before (P169)."""
        key = (event.did, event.rev, event.collection, event.rkey)
        if key in self._remembered:
            return True
        self._remembered[key] = None
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return False
