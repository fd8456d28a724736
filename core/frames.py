"""The two halves of an event-stream frame (spec/event-stream): header and body, two DAG-CBOR values in one message."""

from __future__ import annotations

from typing import Any

from core.dagcbor import BadCbor, decode_multi


class BadFrame(ValueError):
    """Not a frame: the connection that sent it is dropped (P135)."""


class ErrorFrame(Exception):
    """The server says why it is about to close (P64). `name` is e.g. FutureCursor or ConsumerTooSlow."""

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name
        self.message = message


def split_frame(data: bytes) -> tuple[str, dict[str, Any]] | None:
    """Type (`#commit`) and body of the message in a binary frame; None for an operation that we must ignore (P135).

    Raises BadFrame for anything that is not two DAG-CBOR maps, ErrorFrame for the server's own errors.
    """
    try:
        header, body = decode_multi(data)
    except BadCbor as error:
        raise BadFrame(f"not DAG-CBOR: {error}") from None
    except ValueError:
        raise BadFrame("a frame is exactly two values") from None
    if type(header) is not dict or type(body) is not dict:  # `type`, here and below: this runs for every frame there is
        raise BadFrame("header and body of a frame are maps")
    operation, kind = header.get("op"), header.get("t")
    if type(operation) is not int:
        raise BadFrame("op is an integer")
    if operation == 1:
        if type(kind) is not str:
            raise BadFrame("a message has a type")
        return kind, body
    if operation == -1:
        name, message = body.get("error"), body.get("message")
        raise ErrorFrame(name[:100] if isinstance(name, str) else "Unknown", str(message or "")[:300])
    return None
