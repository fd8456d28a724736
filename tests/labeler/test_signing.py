"""Every label vector, both ways: what we sign is what the reference signs, what we refuse is what it refuses."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Misconfigured
from core.keys import PublicKey, SigningKey
from core.label import Label
from labeler.label_key import load_label_key
from labeler.signing import BadLabel, bytes_to_sign, label_from, sign, signature_bytes, verify

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "label-signing-vectors.json").read_text())
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def cases(group: str) -> Any:
    return pytest.mark.parametrize("case", VECTORS[group], ids=lambda case: case["name"])


def key(name: str) -> SigningKey:
    return SigningKey.from_hex(VECTORS["keys"][name]["privateKeyHex"])


def sign_p256(secret_hex: str, data: bytes) -> bytes:
    """Deterministic and low-S, by another library than the room's own: we hold no p256 keys."""
    private = ec.derive_private_key(int(secret_hex, 16), ec.SECP256R1())
    r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")


@cases("vectors")
def test_p3_p6_p7_p9_p11_valid_vectors_sign_to_the_same_bytes(case: dict[str, Any]) -> None:
    label = label_from(case["label"])
    data = bytes_to_sign(label)
    assert data.hex() == case["cborHex"]
    if case["curve"] == "k256":
        assert sign(label, key(case["key"])).sig == bytes.fromhex(case["sigHex"])
    else:
        assert sign_p256(VECTORS["keys"][case["key"]]["privateKeyHex"], data).hex() == case["sigHex"]


@cases("vectors")
def test_p8_p13_p84_valid_vectors_verify_in_every_form(case: dict[str, Any]) -> None:
    public = PublicKey.from_did_key(case["didKey"])
    assert public == PublicKey.from_multikey(case["publicKeyMultibase"])
    raw = bytes.fromhex(case["sigHex"])
    padded = b64encode(raw).decode()
    for sig in (raw, {"$bytes": padded}, {"$bytes": padded.rstrip("=")}):
        received = {**case["label"], "sig": sig}
        assert verify(received, public)
        assert not verify({**received, "val": received["val"] + "x"}, public)
    assert verify(label_from({**case["label"], "sig": raw}).json_form(), public)


@cases("acceptOnVerifyOnly")
def test_p5_what_was_signed_with_neg_false_verifies_and_is_never_written(case: dict[str, Any]) -> None:
    public = PublicKey.from_did_key(case["didKey"])
    assert verify({**case["label"], "sig": bytes.fromhex(case["sigHex"])}, public)
    ours = sign(label_from(case["label"]), key(case["key"]))
    assert "neg" not in ours.fields()
    assert ours.sig != bytes.fromhex(case["sigHex"])


@cases("sanitise")
def test_p1_p3_p4_sanitised_before_signing(case: dict[str, Any]) -> None:
    signed = sign(label_from({**case["input"], "sig": None}), key(case["key"]))
    assert bytes_to_sign(signed).hex() == case["expectCborHex"]
    assert signed.sig is not None
    assert signed.sig.hex() == case["expectSigHex"]
    assert set(signed.json_form()) <= {"ver", "src", "uri", "cid", "val", "neg", "cts", "exp", "sig"}


@cases("reject")
def test_p7_p8_reject_vectors_are_refused_without_an_exception(case: dict[str, Any]) -> None:
    received = {**case["label"], "sig": bytes.fromhex(case["sigHex"])}
    assert verify(received, PublicKey.from_did_key(case["didKey"])) is False


def test_real_label_from_the_network_verifies(shared_data: Path) -> None:
    case = json.loads((shared_data / "protocol" / "vectors" / "real-label.json").read_text())
    public = PublicKey.from_multikey(case["publicKeyMultibase"])
    assert verify(case["label"], public)
    assert not verify({**case["label"], "val": case["mutation"]["val"]}, public)


VALID = VECTORS["vectors"][1]
SIGNED = {**VALID["label"], "sig": bytes.fromhex(VALID["sigHex"])}


