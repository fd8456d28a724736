"""Service tokens (JWT) between network services, as pure functions (P115-P127).

`check` does everything that needs no network; `verify` adds the key and the signature. Tokens never appear in
messages: errors say which rule failed, nothing else (P127).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from core.errors import Permanent, Transient, UnknownDid, XrpcError
from core.keys import PublicKey, SigningKey
from core.ports import Directory
from core.types import Did, is_plc

MAX_TOKEN_LENGTH = 4096  # real tokens have some 400 characters
LEEWAY_SECONDS = 30  # P119: for issuers whose clock runs ahead
MAX_LIFETIME_SECONDS = 3600  # P119: no issuer gives more

KeyResolver = Callable[[str, bool], Awaitable[PublicKey]]

_ALGORITHMS = frozenset({"ES256", "ES256K"})
_FOREIGN_TYPES = frozenset({"at+jwt", "refresh+jwt", "dpop+jwt"})  # OAuth's tokens, not ours (P116)
_STANDARD = bytes.maketrans(b"-_+/=", b"+/...")  # base64url as base64; what only base64 has is no letter of either
_LAST_LETTERS = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}  # of a group of so many: no bit is left over
_HOST = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_RESERVED_TLDS = frozenset({"local", "localhost", "test", "example", "invalid", "internal", "onion", "arpa", "alt"})


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. Times are unix seconds. Without `jti` it cannot be protected against replay (P122)."""

    iss: Did
    aud: str
    lxm: str
    exp: int
    iat: int | None = None
    jti: str | None = None


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token that passed every check but the signature."""

    claims: Claims
    alg: str
    signed: bytes
    signature: bytes


def keys_of(directory: Directory) -> KeyResolver:
    """The keys that accounts sign their tokens with, by a directory's word."""

    async def resolve(did: str, refresh: bool) -> PublicKey:
        identity = await directory.resolve(did, refresh=refresh)
        if identity.signing_key is None:
            raise UnknownDid(f"{did} has no signing key")
        return identity.signing_key

    return resolve


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of an `Authorization: Bearer` header (lower-case names), else None."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def verify(
    token: str, *, audiences: Collection[str], method: str, now_us: int, resolve_key: KeyResolver
) -> Claims:
    """The claims of a token that this service may believe (P116, P120).

    `resolve_key(did, refresh)` gives the `#atproto` key of an account; it is asked only after `check`, and asked
    once more, past its cache, when the signature does not fit: the key may have been rotated. Raises XrpcError:
    401 with a name of P126, or 502 `UpstreamFailure` when the issuer's key cannot be had just now (P125).
    """
    unverified = check(token, audiences=audiences, method=method, now_us=now_us)
    issuer = unverified.claims.iss
    key = await _resolve(resolve_key, issuer, refresh=False)
    if not fits(unverified, key):
        renewed = await _resolve(resolve_key, issuer, refresh=True)
        if renewed == key or not fits(unverified, renewed):
            raise _refused("BadJwtSignature", "the signature is not by the issuer's key")
    return unverified.claims


def check(token: str, *, audiences: Collection[str], method: str, now_us: int) -> Unverified:
    """Everything that can be refused without the issuer's key, in the order of P116. Raises XrpcError (P126)."""
    if not token:
        raise _refused("MissingJwt", "a service token is required")
    text = token.encode("ascii") if len(token) <= MAX_TOKEN_LENGTH and token.isascii() else b""
    signed, _, last = text.rpartition(b".")
    header, dot, payload = signed.partition(b".")  # a dot more is a letter that no segment has
    if not dot:
        raise _refused("BadJwt", "a token has three segments and at most 4096 characters")
    alg = _read_header(header)
    claims = _typed_claims(_decode_object(payload))
    now = now_us // 1_000_000
    if claims.exp <= now:  # no leeway: a token that ends this second is of no use to an honest reader
        raise _refused("JwtExpired", "the token has expired")
    if claims.exp > now + MAX_LIFETIME_SECONDS + LEEWAY_SECONDS:
        raise _refused("BadJwt", "the token lives for more than an hour")
    if claims.iat is not None and claims.iat > now + LEEWAY_SECONDS:
        raise _refused("BadJwt", "the token was issued in the future")
    if claims.aud not in audiences:
        raise _refused("BadJwtAudience", "the token is for another service")
    if claims.lxm != method:
        raise _refused("BadJwtLexiconMethod", f"the token is not for {method}")
    if not is_account(claims.iss):
        raise _refused("BadJwtIss", "the issuer is not a did:plc or a host-level did:web")
    signature = _decode_segment(last)
    if len(signature) != 64:
        raise _refused("BadJwtSignature", "a signature has 64 bytes")
    return Unverified(claims, alg, signed, signature)


