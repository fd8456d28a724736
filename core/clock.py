"""Time, backoff and TIDs: the only place that asks for the time or for random numbers."""

from __future__ import annotations

import random
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from core.types import Tid, make_tid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_ZERO_DAYS = -719_528  # 0000-01-01, counted from 1970-01-01
_DATETIME = re.compile(r"^\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-6]\d:[0-6]\d(\.\d{1,20})?(Z|[+-][0-2]\d:[0-5]\d)$", re.ASCII)


class Clock(Protocol):
    """Wall time in unix microseconds, monotonic seconds, and a random number in 0..1."""

    def now_us(self) -> int: ...
    def monotonic(self) -> float: ...
    def random(self) -> float: ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def random(self) -> float:
        return random.random()


def backoff_seconds(attempt: int, clock: Clock, *, base: float = 5.0, cap: float = 3600.0) -> float:
    """Exponential backoff with full upper jitter: base * 2^(attempt-1), capped, then x 0.5..1.0."""
    ceiling = min(cap, base * 2.0 ** min(attempt - 1, 32))
    return ceiling * (0.5 + 0.5 * clock.random())


def format_datetime(us: int) -> str:
    """`cts`/`exp` as we write them (P12): UTC, `T` and `Z`, exactly three fractional digits."""
    moment = _EPOCH + timedelta(microseconds=us)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_datetime(text: str) -> int:
    """Unix microseconds of an RFC 3339 datetime with timezone (spec/lexicon). Raises ValueError."""
    if len(text) > 64 or not _DATETIME.match(text) or text.endswith(("-00:00", "\n")):
        raise ValueError(f"not a datetime: {text[:40]!r}")
    # Year 0 is valid on the network and unknown to Python: read it as year 4, a leap year too, and go back 4 years.
    moment = datetime.fromisoformat("0004" + text[4:] if text.startswith("0000") else text)
    delta = moment - _EPOCH
    days = delta.days - (1461 if text.startswith("0000") else 0)
    if days < _YEAR_ZERO_DAYS:
        raise ValueError(f"before year 0: {text[:40]!r}")
    return (days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


class TidClock:
    """Strictly increasing TIDs from a clock."""

    def __init__(self, clock: Clock, clock_id: int = 0) -> None:
        self._clock = clock
        self._clock_id = clock_id
        self._last_us = 0

    def next(self) -> Tid:
        self._last_us = max(self._clock.now_us(), self._last_us + 1)
        return make_tid(self._last_us, self._clock_id)
