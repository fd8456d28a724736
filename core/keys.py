"""Keys of the network: did:key, multikey, ECDSA over k256 and p256 (spec/cryptography).

k256 goes through coincurve (13 times faster than the alternatives measured); p256 through cryptography.
Signatures are 64 bytes r||s, low-S made and demanded (P7, P8), deterministic (RFC 6979, P9).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import coincurve
import libipld
from coincurve._libsecp256k1 import lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT
from coincurve.ecdsa import deserialize_compact
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Curve = Literal["k256", "p256"]

_K256_PREFIX = bytes((0xE7, 0x01))
_P256_PREFIX = bytes((0x80, 0x24))
_K256_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ZERO = bytes(32)
_HALF_ORDERS = {"k256": (_K256_ORDER // 2).to_bytes(32), "p256": (_P256_ORDER // 2).to_bytes(32)}


class BadKey(ValueError):
    """Not a key in a form that the network uses."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A verifying key: curve and compressed point (33 bytes)."""

    curve: Curve
    point: bytes
    # Finding a point's other half takes as long as checking a signature with it: done once, with the first one.
    _parsed: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def from_multikey(cls, text: str) -> Self:
        """From `z...` (P84). Raises BadKey."""
        try:
            raw = libipld.decode_multibase(text)[1] if text.startswith("z") and len(text) < 100 else b""
        except ValueError:
            raw = b""
        for prefix, curve in ((_K256_PREFIX, "k256"), (_P256_PREFIX, "p256")):
            if raw.startswith(prefix) and len(raw) == 35:
                return cls._checked(curve, bytes(raw[2:]))  # type: ignore[arg-type]
        raise BadKey(f"not a multikey: {text[:60]!r}")

    @classmethod
    def from_did_key(cls, text: str) -> Self:
        """From `did:key:z...`. Raises BadKey."""
        if not text.startswith("did:key:"):
            raise BadKey(f"not a did:key: {text[:60]!r}")
        return cls.from_multikey(text.removeprefix("did:key:"))

    @classmethod
    def from_uncompressed(cls, curve: Curve, raw: bytes) -> Self:
        """From a SEC1 point of any form, as legacy DID documents carry it (P207). Raises BadKey."""
        return cls._checked(curve, raw)

    @classmethod
    def _checked(cls, curve: Curve, raw: bytes) -> Self:
        try:
            if curve == "k256":
                return cls(curve, coincurve.PublicKey(raw).format(compressed=True))
            number = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
        except (ValueError, TypeError) as error:
            raise BadKey(f"not a point on {curve}: {error}") from None
        return cls(curve, number.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))

    @property
    def multikey(self) -> str:
        prefix = _K256_PREFIX if self.curve == "k256" else _P256_PREFIX
        return libipld.encode_multibase("z", prefix + self.point)

    @property
    def did_key(self) -> str:
        return f"did:key:{self.multikey}"

    @property
    def jwt_alg(self) -> str:
        return "ES256K" if self.curve == "k256" else "ES256"

    def verify(self, data: bytes, sig: bytes) -> bool:
        """Whether `sig` (64 bytes, low-S) signs sha256(data). Never raises on a bad signature."""
        if len(sig) != 64 or not (sig[:32] > _ZERO and _ZERO < sig[32:] <= _HALF_ORDERS[self.curve]):
            return False
        try:
            if not self._parsed:
                self._parsed.append(self._parse())
            return (_fits_k256 if self.curve == "k256" else _fits_p256)(self._parsed[0], data, sig)
        except (InvalidSignature, ValueError):  # also for r beyond the order
            return False

    def _parse(self) -> Any:
        if self.curve == "k256":
            return coincurve.PublicKey(self.point).public_key
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.point)


def _fits_k256(point: Any, data: bytes, sig: bytes) -> bool:
    """Without the detour through DER that coincurve's own method takes: a tenth of the time."""
    digest = hashlib.sha256(data).digest()
    return bool(lib.secp256k1_ecdsa_verify(GLOBAL_CONTEXT.ctx, deserialize_compact(sig), digest, point) == 1)


def _fits_p256(point: Any, data: bytes, sig: bytes) -> bool:
    """Raises InvalidSignature."""
    r, s = int.from_bytes(sig[:32]), int.from_bytes(sig[32:])
    point.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    return True


class SigningKey:
    """A k256 private key. Its text forms never show the secret."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise BadKey("a private key is 32 bytes")
        try:
            self._key = coincurve.PrivateKey(secret)
        except ValueError:
            raise BadKey("not a valid k256 private key") from None
        self.public = PublicKey("k256", self._key.public_key.format(compressed=True))

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """From 64 hexadecimal digits. Raises BadKey without quoting the text."""
        try:
            return cls(bytes.fromhex(text.strip()))
        except ValueError:
            raise BadKey("a private key is written as 64 hexadecimal digits") from None

    def sign(self, data: bytes) -> bytes:
        """64 bytes r||s over sha256(data), RFC 6979, low-S."""
        return self._key.sign_recoverable(data)[:64]  # the same r||s as `sign` has, without a detour through DER

    def __repr__(self) -> str:
        return f"SigningKey({self.public.did_key})"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is never pickled")
