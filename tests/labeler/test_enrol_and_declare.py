"""What the network must know of us: the DID document, and how it comes to say so."""

import copy
import errno
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.errors import Misconfigured
from core.keys import SigningKey
from core.ports import Identity
from core.taxonomy import Taxonomy
from core.types import Did
from labeler.declare import compare_declarations, merge_declaration
from labeler.enroll import check_certificates, check_enrolment
from labeler.label_key import load_label_key, make_key, switch_key
from labeler.lint import lint_declaration
from labeler.plc import NotAsAsked, PlcEntry, Wanted, plan_change
from labeler.vocabulary import build_declaration

URL = "https://labels.example.com"


def test_p44_p83_an_enrolled_identity_has_no_findings(key: SigningKey, src: Did) -> None:
    enrolled = Identity(src, label_key=key.public, services={"atproto_labeler": URL})
    assert check_enrolment(enrolled, key=key.public, service_url=URL + "/") == []


@pytest.mark.parametrize(
    ("has_key", "services", "mentions"),
    [
        (None, {"atproto_labeler": URL}, ["no #atproto_label key"]),
        ("other", {"atproto_labeler": URL}, ["#atproto_label key"]),
        ("ours", {"bsky_fg": URL}, ["no #atproto_labeler service"]),
        ("ours", {"atproto_labeler": "https://old.example.com"}, ["#atproto_labeler endpoint"]),
        (None, {}, ["no #atproto_label key", "no #atproto_labeler service"]),
    ],
)
def test_p44_each_finding_says_what_and_what_to_do(
    key: SigningKey, src: Did, has_key: str | None, services: dict[str, str], mentions: list[str]
) -> None:
    keys = {None: None, "ours": key.public, "other": SigningKey(b"\x07" * 32).public}
    # P40: the account's own signing key is no substitute.
    identity = Identity(src, signing_key=key.public, label_key=keys[has_key], services=services)
    findings = check_enrolment(identity, key=key.public, service_url=URL)
    assert len(findings) == len(mentions)
    for finding, mention in zip(findings, mentions, strict=True):
        assert mention in finding.what
        assert finding.remedy


def test_p45_certificates_have_a_key_of_their_own(key: SigningKey, src: Did) -> None:
    other = SigningKey(b"\x07" * 32).public
    assert check_certificates(Identity(src, certificate_key=other), key=other) == []
    for found in (None, key.public):
        (finding,) = check_certificates(Identity(src, certificate_key=found, label_key=other), key=other)
        assert "#earmark_certificate" in finding.what


# --- the PLC directory's entry ------------------------------------------------------------------------------

NOW = {
    "did": "did:plc:z72i7hdynmk6r22z27h6tvur",
    "verificationMethods": {"atproto": "did:key:zQ3shAccount", "somebody_elses": "did:key:zQ3shForeign"},
    "rotationKeys": ["did:key:zQ3shRotation", "did:key:zQ3shOwners"],
    "alsoKnownAs": ["at://labels.example.com"],
    "services": {
        "atproto_pds": {"type": "AtprotoPersonalDataServer", "endpoint": "https://pds.example.com"},
        "bsky_fg": {"type": "BskyFeedGenerator", "endpoint": "https://feeds.example.com"},
    },
}


def test_p86_a_change_only_adds_and_keeps_everything_else(key: SigningKey, src: Did) -> None:
    plan = plan_change(src, PlcEntry.read(NOW), Wanted(key.public, URL))
    assert [str(change)[0] for change in plan.changes] == ["+", "+"]
    said = plan.to_sign()
    assert said["verificationMethods"] == {**NOW["verificationMethods"], "atproto_label": key.public.did_key}
    labeler = {"type": "AtprotoLabeler", "endpoint": URL}
    assert said["services"] == {**NOW["services"], "atproto_labeler": labeler}
    assert set(said) == {"verificationMethods", "services"}  # what is not named stays, the rotation keys above all


