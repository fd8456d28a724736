"""How fast the network's events of interest come in, by kind and collection, over the last minute."""

from __future__ import annotations

from collections import Counter, deque

from core.clock import Clock
from firehose.events import Event, RecordEvent

WINDOW_SECONDS = 60


class Pulse:
    """Counts events in seconds-wide slots; memory is bounded by the number of kinds and collections."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._slots: deque[tuple[int, Counter[str]]] = deque(maxlen=WINDOW_SECONDS + 1)
        self._total: Counter[str] = Counter()

    def note(self, event: Event) -> None:
        """Count one event."""
        kind = (
            event.collection if isinstance(event, RecordEvent) else type(event).__name__.removesuffix("Event").lower()
        )
        second = int(self._clock.monotonic())
        if not self._slots or self._slots[-1][0] != second:
            self._slots.append((second, Counter()))
        self._slots[-1][1][kind] += 1
        self._total[kind] += 1

    def per_second(self) -> dict[str, float]:
        """Mean events per second over the last minute, or since the start; by collection for records, else by kind."""
        now = self._clock.monotonic()
        since, seconds = int(now) - WINDOW_SECONDS, min(max(now - self._began, 1.0), WINDOW_SECONDS)
        sums: Counter[str] = Counter()
        for second, counts in self._slots:
            if second > since:
                sums.update(counts)
        return {kind: round(count / seconds, 3) for kind, count in sorted(sums.items())}

    def totals(self) -> dict[str, int]:
        """Events since the start."""
        return dict(sorted(self._total.items()))
