"""createReport: whom it believes and what it takes (P93-P97, P115-P127)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import UnknownDid, Unreachable, XrpcError
from core.keys import PublicKey, SigningKey
from core.log import set_up
from core.metrics import Metrics
from core.ports import Identity
from core.serviceauth import mint
from core.types import Did
from core.xrpc import Call
from labeler.reports import MAX_WORDS_BYTES, NSID, Receipt, Report, ReportMethod, read_report
from labeler.vocabulary import REASON_TYPES
from store import used_tokens

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "service-auth-jwts.json").read_text("utf-8"))
NOW_US = VECTORS["now"] * 1_000_000
ISSUER = Did("did:plc:xbtmt2zjwlrfegqvch7fboei")
LABELER = Did("did:plc:z72i7hdynmk6r22z27h6tvur")
K256, OTHER_K256 = SigningKey(bytes(range(1, 33))), SigningKey(bytes(range(2, 34)))
TRACK = "at://did:plc:artist222222222222222222/fm.plyr.track/3kaaaaaaaaaaa"
CID = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454"
K256_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
BODY = {
    "reasonType": "com.atproto.moderation.defs#reasonOther",
    "reason": "this is jazz",
    "subject": {"$type": "com.atproto.repo.strongRef", "uri": TRACK, "cid": CID},
}


class P256Key:
    """A key of the other curve, which we verify and never sign with."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        raw = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public = PublicKey.from_uncompressed("p256", raw)

    def sign(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + min(s, P256_ORDER - s).to_bytes(32)


class Keys:
    """A directory that remembers what it was asked."""

    def __init__(self, key: PublicKey) -> None:
        self.key = key
        self.trouble: Exception | None = None
        self.asked: list[tuple[str, bool]] = []

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        self.asked.append((did, refresh))
        if self.trouble is not None:
            raise self.trouble
        return Identity(Did(did), signing_key=self.key)

    def forget(self, did: str) -> None:
        raise AssertionError


class Desk:
    """Takes everything."""

    def __init__(self) -> None:
        self.taken: list[Report] = []

    async def take(self, report: Report) -> Receipt:
        self.taken.append(report)
        return Receipt(len(self.taken), NOW_US)


class Counter:
    """The method with a store of its own, and what came of it."""

    def __init__(self, store: Any, clock: Any) -> None:
        clock.us = NOW_US
        self.keys, self.desk, self.metrics, self.clock = Keys(K256.public), Desk(), Metrics(), clock
        self.method = ReportMethod(
            store,
            self.desk,
            did=LABELER,
            directory=self.keys,
            clock=clock,
            log=set_up(level="critical"),
            metrics=self.metrics,
        )

    async def send(self, token: str | None, body: Any = BODY) -> Mapping[str, Any]:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return await self.method.procedure.answer(Call({}, headers, body))  # type: ignore[return-value]

    async def refused(self, token: str | None, body: Any = BODY) -> tuple[str, int]:
        with pytest.raises(XrpcError) as refused:
            await self.send(token, body)
        assert self.desk.taken == []
        return refused.value.name, refused.value.status

    def counted(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("earmark_reports_total", {"outcome": outcome}) or 0.0

    def token(self, at_us: int = NOW_US, **changes: Any) -> str:
        return mint(K256, **({"iss": ISSUER, "aud": LABELER, "lxm": NSID, "now_us": at_us} | changes))


P256 = P256Key()


@pytest.fixture
def counter(store: Any, clock: Any) -> Counter:
    return Counter(store, clock)


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(segment: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


def minted(vector: Mapping[str, Any]) -> str:
    """The vector's token as it would be for createReport: for our labeler, and signed by the keys of this test."""
    name, parts = vector["name"], vector["jwt"].split(".")
    if name in ("garbage", "empty"):
        return str(vector["jwt"])
    header, payload = decode(parts[0]), decode(parts[1])
    swap = {
        "did:web:music.example.com": LABELER,
        "did:web:music.example.com#bsky_fg": f"{LABELER}#atproto_labeler",
        "did:web:music.example.com#atproto_labeler": f"{LABELER}#bsky_fg",
    }
    aud = payload["aud"]
    payload["aud"] = [swap[one] for one in aud] if isinstance(aud, list) else swap.get(aud, aud)
    if payload.get("lxm") == VECTORS["method"]:
        payload["lxm"] = NSID
    if name == "iss-did-key":
        payload["iss"] = K256.public.did_key
    signed = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(payload).encode())}"
    if name == "two-segments":
        return signed
    signature = P256.sign(signed.encode()) if name == "p256-ok" else K256.sign(signed.encode())
    if name == "tampered-payload":
        signature = K256.sign(b"another payload")
    if name == "high-s":
        high = K256_ORDER - int.from_bytes(signature[32:])
        signature = signature[:32] + high.to_bytes(32)
    return f"{signed}.{encode(signature)}"


@pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda vector: str(vector["name"]))
async def test_P116_the_matrix_of_the_vectors_minted_for_createReport(counter: Counter, vector: dict[str, Any]) -> None:
    policy = {"no-jti": ("accept", None), "high-s": ("reject", "BadJwtSignature")}  # P122, P120
    expect, error = policy.get(vector["name"], (vector["expect"], vector.get("error")))
    if vector["name"] == "p256-ok":
        counter.keys.key = P256.public
    token = minted(vector) or None
    if expect == "accept":
        answer = await counter.send(token)
        assert (answer["reportedBy"], answer["id"]) == (ISSUER, 1)
        assert counter.counted("without_jti") == (vector["name"] == "no-jti")
        return
    assert await counter.refused(token) == (error, 401)
    if error != "BadJwtSignature":
        assert counter.keys.asked == [], "nothing is fetched before the cheap checks pass (did:key, did:web traps too)"


@pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda vector: str(vector["name"]))
async def test_P117_P118_no_token_of_the_vectors_is_for_createReport(counter: Counter, vector: dict[str, Any]) -> None:
    """They are for feeds; whoever holds one must not be able to report with it."""
    name, status = await counter.refused(vector["jwt"] or None)
    assert status == 401
    assert vector["expect"] == "reject" or name == "BadJwtAudience"
    assert counter.keys.asked == []


@pytest.mark.parametrize(
    "iss",
    [
        "did:web:localhost",
        "did:web:127.0.0.1",
        "did:web:10.0.0.1",
        "did:web:metadata.internal",
        "did:web:printer.local",
        "did:web:music.example.com%3A8080",
        "did:web:music.example.com:user",
        "did:web:MUSIC.EXAMPLE.COM",
        "did:web:%6dusic.example.com",
        "did:plc:short",
        f"{ISSUER}#atproto_labeler",
        K256.public.did_key,
        "did:ion:abc",
        "",
    ],
)
async def test_P123_traps_are_refused_before_any_fetch(counter: Counter, iss: str) -> None:
    assert await counter.refused(counter.token(iss=iss)) == ("BadJwtIss", 401)
    assert counter.keys.asked == []


@pytest.mark.parametrize("aud", [LABELER, f"{LABELER}#atproto_labeler"])
async def test_P122_a_token_counts_once(counter: Counter, aud: str) -> None:
    token = counter.token(aud=aud)
    await counter.send(token)
    counter.desk.taken.clear()
    assert await counter.refused(token) == ("BadJwt", 401)
    await counter.send(counter.token(NOW_US + 1, aud=aud))


async def test_P122_a_token_counts_once_even_if_its_report_was_refused(counter: Counter) -> None:
    token = counter.token()
    assert await counter.refused(token, {}) == ("InvalidRequest", 400)
    assert await counter.refused(token) == ("BadJwt", 401)


async def test_P122_the_same_jti_of_another_issuer_is_another_token(counter: Counter) -> None:
    def forged(iss: str) -> str:
        claims = {"iss": iss, "aud": LABELER, "lxm": NSID, "exp": VECTORS["now"] + 60, "jti": "same"}
        header = encode(json.dumps({"alg": "ES256K"}).encode())
        signed = f"{header}.{encode(json.dumps(claims).encode())}"
        return f"{signed}.{encode(K256.sign(signed.encode()))}"

    await counter.send(forged(ISSUER))
    await counter.send(forged("did:plc:z72i7hdynmk6r22z27h6tvur"))
    counter.desk.taken.clear()
    assert (await counter.refused(forged(ISSUER)))[0] == "BadJwt"


async def test_P122_a_token_without_jti_is_taken_counted_and_not_taken_twice(counter: Counter) -> None:
    token = minted(next(vector for vector in VECTORS["tokens"] if vector["name"] == "no-jti"))
    await counter.send(token)
    counter.desk.taken.clear()
    assert await counter.refused(token) == ("BadJwt", 401)
    assert counter.counted("without_jti") == 2


