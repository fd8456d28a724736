"""What parent and child say to each other: length-prefixed MessagePack frames of a few fixed shapes.

Four bytes of big-endian length, then one message. Both sides refuse a frame above `MAX_FRAME_BYTES`, so that neither
can make the other allocate without bound. The child sends numbers, never objects that the parent would execute.
"""

from __future__ import annotations

import struct

import msgspec

MAX_FRAME_BYTES = 256 * 1024
LENGTH = struct.Struct(">I")


class Listen(msgspec.Struct, tag="listen", frozen=True):
    """Parent to child: analyse one local file."""

    path: bytes  # as the file system has it: names need not be text
    max_seconds: float


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """Child to parent, once: warm and confined."""

    pid: int


class TaggerMeans(msgspec.Struct, frozen=True):
    """One tagger's means over the patches of a track."""

    scores: list[float]  # [50], 0..1
    embedding: list[float]  # [200]


class Heard(msgspec.Struct, tag="heard", frozen=True):
    """Child to parent: what listening yielded."""

    container: str
    duration_seconds: float  # decoded
    rms_dbfs: float
    patches: int  # how many went through the taggers
    msd: TaggerMeans
    mtt: TaggerMeans
    warnings: list[str]


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """Child to parent: this file cannot be analysed. `reason` is that of a Permanent error."""

    reason: str
    message: str


Answer = Ready | Heard | Refused


class BadFrame(ValueError):
    """The other side does not speak this protocol."""


def encode(message: Answer | Listen) -> bytes:
    """One frame with its length."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {len(body)} bytes is too large")
    return LENGTH.pack(len(body)) + body


def read_length(prefix: bytes) -> int:
    """Length of the frame that follows. Raises BadFrame when it is beyond the bound."""
    (length,) = LENGTH.unpack(prefix)
    if length > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {length} bytes is too large")
    return int(length)


def decode_answer(body: bytes) -> Answer:
    """What a child said. Raises BadFrame."""
    try:
        answer: Answer = msgspec.msgpack.decode(body, type=Answer)
    except msgspec.DecodeError as error:
        raise BadFrame(str(error)) from error
    return answer


def decode_request(body: bytes) -> Listen:
    """What a parent asked. Raises BadFrame."""
    try:
        return msgspec.msgpack.decode(body, type=Listen)
    except msgspec.DecodeError as error:
        raise BadFrame(str(error)) from error
