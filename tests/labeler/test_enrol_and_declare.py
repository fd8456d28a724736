"""What the network must know of us: the DID document and the declaration."""

import re

import pytest

from core.keys import SigningKey
from core.ports import Identity
from core.taxonomy import Taxonomy
from core.types import Did
from labeler.enroll import check_enrolment
from labeler.vocabulary import build_declaration, emittable_values

URL = "https://labels.example.com"
TAXONOMY = Taxonomy.load()


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


def test_p17_p20_p21_p24_definitions_are_ones_that_clients_show() -> None:
    policies = build_declaration(TAXONOMY, created_us=0)["policies"]
    definitions = {row["identifier"]: row for row in policies["labelValueDefinitions"]}
    assert len(definitions) == len(policies["labelValueDefinitions"]) == 61
    assert set(TAXONOMY.parents) < set(definitions) < set(policies["labelValues"])
    for identifier, row in definitions.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", identifier)
        assert (row["severity"], row["blurs"], row["adultOnly"]) == ("inform", "none", False)
        assert row["defaultSetting"] == ("warn" if identifier in TAXONOMY.parents else "ignore")
        (locale,) = row["locales"]
        assert locale["lang"] == "en"
        assert len(locale["name"].encode()) <= 64
        assert len(locale["description"]) <= 120


def test_every_value_that_may_be_published_is_listed_and_no_other() -> None:
    values = emittable_values(TAXONOMY)
    assert len(values) == len(set(values)) == 393
    assert "rock-pornogrind" not in values
    assert "hip-hop-gangsta" not in values


def test_p92_reports_are_declined_by_empty_lists() -> None:
    record = build_declaration(TAXONOMY, created_us=0)
    assert (record["$type"], record["createdAt"]) == ("app.bsky.labeler.service", "1970-01-01T00:00:00.000Z")
    assert record["reasonTypes"] == record["subjectTypes"] == record["subjectCollections"] == []