async def test_an_account_that_floods_is_told_to_wait_until_its_tokens_expire(counter: Counter, store: Any) -> None:
    async with store.write() as tx:
        for number in range(used_tokens.MAX_HELD_OF_ISSUER):
            assert await used_tokens.use(tx, ISSUER, str(number), until_us=NOW_US + 1_000_000, now_us=NOW_US)
    assert await counter.refused(counter.token()) == ("RateLimitExceeded", 429)
    await counter.send(counter.token(iss="did:plc:z72i7hdynmk6r22z27h6tvur"))
    counter.clock.advance(1.0)
    await counter.send(counter.token(NOW_US + 1_000_000))


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [(UnknownDid("gone"), ("BadJwtIss", 401)), (Unreachable("silent"), ("UpstreamFailure", 502))],
)
async def test_P125_trouble_with_the_issuers_key(counter: Counter, trouble: Exception, expected: Any) -> None:
    counter.keys.trouble = trouble
    assert await counter.refused(counter.token()) == expected


async def test_P120_a_rotated_key_is_looked_up_once_more(counter: Counter) -> None:
    counter.keys.key = OTHER_K256.public
    assert await counter.refused(counter.token()) == ("BadJwtSignature", 401)
    assert counter.keys.asked == [(ISSUER, False), (ISSUER, True)]


async def test_P93_the_answer_has_the_shape_of_the_lexicon(counter: Counter) -> None:
    assert await counter.send(counter.token(), BODY | {"modTool": {"name": "app/1.0", "meta": {}}}) == {
        "id": 1,
        "reasonType": BODY["reasonType"],
        "reason": "this is jazz",
        "subject": BODY["subject"],
        "reportedBy": ISSUER,
        "createdAt": "2026-01-02T03:00:00.000Z",
    }
    without = {name: value for name, value in BODY.items() if name != "reason"}
    assert "reason" not in await counter.send(counter.token(NOW_US + 1), without)


@pytest.mark.parametrize("reason_type", REASON_TYPES)
def test_P94_both_vocabularies_are_taken(reason_type: str) -> None:
    assert read_report(BODY | {"reasonType": reason_type}, ISSUER).is_appeal == reason_type.endswith("Appeal")


SUBJECT = BODY["subject"]


@pytest.mark.parametrize(
    "changes",
    [
        {"reasonType": "com.atproto.moderation.defs#reasonSpam"},
        {"reasonType": "tools.ozone.report.defs#reasonViolenceThreats"},
        {"reasonType": ["com.atproto.moderation.defs#reasonOther"]},
        {"reasonType": None},
        {"reason": 5},
        {"reason": "\ud800"},
        {"reason": "x" * 2001},
        {"reason": "\u0301" * (MAX_WORDS_BYTES // 2 + 1)},
        {"modTool": "app"},
        {"modTool": {}},
        {"subject": None},
        {"subject": {"$type": "com.atproto.admin.defs#repoRef", "did": ISSUER}},
        {"subject": {"uri": TRACK, "cid": CID}},
        {"subject": SUBJECT | {"cid": ""}},  # type: ignore[operator]
        {"subject": SUBJECT | {"cid": "x" * 257}},  # type: ignore[operator]
        {"subject": SUBJECT | {"cid": "a b"}},  # type: ignore[operator]
        {"subject": SUBJECT | {"uri": "at://artist.example/fm.plyr.track/1"}},  # type: ignore[operator]
        {"subject": SUBJECT | {"uri": "at://did:plc:artist222222222222222222"}},  # type: ignore[operator]
        {"subject": SUBJECT | {"uri": TRACK + "/"}},  # type: ignore[operator]
        {"subject": SUBJECT | {"uri": 5}},  # type: ignore[operator]
    ],
)
def test_P94_what_the_declaration_or_the_lexicon_excludes_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(XrpcError) as refused:
        read_report(BODY | changes, ISSUER)
    assert (refused.value.name, refused.value.status) == ("InvalidRequest", 400)


@pytest.mark.parametrize(
    "words", ["x" * 2000, "\U0001f469\u200d\U0001f3a4" * 1800, "e\u0301" * 2000, "\U0001f1e9\U0001f1ea" * 2000]
)
def test_P93_two_thousand_graphemes_are_taken_however_they_are_written(words: str) -> None:
    assert read_report(BODY | {"reason": words}, ISSUER).words == words


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "reasonType": st.sampled_from(REASON_TYPES) | JSON,
        "reason": st.text() | JSON,
        "subject": st.just(BODY["subject"]) | st.fixed_dictionaries({"$type": JSON, "uri": JSON, "cid": JSON}) | JSON,
        "modTool": JSON,
    },
)


@given(body=JSON | FIELDS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_body_is_a_report_or_refused(body: Any) -> None:
    refused = None
    try:
        read_report(body, ISSUER)
    except XrpcError as error:
        refused = error
    assert refused is None or (refused.name, refused.status) == ("InvalidRequest", 400)
