"""The quick look at a frame says exactly what the careful reading would, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dagcbor import encode
from core.types import Did
from firehose.events import Interest
from firehose.frames import glance

MUSIC = "fm.plyr.track"
DID, FOLLOWED = Did("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"), Did("did:plc:bbbbbbbbbbbbbbbbbbbbbbbb")
INTEREST = Interest(frozenset((MUSIC,)), followed=frozenset((FOLLOWED,)))
HEADER = {"op": 1, "t": "#commit"}
BODY: dict[str, Any] = {
    "seq": 7,
    "repo": DID,
    "ops": [{"action": "create", "path": "app.bsky.feed.like/a", "cid": None}],
}


def frame(header: Any = HEADER, **changes: Any) -> bytes:
    return encode(header) + encode(BODY | changes)


def test_P134_a_sound_commit_that_does_not_matter_is_passed_by_its_number() -> None:
    assert glance(frame(), INTEREST) == 7
    assert glance(frame(ops=[]), INTEREST) == 7
    assert glance(frame(more="unknown fields are ignored"), INTEREST) == 7


@pytest.mark.parametrize(
    "odd",
    [
        frame(ops=[{"path": f"{MUSIC}/a"}]),
        frame(ops=[*BODY["ops"], {"path": f"{MUSIC}/a"}]),
        frame(repo=FOLLOWED),
        frame(repo=["a list"]),
        frame(seq=-1),
        frame(seq=2**63),
        frame(seq=True),
        frame(seq="7"),
        frame(seq=None),
        frame(ops={}),
        frame(ops={"path": "a/b"}),
        frame(ops="path"),
        frame(ops=None),
        frame(ops=[{}]),
        frame(ops=[{"path": 1}]),
        frame(ops=[{"path": b"a/b"}]),
        frame(ops=["path"]),
        frame(ops=BODY["ops"] * 201),
        frame({"op": True, "t": "#commit"}),
        frame({"op": -1, "t": "#commit"}),
        frame({"op": 1, "t": "#account"}),
        frame({"op": 1}),
        frame([1, "#commit"]),
        frame("#commit"),
        encode(HEADER),
        encode(HEADER) + encode([7]),
        frame() + b"\x00",
        frame() + b"\xff",
        b"",
        frame(padding=b"x" * 5_000_000),
    ],
)
def test_P137_whatever_matters_or_is_odd_is_left_to_the_careful_reading(odd: bytes) -> None:
    assert glance(odd, INTEREST) is None


@given(st.integers(min_value=0, max_value=len(frame()) - 1), st.integers(min_value=0, max_value=255))
def test_no_byte_makes_it_fail(at: int, byte: int) -> None:
    data = frame()
    assert glance(data[:at], INTEREST) is None
    changed = glance(data[:at] + bytes((byte,)) + data[at + 1 :], INTEREST)
    assert changed is None or changed >= 0
