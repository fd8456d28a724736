"""Labels as bytes: what is signed, how it is verified, and the JSON and CBOR forms (P1-P16).

Signing and verifying are not mirror images: we sign only the form that we would write ourselves (P4), and
we verify what somebody else wrote as they wrote it (P5).
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from core.clock import parse_datetime
from core.dagcbor import encode
from core.keys import PublicKey, SigningKey
from core.label import FIELD_TYPES, MAX_VAL_BYTES, VERSION, Label
from core.types import AtUri, parse_did

_REQUIRED = ("src", "uri", "val", "cts")


class BadLabel(ValueError):
    """Not a label of version 1 that anybody should sign or believe."""


def label_from(source: Mapping[str, Any]) -> Label:
    """The label in any mapping: specified fields only, nulls and `neg: false` dropped, `ver` defaulting to 1 (P3, P4).

    `sig` may be raw bytes, the JSON form `{"$bytes": ...}`, or absent. Raises BadLabel.
    """
    given = {name: source[name] for name in FIELD_TYPES if source.get(name) is not None}
    for name, value in given.items():
        if type(value) is not FIELD_TYPES[name]:
            raise BadLabel(f"{name} of a label must be {FIELD_TYPES[name].__name__}")
    missing = [name for name in _REQUIRED if name not in given]
    if missing:
        raise BadLabel(f"a label needs {', '.join(missing)}")
    sig = signature_bytes(source["sig"]) if source.get("sig") is not None else None
    return Label(**given, sig=sig)


def bytes_to_sign(label: Label) -> bytes:
    """Canonical DAG-CBOR without `sig`, with `ver`, absent optionals omitted (P3, P6)."""
    fields = label.fields()
    fields.pop("sig", None)
    return encode(fields)


def sign(label: Label, key: SigningKey) -> Label:
    """The label with our signature over its strings verbatim (P7-P9, P11). Raises BadLabel."""
    return sign_all([label], key)[0]


def sign_all(labels: Sequence[Label], key: SigningKey) -> list[Label]:
    """The labels with our signatures, in order. Raises BadLabel, then none is signed.

    The only use of the label key: it never signs bytes or maps that a caller supplies (P45).
    """
    _check(labels)
    return [label.signed(key.sign(bytes_to_sign(label))) for label in labels]


def verify(received: Mapping[str, Any], key: PublicKey) -> bool:
    """Whether `key` signed this label, over its specified fields as received (P5). Never raises.

    A received `neg: false` stays: some labelers sign it. Unspecified fields are never part of what is signed (P1).
    """
    fields = {name: received[name] for name in FIELD_TYPES if name in received}
    if fields.get("ver") != VERSION or any(type(value) is not FIELD_TYPES[name] for name, value in fields.items()):
        return False
    try:
        return key.verify(encode(fields), signature_bytes(received.get("sig")))
    except ValueError:  # no signature, or text that is not UTF-8 encodable
        return False


def signature_bytes(value: object) -> bytes:
    """The bytes of a signature as CBOR (bytes) or JSON (`$bytes`, padded or not) carries it. Raises BadLabel."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, Mapping) and set(value) == {"$bytes"} and isinstance(value["$bytes"], str):
        text = value["$bytes"].rstrip("=")
        try:
            return b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    raise BadLabel("a label's sig must be bytes")


def check_value(val: str) -> None:
    """Refuse what cannot be the value of a label (P16). Raises BadLabel."""
    if not 1 <= len(val.encode()) <= MAX_VAL_BYTES:
        raise BadLabel(f"val must have 1 to {MAX_VAL_BYTES} bytes")


def check_subject(uri: str) -> None:
    """Refuse what nobody can label: anything but a record's at-uri or a DID (P14). Raises BadLabel."""
    try:
        if uri.startswith("at://"):
            AtUri.parse(uri)
        else:
            parse_did(uri)
    except ValueError as error:
        raise BadLabel(str(error)) from None


def _check(labels: Sequence[Label]) -> None:
    """Refuse to put our name under what readers drop or misread (P12, P14, P16, P37): each distinct part once."""
    for val in {label.val for label in labels}:
        check_value(val)
    for uri in {label.uri for label in labels}:
        check_subject(uri)
    if any(label.ver != VERSION for label in labels):
        raise BadLabel(f"we sign version {VERSION}")
    try:
        for src in {label.src for label in labels}:
            parse_did(src)
        for cts, exp in {(label.cts, label.exp) for label in labels}:
            created_us = parse_datetime(cts)
            if exp is not None and parse_datetime(exp) <= created_us:
                raise BadLabel("exp must be later than cts")
    except ValueError as error:
        raise BadLabel(str(error)) from None
