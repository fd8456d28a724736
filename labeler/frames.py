"""Frames of `com.atproto.label.subscribeLabels`: two DAG-CBOR items each, written and read (P63-P65)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from core.dagcbor import BadCbor, decode_multi
from core.label import Label
from core.xrpc import message_frame


class BadFrame(ValueError):
    """Not a frame: the connection it came from cannot be trusted any further."""


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


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """The last frame before the server closes, e.g. FutureCursor (P71)."""

    error: str
    message: str | None = None


def labels_frame(seq: int, labels: Iterable[Label]) -> bytes:
    """A `#labels` event with signatures as byte strings (P65)."""
    return message_frame("#labels", {"seq": seq, "labels": [label.fields() for label in labels]})


def info_frame(name: str, message: str | None = None) -> bytes:
    """An `#info` notice (P65)."""
    return message_frame("#info", {"name": name} if message is None else {"name": name, "message": message})


def read_frame(frame: bytes) -> LabelsFrame | InfoFrame | ErrorFrame | None:
    """What a frame says; None for one of a kind that we do not know and must skip. Raises BadFrame."""
    try:
        parts = decode_multi(frame)
    except BadCbor as error:
        raise BadFrame(str(error)) from None
    if len(parts) != 2 or not all(isinstance(part, dict) for part in parts):
        raise BadFrame("a frame is two maps")
    header, body = parts
    if header.get("op") == -1:
        return ErrorFrame(_text(body, "error"), _optional_text(body, "message"))
    if header.get("op") != 1:
        return None
    if header.get("t") == "#info":
        return InfoFrame(_text(body, "name"), _optional_text(body, "message"))
    if header.get("t") != "#labels":
        return None
    seq, labels = body.get("seq"), body.get("labels")
    if type(seq) is not int or not isinstance(labels, list) or not all(isinstance(label, dict) for label in labels):
        raise BadFrame("#labels needs seq and labels")
    return LabelsFrame(seq, tuple(labels))


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise BadFrame(f"{name} must be text")
    return value


def _optional_text(body: Mapping[str, Any], name: str) -> str | None:
    return None if body.get(name) is None else _text(body, name)
