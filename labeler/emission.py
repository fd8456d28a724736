"""How fast labels may leave, and which first: Bluesky ingests 5 a second, 10 000 an hour and 100 000 a day (P47).

A second is kept by a bucket in memory. The hour and the day are read from the label log itself, whose sequence
has no gaps, so they hold across restarts without state of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from core.clock import Clock, parse_datetime
from core.label import Label
from store import Reader, labels
from store.labels import PendingVerdict, Turn

_HOUR_US = 3_600_000_000
# Labels within any such span of time; a tenth below what Bluesky takes. Most of that tenth is for what presses: an
# artist's word must not wait until the day after a long backfill.
LONG_BUDGETS = ((9_000, _HOUR_US), (90_000, 24 * _HOUR_US))
_RESERVE = 1.1


@dataclass(frozen=True, slots=True)
class Round:
    """Which labels leave in one transaction, and what that means for the verdicts that ask for them."""

    leaving: Sequence[Label]
    settled: Sequence[PendingVerdict]
    turns: dict[str, Turn]  # of those subjects of which the pressing part leaves and something else stays
    is_complete: bool  # nothing stays for want of room

    @classmethod
    def of(cls, wanted: Sequence[tuple[PendingVerdict, Sequence[Label]]], room: int) -> Round:
        """As many as there is room for, whatever subject they are of: by turn, then in the given order.

        What is new about an account that is away stays (P151).
        """
        if room >= sum(len(todo) for _, todo in wanted) and not any(verdict.away for verdict, _ in wanted):
            return cls(
                [label for _, todo in wanted for label in todo], [one for one, _ in wanted], {}, is_complete=True
            )
        queue = [
            (verdict.away and not label.neg, _turn(verdict, label), verdict, label)
            for verdict, todo in wanted
            for label in todo
        ]
        queue.sort(key=itemgetter(0, 1))
        room = min(room, sum(not stays for stays, *_ in queue))
        left = {verdict.uri: turn for _, turn, verdict, _ in reversed(queue[room:])}
        return cls(
            leaving=[label for *_, label in queue[:room]],
            settled=[verdict for verdict, _ in wanted if verdict.uri not in left],
            turns={one.uri: left[one.uri] for one, _ in wanted if left.get(one.uri, one.turn) != one.turn},
            is_complete=all(stays for stays, *_ in queue[room:]),
        )


def _pressing(wanted: Sequence[tuple[PendingVerdict, Sequence[Label]]]) -> int:
    """How many of these labels go before ordinary ones."""
    return sum(_turn(verdict, label) is not Turn.OTHER for verdict, todo in wanted for label in todo)


def _turn(verdict: PendingVerdict, label: Label) -> Turn:
    if verdict.turn in (Turn.RULED_RETRACTION, Turn.RULED):
        return Turn.RULED_RETRACTION if label.neg else Turn.RULED
    return Turn.RETRACTION if label.neg else Turn.OTHER


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

    async def room(self, reader: Reader, wanted: Sequence[tuple[PendingVerdict, Sequence[Label]]]) -> int:
        """How many of these labels, none of which is in the log yet, may leave now, those that press first."""
        count = sum(len(todo) for _, todo in wanted)
        if not self._rate:
            return count
        self._fill()
        tokens = int(self._tokens + 1e-9)
        room = await self._most(reader, min(count, tokens), share=1.0)
        return max(room, await self._most(reader, min(_pressing(wanted), tokens), share=_RESERVE))

    async def _most(self, reader: Reader, count: int, *, share: float) -> int:
        """So many of `count` labels keep the budgets, times `share`."""
        room, over = 0, count + 1
        while over - room > 1:
            count = (room + over) // 2
            if await self._within_budgets(reader, count, share):
                room = count
            else:
                over = count
        return room

    def seconds_until_room(self) -> float:
        """When to ask again after there was no room: when the bucket has a label, else (hour or day) in a second."""
        self._fill()
        return (1.0 - self._tokens) / self._rate if self._tokens < 1.0 else 1.0

    def _fill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    async def _within_budgets(self, reader: Reader, count: int, share: float) -> bool:
        """Whether `count` more labels keep every budget: the label that many places back must be old enough."""
        newest = await labels.newest_seq(reader)
        for budget, span_us in LONG_BUDGETS:
            oldest_in_span = newest + count - int(budget * share)
            if oldest_in_span < 1:
                continue
            if oldest_in_span > newest:  # it would be one of these very labels
                return False
            rows = await labels.stream(reader, after_seq=oldest_in_span - 1, limit=1)
            if rows and parse_datetime(rows[0].label.cts) > self._clock.now_us() - span_us:
                return False
        return True
