"""Frames equal the reference's bytes and are read as a strict client reads them."""

import json
from pathlib import Path

import pytest

from core.dagcbor import decode_multi
from core.frames import BadFrame, ErrorFrame
from core.label import Label
from core.xrpc import error_frame, message_frame
from labeler.frames import InfoFrame, LabelsFrame, labels_frame, read_frame, stored_frame
from labeler.signing import label_from
from store.labels import json_text

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "stream-frames.json").read_text())
VALID = {name: bytes.fromhex(text) for name, text in VECTORS["valid"].items()}


def group(name: str) -> list[object]:
    return [pytest.param(bytes.fromhex(text), id=case) for case, text in VECTORS[name].items()]


@pytest.mark.parametrize("frame", [frame for name, frame in VALID.items() if not name.startswith("error_")])
def test_p63_p65_valid_frames_are_read_and_written_back_byte_for_byte(frame: bytes) -> None:
    match read_frame(frame):
        case LabelsFrame(seq, labels):
            assert labels_frame(seq, [label_from(label) for label in labels]) == frame
        case InfoFrame(name, message):
            assert message_frame("#info", {"name": name} | ({"message": message} if message else {})) == frame
        case None:
            pytest.fail("skipped a valid frame")


@pytest.mark.parametrize("frame", [frame for name, frame in VALID.items() if name.startswith("error_")])
def test_p64_error_frames_are_told_apart_and_written_back_byte_for_byte(frame: bytes) -> None:
    with pytest.raises(ErrorFrame) as caught:
        read_frame(frame)
    assert error_frame(caught.value.name, caught.value.message or None) == frame


def test_p74_an_event_may_hold_any_number_of_labels() -> None:
    frames = [frame for name, frame in VALID.items() if name.startswith("labels_")]
    counts = [len(read.labels) for frame in frames if isinstance(read := read_frame(frame), LabelsFrame)]
    assert counts == [1, 3, 0, 1]


@pytest.mark.parametrize("head", ["0155123c", "01711220", "0100003c", "ff"])
def test_p65_a_signature_that_looks_like_a_cid_is_a_byte_string_all_the_same(head: str) -> None:
    """About one in nine hundred does. As a link (tag 42) nobody who is strict could read it."""
    sig = bytes.fromhex(head).ljust(64, b"\xff")
    label = Label("did:plc:z72i7hdynmk6r22z27h6tvur", "did:plc:a", "jazz", "2026-01-02T03:04:05.678Z", sig=sig)
    frame = labels_frame(7, [label, label])
    assert frame.count(b"\x63sig\x58\x40" + sig) == 2
    assert read_frame(frame) == LabelsFrame(7, (label.fields(),) * 2)
    assert stored_frame(7, json_text(label), sig) == labels_frame(7, [label])


def test_p66_the_largest_sequence_number_survives() -> None:
    read = read_frame(VALID["labels_seq_2_53_minus_1"])
    assert isinstance(read, LabelsFrame)
    assert read.seq == 2**53 - 1


def test_p64_an_error_header_has_no_type() -> None:
    assert decode_multi(VALID["error_future_cursor"])[0] == {"op": -1}


@pytest.mark.parametrize("frame", group("ignorable"))
def test_p63_unknown_kinds_and_fields_do_not_end_the_connection(frame: bytes) -> None:
    read = read_frame(frame)
    assert read is None or read == LabelsFrame(10, ())


@pytest.mark.parametrize(
    "frame",
    [
        *group("invalid"),
        pytest.param(b"", id="empty"),
        pytest.param(bytes.fromhex("a2617467236c6162656c73626f7001a0"), id="no_seq"),
        pytest.param(bytes.fromhex("a1626f7020a0"), id="error_without_name"),
    ],
)
def test_p63_what_is_no_frame_is_a_hard_error(frame: bytes) -> None:
    with pytest.raises((BadFrame, ErrorFrame)):
        read_frame(frame)