def mint(
    key: SigningKey,
    *,
    iss: str,
    aud: str,
    lxm: str,
    now_us: int,
    lifetime_seconds: int = 60,
) -> str:
    """A token as a PDS makes it. `jti` is derived from the rest: the same call at the same microsecond is one token."""
    now = now_us // 1_000_000
    jti = hashlib.sha256(f"{iss} {aud} {lxm} {now_us}".encode()).hexdigest()[:32]
    header = {"typ": "JWT", "alg": key.public.jwt_alg}
    payload = {"iat": now, "iss": iss, "aud": aud, "exp": now + lifetime_seconds, "lxm": lxm, "jti": jti}
    signed = f"{_encode_segment(orjson.dumps(header))}.{_encode_segment(orjson.dumps(payload))}"
    return f"{signed}.{_encode_segment(key.sign(signed.encode('ascii')))}"


def is_account(did: str) -> bool:
    """Whether this may be the DID of an account: did:plc, or did:web of a public host without port (P123, P205)."""
    if did.startswith("did:web:"):
        host = did.removeprefix("did:web:")
        # Percent-encoding is refused with the rest: a host name needs none, a port or a path would.
        return bool(_HOST.match(host)) and host.rpartition(".")[2] not in _RESERVED_TLDS
    return is_plc(did)


@lru_cache(maxsize=64)  # there are few in use, one or two a make of server
def _read_header(segment: bytes) -> str:
    """The algorithm."""
    header = _decode_object(segment)
    kind, alg, key_id = header.get("typ"), header.get("alg"), header.get("kid")
    if isinstance(kind, str) and kind.lower().removeprefix("application/") in _FOREIGN_TYPES:
        raise _refused("BadJwtType", "this is not a service token")
    if not isinstance(alg, str) or alg not in _ALGORITHMS:
        raise _refused("BadJwtSignature", "the algorithm must be ES256 or ES256K")
    if key_id not in (None, "atproto", "#atproto"):  # P121
        raise _refused("BadJwt", "the key id must be #atproto")
    return alg


def _typed_claims(payload: Mapping[str, Any]) -> Claims:
    iss, aud, lxm, jti = payload.get("iss"), payload.get("aud"), payload.get("lxm"), payload.get("jti")
    if lxm is None:
        raise _refused("BadJwtLexiconMethod", "the token names no method")
    if not isinstance(iss, str) or not isinstance(aud, str):
        raise _refused("BadJwt", "iss and aud must be texts")
    if not isinstance(lxm, str) or not (jti is None or isinstance(jti, str)):
        raise _refused("BadJwt", "lxm and jti must be texts")
    exp, iat = payload.get("exp"), payload.get("iat")
    if exp is None:
        raise _refused("BadJwt", "exp is required")
    return Claims(Did(iss), aud, lxm, _whole_seconds(exp), None if iat is None else _whole_seconds(iat), jti)


def _whole_seconds(value: object) -> int:
    if type(value) is int:  # bool is none
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise _refused("BadJwt", "exp and iat must be whole seconds")


def fits(unverified: Unverified, key: PublicKey) -> bool:
    """Whether the token is signed by this key."""
    return key.jwt_alg == unverified.alg and key.verify(unverified.signed, unverified.signature)


async def _resolve(resolve_key: KeyResolver, issuer: Did, *, refresh: bool) -> PublicKey:
    try:
        return await resolve_key(issuer, refresh)
    except Permanent:
        raise _refused("BadJwtIss", "the issuer has no key that we can find") from None
    except Transient:
        raise XrpcError("UpstreamFailure", "the issuer's key cannot be had just now", status=502) from None


def _decode_object(segment: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(_decode_segment(segment))
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise _refused("BadJwt", "header and payload must be JSON objects")
    return value


def _decode_segment(segment: bytes) -> bytes:
    """Strict base64url without padding: one token has one text, so that it can be cached by it."""
    spare = len(segment) % 4  # letters beyond whole groups
    if segment and (not spare or (spare > 1 and segment[-1] in _LAST_LETTERS[spare])):
        try:
            return binascii.a2b_base64(segment.translate(_STANDARD) + b"=" * (-spare % 4), strict_mode=True)
        except binascii.Error:
            pass
    raise _refused("BadJwt", "segments must be base64url without padding")


def _encode_segment(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _refused(name: str, message: str) -> XrpcError:
    return XrpcError(name, message, status=401)
