"""XRPC methods without a transport: parameters in, a JSON value or stream frames out.

A room describes its methods with `Query`, `Procedure` and `Subscription`; only `earmark.web` knows HTTP.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from core.dagcbor import encode
from core.errors import XrpcError

MAX_VALUE_LENGTH = 8192
_INTEGER = re.compile(r"^-?[0-9]{1,18}$")


@dataclass(frozen=True, slots=True)
class Param:
    """One query parameter of a method (P194)."""

    name: str
    kind: Literal["string", "integer", "boolean"] = "string"
    array: bool = False
    required: bool = False
    default: Any = None
    minimum: int | None = None
    maximum: int | None = None
    max_length: int = MAX_VALUE_LENGTH


@dataclass(frozen=True, slots=True)
class Call:
    """One request: decoded parameters, lower-case headers, JSON body of a procedure, and the query as it came."""

    params: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    query: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """GET. `answer` returns a JSON object, or bytes that already are JSON. `bounded`: it sees to its own deadline.

    `ready` gives the answer to a query and headers if it lies ready, before anything is decoded; None if it does not.
    """

    nsid: str
    answer: Callable[[Call], Awaitable[Mapping[str, Any] | bytes]]
    params: tuple[Param, ...] = ()
    bounded: bool = False
    ready: Callable[[str, Mapping[str, str]], bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class Procedure:
    """POST with a JSON body."""

    nsid: str
    answer: Callable[[Call], Awaitable[Mapping[str, Any] | bytes]]
    params: tuple[Param, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of a stream that follow each other: those after one number and up to another. Encoded once for everybody:
    `wire` is some 64 KiB of `websocket_message`s.
    """

    wire: bytes
    after: int
    last: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """WebSocket. `batches` yields what to send; an XrpcError it raises becomes an error frame and a close.

    `newest` tells the number of the newest event, so that a reader who has fallen behind can be told from one who is
    catching up.
    """

    nsid: str
    batches: Callable[[Call], AsyncIterator[Batch]]
    newest: Callable[[], Awaitable[int]]
    params: tuple[Param, ...] = ()


Method = Query | Procedure | Subscription


def decode_params(declared: Iterable[Param], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Typed parameters from query pairs (P52, P194). Raises XrpcError InvalidRequest.

    Repeated keys make arrays and are refused for scalars; commas are never split; unknown names are
    ignored; an empty value is absent.
    """
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if value != "":
            given.setdefault(name, []).append(value)
    out: dict[str, Any] = {}
    for param in declared:
        values = given.get(param.name, [])
        if not values:
            if param.required:
                raise XrpcError("InvalidRequest", f"parameter {param.name} is required")
            out[param.name] = [] if param.array and param.default is None else param.default
            continue
        if len(values) > 1 and not param.array:
            raise XrpcError("InvalidRequest", f"parameter {param.name} may be given once")
        typed = [_typed(param, value) for value in values]
        out[param.name] = typed if param.array else typed[0]
    return out


def _typed(param: Param, value: str) -> Any:
    if len(value) > param.max_length:
        raise XrpcError("InvalidRequest", f"parameter {param.name} is too long")
    if param.kind == "string":
        return value
    if param.kind == "boolean":
        if value not in ("true", "false"):
            raise XrpcError("InvalidRequest", f"parameter {param.name} must be true or false")
        return value == "true"
    if not _INTEGER.fullmatch(value):
        raise XrpcError("InvalidRequest", f"parameter {param.name} must be an integer")
    number = int(value)
    if param.minimum is not None and number < param.minimum:
        raise XrpcError("InvalidRequest", f"parameter {param.name} must be at least {param.minimum}")
    if param.maximum is not None and number > param.maximum:
        raise XrpcError("InvalidRequest", f"parameter {param.name} must be at most {param.maximum}")
    return number


def message_frame(kind: str, body: Mapping[str, Any]) -> bytes:
    """A stream message: header `{op: 1, t}` and body, two DAG-CBOR items (P63-P65)."""
    return encode({"op": 1, "t": kind}) + encode(dict(body))


def websocket_message(frame: bytes) -> bytes:
    """A frame as an unmasked binary message (RFC 6455 section 5.2)."""
    length = len(frame)
    if length < 126:
        return bytes((0x82, length)) + frame
    if length < 65_536:
        return bytes((0x82, 126)) + length.to_bytes(2) + frame
    return bytes((0x82, 127)) + length.to_bytes(8) + frame


def error_frame(name: str, message: str | None = None) -> bytes:
    """A stream error: header `{op: -1}` without `t` (P64)."""
    body = {"error": name} if message is None else {"error": name, "message": message}
    return encode({"op": -1}) + encode(body)
