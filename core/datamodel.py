"""Records between DAG-CBOR and the JSON form of the data model, `{"$link"}` and `{"$bytes"}` (spec/data-model, P138).

Both ways are strict: what breaks a rule of the data model is no record, whichever wire it came by.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from core.dagcbor import cid_binary, cid_text, is_cid

MAX_DEPTH = 32  # P138, as are the next three
MAX_ENTRIES = 131_072  # of one container
MAX_KEY_BYTES = 8192
MAX_INTEGER = 2**53


def to_json_form(value: Any, depth: int = 0) -> Any:
    """The JSON form of decoded DAG-CBOR. Raises ValueError."""
    if isinstance(value, dict):
        _check_size(value, depth)
        if "$link" in value or "$bytes" in value:
            raise ValueError("a map that looks like a link or bytes")
        form = {_checked_key(key): to_json_form(member, depth + 1) for key, member in value.items()}
        _check_type(form)
        return form
    if isinstance(value, list):
        _check_size(value, depth)
        return [to_json_form(member, depth + 1) for member in value]
    if is_cid(value):
        return {"$link": cid_text(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).rstrip(b"=").decode()}
    return _checked_scalar(value)


def from_json_form(form: Any, depth: int = 0) -> Any:
    """What the JSON form of a record stands for, ready to be encoded as DAG-CBOR. Raises ValueError."""
    if isinstance(form, dict):
        _check_size(form, depth)
        if "$link" in form or "$bytes" in form:
            return _special(form)
        _check_type(form)
        return {_checked_key(key): from_json_form(member, depth + 1) for key, member in form.items()}
    if isinstance(form, list):
        _check_size(form, depth)
        return [from_json_form(member, depth + 1) for member in form]
    return _checked_scalar(form)


def _special(form: Mapping[str, Any]) -> bytes:
    if len(form) != 1:
        raise ValueError("a link or bytes with other fields")
    ((name, text),) = form.items()
    if not isinstance(text, str):
        raise ValueError(f"{name} is not text")
    if name == "$link":
        return cid_binary(text)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("$bytes is not base64") from None


def _check_size(container: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if len(container) > MAX_ENTRIES:
        raise ValueError("a container has too many entries")


def _checked_key(key: str) -> str:
    if len(key) > MAX_KEY_BYTES or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise ValueError("a key is too long")
    return key


def _check_type(form: Mapping[str, Any]) -> None:
    """`$type` is a name wherever it stands, and a blob has its three fields (P185)."""
    kind = form.get("$type", "none")
    if not isinstance(kind, str) or not kind:
        raise ValueError("$type is not a name")
    if kind == "blob":
        ref, size = form.get("ref"), form.get("size")
        if not isinstance(ref, dict) or "$link" not in ref or not isinstance(form.get("mimeType"), str):
            raise ValueError("a blob without link or type")
        if type(size) is not int and not (isinstance(size, float) and size.is_integer()):
            raise ValueError("a blob without size")


def _checked_scalar(value: Any) -> Any:
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError("the data model has no fractions")
        value = int(value)  # JSON from other encoders writes 1 as 1.0
    if type(value) is int and abs(value) > MAX_INTEGER:
        raise ValueError("an integer is too large")
    return value
