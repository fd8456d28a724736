"""Records as JSON and as DAG-CBOR values (spec/data-model): `$link` and `$bytes` against CIDs and bytes."""

from __future__ import annotations

import base64
from typing import Any

from core.dagcbor import cid_binary
from core.types import Cid


def from_json(value: Any) -> Any:
    """The DAG-CBOR form of a JSON value. Raises ValueError for a float or a bad link."""
    if isinstance(value, dict):
        if value.keys() == {"$link"}:
            return cid_binary(value["$link"])
        if value.keys() == {"$bytes"}:
            text = value["$bytes"]
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        return {key: from_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [from_json(inner) for inner in value]
    if isinstance(value, float):
        raise ValueError("the data model has no floats")
    return value


def blobs_in(value: Any) -> frozenset[Cid]:
    """CIDs of all blobs that a JSON record references."""
    if isinstance(value, dict):
        if value.get("$type") == "blob":
            return frozenset((Cid(value["ref"]["$link"]),))
        return frozenset().union(*map(blobs_in, value.values()))
    if isinstance(value, list):
        return frozenset().union(*map(blobs_in, value))
    return frozenset()
