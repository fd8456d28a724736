"""What `feedContext` says of an entry: which track of which feed, why, and roughly how well it fits, with a MAC (P130).

It travels through the reader's app and comes back with interactions: nothing secret is in it, no raw score, and what
comes back counts only if it is ours.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass

from core.feed import FeedEntry, Reason
from feedgen.served import hash_track

MAX_CONTEXT_BYTES = 2_000  # P130
_LABEL = b"earmark feedContext 1"  # so that this key is no other one made of the same secret
_MAC_BYTES = 12


@dataclass(frozen=True, slots=True)
class Context:
    """`bucket`: the score in tenths, 0..10 and for some feeds a little more."""

    track: bytes  # hash_track of its at-uri
    rkey: str
    reason: Reason
    bucket: int

    def is_of(self, track_uri: str) -> bool:
        """Whether it speaks of this track."""
        return hash_track(track_uri) == self.track


class Contexts:
    """Writes them and tells its own from others'. `secret`: bytes that no reader knows, from which a key of its own is
    derived; without one, only what this very object wrote is known again.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._key = hmac.digest(secret or secrets.token_bytes(32), _LABEL, "sha256")

    def write(self, rkey: str, entry: FeedEntry) -> str:
        """`track|feed|reason|bucket|mac`, the track and the MAC in base64url: some 60 characters."""
        track = _encode(hash_track(entry.track_uri))
        body = f"{track}|{rkey}|{entry.reason.value}|{round(entry.score * 10)}"
        context = f"{body}|{self._mac(body)}"
        if len(context.encode()) > MAX_CONTEXT_BYTES:
            raise AssertionError("feedContext is too long")
        return context

    def read(self, text: str) -> Context | None:
        """What we wrote; None for any other text."""
        body, _, mac = text[:MAX_CONTEXT_BYTES].rpartition("|")
        if not text.isascii() or not hmac.compare_digest(self._mac(body), mac):
            return None
        track, rkey, reason, bucket = body.split("|")
        return Context(_decode(track), rkey, Reason(reason), int(bucket))

    def _mac(self, body: str) -> str:
        return _encode(hmac.digest(self._key, body.encode(), "sha256")[:_MAC_BYTES])


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
