"""What rooms are handed by the composition root: protocols only, so that siblings never import each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from core.analysis import Analysis, Vector
from core.keys import PublicKey
from core.types import AtUri, Cid, Did, Tid, Track, Visibility


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer within the caps. `headers` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class SafeHttp(Protocol):
    """The one HTTP client for small outside documents (P206): https, vetted addresses, caps, no redirects."""

    async def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 512 * 1024,
        timeout_seconds: float = 10.0,
    ) -> HttpAnswer:
        """Any HTTP status is an answer. Raises UnsafeHost, Unreachable, RateLimited."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """What a DID document says (P207, P208). The handle is a claim until verified."""

    did: Did
    pds: str | None = None  # origin without trailing slash
    signing_key: PublicKey | None = None  # #atproto
    label_key: PublicKey | None = None  # #atproto_label
    certificate_key: PublicKey | None = None  # #earmark_certificate
    handle_claim: str | None = None
    services: Mapping[str, str] = field(default_factory=dict)  # "atproto_labeler" -> endpoint


class Directory(Protocol):
    """DID -> Identity with a bounded cache."""

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        """Raises UnknownDid (permanent), UnsafeHost, Unreachable, Crowded. `refresh` bypasses the cache once."""
        ...

    def forget(self, did: str) -> None:
        """Drop what is cached (an #identity event, P154)."""
        ...


@dataclass(frozen=True, slots=True)
class Proven:
    """What an account's signed tree says of one record at `rev` (P174). `cid` None: it holds no such record."""

    uri: AtUri
    rev: Tid
    cid: Cid | None
    record: Mapping[str, Any] | None  # JSON form; None when absent or not a map


class Prover(Protocol):
    """Fetches single records with proof from their account's host."""

    async def prove(self, uri: AtUri) -> Proven:
        """Raises AccountAway, Unproven, UnknownDid, UnsafeHost, Unreachable, RateLimited."""
        ...


class Audio(Protocol):
    """Fetches the audio of a track to a private temporary file that is gone when the context ends."""

    def fetch(self, track: Track) -> AbstractAsyncContextManager[Path]:
        """Raises NoAudio, BlobGone, BlobTooLarge, BlobMismatch, UnsafeHost, Unreachable, RateLimited, Deadline."""
        ...


@dataclass(frozen=True, slots=True)
class VisibilityAnswer:
    """What the publishing app said of a track: PUBLIC or HIDDEN, and the page people open if it is public."""

    visibility: Visibility
    page_url: str | None = None


class VisibilityCheck(Protocol):
    """Asks the publishing app whether its artist wants a track to be found (LEXICONS 3.3)."""

    async def check(self, track: Track) -> VisibilityAnswer:
        """Raises Unanswered when there is no usable answer: never fail open."""
        ...


class Analyst(Protocol):
    """Listens to one local file in a supervised child process, and places texts beside it."""

    @property
    def packs(self) -> Mapping[str, str]:
        """Name -> hash of the packs that listen; known once started."""
        ...

    async def analyse(self, path: Path) -> Analysis:
        """Raises NotAudio, Undecodable, Truncated, TooShort, TooLong, ChildCrashed, Deadline."""
        ...

    async def embed(self, texts: Sequence[str], *, keep: bool = False) -> Vector:
        """f32 [texts, 512], each of length 1, in the space CLAP; `keep` remembers them for the next start.

        Raises Misconfigured without the clap pack.
        """
        ...
