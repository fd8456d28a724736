"""Cursors: where a reader stands in a snapshot, as a short text that only we can have written (P109-P111).

`1.<snapshot>.<position>.<hash of the last entry served>.<mac>`. The MAC covers the feed too, so that a cursor of one
feed means nothing in another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from core.errors import XrpcError

MAX_CURSOR_LENGTH = 1200  # FEEDS section 5, over P111's 512: a later version carries what was already served
_FORM = re.compile(r"1\.([0-9]{1,16})\.([0-9]{1,6})\.([0-9a-f]{16})\.([A-Za-z0-9_-]{11})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next place to serve in a snapshot, and the hash (8 bytes) of the track served last."""

    snapshot: int
    position: int
    last: bytes


def hash_track(uri: str) -> bytes:
    """What a cursor remembers of a track: 8 bytes."""
    return hashlib.blake2b(uri.encode(), digest_size=8).digest()


def encode_cursor(cursor: Cursor, *, feed: str, key: bytes) -> str:
    """The cursor as text, at most 60 characters."""
    text = f"1.{cursor.snapshot}.{cursor.position}.{cursor.last.hex()}"
    return f"{text}.{_mac(text, feed, key)}"


def decode_cursor(text: str, *, feed: str, key: bytes) -> Cursor:
    """The cursor that we wrote. Raises XrpcError InvalidRequest for any other text (P111)."""
    match = _FORM.match(text) if len(text) <= MAX_CURSOR_LENGTH else None
    if match is None or not hmac.compare_digest(_mac(text[: match.end(3)], feed, key), match[4]):
        raise XrpcError("InvalidRequest", "the cursor is not one of this feed")
    return Cursor(int(match[1]), int(match[2]), bytes.fromhex(match[3]))


def _mac(text: str, feed: str, key: bytes) -> str:
    digest = hmac.digest(key, f"{feed} {text}".encode(), "sha256")[:8]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
