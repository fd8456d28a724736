"""Cursors: where a reader stands in a snapshot and what they have seen, as a text only we can have written (P109-P111).

`2.` and, in base64url, some numbers, a Bloom filter and a MAC that covers the feed too: a cursor of one feed means
nothing in another.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from dataclasses import dataclass

from core.errors import XrpcError
from feedgen.served import BITS, Served

MAX_CURSOR_LENGTH = 1200  # FEEDS section 5, over P111's 512: it carries what was served
_VERSION = "2."
_FORM = struct.Struct(f">QHHH8s{BITS // 8}s")
_FROM_HEAD = 0xFFFF
_MAC_BYTES = 8


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next place to serve.

    `start` None: the reader began at the head of this very snapshot, so what stands before `position` was served and
    nothing else. A number: they came from a snapshot that is gone, go through this one from there, once around, and
    have passed `position` entries of it.
    """

    snapshot: int
    start: int | None
    position: int
    last: bytes  # hash of the track served last
    served: Served


def encode_cursor(cursor: Cursor, *, feed: str, key: bytes) -> str:
    """The cursor as text of 1 152 characters. `feed`: its name, and whatever else the cursor is to be good for only."""
    start = _FROM_HEAD if cursor.start is None else cursor.start
    served = cursor.served
    body = _FORM.pack(cursor.snapshot, start, cursor.position, served.count, cursor.last, served.bits)
    return _VERSION + base64.urlsafe_b64encode(body + _mac(body, feed, key)).rstrip(b"=").decode("ascii")


def decode_cursor(text: str, *, feed: str, key: bytes) -> Cursor:
    """The cursor that we wrote. Raises XrpcError InvalidRequest for any other text (P111)."""
    raw = _decode(text) if len(text) <= MAX_CURSOR_LENGTH and text.startswith(_VERSION) else b""
    body, mac = raw[: _FORM.size], raw[_FORM.size :]
    if len(body) < _FORM.size or not hmac.compare_digest(_mac(body, feed, key), mac):
        raise XrpcError("InvalidRequest", "the cursor is not one of this feed")
    snapshot, start, position, count, last, bits = _FORM.unpack(body)
    return Cursor(snapshot, None if start == _FROM_HEAD else start, position, last, Served(count, bits))


def _decode(text: str) -> bytes:
    """One cursor has one text: strict base64url without padding."""
    encoded = text.removeprefix(_VERSION)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") == encoded else b""


def _mac(body: bytes, feed: str, key: bytes) -> bytes:
    return hmac.digest(key, feed.encode() + b"\0" + body, "sha256")[:_MAC_BYTES]
