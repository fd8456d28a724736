"""The JSON form of records against DAG-CBOR, by the interop files and beyond (P138, P172, P185)."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dagcbor import cid_bytes, cid_of, cid_text, decode, encode
from core.datamodel import MAX_DEPTH, MAX_ENTRIES, MAX_INTEGER, MAX_KEY_BYTES, from_json_form, to_json_form

SHARED = Path(os.environ.get("EARMARK_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
INTEROP = SHARED / "protocol" / "interop" / "atproto-interop-tests" / "data-model"
needs_interop = pytest.mark.skipif(not INTEROP.exists(), reason=f"interop files are not at {INTEROP}")


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((INTEROP / name).read_text("utf-8"))
    assert found
    return found


def as_record(form: Any) -> bytes:
    """A record is a map: the block of one."""
    if not isinstance(form, dict):
        raise ValueError("a record is a map")
    return encode(from_json_form(form))


@needs_interop
def test_P6_P172_json_becomes_the_very_bytes_and_cids_of_the_interop_file_and_back() -> None:
    for case in cases("data-model-fixtures.json"):
        block = base64.b64decode(case["cbor_base64"] + "==")
        assert as_record(case["json"]) == block
        assert cid_of(block) == case["cid"]
        assert to_json_form(decode(block)) == case["json"]


@needs_interop
def test_P138_valid_forms_of_the_interop_file_pass() -> None:
    for case in cases("data-model-valid.json"):
        assert to_json_form(decode(as_record(case["json"]))) == case["json"], case["note"]


@needs_interop
def test_P138_P185_invalid_forms_of_the_interop_file_are_refused() -> None:
    accepted = []
    for case in cases("data-model-invalid.json"):
        try:
            as_record(case["json"])
        except ValueError:
            continue
        accepted.append(case["note"])
    assert accepted == []


LINK = cid_bytes(b"x")
FORMS = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=10) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=15,
)


@given(FORMS)
def test_what_the_data_model_holds_goes_both_ways(value: Any) -> None:
    record = {"link": LINK, "value": value}
    assert from_json_form(json.loads(json.dumps(to_json_form(record)))) == record


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(MAX_DEPTH + 2),
        [None] * (MAX_ENTRIES + 1),
        {"k" * (MAX_KEY_BYTES + 1): 1},
        {"é" * (MAX_KEY_BYTES // 2 + 1): 1},
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        1.5,
        float("nan"),
        float("inf"),
        {"$type": ""},
        {"$type": "blob", "ref": "x", "mimeType": "audio/mpeg", "size": 1},
        {"$type": "blob", "ref": {"$link": cid_text(LINK)}, "mimeType": "audio/mpeg", "size": True},
        {"$bytes": "a", "$link": "b"},
    ],
)
def test_P138_both_ways_refuse_what_no_record_may_hold(value: Any) -> None:
    for convert in (to_json_form, from_json_form):
        with pytest.raises(ValueError, match=r"\w"):
            convert({"value": value})


def test_a_map_in_cbor_that_looks_like_a_link_is_no_link() -> None:
    with pytest.raises(ValueError, match="looks like"):
        to_json_form(decode(encode({"ref": {"$link": cid_text(LINK)}})))


def test_P138_the_deepest_that_is_allowed_passes() -> None:
    assert from_json_form(to_json_form(nested(MAX_DEPTH + 1))) == nested(MAX_DEPTH + 1)
