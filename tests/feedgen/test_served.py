"""The Bloom filter that travels in cursors (FEEDS section 5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.served import BITS, MAX_SERVED, Served, hash_track, marks_of


def hashes(numbers: range) -> list[bytes]:
    return [hash_track(f"at://did:plc:a/fm.plyr.track/{number}") for number in numbers]


def test_hashes_tell_tracks_apart() -> None:
    found = set(hashes(range(1000)))
    assert len(found) == 1000
    assert {len(value) for value in found} == {8}


@given(st.lists(st.binary(min_size=8, max_size=8), max_size=100), st.integers(1, 7))
def test_what_was_served_is_never_forgotten(added: list[bytes], parts: int) -> None:
    served = Served()
    for part in range(parts):
        served = served.add(marks_of(added[part::parts]))
    assert served.count == len(added)
    assert len(served.bits) == BITS // 8
    assert served.holds(marks_of(added)).all()


@pytest.mark.parametrize(("count", "share"), [(0, 0.0), (50, 0.0005), (500, 0.005), (MAX_SERVED, 0.01)])
def test_less_than_one_in_a_hundred_is_taken_for_served(count: int, share: float) -> None:
    """FEEDS section 5: at most 1 % skipped."""
    served = Served().add(marks_of(hashes(range(count))))
    strangers = marks_of(hashes(range(100_000, 130_000)))
    assert served.holds(strangers).mean() <= share
