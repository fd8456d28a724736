"""A source of events: what ingest reads and what health shows, whatever the wire underneath."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from firehose.events import Event


@dataclass(slots=True)
class Health:
    """The state of a source, for `_health`, metrics and logs. Times are unix microseconds of our clock."""

    connected: bool = False
    address: str = ""  # without the query
    last_frame_us: int | None = None
    last_event_us: int | None = None  # last one that was of interest
    position: int | None = None
    last_error: str | None = None
    connections: int = 0
    gaps: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # commits ignored, by short reason


class Source(Protocol):
    """Reads one upstream for ever."""

    @property
    def name(self) -> str:
        """Kind, host and path: the scope in which a cursor means something (P158)."""
        ...

    @property
    def health(self) -> Health: ...

    def stream(self, cursor: int | None) -> AsyncIterator[Event]:
        """Events after the cursor (None: from now on). Ends only by cancellation; reconnects by itself."""
        ...
