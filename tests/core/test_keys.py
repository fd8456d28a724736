"""Keys in every written form, signatures that only one key makes."""

import pickle

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from core.keys import BadKey, PublicKey, SigningKey

K256_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

secrets = st.integers(1, K256_ORDER - 1).map(lambda number: number.to_bytes(32, "big"))


@given(secrets, st.binary(max_size=200))
def test_p7_p9_signatures_verify_and_are_deterministic(secret: bytes, data: bytes) -> None:
    key = SigningKey(secret)
    sig = key.sign(data)
    assert len(sig) == 64
    assert sig == key.sign(data)
    assert key.public.verify(data, sig)
    assert not key.public.verify(data + b"x", sig)


@given(secrets, st.binary(max_size=50))
def test_p8_high_s_is_refused(secret: bytes, data: bytes) -> None:
    key = SigningKey(secret)
    sig = key.sign(data)
    s = int.from_bytes(sig[32:], "big")
    assert not key.public.verify(data, sig[:32] + (K256_ORDER - s).to_bytes(32, "big"))


@given(secrets)
def test_p84_every_written_form_names_the_same_key(secret: bytes) -> None:
    public = SigningKey(secret).public
    assert PublicKey.from_multikey(public.multikey) == public
    assert PublicKey.from_did_key(public.did_key) == public
    number = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1()).public_key()
    assert (
        PublicKey.from_uncompressed("k256", number.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        == public
    )
    assert public.did_key.startswith("did:key:zQ3s")
    assert public.jwt_alg == "ES256K"


@given(st.integers(1, P256_ORDER - 1), st.binary(max_size=50))
def test_p8_p84_p256_keys_verify(number: int, data: bytes) -> None:
    private = ec.derive_private_key(number, ec.SECP256R1())
    raw = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    public = PublicKey.from_uncompressed("p256", raw)
    assert PublicKey.from_did_key(public.did_key) == public
    assert public.did_key.startswith("did:key:zDna")
    assert public.jwt_alg == "ES256"
    r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
    low, high = sorted((s, P256_ORDER - s))
    assert public.verify(data, r.to_bytes(32, "big") + low.to_bytes(32, "big"))
    assert not public.verify(data, r.to_bytes(32, "big") + high.to_bytes(32, "big"))


@given(st.binary(max_size=70))
def test_p7_nonsense_signatures_are_false_never_an_exception(sig: bytes) -> None:
    assert SigningKey(b"\x01" * 32).public.verify(b"data", sig) is False


@pytest.mark.parametrize("r", [0, K256_ORDER, 2**256 - 1])
def test_p7_out_of_range_numbers_are_false(r: int) -> None:
    sig = r.to_bytes(32, "big") + (1).to_bytes(32, "big")
    assert SigningKey(b"\x01" * 32).public.verify(b"data", sig) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "z",
        "did:key:",
        "did:key:zQ3sh",
        "did:plc:z72i7hdynmk6r22z27h6tvur",
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",  # ed25519
        "did:key:zQ3sht29G4vPyJgUaGE1G4xp8dFiQcbcfvqGeGVFKQES7nCNi0",
        "did:key:z" + "1" * 200,
    ],
)
def test_p84_not_a_key_that_the_network_uses(text: str) -> None:
    with pytest.raises(BadKey):
        PublicKey.from_did_key(text)


def test_a_point_must_lie_on_its_curve() -> None:
    point = SigningKey(b"\x01" * 32).public.point
    with pytest.raises(BadKey):
        PublicKey.from_uncompressed("k256", b"\x05" + point[1:])
    with pytest.raises(BadKey):
        PublicKey.from_uncompressed("p256", b"")


@pytest.mark.parametrize("secret", [b"", b"\x00" * 32, b"\xff" * 32, b"\x01" * 31, b"\x01" * 33])
def test_p44_not_a_private_key(secret: bytes) -> None:
    with pytest.raises(BadKey):
        SigningKey(secret)


def test_p44_a_private_key_never_shows_itself() -> None:
    key = SigningKey.from_hex("ab" * 32)
    assert "ab" * 8 not in f"{key!r} {key!s}"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(BadKey) as caught:
        SigningKey.from_hex("ab" * 31 + "zz")
    assert "abab" not in str(caught.value)