def test_p86_p90_what_is_there_is_not_changed_again(key: SigningKey, src: Did) -> None:
    wanted = Wanted(key.public, URL, certificate_key=SigningKey(b"\x07" * 32).public, feeds=True)
    plan = plan_change(src, PlcEntry.read(NOW), wanted)
    assert [str(change).partition(":")[0] for change in plan.changes] == [
        "+ verification method atproto_label",
        "+ verification method earmark_certificate",
        "+ service atproto_labeler",
        "~ service bsky_fg",
    ]
    assert plan_change(src, plan.entry, wanted).changes == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"verificationMethods": {f"key{number}": "did:key:z" for number in range(10)}}, "11 verification methods"),
        ({"services": {f"s{number}": {"type": "T", "endpoint": "https://e"} for number in range(10)}}, "11 services"),
        ({"verificationMethods": {"n" * 33: "did:key:z"}}, "32 characters"),
        ({"alsoKnownAs": ["at://" + "a" * 4000]}, "bytes"),
    ],
)
def test_p88_limits_are_found_before_anything_is_signed(
    key: SigningKey, src: Did, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(Misconfigured, match=says):
        plan_change(src, PlcEntry.read(NOW | change), Wanted(key.public, URL))


@pytest.mark.parametrize(
    "change",
    [
        {"rotationKeys": ["did:key:zQ3shRotation"]},
        {"rotationKeys": ["did:key:zQ3shTheirs", *NOW["rotationKeys"]]},
        {"alsoKnownAs": []},
        {"services": {}},
        {"verificationMethods": {}},
        {"type": "plc_tombstone"},
        {"services": "none"},
    ],
)
def test_p86_an_operation_that_says_something_else_is_not_sent(
    key: SigningKey, src: Did, change: dict[str, Any]
) -> None:
    plan = plan_change(src, PlcEntry.read(NOW), Wanted(key.public, URL))
    signed = {"type": "plc_operation", "prev": "b", "sig": "s", **msgspec.to_builtins(plan.entry)}
    plan.check_signed(signed)
    with pytest.raises(NotAsAsked):
        plan.check_signed(signed | change)


@pytest.mark.parametrize("document", [None, [], {}, NOW | {"services": {"a": 1}}, NOW | {"rotationKeys": None}])
def test_an_entry_that_is_none_is_refused(document: Any) -> None:
    with pytest.raises(NotAsAsked):
        PlcEntry.read(document)


# --- keys in files ------------------------------------------------------------------------------------------


def test_p44_a_new_key_is_its_users_alone_and_overwrites_nothing(tmp_path: Path) -> None:
    file = tmp_path / "label.key"
    made = make_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read = load_label_key(file=file)
    assert read is not None
    assert read.public == made.public
    before = file.read_bytes()
    with pytest.raises(Misconfigured, match="overwritten"):
        make_key(file)
    assert file.read_bytes() == before
    with pytest.raises(Misconfigured, match="cannot be made"):
        make_key(tmp_path / "nowhere" / "label.key")


def test_a_key_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(Misconfigured, match="No space left"):
            make_key(tmp_path / "label.key")
    assert make_key(tmp_path / "label.key")


def test_p41_a_key_takes_anothers_place_in_one_step_and_the_old_one_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "label.key"
    old, new = make_key(file), make_key(tmp_path / "label.key.next")
    for _ in range(2):
        kept = switch_key(file, tmp_path / "label.key.next")
        now, before = load_label_key(file=file), load_label_key(file=kept)
        assert now is not None
        assert before is not None
        assert (now.public, before.public) == (new.public, old.public)
        old, new = new, make_key(tmp_path / "label.key.next")


# --- the declaration ----------------------------------------------------------------------------------------

WANTED = build_declaration(Taxonomy.load(), music=("fm.plyr.track",), created_us=1_000_000)


def test_a_missing_declaration_is_one_change_and_one_that_is_there_none() -> None:
    (line,) = compare_declarations(None, WANTED)
    assert "393 values, 61" in line
    older = {**WANTED, "createdAt": "2020-01-01T00:00:00.000Z", "labels": {"values": []}}
    assert compare_declarations(older, WANTED) == []
    assert merge_declaration(older, WANTED) == older
    assert merge_declaration(None, WANTED) == WANTED


def test_each_difference_of_the_declaration_is_a_line() -> None:
    policies = WANTED["policies"]
    current = copy.deepcopy(
        {
            **WANTED,
            "reasonTypes": [],
            "policies": {
                "labelValues": [*policies["labelValues"][1:], "polka"],
                "labelValueDefinitions": policies["labelValueDefinitions"][1:],
            },
        }
    )
    current["policies"]["labelValueDefinitions"][0]["severity"] = "alert"
    del current["subjectCollections"]
    lines = compare_declarations(current, WANTED)
    assert lines[:4] == ["+ value blues", "- value polka", "+ definition blues", "~ definition brass-military"]
    assert "~ reasonTypes" in lines[4]
    assert lines[4].endswith("instead of nothing")
    assert lines[5].endswith("instead of everything")


@pytest.mark.parametrize(
    "current",
    [
        {},
        {"policies": 3},
        {"policies": {"labelValues": 1, "labelValueDefinitions": [2]}},
        {"createdAt": 5},
        {"createdAt": "yesterday"},
    ],
)
def test_whatever_stands_there_can_be_replaced(current: dict[str, Any]) -> None:
    assert compare_declarations(current, WANTED) != []
    assert lint_declaration(merge_declaration(current, WANTED)) == []
