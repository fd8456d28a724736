"""Identifiers and records of the network as frozen values; parsing is strict and never fetches."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NewType

Did = NewType("Did", str)
Nsid = NewType("Nsid", str)
Cid = NewType("Cid", str)
Tid = NewType("Tid", str)

# P204/P205: general DID syntax; the methods that the network uses are checked where keys are resolved.
_DID = re.compile(r"^did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]$")
_PLC = re.compile(r"^did:plc:[a-z2-7]{24}$")
_NSID = re.compile(
    r"^[a-zA-Z](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)+"
    r"\.[a-zA-Z][a-zA-Z0-9]{0,62}$"
)
_RKEY = re.compile(r"^[A-Za-z0-9_~.:-]{1,512}$")
_TID = re.compile(r"^[234567abcdefghij][234567abcdefghijklmnopqrstuvwxyz]{12}$")
_TID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"


def parse_did(text: str) -> Did:
    """The DID if it is syntactically valid (spec/did). Raises ValueError."""
    if len(text) > 2048 or not _DID.match(text) or text.endswith("\n"):
        raise ValueError(f"not a DID: {text[:80]!r}")
    return Did(text)


def is_plc(did: str) -> bool:
    """Whether this is a did:plc (P205: exactly 24 base32 characters)."""
    return bool(_PLC.match(did)) and not did.endswith("\n")


def parse_nsid(text: str) -> Nsid:
    """The NSID if valid (spec/nsid). Raises ValueError."""
    if len(text) > 317 or not _NSID.match(text) or text.endswith("\n"):
        raise ValueError(f"not an NSID: {text[:80]!r}")
    return Nsid(text)


def parse_rkey(text: str) -> str:
    """The record key if valid (spec/record-key). Raises ValueError."""
    if text in (".", "..") or not _RKEY.match(text) or text.endswith("\n"):
        raise ValueError(f"not a record key: {text[:80]!r}")
    return text


def is_tid(text: str) -> bool:
    """Whether this is a TID (spec/tid): 13 characters, top bit zero."""
    return bool(_TID.match(text)) and not text.endswith("\n")


def tid_microseconds(tid: str) -> int:
    """Unix microseconds in a TID. Raises ValueError if it is none."""
    if not is_tid(tid):
        raise ValueError(f"not a TID: {tid[:20]!r}")
    value = 0
    for char in tid:
        value = value * 32 + _TID_ALPHABET.index(char)
    return value >> 10


def make_tid(microseconds: int, clock_id: int = 0) -> Tid:
    """The TID of a time in unix microseconds (0 <= clock_id < 1024)."""
    value = (microseconds << 10) | clock_id
    chars = []
    for _ in range(13):
        chars.append(_TID_ALPHABET[value & 31])
        value >>= 5
    return Tid("".join(reversed(chars)))


@dataclass(frozen=True, slots=True)
class AtUri:
    """The address of one record: `at://did/collection/rkey`. Handles are never accepted (P14, P211)."""

    did: Did
    collection: Nsid
    rkey: str

    def __str__(self) -> str:
        return f"at://{self.did}/{self.collection}/{self.rkey}"

    @classmethod
    def parse(cls, text: str) -> AtUri:
        """Strict and canonical: three parts, no query, fragment or trailing slash. Raises ValueError."""
        if not text.startswith("at://") or len(text) > 8192:
            raise ValueError(f"not an at-uri of a record: {text[:80]!r}")
        parts = text[5:].split("/")
        if len(parts) != 3:
            raise ValueError(f"not an at-uri of a record: {text[:80]!r}")
        return cls(parse_did(parts[0]), parse_nsid(parts[1]), parse_rkey(parts[2]))


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob that a record claims: all three are a stranger's words until verified (P184)."""

    cid: Cid
    mime: str
    size: int | None  # bytes; None in the legacy form (P185)


class Visibility(StrEnum):
    """What the publishing app says of a track when asked (LEXICONS 3.3)."""

    UNKNOWN = "unknown"  # not asked yet, or no answer: never shown
    PUBLIC = "public"
    HIDDEN = "hidden"  # unlisted, supporters, private, or unknown to the app


class TrackState(StrEnum):
    """Where a track is on its way."""

    QUEUED = "queued"
    ANALYSING = "analysing"
    READY = "ready"
    UNDECIDED = "undecided"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Track:
    """A music record of any collection in normal form (LEXICONS section 5). Times are unix microseconds."""

    uri: AtUri
    cid: Cid
    rev: Tid
    title: str
    created_us: int
    artist: str | None = None
    album: str | None = None
    duration_ms: int | None = None
    blob: BlobRef | None = None
    audio_url: str | None = None
    page_url: str | None = None
    self_labels: tuple[str, ...] = ()
    author_tags: tuple[str, ...] = ()
    credits: tuple[str, ...] = ()
    explicit: bool = False
    gated: bool = False
    visibility_check: str | None = None  # name of the adapter that must say "public"
    role: Literal["track", "sound", "speech", "stem", "video"] = "track"
    feeds_min_seconds: float | None = None  # shorter ones of this collection stay out of music feeds
    hold_until_us: int | None = None  # its artist releases it then: nothing is fetched or said before
    post_refs: tuple[str, ...] = ()  # at-uris of posts that the record itself names (R3)
    verified: bool = False  # seen in its account's signed tree
    isrc: str | None = None  # of the recording, as its artist states it: 12 letters and digits
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def did(self) -> Did:
        return self.uri.did

    @property
    def audio_key(self) -> str | None:
        """What an analysis is keyed by: the CID of the blob, else `url:` and the address, else None."""
        if self.blob is not None:
            return self.blob.cid
        return f"url:{self.audio_url}" if self.audio_url else None


@dataclass(frozen=True, slots=True)
class Account:
    """What the account's host last said of it (P151-P153)."""

    did: Did
    active: bool
    status: str | None = None
