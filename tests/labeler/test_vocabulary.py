"""The declaration: what it says of which values, in which languages, and what the linter finds in bad ones."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from core.taxonomy import Taxonomy
from labeler.lint import MAX_RECORD_BYTES, lint_declaration
from labeler.vocabulary import (
    POST_COLLECTION,
    REASON_TYPES,
    build_declaration,
    defined_values,
    emittable_values,
    subject_collections,
)

TAXONOMY = Taxonomy.load()
RECORD = build_declaration(TAXONOMY, music=("fm.plyr.track",), created_us=0)
DEFINITIONS = {row["identifier"]: row for row in RECORD["policies"]["labelValueDefinitions"]}
LANGUAGES = ["en", "ja", "pt-BR", "de", "es"]


def digest(words: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()


def test_p29_what_may_be_emitted_and_what_is_defined_is_frozen() -> None:
    """Labels on the network carry these words for good: a change here is a change of a promise."""
    assert digest(emittable_values(TAXONOMY)) == "021539d198111ac6d2a1b2b9331cfd0bc860a2a333a849422e103b8b883e768b"
    assert digest(defined_values(TAXONOMY)) == "546a3f39eccc004189a29ec2241a2aaa4e29e10e1152f16d40ee0287d7ed9625"


def test_the_lean_set_is_the_parents_and_46_styles_and_all_values_are_listed() -> None:
    """TAXONOMY section 4: overrides P22, what is listed and not defined is meant to be invisible in Bluesky."""
    assert tuple(DEFINITIONS) == defined_values(TAXONOMY)
    assert (len(TAXONOMY.parents), len(DEFINITIONS)) == (15, 61)
    values = RECORD["policies"]["labelValues"]
    assert tuple(values) == emittable_values(TAXONOMY)
    assert len(values) == 393
    assert set(DEFINITIONS) < set(values)
    assert not {"rock-pornogrind", "hip-hop-gangsta"} & set(values)  # never, and parent-only
    assert not any(value.startswith("mood") for value in values)


def test_p20_p24_only_parents_are_badges_by_default() -> None:
    for identifier, row in DEFINITIONS.items():
        assert (row["severity"], row["blurs"], row["adultOnly"]) == ("inform", "none", False)
        assert row["defaultSetting"] == ("warn" if identifier in TAXONOMY.parents else "ignore")


def test_p21_every_definition_has_english_first_and_parents_five_languages() -> None:
    for identifier, row in DEFINITIONS.items():
        said = [locale["lang"] for locale in row["locales"]]
        assert said == (LANGUAGES if identifier in TAXONOMY.parents else LANGUAGES[:1])
        assert row["locales"][0]["name"] == TAXONOMY.display(identifier)
        for locale in row["locales"]:
            assert locale["name"] in locale["description"]
            assert len(locale["description"]) <= 120
            assert "{" not in locale["description"]


def test_p92_reports_are_taken_for_two_reasons_on_records_of_ours_and_on_posts() -> None:
    assert RECORD["reasonTypes"] == list(REASON_TYPES)
    assert {reason.partition("#")[2] for reason in REASON_TYPES} == {"reasonOther", "reasonAppeal"}
    assert {reason.partition("#")[0] for reason in REASON_TYPES} == {
        "com.atproto.moderation.defs",
        "tools.ozone.report.defs",
    }
    assert RECORD["subjectTypes"] == ["record"]
    assert RECORD["subjectCollections"] == ["fm.plyr.track", POST_COLLECTION]
    assert subject_collections((POST_COLLECTION, "a.b.c")) == (POST_COLLECTION, "a.b.c")


def test_p28_the_record_stays_small() -> None:
    assert len(orjson.dumps(RECORD)) < MAX_RECORD_BYTES


def test_p17_to_p23_the_linter_finds_nothing_in_ours() -> None:
    assert lint_declaration(RECORD) == []


def test_p23_the_sdk_reads_it_as_the_lexicon_says() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the SDK's own imports
        from atproto_client import models
        from atproto_client.exceptions import ModelError
    kind = models.AppBskyLabelerService.Record
    read = models.get_or_create(RECORD, kind, strict=True)
    assert isinstance(read, kind)
    definitions = read.policies.label_value_definitions
    assert definitions is not None
    assert [one.identifier for one in definitions] == list(DEFINITIONS)
    spoilt = copy.deepcopy(RECORD)
    _first(spoilt)["locales"][0]["name"] = "n" * 641
    with pytest.raises(ModelError):
        models.get_or_create(spoilt, kind, strict=True)


def _first(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["policies"]["labelValueDefinitions"][0]
    return found


def _rename(record: dict[str, Any], identifier: str) -> None:
    record["policies"]["labelValues"][0] = _first(record)["identifier"] = identifier


SPOILT: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("P17", lambda record: _rename(record, "80s")),
    ("P17", lambda record: _rename(record, "uk-garage2")),
    ("P17", lambda record: _rename(record, "Jazz")),
    ("P17", lambda record: _rename(record, "trip_hop")),
    ("P17", lambda record: _rename(record, "drum n bass")),
    ("P17", lambda record: _rename(record, "p.funk")),
    ("P17", lambda record: _rename(record, "-jazz")),
    ("P17", lambda record: _rename(record, "jazz\n")),
    ("P17", lambda record: _rename(record, "")),
    ("P18", lambda record: _rename(record, "!hide")),
    ("P20", lambda record: _rename(record, "a" * 101)),
    ("P20", lambda record: _first(record).update(severity="loud")),
    ("P20", lambda record: _first(record).update(blurs="sound")),
    ("P20", lambda record: _first(record).pop("defaultSetting")),
    ("P20", lambda record: _first(record).update(adultOnly="no")),
    ("P21", lambda record: _first(record).update(locales=[])),
    ("P21", lambda record: _first(record)["locales"][0].update(lang="English!")),
    ("P21", lambda record: _first(record)["locales"][0].update(name="n" * 65)),
    ("P21", lambda record: _first(record)["locales"][0].update(name="")),
    ("P21", lambda record: _first(record)["locales"][0].pop("description")),
    ("P22", lambda record: record["policies"]["labelValues"].remove("jazz")),
    ("P28", lambda record: record["policies"].update(labelValueDefinitions=[_first(record)] * 151)),
    ("P91", lambda record: record["policies"].pop("labelValues")),
    ("P92", lambda record: record.pop("reasonTypes")),
    ("P92", lambda record: record.pop("subjectCollections")),
    ("twice|2 times", lambda record: record["policies"]["labelValues"].append("jazz")),
    ("2 times in languages", lambda record: _first(record)["locales"].append(_first(record)["locales"][0])),
    ("no field", lambda record: record.update(extra=1)),
    ("createdAt", lambda record: record.update(createdAt="yesterday")),
    ("collection", lambda record: record.update(subjectCollections=["no nsid"])),
    ("bytes", lambda record: _first(record)["locales"][0].update(description="d" * 10_000) or _swell(record)),
]


def _swell(record: dict[str, Any]) -> None:
    for row in record["policies"]["labelValueDefinitions"]:
        row["locales"][0]["description"] = "d" * 9_999


@pytest.mark.parametrize(("says", "spoil"), SPOILT)
def test_p17_to_p23_the_linter_names_the_broken_rule(says: str, spoil: Callable[[dict[str, Any]], Any]) -> None:
    record = copy.deepcopy(RECORD)
    spoil(record)
    faults = lint_declaration(record)
    assert any(word in fault for fault in faults for word in says.split("|")), faults


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"createdAt": 5},
        {"policies": []},
        {"policies": {"labelValues": [1, None, {}]}},
        {"policies": {"labelValues": [], "labelValueDefinitions": [{"identifier": []}]}},
    ],
)
def test_the_linter_survives_what_is_no_record_at_all(record: dict[str, Any]) -> None:
    assert lint_declaration(record) != []
