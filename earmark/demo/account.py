"""An account of the test network: its keys, its repository, its blobs, and the DID document that says so."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.dagcbor import RAW, cid_text
from core.keys import PublicKey, SigningKey
from core.types import Cid, Did
from earmark.demo.repo import Repo

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes under a CID: in memory, or a file on disk that is read when somebody asks."""

    cid: Cid
    mime: str
    size: int
    source: bytes | Path

    @classmethod
    def of(cls, source: bytes | Path, mime: str) -> Blob:
        """Hash the bytes or the file. Raises OSError."""
        digest, size = hashlib.sha256(), 0
        if isinstance(source, bytes):
            digest.update(source)
            size = len(source)
        else:
            with source.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
        return cls(cid_text(bytes((0x01, RAW, 0x12, 0x20)) + digest.digest()), mime, size, source)

    def to_ref(self) -> dict[str, Any]:
        """The reference that a record carries (P185)."""
        return {"$type": "blob", "ref": {"$link": self.cid}, "mimeType": self.mime, "size": self.size}


@dataclass(slots=True, eq=False)
class DemoAccount:
    """One account. `label_key` and `services` make it a labeler and a feed generator (P207, P82)."""

    did: Did
    handle: str
    key: SigningKey
    repo: Repo
    active: bool = True
    status: str | None = None
    label_key: PublicKey | None = None
    services: dict[str, tuple[str, str]] = field(default_factory=dict)  # "bsky_fg" -> (type, endpoint)
    blobs: dict[Cid, Blob] = field(default_factory=dict)

    def keeps(self, cid: str) -> Blob | None:
        """The blob if it was uploaded and a record still references it."""
        blob = self.blobs.get(Cid(cid))
        kept = blob and any(blob.cid in record.blobs for record in self.repo.records.values())
        return blob if kept else None

    def to_document(self, pds: str) -> dict[str, Any]:
        """The DID document as today's directory writes it: Multikey, absolute ids."""
        methods = {"atproto": self.key.public} | ({"atproto_label": self.label_key} if self.label_key else {})
        services = {"atproto_pds": ("AtprotoPersonalDataServer", pds), **self.services}
        return {
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            "id": self.did,
            "alsoKnownAs": [f"at://{self.handle}"],
            "verificationMethod": [
                {
                    "id": f"{self.did}#{name}",
                    "type": "Multikey",
                    "controller": self.did,
                    "publicKeyMultibase": key.multikey,
                }
                for name, key in methods.items()
            ],
            "service": [
                {"id": f"{self.did}#{name}", "type": kind, "serviceEndpoint": endpoint}
                for name, (kind, endpoint) in services.items()
            ],
        }


def derive_key(seed: str, handle: str) -> SigningKey:
    """The same account key for the same seed and handle. Good for a test network and nothing else."""
    return SigningKey(hashlib.sha256(f"{seed} {handle}".encode()).digest())


def derive_did(key: SigningKey) -> Did:
    """A well-formed did:plc (P205); a real one hashes its genesis operation, which is not kept here."""
    digest = hashlib.sha256(key.public.point).digest()
    return Did(f"did:plc:{base64.b32encode(digest).decode('ascii').lower()[:24]}")
