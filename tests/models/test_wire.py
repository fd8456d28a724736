"""Frames between parent and child."""

from __future__ import annotations

import pytest

from models.wire import (
    LENGTH,
    MAX_FRAME_BYTES,
    BadFrame,
    Listen,
    Ready,
    Refused,
    decode_answer,
    decode_request,
    encode,
    read_length,
)


def test_round_trip() -> None:
    for message in (Ready(7), Refused("not_audio", "ü" * 100)):
        frame = encode(message)
        assert read_length(frame[: LENGTH.size]) == len(frame) - LENGTH.size
        assert decode_answer(frame[LENGTH.size :]) == message
    request = Listen(3.5)
    assert decode_request(encode(request)[LENGTH.size :]) == request


def test_both_directions_are_bounded() -> None:
    with pytest.raises(BadFrame, match="too large"):
        encode(Refused("not_audio", "x" * MAX_FRAME_BYTES))
    with pytest.raises(BadFrame, match="too large"):
        read_length(LENGTH.pack(MAX_FRAME_BYTES + 1))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81\xa4type\xa5other", encode(Listen(1.0))[4:]])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_answer(body)
