"""A source of events: what ingest reads and what health shows, whatever the wire underneath."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from firehose.events import Event

LATE_SHARE = 0.25  # P163: a reader that is behind by more than this part of what the upstream keeps is in danger


@dataclass(slots=True)
class HostHealth:
    """One address of a source. Times are unix microseconds of our clock."""

    connections: int = 0
    frames: int = 0
    failures: int = 0  # connections that ended, or that were never made
    blind: int = 0  # times it did not tell what another host then told for the same time
    last_error: str | None = None
    last_frame_us: int | None = None


@dataclass(slots=True)
class Health:
    """The state of a source, for `_health`, metrics and logs. Times are unix microseconds: ours, but where it says."""

    connected: bool = False
    address: str = ""  # without the query
    last_frame_us: int | None = None
    last_event_us: int | None = None  # last record of interest
    heard_us: int | None = None  # the newest time that the upstream's events carry, by its clock
    position: int | None = None
    last_error: str | None = None
    connections: int = 0
    frames: int = 0
    gaps: int = 0
    blind: bool = False  # silent about our collections for longer than usual while it told of others
    window_us: int | None = None  # how far back the upstream can be asked; None: it does not forget
    refused: Counter[str] = field(default_factory=Counter)  # commits ignored, by short reason
    hosts: dict[str, HostHealth] = field(default_factory=dict)  # by host and port; as many as are configured

    def lag_us(self, now_us: int, *, paused: bool = False) -> int | None:
        """How far behind we are; None before the first event.

        While we read, that is how old the newest event was when it came: a quiet upstream makes nobody late. While we
        do not (`paused`, or not connected) it is how old it is now.
        """
        if self.heard_us is None:
            return None
        reading = self.connected and not paused and self.last_frame_us is not None
        return max((self.last_frame_us or 0 if reading else now_us) - self.heard_us, 0)

    def is_late(self, now_us: int, *, paused: bool = False) -> bool:
        """Whether we are behind by so much of the upstream's window that events may soon be lost (P163)."""
        lag = self.lag_us(now_us, paused=paused)
        return lag is not None and self.window_us is not None and lag > LATE_SHARE * self.window_us


class Source(Protocol):
    """Reads one upstream for ever."""

    @property
    def name(self) -> str:
        """Kind, host and path: the scope in which a cursor means something (P158)."""
        ...

    @property
    def health(self) -> Health: ...

    def stream(self, cursor: int | None) -> AsyncGenerator[Event, None]:
        """Events after the cursor (None: from now on). Never ends by itself; reconnects. Close it to hang up.

        An event's `position` is what may be stored as cursor once it is applied.
        """
        ...

    async def committed(self, events: Sequence[Event]) -> None:
        """These events, in the order in which `stream` gave them, are in the store for good. Never raises."""
        ...
