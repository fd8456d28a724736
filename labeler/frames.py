"""Frames of `com.atproto.label.subscribeLabels`: two DAG-CBOR items each, written and read (P63-P65)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from core.dagcbor import SEAL, encode, encode_signed
from core.frames import BadFrame, split_frame
from core.label import Label

_LABELS_HEADER = encode({"op": 1, "t": "#labels"})


@dataclass(frozen=True, slots=True)
class LabelsFrame:
    """One event; none or several labels are legal (P74). They stay as received, so that they can be verified (P5)."""

    seq: int
    labels: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class InfoFrame:
    """A notice without a place in the sequence, e.g. OutdatedCursor (P72)."""

    name: str
    message: str | None = None


def labels_frame(seq: int, labels: Iterable[Label]) -> bytes:
    """A `#labels` event with signatures as byte strings (P65)."""
    return _labels_frame(seq, [label.fields() for label in labels])


def stored_frame(seq: int, text: str, sig: bytes) -> bytes:
    """A `#labels` event of one label that was stored in its JSON form."""
    return _labels_frame(seq, [{**orjson.loads(text), "sig": sig}])


def _labels_frame(seq: int, labels: Sequence[Mapping[str, Any]]) -> bytes:
    sealed = [{**label, "sig": SEAL} for label in labels]
    return _LABELS_HEADER + encode_signed({"seq": seq, "labels": sealed}, [label["sig"] for label in labels])


def read_frame(frame: bytes) -> LabelsFrame | InfoFrame | None:
    """What a frame says; None for one of a kind that we do not know and must skip. Raises BadFrame, ErrorFrame."""
    parts = split_frame(frame)
    if parts is None:
        return None
    kind, body = parts
    if kind == "#info":
        name, message = body.get("name"), body.get("message")
        if not isinstance(name, str) or not isinstance(message, str | None):
            raise BadFrame("#info needs a name")
        return InfoFrame(name, message)
    if kind != "#labels":
        return None
    seq, labels = body.get("seq"), body.get("labels")
    if type(seq) is not int or not isinstance(labels, list) or not all(isinstance(label, dict) for label in labels):
        raise BadFrame("#labels needs seq and labels")
    return LabelsFrame(seq, tuple(labels))
