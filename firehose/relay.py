"""`com.atproto.sync.subscribeRepos` of a relay or PDS, with verification of the commits that matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from core.clock import Clock, parse_datetime
from core.frames import BadFrame, ErrorFrame, split_frame
from core.log import Log
from core.ports import Directory
from firehose.events import Event, Interest, SeenEvent
from firehose.frames import RepoFrame, decode_repo_frame, glance
from firehose.line import Dropped
from firehose.notary import Notary
from firehose.socket import ReconnectingSource, purpose_suffix, stream_origin

PATH = "/xrpc/com.atproto.sync.subscribeRepos"
SEEN_SECONDS = 1.0  # the cursor moves at least this often past frames of no interest
WINDOW_US = 72 * 3_600_000_000  # P163: what public relays keep
DIRECT_WINDOW_US = 24 * 3_600_000_000  # and what a PDS keeps
JUMP_US = 300_000_000  # between two events of a relay that skipped none there are seconds


class Relay(ReconnectingSource):
    """One relay or PDS. With a directory, its messages are proven (firehose.notary); without, they pass unverified.

    `on_future_cursor` (P161): "wait" alerts and keeps asking with the stored cursor; "live" goes on from now, with a
    gap. `direct`: this is a PDS, and speaks for no account that lives elsewhere (P148).
    """

    def __init__(
        self,
        url: str,
        interest: Interest,
        *,
        clock: Clock,
        log: Log,
        directory: Directory | None = None,
        purpose: str = "music",
        user_agent: str = "earmark",
        allow_loopback: bool = False,
        on_future_cursor: Literal["wait", "live"] = "wait",
        direct: bool = False,
        frame_timeout_seconds: float | None = 90.0,
        pong_timeout_seconds: float = 30.0,
        retry_base_seconds: float = 1.0,
    ) -> None:
        origin = stream_origin(url, allow_loopback=allow_loopback)
        super().__init__(
            f"relay:{origin.partition('://')[2]}{PATH}{purpose_suffix(purpose)}",
            clock=clock,
            log=log,
            user_agent=user_agent,
            frame_timeout_seconds=frame_timeout_seconds,
            pong_timeout_seconds=pong_timeout_seconds,
            retry_base_seconds=retry_base_seconds,
        )
        self._endpoint = origin + PATH
        self._interest = interest
        self._notary = None
        if directory is not None:
            home = origin if direct else None
            self._notary = Notary(interest, directory, health=self.health, clock=clock, log=self._log, home=home)
        self._on_future_cursor = on_future_cursor
        self._go_live = False
        self._newest: int | None = None  # in this connection
        self._ahead: int | None = None  # newest of what is skimmed already; never behind the position
        self._heard_before_us: int | None = None  # when there was a cursor to continue from
        self._told_of_gap = False
        self._last_seen = 0.0
        self._window_us = self.health.window_us = DIRECT_WINDOW_US if direct else WINDOW_US

    def _address(self, position: int | None) -> str:
        self._newest, self._told_of_gap = None, False
        self._heard_before_us = None if position is None else self.health.heard_us
        self._ahead = None if self._go_live else position
        if self._ahead is None:
            return self._endpoint
        return f"{self._endpoint}?cursor={position}"

    def _skim(self, frame: bytes, caught_up: bool) -> int | None:
        """Frames that follow each other and do not matter, as nearly all do. Everything else `_read` has to judge."""
        seq, ahead = glance(frame, self._interest), self._ahead
        if seq is None or ahead is None or seq <= ahead:
            return None
        self._ahead = seq
        if self._read_next:
            self._read_next = False
            return None
        if caught_up:
            self._newest = self._position = seq
        return seq

    def _catch_up(self, first: int, last: int) -> None:
        self._rise(first)
        self._newest = self._position = last

    async def _read(self, frame: bytes | str) -> tuple[int | None, Sequence[Event]]:
        if isinstance(frame, str):
            raise BadFrame("a text message on a binary stream")
        decoded = decode_repo_frame(frame, self._interest)
        if decoded is None:
            return None, ()
        if isinstance(decoded, int):
            return await self._take(decoded, frame, None)
        if decoded.position is not None:
            return await self._take(decoded.position, frame, decoded)
        name, message = decoded.notice or ("", "")
        if name != "OutdatedCursor":
            return None, ()
        self._told_of_gap = True
        return None, (self._gap(name, message),)

    async def _take(self, seq: int, frame: bytes, decoded: RepoFrame | None) -> tuple[int | None, Sequence[Event]]:
        """The events of a numbered frame, in the right order and proven."""
        first, now = self._newest is None, self._clock.monotonic()
        self._rise(seq)
        self._newest, self._ahead = seq, max(seq, self._ahead or 0)
        gap: tuple[Event, ...] = ()
        if self._go_live:
            self._go_live = False
            gap = (replace(self._gap("FutureCursor", f"went on from {seq}"), starts_over=True),)
            self._position = None
        if self._position is not None and seq <= self._position:
            self.health.refused["stale"] += 1
            return None, ()
        events = () if decoded is None else await self._proven(decoded)
        if first or now - self._last_seen >= SEEN_SECONDS:
            self._last_seen = now
            gap = gap or self._jump(seq, frame, first=first)
            events = events or (SeenEvent(seq),)
        # A frame is done with its last event: a batch that ends between two of them must not move the cursor past it.
        return seq, (*gap, *(replace(event, position=max(seq - 1, 0)) for event in events[:-1]), *events[-1:])

    def _rise(self, seq: int) -> None:
        if self._newest is not None and seq <= self._newest:
            raise Dropped(f"sequence number {seq} after {self._newest}")  # P162

    def _jump(self, seq: int, frame: bytes, *, first: bool) -> tuple[Event, ...]:
        """Note the time of an event. A gap if it is the first after a pause that was longer than the upstream's memory,
        and it does not follow the last one that we heard: not all relays say so (P160).
        """
        now_us, before_us = self._clock.now_us(), self._heard_before_us
        time_us = frame_time_us(frame)
        if time_us is not None:
            self.health.heard_us = min(time_us, now_us)
        if not first or before_us is None or self._told_of_gap or now_us - before_us <= self._window_us:
            return ()
        if seq - 1 == self._position or (time_us is not None and time_us - before_us <= JUMP_US):
            return ()
        return (self._gap("OutdatedCursor", "the upstream does not say so"),)

    def _lost(self, error: Exception) -> None:
        if isinstance(error, ErrorFrame) and error.name == "FutureCursor":
            self._log.error(
                "the upstream does not know our cursor yet: was it replaced?",
                position=self._position,
                policy=self._on_future_cursor,
            )
            self._go_live = self._on_future_cursor == "live"

    async def _proven(self, decoded: RepoFrame) -> tuple[Event, ...]:
        if decoded.refused is not None:
            self.health.refused["unusable"] += 1
            self._log.warning("message ignored", reason=decoded.refused, seq=decoded.position)
        return decoded.events if self._notary is None else await self._notary.attest(decoded)


def frame_time_us(frame: bytes) -> int | None:
    """What a numbered frame says of its time, in unix microseconds; None when it says nothing that can be read."""
    split = split_frame(frame)
    time = None if split is None else split[1].get("time")
    try:
        return parse_datetime(time) if isinstance(time, str) else None
    except ValueError:
        return None
