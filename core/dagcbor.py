"""DAG-CBOR and CIDs of the data model (spec/data-model), on libipld; every CID is checked by its hash.

libipld gives CID links as raw CID bytes and encodes bytes that are a CID as a link again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeGuard

import libipld

from core.types import Cid

RAW = 0x55
DAG_CBOR = 0x71
_SHA256_HEAD = bytes((0x12, 0x20))
MAX_CID_BYTES = 100  # P138
SEAL = b"\xff" * 64  # the place of a signature in what `encode_signed` is given: no text and no CID holds these bytes


class BadCbor(ValueError):
    """Bytes that are not DAG-CBOR, or nest deeper than the decoder allows (P139)."""


def encode(value: Any) -> bytes:
    """Canonical DAG-CBOR: keys by encoded length, then bytewise (P6)."""
    return libipld.encode_dag_cbor(value)


def encode_signed(value: Any, sigs: Sequence[bytes]) -> bytes:
    """The same with these signatures of 64 bytes, in order, where the value holds SEAL.

    `encode` takes one of some nine hundred signatures for a CID, by its first bytes, and writes a link that no reader
    accepts as a signature.
    """
    if any(len(sig) != len(SEAL) for sig in sigs):
        raise ValueError(f"a signature has {len(SEAL)} bytes")
    first, *others = encode(value).split(SEAL)
    return first + b"".join([sig + part for sig, part in zip(sigs, others, strict=True)])


def decode(data: bytes) -> Any:
    """One DAG-CBOR item. Raises BadCbor."""
    try:
        return libipld.decode_dag_cbor(data)
    except (ValueError, RecursionError, OverflowError) as error:
        raise BadCbor(str(error)[:200]) from None


def decode_multi(data: bytes) -> list[Any]:
    """All concatenated DAG-CBOR items. Raises BadCbor."""
    try:
        return libipld.decode_dag_cbor_multi(data)  # a list
    except (ValueError, RecursionError, OverflowError) as error:
        raise BadCbor(str(error)[:200]) from None


def cid_bytes(data: bytes, codec: int = DAG_CBOR) -> bytes:
    """Binary CIDv1 (sha2-256) of a block."""
    return bytes((0x01, codec)) + _SHA256_HEAD + hashlib.sha256(data).digest()


def cid_of(data: bytes, codec: int = DAG_CBOR) -> Cid:
    """CIDv1 (sha2-256) of a block as text."""
    return Cid(libipld.encode_cid(cid_bytes(data, codec)))


def cid_text(binary: bytes) -> Cid:
    """Text form of a binary CID. Raises ValueError."""
    return Cid(libipld.encode_cid(binary))


def cid_binary(text: str) -> bytes:
    """Binary form of a CIDv1 with sha2-256 (P182). Raises ValueError for anything else."""
    if len(text) > MAX_CID_BYTES or not text.startswith("b"):
        raise ValueError(f"not a CIDv1 in base32: {text[:40]!r}")
    parts = libipld.decode_cid(text)
    multihash = parts["hash"]
    if parts["version"] != 1 or multihash["code"] != 0x12 or len(multihash["digest"]) != 32:
        raise ValueError(f"unsupported kind of CID: {text[:80]!r}")
    return bytes((0x01, parts["codec"])) + _SHA256_HEAD + bytes(multihash["digest"])


def is_cid(binary: object) -> TypeGuard[bytes]:
    """Whether this decoded value is a binary CIDv1 with sha2-256."""
    return (
        isinstance(binary, bytes)
        and len(binary) == 36
        and binary[0] == 1
        and binary[1] < 128
        and binary[2:4] == _SHA256_HEAD
    )
