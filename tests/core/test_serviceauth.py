"""Service tokens: the shared vectors, and the rules that no vector covers (P115-P127)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UnknownDid, Unreachable, XrpcError
from core.keys import PublicKey, SigningKey
from core.serviceauth import Claims, bearer, check, is_account, mint, verify

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "service-auth-jwts.json").read_text("utf-8"))
NOW_US = VECTORS["now"] * 1_000_000
METHOD = VECTORS["method"]
AUDIENCES = tuple(VECTORS["acceptedAudiences"])
ISSUER = "did:plc:xbtmt2zjwlrfegqvch7fboei"
KEY = SigningKey(bytes(range(1, 33)))


class Keys:
    """A directory of keys that remembers what it was asked."""

    def __init__(self, *answers: PublicKey) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, bool]] = []

    async def __call__(self, did: str, refresh: bool) -> PublicKey:
        self.asked.append((did, refresh))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


async def believe(token: str, keys: Keys) -> Claims:
    return await verify(token, audiences=AUDIENCES, method=METHOD, now_us=NOW_US, resolve_key=keys)


def encode(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: dict[str, Any] | None = None, **payload: Any) -> str:
    """A correctly signed token whose parts are ours to choose; a payload value of None leaves the claim out."""
    now = VECTORS["now"]
    claims = {"iss": ISSUER, "aud": AUDIENCES[0], "lxm": METHOD, "exp": now + 60, "iat": now} | payload
    kept = {name: value for name, value in claims.items() if value is not None}
    signed = f"{encode(header or {'typ': 'JWT', 'alg': 'ES256K'})}.{encode(kept)}"
    return f"{signed}.{encode(KEY.sign(signed.encode()))}"


@pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda vector: str(vector["name"]))
async def test_p116_shared_vectors(vector: dict[str, Any]) -> None:
    # "policy": no-jti is accepted (P122), high-s is refused (P120).
    policy = {"no-jti": ("accept", None), "high-s": ("reject", "BadJwtSignature")}
    expect, error = policy.get(vector["name"], (vector["expect"], vector.get("error")))
    named = VECTORS["signingKeyFor"]
    keys = Keys(PublicKey.from_did_key(named.get(vector["name"], named[ISSUER])))
    if expect == "accept":
        claims = await believe(vector["jwt"], keys)
        assert (claims.iss, claims.lxm) == (ISSUER, METHOD)
        return
    with pytest.raises(XrpcError) as refused:
        await believe(vector["jwt"], keys)
    assert (refused.value.name, refused.value.status) == (error, 401)
    if error != "BadJwtSignature":
        assert keys.asked == [], "nothing may be resolved before the cheap checks pass"
    assert all(segment not in str(refused.value) for segment in vector["jwt"].split(".") if len(segment) > 3)  # P127


def test_all_31_vectors_are_here() -> None:
    assert len(VECTORS["tokens"]) == 31


async def test_a_minted_token_is_believed() -> None:
    token = mint(KEY, iss=ISSUER, aud=AUDIENCES[1], lxm=METHOD, now_us=NOW_US, lifetime_seconds=3600)
    claims = await believe(token, Keys(KEY.public))
    now = VECTORS["now"]
    assert claims == Claims(ISSUER, AUDIENCES[1], METHOD, now + 3600, now, claims.jti)  # type: ignore[arg-type]
    assert claims.jti
    assert len(claims.jti) == 32


async def test_p120_a_rotated_key_is_fetched_once_more() -> None:
    keys = Keys(SigningKey(bytes(range(2, 34))).public, KEY.public)
    assert (await believe(forge(), keys)).iss == ISSUER
    assert keys.asked == [(ISSUER, False), (ISSUER, True)]


async def test_p120_an_unchanged_key_is_not_tried_again() -> None:
    keys = Keys(SigningKey(bytes(range(2, 34))).public)
    with pytest.raises(XrpcError, match="issuer's key"):
        await believe(forge(), keys)
    assert len(keys.asked) == 2


@pytest.mark.parametrize(
    ("error", "name", "status"), [(UnknownDid("x"), "BadJwtIss", 401), (Unreachable("x"), "UpstreamFailure", 502)]
)
async def test_p125_trouble_with_the_directory(error: Exception, name: str, status: int) -> None:
    async def resolve(did: str, refresh: bool) -> PublicKey:
        raise error

    with pytest.raises(XrpcError) as refused:
        await verify(forge(), audiences=AUDIENCES, method=METHOD, now_us=NOW_US, resolve_key=resolve)
    assert (refused.value.name, refused.value.status) == (name, status)


NOW = VECTORS["now"]
REFUSED: list[tuple[str, str]] = [
    (forge(exp=NOW), "JwtExpired"),
    (forge(exp=NOW + 3631), "BadJwt"),
    (forge(exp=NOW + 10.5), "BadJwt"),
    (forge(exp=True), "BadJwt"),
    (forge(exp=str(NOW + 10)), "BadJwt"),
    (forge(exp=1e400), "BadJwt"),
    (forge(iat=NOW + 31), "BadJwt"),
    (forge(iss=f"{ISSUER}#atproto_labeler"), "BadJwtIss"),
    (forge(iss=ISSUER.upper()), "BadJwtIss"),
    (forge(iss=5), "BadJwt"),
    (forge(jti=["a"]), "BadJwt"),
    (forge(lxm=["x"]), "BadJwt"),
    (forge(aud=f"{AUDIENCES[0]}#"), "BadJwtAudience"),
    (forge({"alg": "ES256K", "typ": "application/AT+JWT"}), "BadJwtType"),
    (forge({"alg": "ES256K", "kid": "atproto_label"}), "BadJwt"),
    (forge({"alg": ["ES256K"]}), "BadJwtSignature"),
    (forge() + "=", "BadJwt"),
    (forge()[:-4], "BadJwt"),  # cut inside a byte
    (f"{forge().rpartition('.')[0]}.{encode(b'x' * 63)}", "BadJwtSignature"),
    (forge() + ".", "BadJwt"),
    (f"{encode([1])}.{encode({})}.{encode(b'x' * 64)}", "BadJwt"),
    ("é.é.é", "BadJwt"),
    ("a" * 5000, "BadJwt"),
    ("", "MissingJwt"),
    ("..", "BadJwt"),
]


@pytest.mark.parametrize(("token", "name"), REFUSED)
def test_p116_refused_without_a_key(token: str, name: str) -> None:
    with pytest.raises(XrpcError) as refused:
        check(token, audiences=AUDIENCES, method=METHOD, now_us=NOW_US)
    assert (refused.value.name, refused.value.status) == (name, 401)


@given(st.text("AQZgw9-_+/=. \né", max_size=9))
def test_p116_a_segment_is_what_base64url_writes_without_padding(segment: str) -> None:
    """One token has one text: whatever else decodes to the same bytes, or to none, is refused as no token at all."""
    try:
        written = encode(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError:
        written = ""
    with pytest.raises(XrpcError) as refused:
        check(f"{forge().rpartition('.')[0]}.{segment}", audiences=AUDIENCES, method=METHOD, now_us=NOW_US)
    strict = segment and segment == written
    assert refused.value.name == ("BadJwtSignature" if strict else "BadJwt"), "of nine letters no signature is made"


@pytest.mark.parametrize(
    "token",
    [
        forge(exp=float(NOW + 60)),
        forge(exp=NOW + 3600),
        forge(iat=NOW + 30),
        forge(iat=None),
        forge({"alg": "ES256K"}),
        forge({"alg": "ES256K", "kid": "atproto"}),
        forge(iss="did:web:pds.artist.fm"),
    ],
)
def test_p119_p121_accepted_forms(token: str) -> None:
    assert check(token, audiences=AUDIENCES, method=METHOD, now_us=NOW_US).claims.lxm == METHOD


@pytest.mark.parametrize(
    "did",
    [
        "did:web:localhost",
        "did:web:127.0.0.1",
        "did:web:[::1]",
        "did:web:Artist.fm",
        "did:web:artist.fm:user",
        "did:web:artist.fm%3A8080",
        "did:web:artist%2Efm",
        "did:web:user@artist.fm",
        "did:web:artist.local",
        "did:web:artist.fm.",
        "did:web:-artist.fm",
        "did:web:artist.fm\n",
        "did:web:",
        "did:key:zQ3sht29G4vPyJgUaGE1G4xp8dFiQcbcfvqGeGVFKQES7nCNi",
        "did:plc:short",
        f"{ISSUER}\n",
    ],
)
def test_p123_not_an_account(did: str) -> None:
    assert not is_account(did)


def test_p123_accounts() -> None:
    assert is_account(ISSUER)
    assert is_account("did:web:artist.fm")
    assert is_account("did:web:a-b.xn--bcher-kva.ch")


def test_p115_bearer_header() -> None:
    assert bearer({"authorization": "Bearer abc"}) == "abc"
    assert bearer({"authorization": "bearer  abc "}) == "abc"
    assert bearer({"authorization": "DPoP abc"}) is None
    assert bearer({"authorization": "Bearer"}) is None
    assert bearer({}) is None
