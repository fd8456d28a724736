"""The did:web document of the service itself (P99)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from core.keys import PublicKey


def build_did_document(
    did: str, endpoint: str, *, label_key: PublicKey | None = None, certificate_key: PublicKey | None = None
) -> dict[str, Any] | None:
    """The document for `/.well-known/did.json`, or None when `did` is not the did:web of the endpoint's host.

    `endpoint` is the origin that the world uses, without a path. With `label_key` the same DID is a labeler too: its
    service and the key of its signatures are listed. `certificate_key` signs what was heard, and nothing else (P45).
    """
    if did != _web_did(endpoint):
        return None
    document: dict[str, Any] = {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "service": [{"id": "#bsky_fg", "type": "BskyFeedGenerator", "serviceEndpoint": endpoint}],
    }
    keys = {"atproto_label": label_key, "earmark_certificate": certificate_key}
    methods = [
        {"id": f"{did}#{name}", "type": "Multikey", "controller": did, "publicKeyMultibase": key.multikey}
        for name, key in keys.items()
        if key is not None
    ]
    if methods:
        document["@context"].append("https://w3id.org/security/multikey/v1")
        document["verificationMethod"] = methods
    if label_key is not None:
        document["service"].append({"id": "#atproto_labeler", "type": "AtprotoLabeler", "serviceEndpoint": endpoint})
    return document


def _web_did(endpoint: str) -> str | None:
    split = urlsplit(endpoint)
    if not split.hostname or split.path or split.query:
        return None
    # On loopback the DID says `localhost`, whatever address we listen on (P205: did:web knows no addresses).
    host = "localhost" if split.hostname in ("127.0.0.1", "::1") else split.hostname
    return f"did:web:{host}" + (f"%3A{split.port}" if split.port else "")