@pytest.mark.parametrize(
    "change",
    [
        {"sig": None},
        {"sig": "AAAA"},
        {"sig": {"$bytes": "%%"}},
        {"sig": {"$bytes": 7}},
        {"sig": {}},
        {"ver": 2},
        {"ver": True},
        {"ver": None},
        {"ver": 1.0},
        {"neg": None},
        {"neg": 0},
        {"cid": None},
        {"cid": ""},
        {"cts": 5},
        {"uri": "\ud800"},
        {"val": ["x"]},
    ],
    ids=repr,
)
def test_p5_malformed_labels_verify_as_false(change: dict[str, Any]) -> None:
    public = PublicKey.from_did_key(VALID["didKey"])
    assert verify(SIGNED, public) is True
    assert verify({**SIGNED, **change}, public) is False


def test_p1_unspecified_fields_of_a_received_label_are_not_part_of_it() -> None:
    assert verify(
        {**SIGNED, "$type": "com.atproto.label.defs#label", "seq": 9}, PublicKey.from_did_key(VALID["didKey"])
    )


@pytest.mark.parametrize("val", ["", "a" * 129, "é" * 65])
def test_p16_values_are_counted_in_bytes(val: str) -> None:
    label = label_from(VALID["label"])
    with pytest.raises(BadLabel):
        sign(Label(label.src, label.uri, val, label.cts), key("k256_a"))
    assert sign(Label(label.src, label.uri, "é" * 64, label.cts), key("k256_a")).sig


@pytest.mark.parametrize(
    "change",
    [
        {"src": "alice.example"},
        {"uri": "at://alice.example/fm.plyr.track/3lbn5tqsb4s2x"},
        {"uri": "at://did:plc:xbtmt2zjwlrfegqvch7fboei/fm.plyr.track/3lbn5tqsb4s2x/"},
        {"uri": "at://did:plc:xbtmt2zjwlrfegqvch7fboei"},
        {"uri": "https://example.com"},
        {"cts": "2026-01-02"},
        {"cts": "2026-01-02T03:04:05.678-00:00"},
        {"exp": "2026-01-02T03:04:05.678Z"},
        {"ver": 2},
    ],
    ids=repr,
)
def test_p12_p14_p37_labels_that_readers_misread_are_not_signed(change: dict[str, Any]) -> None:
    with pytest.raises(BadLabel):
        sign(label_from({**VALID["label"], **change}), key("k256_a"))


@pytest.mark.parametrize("change", [{"src": None}, {"val": 5}, {"neg": "yes"}, {"ver": "1"}, {"sig": "text"}], ids=repr)
def test_p1_mappings_that_are_no_labels_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadLabel):
        label_from({**VALID["label"], **change})


@given(st.binary(max_size=80))
def test_p13_json_signatures_read_back_with_and_without_padding(raw: bytes) -> None:
    padded = b64encode(raw).decode()
    assert signature_bytes({"$bytes": padded}) == signature_bytes({"$bytes": padded.rstrip("=")}) == raw


SECRET = VECTORS["keys"]["k256_a"]["privateKeyHex"]


def test_p44_the_key_is_read_from_a_private_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "label.key"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    loaded = load_label_key(file=file)
    assert loaded is not None
    assert loaded.public.did_key == VECTORS["keys"]["k256_a"]["didKey"]
    assert not caplog.records
    file.chmod(0o640)
    assert load_label_key(file=file) is not None
    assert "chmod 600" in caplog.text
    assert SECRET not in caplog.text + repr(loaded) + str(loaded)


def test_p44_the_key_may_come_from_the_environment_or_be_absent() -> None:
    loaded = load_label_key(value=SECRET)
    assert loaded is not None
    assert loaded.public == key("k256_a").public
    assert load_label_key() is None


@pytest.mark.parametrize("text", [SECRET[:-2], SECRET + "00", "0" * 64, "z" * 64, "f" * 64, "é"])
def test_p44_a_bad_key_stops_the_process_without_being_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "label.key"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    with pytest.raises(Misconfigured) as caught:
        load_label_key(file=file)
    assert text not in str(caught.value)
    with pytest.raises(Misconfigured):
        load_label_key(file=tmp_path / "missing")
