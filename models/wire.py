"""What parent and child say to each other: length-prefixed MessagePack frames of a few fixed shapes.

Four bytes of big-endian length, then one message. Both sides refuse a frame above `MAX_FRAME_BYTES`, so that neither
can make the other allocate without bound. The child sends numbers, never objects that the parent would execute.
"""

from __future__ import annotations

import struct

import msgspec

from core.analysis import Acoustics, TaggerName

MAX_FRAME_BYTES = 256 * 1024
LENGTH = struct.Struct(">I")


class Listen(msgspec.Struct, tag="listen", frozen=True):
    """Parent to a listening child: analyse the open file that comes with this frame (SCM_RIGHTS), from its start."""

    max_seconds: float


class Embed(msgspec.Struct, tag="embed", frozen=True):
    """Parent to a text child: where these texts lie in the space that audio and text share."""

    texts: list[str]


Request = Listen | Embed


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """Child to parent, once: warm, self-tested and confined."""

    pid: int


class Unfit(msgspec.Struct, tag="unfit", frozen=True):
    """Child to parent instead of `Ready`: a pack failed its self-test."""

    pack: str
    message: str


class HeardSegment(msgspec.Struct, frozen=True):
    """A stretch of a long track: the means of its patches, by tagger."""

    start_seconds: float
    end_seconds: float
    scores: dict[TaggerName, list[float | None]]


class Heard(msgspec.Struct, tag="heard", frozen=True):
    """Child to parent: what listening yielded. Means over patches; scores 0..1 in the order of the pack's labels,
    None for a head that is not installed."""

    container: str
    duration_seconds: float  # decoded
    rms_dbfs: float  # of the 16 kHz mono signal
    scores: dict[TaggerName, list[float | None]]
    embeddings: dict[str, list[float]]  # msd [200], mtt [200], effnet [1280], clap [512]: raw, not normalised
    acoustics: Acoustics
    segments: list[HeardSegment]
    warnings: list[str]


class Embedded(msgspec.Struct, tag="embedded", frozen=True):
    """Child to parent: one raw vector [512] a text."""

    vectors: list[list[float]]


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """Child to parent: this file cannot be analysed. `reason` is that of a Permanent error."""

    reason: str
    message: str


Answer = Ready | Unfit | Heard | Embedded | Refused


class BadFrame(ValueError):
    """The other side does not speak this protocol."""


def encode(message: Answer | Request) -> bytes:
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


def decode_request(body: bytes) -> Request:
    """What a parent asked. Raises BadFrame."""
    try:
        request: Request = msgspec.msgpack.decode(body, type=Request)
        return request
    except msgspec.DecodeError as error:
        raise BadFrame(str(error)) from error
