"""Times as text, TIDs that never repeat, backoff within its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import SystemClock, TidClock, backoff_seconds, format_datetime, parse_datetime
from core.types import tid_microseconds


class Steady:
    """A clock that says what it is told."""

    def __init__(self, now_us: int = 1_700_000_000_000_000, random: float = 0.5) -> None:
        self.us, self.chance = now_us, random

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1e6

    def random(self) -> float:
        return self.chance


@given(st.integers(0, 4_102_444_800_000_000))
def test_p12_what_we_write_is_utc_with_three_digits_and_reads_back(us: int) -> None:
    text = format_datetime(us)
    assert text[10] == "T"
    assert text.endswith("Z")
    assert len(text) == 24
    assert parse_datetime(text) == us // 1000 * 1000


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T01:00:00.5+01:00", 500_000),
        ("1969-12-31T23:59:59.999Z", -1000),
        ("1985-04-12T23:20:50.123456789Z", 482_196_050_123_456),
    ],
)
def test_datetimes_of_others_are_read(text: str, us: int) -> None:
    assert parse_datetime(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05-00:00",
        "2026-01-02T03:04:05.Z",
        "2026-13-02T03:04:05Z",
        "2026-01-02T03:04:05Z\n",
        "2026-01-02T03:04:05." + "0" * 60 + "Z",
    ],
)
def test_p12_not_a_datetime(text: str) -> None:
    with pytest.raises(ValueError, match=r"datetime|month must be|hour must be"):
        parse_datetime(text)


def test_tids_go_forward_when_the_clock_does_not() -> None:
    clock = Steady()
    tids = TidClock(clock, clock_id=7)
    first = tids.next()
    clock.us -= 10_000_000
    run = [first, *(tids.next() for _ in range(50))]
    assert run == sorted(set(run))
    assert tid_microseconds(run[-1]) - tid_microseconds(first) == 50


@given(st.integers(1, 1000), st.floats(0, 1))
def test_backoff_doubles_up_to_its_cap(attempt: int, chance: float) -> None:
    ceiling = min(3600.0, 5.0 * 2.0 ** min(attempt - 1, 32))
    assert ceiling / 2 <= backoff_seconds(attempt, Steady(random=chance)) <= ceiling


def test_the_machines_clock_is_in_microseconds_and_seconds() -> None:
    clock = SystemClock()
    assert 1_700_000_000_000_000 < clock.now_us() < 4_102_444_800_000_000
    assert clock.monotonic() <= clock.monotonic()
    assert 0 <= clock.random() < 1
