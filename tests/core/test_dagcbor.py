"""Canonical bytes and the CIDs of them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dagcbor import (
    DAG_CBOR,
    RAW,
    SEAL,
    BadCbor,
    cid_binary,
    cid_bytes,
    cid_of,
    cid_text,
    decode,
    decode_multi,
    encode,
    encode_signed,
    is_cid,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


@given(values)
def test_p6_what_is_encoded_decodes_to_itself(value: object) -> None:
    assert decode(encode(value)) == value
    assert decode_multi(encode(value) + encode("next")) == [value, "next"]


@given(st.dictionaries(st.text(max_size=6), st.integers(0, 9), max_size=6))
def test_p6_map_keys_go_by_length_then_bytes_whatever_order_they_came_in(mapping: dict[str, int]) -> None:
    assert encode(mapping) == encode(dict(reversed(mapping.items())))
    keys = [key.encode() for key in decode(encode(mapping))]
    assert keys == sorted(keys, key=lambda key: (len(key), key))


@given(st.binary(max_size=60))
def test_p139_bytes_that_are_no_cbor_are_one_kind_of_error(junk: bytes) -> None:
    for read in (decode, decode_multi):
        with suppress(BadCbor):
            read(junk)


def test_p139_deep_nesting_is_refused_not_fatal() -> None:
    with pytest.raises(BadCbor):
        decode(b"\x81" * 100_000 + b"\x01")


@given(st.binary(max_size=100), st.sampled_from([RAW, DAG_CBOR]))
def test_p182_cids_read_back(block: bytes, codec: int) -> None:
    binary = cid_bytes(block, codec)
    text = cid_of(block, codec)
    assert is_cid(binary)
    assert cid_text(binary) == text
    assert cid_binary(text) == binary


def test_a_known_cid() -> None:
    assert cid_of(b"", RAW) == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bafy",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",  # version 0
        "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",  # base58
        "b" * 200,
    ],
)
def test_p182_other_kinds_of_cid_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"CID|[Bb]ase"):
        cid_binary(text)


def test_a_signature_is_a_byte_string_whatever_it_looks_like() -> None:
    sig = bytes.fromhex("0155123c").ljust(64, b"s")
    assert encode({"sig": sig})[5:8] == b"\xd8\x2a\x58"  # why there is `encode_signed`
    assert encode_signed({"sig": SEAL}, [sig]) == b"\xa1\x63sig\x58\x40" + sig
    assert encode_signed({"a": [1]}, []) == encode({"a": [1]})
    for value, sigs in (({"sig": SEAL}, []), ({}, [sig]), ({"sig": SEAL}, [sig[1:]])):
        with pytest.raises(ValueError, match=r"bytes|zip"):
            encode_signed(value, sigs)
