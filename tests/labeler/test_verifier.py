"""The strict reader: it says nothing of what we would send, and names the rule that anything else breaks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.clock import format_datetime
from core.dagcbor import encode
from core.errors import Unreachable
from core.frames import ErrorFrame
from core.keys import PublicKey, SigningKey
from core.label import Label
from core.ports import Identity
from core.types import Did
from core.xrpc import error_frame, message_frame
from labeler.frames import labels_frame
from labeler.scrutiny import Weight, scrutinise
from labeler.signing import sign
from labeler.verifier import REFRESH_SECONDS, Issuer, Verifier

VECTORS = Path(__file__).parents[1] / "vectors"
LABELS = json.loads((VECTORS / "label-signing-vectors.json").read_text())
FRAMES = json.loads((VECTORS / "stream-frames.json").read_text())
URI = "at://did:plc:xbtmt2zjwlrfegqvch7fboei/fm.plyr.track/3lbn5tqsb4s2x"
CID = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"
OTHER = SigningKey(bytes(range(2, 34)))


class Documents:
    """A Directory whose one document can be changed."""

    def __init__(self, key: PublicKey | None) -> None:
        self.key = key
        self.asked = 0

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        assert refresh
        self.asked += 1
        if self.key is None:
            raise Unreachable("no answer")
        return Identity(Did(did), label_key=self.key)

    def forget(self, did: str) -> None:
        raise AssertionError("nobody asked for that")


@pytest.fixture
def documents(key: SigningKey) -> Documents:
    return Documents(key.public)


@pytest.fixture
def verifier(key: SigningKey, src: Did, clock: Any, documents: Documents) -> Verifier:
    return Verifier(Issuer(src, key.public, directory=documents, clock=clock), clock=clock)


@pytest.fixture
def made(key: SigningKey, src: Did, clock: Any) -> Any:
    """A signed label, by the seconds since the clock was started and what else differs."""

    def make(seconds: int = 0, val: str = "jazz", **changes: Any) -> Label:
        cts = format_datetime(clock.now_us() - 60_000_000 + 1_000_000 * seconds)
        return sign(Label(**({"src": src, "uri": URI, "val": val, "cts": cts} | changes)), key)

    return make


def rules(faults: list[Any], weight: Weight = Weight.BROKEN) -> list[str]:
    return [fault.rule for fault in faults if fault.weight is weight]


async def test_nothing_is_wrong_with_what_we_would_send(verifier: Verifier, made: Any) -> None:
    stream = [
        [made(0)],
        [],
        [made(1, neg=True), made(1, "blues")],
        [made(2), made(2, uri="did:plc:xbtmt2zjwlrfegqvch7fboei")],
        [made(3, exp="2027-01-01T00:00:00.000Z")],
        [made(4, "rock", cid=CID)],
        [made(5, "rock", cid=CID, neg=True)],
        [made(6, "rock")],
    ]
    for seq, labels in enumerate(stream, 1):
        assert await verifier.read(labels_frame(seq, labels)) == []
    assert await verifier.read(labels_frame(100, [])) == []
    assert (verifier.seq, verifier.gaps, verifier.labels, verifier.frames) == (100, 1, 9, 9)
    newest = {label.key: label for labels in stream for label in labels}
    rows = [label.json_form() for label in newest.values()]
    assert [fault.rule for fault in await verifier.compare(rows, asked_at_seq=100) if fault.rule != "P55"] == []


@pytest.mark.parametrize("case", LABELS["vectors"], ids=lambda case: case["name"])
async def test_p1_p16_valid_vectors_are_not_broken(case: dict[str, Any], clock: Any) -> None:
    key, src = PublicKey.from_did_key(case["didKey"]), case["label"]["src"]
    label = case["label"] | {"sig": bytes.fromhex(case["sigHex"])}
    issuer = Issuer(src, key, directory=Documents(key), clock=clock)
    faults = await Verifier(issuer, clock=clock).read(message_frame("#labels", {"seq": 1, "labels": [label]}))
    assert rules(faults) == []


@pytest.mark.parametrize("case", LABELS["acceptOnVerifyOnly"], ids=lambda case: case["name"])
async def test_p4_p5_neg_false_is_odd_and_its_signature_holds(case: dict[str, Any], clock: Any) -> None:
    key = PublicKey.from_did_key(case["didKey"])
    label = case["label"] | {"sig": bytes.fromhex(case["sigHex"])}
    issuer = Issuer(Did(label["src"]), key, directory=Documents(key), clock=clock)
    faults = await Verifier(issuer, clock=clock).read(message_frame("#labels", {"seq": 1, "labels": [label]}))
    assert rules(faults) == []
    assert "P4" in rules(faults, Weight.ODD)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("P1", {"$type": "com.atproto.label.defs#label"}),
        ("P1", {"ver": 2}),
        ("P1", {"cid": "not a cid"}),
        ("P2", {"sig": None}),
        ("P2", {"ver": None}),
        ("P3", {"cts": 5}),
        ("P3", {"neg": "true"}),
        ("P7", {"sig": b"s" * 63}),
        ("P12", {"cts": "2026-01-02"}),
        ("P12", {"exp": "never"}),
        ("P13", {"sig": "c2ln"}),
        ("P14", {"uri": "at://alice.example/fm.plyr.track/1"}),
        ("P14", {"uri": URI + "/"}),
        ("P14", {"uri": URI + "?x=1"}),
        ("P14", {"uri": "at://did:plc:xbtmt2zjwlrfegqvch7fboei"}),
        ("P15", {"src": "did:plc:xbtmt2zjwlrfegqvch7fboei"}),
        ("P16", {"val": ""}),
        ("P16", {"val": "é" * 65}),
        ("P37", {"exp": "2020-01-01T00:00:00.000Z"}),
    ],
)
def test_each_rule_of_form(rule: str, changes: Mapping[str, Any], made: Any, src: Did, clock: Any) -> None:
    label = {name: value for name, value in (made().fields() | changes).items() if value is not None}
    assert rule in rules(scrutinise(label, src=src, now_us=clock.now_us()))
    assert rules(scrutinise(made().fields(), src=src, now_us=clock.now_us())) == []


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("P4", {"neg": False}),
        ("P12", {"cts": "2026-01-02T03:04:05Z"}),
        ("P12", {"cts": "2026-03-02T03:04:05.000Z"}),
        ("P17", {"val": "80s"}),
        ("P17", {"val": "Jazz"}),
        ("P18", {"val": "!hide"}),
    ],
)
def test_what_is_legal_and_odd(rule: str, changes: Mapping[str, Any], made: Any, src: Did, clock: Any) -> None:
    faults = scrutinise(made().fields() | changes, src=src, now_us=clock.now_us())
    assert (rules(faults), rules(faults, Weight.ODD)) == ([], [rule])


async def test_p40_p42_a_signature_that_does_not_hold_makes_the_key_be_asked_for_once(
    verifier: Verifier, made: Any, documents: Documents, clock: Any
) -> None:
    forged = made().signed(OTHER.sign(b"something else"))
    assert rules(await verifier.read(labels_frame(1, [forged]))) == ["P7"]
    assert rules(await verifier.read(labels_frame(2, [forged]))) == ["P7"]
    assert documents.asked == 1
    documents.key = OTHER.public
    rotated = sign(Label(forged.src, forged.uri, "blues", forged.cts), OTHER)
    assert rules(await verifier.read(labels_frame(3, [rotated]))) == ["P7"], "a forger decides how often we ask"
    clock.advance(REFRESH_SECONDS)
    assert rules(await verifier.read(labels_frame(4, [rotated]))) == []
    assert rules(await verifier.read(labels_frame(5, [made(val="rock")]))) == ["P7"], "by the key of before"
    documents.key = None
    clock.advance(REFRESH_SECONDS)
    assert rules(await verifier.read(labels_frame(6, [made(val="rock")]))) == ["P7"]
    assert documents.asked == 3


async def test_p31_p36_what_a_label_says_after_those_before_it(verifier: Verifier, made: Any) -> None:
    async def read(seq: int, label: Label) -> tuple[list[str], list[str]]:
        faults = await verifier.read(labels_frame(seq, [label]))
        return rules(faults), rules(faults, Weight.ODD)

    assert await read(1, made(5)) == ([], [])
    assert await read(2, made(5, neg=True)) == (["P36"], [])
    assert await read(3, made(4, "blues", neg=True)) == ([], ["P31"])
    assert await read(4, made(5, "rock", cid=CID)) == ([], [])
    assert await read(5, made(6, "rock", neg=True)) == (["P32"], [])
    assert await read(6, made(7, "rock")) == ([], ["P33"])


async def test_p66_numbers(verifier: Verifier) -> None:
    wanted = [(5, []), (5, ["P66"]), (4, ["P66"]), (6, []), (0, ["P66"]), (2**53, ["P66"])]
    assert [(seq, rules(await verifier.read(labels_frame(seq, [])))) for seq, _ in wanted] == wanted


@pytest.mark.parametrize("name", FRAMES["invalid"])
async def test_p63_invalid_frames(verifier: Verifier, name: str) -> None:
    assert rules(await verifier.read(bytes.fromhex(FRAMES["invalid"][name]))) == ["P63"]


@pytest.mark.parametrize(
    ("rule", "frame"),
    [
        ("P64", message_frame("com.atproto.label.subscribeLabels#labels", {"seq": 1, "labels": []})),
        ("P64", encode({"op": 1, "t": "#labels", "z": 1}) + encode({"seq": 1, "labels": []})),
        ("P65", message_frame("#labels", {"seq": 1, "labels": [], "$type": "x"})),
        ("P65", message_frame("#info", {"name": "OutdatedCursor", "seq": 1})),
        ("P6", encode({"op": 1, "t": "#labels"}) + bytes.fromhex("a2637365711801666c6162656c7380")),
        ("P63", message_frame("#labels", {"seq": "1", "labels": []})),
    ],
)
async def test_p6_p64_p65_frames_that_can_be_read_and_are_not_as_they_should_be(
    verifier: Verifier, rule: str, frame: bytes
) -> None:
    assert rules(await verifier.read(frame)) == [rule]


async def test_p65_a_signature_that_is_sent_as_a_link_is_found(verifier: Verifier, made: Any) -> None:
    """What our decoder gives is the same, what a strict reader gets is not; a careless encoder makes such links."""
    cid_like = next(label for n in range(50_000) if (label := made(n / 1000)) and encode(label.sig)[0] == 0xD8)
    assert rules(await verifier.read(message_frame("#labels", {"seq": 1, "labels": [cid_like.fields()]}))) == ["P6"]
    assert rules(await verifier.read(labels_frame(2, [cid_like]))) == ["P36"]
    marked = {**cid_like.fields(), "cid": b"\xff" * 64}
    assert "P6" in rules(await verifier.read(message_frame("#labels", {"seq": 3, "labels": [marked]})))


async def test_p64_the_servers_own_errors_are_raised(verifier: Verifier) -> None:
    with pytest.raises(ErrorFrame, match="ConsumerTooSlow"):
        await verifier.read(error_frame("ConsumerTooSlow"))


async def test_p55_p58_p59_what_query_labels_says_beside_the_stream(verifier: Verifier, made: Any) -> None:
    for seq, label in enumerate((made(0), made(1, "blues"), made(2, neg=True)), 1):
        assert await verifier.read(labels_frame(seq, [label])) == []
    now, blues = made(2, neg=True).json_form(), made(1, "blues").json_form()

    async def compared(*rows: Any, at: int = 3) -> tuple[list[str], list[str]]:
        faults = await verifier.compare(rows, asked_at_seq=at)
        return rules(faults), rules(faults, Weight.ODD)

    assert await compared(blues, now) == ([], [])
    assert await compared(now, blues) == ([], ["P55"])
    assert await compared(blues) == ([], ["P58"])
    assert await compared(now) == (["P58"], [])
    assert await compared(made(0).json_form(), blues) == (["P58"], ["P55"]), "superseded"
    assert await compared(made(0).json_form(), blues, at=2) == ([], []), "superseded since"
    assert await compared(blues, now, now) == (["P58"], [])
    assert await compared(blues, now, made(3, "rock").json_form()) == (["P58"], [])
    assert "P59" in (await compared(blues | {"cid": ""}, now))[0]
    assert "P59" in (await compared(blues | {"sig": {"$bytes": "AAAA"}}, now))[0]
