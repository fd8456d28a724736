"""How fast labels may leave: Bluesky ingests 5 a second, 10 000 an hour and 100 000 a day from one labeler (P47).

A second is kept by a bucket in memory. The hour and the day are read from the label log itself, whose sequence
has no gaps, so they hold across restarts without state of their own.
"""

from __future__ import annotations

from core.clock import Clock, parse_datetime
from store import Reader, labels

_HOUR_US = 3_600_000_000
# Labels within any such span of time; a tenth below what Bluesky takes.
LONG_BUDGETS = ((9_000, _HOUR_US), (90_000, 24 * _HOUR_US))


class Emission:
    """Says how many labels may leave now. `labels_per_second` of None or 0 lifts all limits."""

    def __init__(self, clock: Clock, labels_per_second: float | None) -> None:
        self._clock = clock
        self._rate = labels_per_second or 0.0
        self._tokens = self._capacity
        self._filled_at = clock.monotonic()

    @property
    def _capacity(self) -> float:
        # A quarter of a second's worth: with 4 labels a second, no second ever sees a fifth.
        return max(1.0, self._rate / 4)

    def take(self, count: int) -> None:
        """Record that labels have left."""
        self._fill()
        self._tokens -= count

    async def room(self, reader: Reader, wanted: int) -> int:
        """How many of `wanted` labels, none of which is in the log yet, may leave now."""
        if not self._rate:
            return wanted
        self._fill()
        room = min(wanted, int(self._tokens + 1e-9))
        while room > 0 and not await self._within_budgets(reader, room):
            room //= 2
        return room

    def seconds_until_room(self) -> float:
        """When to ask again after there was no room: when the bucket has a label, else (hour or day) in a second."""
        self._fill()
        return (1.0 - self._tokens) / self._rate if self._tokens < 1.0 else 1.0

    def _fill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    async def _within_budgets(self, reader: Reader, count: int) -> bool:
        """Whether `count` more labels keep every budget: the label that many places back must be old enough."""
        newest = await labels.newest_seq(reader)
        for budget, span_us in LONG_BUDGETS:
            oldest_in_span = newest + count - budget
            if oldest_in_span < 1:
                continue
            if oldest_in_span > newest:  # it would be one of these very labels
                return False
            rows = await labels.stream(reader, after_seq=oldest_in_span - 1, limit=1)
            if rows and parse_datetime(rows[0].label.cts) > self._clock.now_us() - span_us:
                return False
        return True
