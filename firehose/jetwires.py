"""The two ways to talk to a Jetstream (P166): what is asked for at the door, and how a message is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from core.frames import BadFrame
from firehose.events import Interest
from firehose.jetevents import V2_NSID, Notice, Told, decode_v1, decode_v2
from firehose.zstd import Inflater

HOUR_US = 3_600_000_000
EARLIEST_US = 10**15  # smaller cursors are sequence numbers to every newer server (P170)
Query = list[tuple[str, str]]


class Wire(Protocol):
    """One of the two; `window_us` is how far back it can be asked (P163)."""

    path: str
    protocols: tuple[str, ...]
    window_us: int
    inflater: Inflater | None  # None: plain JSON is asked for

    def query(self, collections: Iterable[str], *, since_us: int | None, seq: int | None) -> Query:
        """Parameters for events since a time, or from a number of this very host on; neither: from now on."""
        ...

    def read(self, frame: bytes | str, interest: Interest, *, now_us: int) -> Told | Notice | None:
        """None for what must be ignored. Raises BadFrame, ErrorFrame."""
        ...


class V1:
    """`/subscribe`. Cursors are times; one that is too old is moved up without a word."""

    path = "/subscribe"
    protocols: tuple[str, ...] = ()
    window_us = 24 * HOUR_US  # of 24 to 36

    def __init__(self, inflater: Inflater | None = None) -> None:
        self.inflater = inflater

    def query(self, collections: Iterable[str], *, since_us: int | None, seq: int | None) -> Query:
        del seq  # v1 has none
        return [
            *(("wantedCollections", name) for name in collections),
            *((("compress", "true"),) if self.inflater else ()),
            *((("cursor", str(max(since_us, EARLIEST_US))),) if since_us is not None else ()),
        ]

    def read(self, frame: bytes | str, interest: Interest, *, now_us: int) -> Told | Notice | None:
        return decode_v1(_opened(frame, self.inflater), interest, now_us=now_us)


class V2:
    """`subscribeEvents`. A cursor is a number of one host, inclusive, or a time, which every host understands."""

    path = f"/xrpc/{V2_NSID}"
    protocols: tuple[str, ...] = ("xrpc.v1.json",)
    window_us = 36 * HOUR_US

    def __init__(self, inflater: Inflater | None = None) -> None:
        self.inflater = inflater

    def query(self, collections: Iterable[str], *, since_us: int | None, seq: int | None) -> Query:
        cursor = seq if seq is not None or since_us is None else max(since_us, EARLIEST_US)
        return [
            *(("collections", name) for name in collections),
            *((("zstdDictionary", str(self.inflater.dictionary_id)),) if self.inflater else ()),
            *((("cursor", str(cursor)),) if cursor is not None else ()),
        ]

    def read(self, frame: bytes | str, interest: Interest, *, now_us: int) -> Told | Notice | None:
        return decode_v2(_opened(frame, self.inflater), interest, now_us=now_us)


def _opened(frame: bytes | str, inflater: Inflater | None) -> bytes | str:
    """The JSON of a message. A binary one is compressed if that is what was asked for."""
    if inflater is None or isinstance(frame, str):
        return frame
    if not frame:
        raise BadFrame("an empty message")
    return inflater.open(frame)
