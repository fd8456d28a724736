"""Signed statements of what was heard in one audio, which anybody can verify (docs/lexicons.md has the recipe).

They have a key of their own, `#earmark_certificate`: the label key signs labels only (P45). What is signed is the
certificate as DAG-CBOR, whose `$type` nothing else that this key signs ever has. The network's data model knows no
fractions, so scores are integers.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.analysis import Analysis, Tag
from core.clock import format_datetime
from core.dagcbor import encode
from core.keys import PublicKey, SigningKey
from labeler.signing import signature_bytes

KIND = ".getAnalysis#certificate"  # how the `$type` ends; an operator's authority comes before it


def certify(
    analysis: Analysis, *, kind: str, issuer: str, audio: str, generation: str, heard_us: int, key: SigningKey
) -> dict[str, Any]:
    """The certificate and its signature, in JSON form; the same analysis always yields the same bytes.

    `kind`: the `$type`, which ends with KIND; `issuer`: the DID whose document names the key; `audio`: the CID of what
    was heard, at `heard_us`.
    """
    certificate = {
        "$type": kind,
        "issuer": issuer,
        "audio": audio,
        "analysedAt": format_datetime(heard_us),
        "durationMs": round(analysis.duration_seconds * 1000),
        "generation": generation,
        "packs": tell_packs(analysis.packs),
        "scores": [tell_score(tag) for tag in analysis.tags],
        "embeddings": [
            {"space": space.value, "dimensions": int(vector.size), "sha256": hashlib.sha256(_raw(vector)).hexdigest()}
            for space, vector in sorted(analysis.vectors.items())
        ],
    }
    sig = b64encode(key.sign(encode(certificate))).rstrip(b"=").decode("ascii")
    return {"certificate": certificate, "sig": {"$bytes": sig}, "key": key.public.did_key}


def verify_certificate(answer: Mapping[str, Any], key: PublicKey) -> bool:
    """Whether `key` (from the issuer's DID document) signed the certificate in this answer. Never raises."""
    try:
        certificate = answer["certificate"]
        named = str(certificate["$type"]).endswith(KIND)
        return named and key.verify(encode(certificate), signature_bytes(answer["sig"]))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return False


def tell_score(tag: Tag) -> dict[str, Any]:
    """One output of a model, its score in millionths."""
    return {"tagger": tag.model, "name": tag.name, "score": millionths(tag.score)}


def tell_packs(packs: Mapping[str, str]) -> list[dict[str, Any]]:
    """Names and hashes of the models, by name."""
    return [{"name": name, "hash": packs[name]} for name in sorted(packs)]


def millionths(share: float) -> int:
    """A number 0..1 as an integer: XRPC and DAG-CBOR of the network have no fractions."""
    return min(1_000_000, max(0, round(share * 1_000_000)))


def _raw(vector: Any) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()
