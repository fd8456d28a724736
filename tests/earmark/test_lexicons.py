"""Our lexicon documents: in the language, bounded, named as they say, and true of what the methods take."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from atproto_lexicon.parser import lexicon_parse

from core.nsids import FEED_PREFS, OPTOUT, RECORD_AUTHORITY
from core.types import parse_nsid
from earmark.lexicon import load_lexicons
from earmark.own_methods import MAX_URIS
from firehose.control import ControlRecords
from tests.lexicons import BadLexicon, check_document, check_value, find

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "earmark" / "lexicons"
FILES = sorted(FOLDER.glob("*.json"))
PACKAGED = load_lexicons(RECORD_AUTHORITY)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_document_is_in_the_language_and_named_as_its_file(file: Path) -> None:
    document = orjson.loads(file.read_bytes())
    assert document["id"] == file.stem
    check_document(document, PACKAGED)
    lexicon_parse(copy.deepcopy(document))  # a second opinion: the Python SDK's parser
    assert PACKAGED[file.stem] == document


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "float"},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "string"},  # not bounded
        {"type": "array", "items": {"type": "boolean"}},  # not bounded
        {"type": "object", "required": ["a"], "properties": {}},
        {"type": "object", "properties": {"$type": {"type": "boolean"}}},
        {"type": "ref", "ref": "#nowhere"},
        {"type": "params", "properties": {"a": {"type": "object", "properties": {}}}},
    ],
)
def test_the_check_refuses_what_is_not_in_the_language(broken: dict[str, Any]) -> None:
    document = {"lexicon": 1, "id": "com.example.broken", "defs": {"thing": broken}}
    with pytest.raises((AssertionError, KeyError)):
        check_document(document, {"com.example.broken": document})


def test_the_authority_names_methods_and_not_records() -> None:
    documents = load_lexicons("com.operator.music")
    assert set(documents) == {
        OPTOUT,
        FEED_PREFS,
        *(
            f"com.operator.music.{name}"
            for name in (
                *("defs", "getTags", "getAnalysis", "getLabelStats", "getActorReport", "forgetMe"),
                *("getSimilarTracks", "getRecommendations", "searchTracks", "getTrackFeed", "getFeedExplain"),
            )
        ),
    }
    for document in documents.values():
        check_document(document, documents)
    mentioned = set(re.findall(rb"example\.earmark\.\w+", orjson.dumps(list(documents.values()))))
    assert mentioned == {OPTOUT.encode(), FEED_PREFS.encode()}


def test_the_optout_that_is_followed_is_the_one_that_is_documented() -> None:
    control = ControlRecords([], log=None)  # type: ignore[arg-type]
    assert OPTOUT in control.collections
    assert parse_nsid(OPTOUT) in PACKAGED


@pytest.mark.parametrize(
    ("name", "record", "fits"),
    [
        (OPTOUT, {"$type": OPTOUT, "createdAt": "2026-11-21T12:00:00Z"}, True),
        (OPTOUT, {"$type": OPTOUT, "scope": "feeds", "createdAt": "2026-11-21T12:00:00Z"}, True),
        (OPTOUT, {"$type": OPTOUT, "scope": "feeds"}, False),
        (OPTOUT, {"$type": OPTOUT, "scope": 1, "createdAt": "2026-11-21T12:00:00Z"}, False),
        (FEED_PREFS, {"breadth": 40, "langs": ["pt-BR"], "createdAt": "2026-11-21T12:00:00Z"}, True),
        (FEED_PREFS, {"breadth": 0.4, "createdAt": "2026-11-21T12:00:00Z"}, False),
        (FEED_PREFS, {"breadth": 101, "createdAt": "2026-11-21T12:00:00Z"}, False),
        (FEED_PREFS, {"mutedStyles": ["x" * 129], "createdAt": "2026-11-21T12:00:00Z"}, False),
    ],
)
def test_records(name: str, record: dict[str, Any], fits: bool) -> None:
    schema, home = find(name, name, PACKAGED)
    if fits:
        check_value(record, schema["record"], home, PACKAGED)
    else:
        with pytest.raises(BadLexicon):
            check_value(record, schema["record"], home, PACKAGED)


def test_every_document_is_told_of_in_the_docs() -> None:
    text = (ROOT / "docs" / "lexicons.md").read_text()
    for document in PACKAGED.values():
        assert f"`{document['id'].removeprefix(RECORD_AUTHORITY + '.')}" in text or f"`{document['id']}`" in text
    assert RECORD_AUTHORITY in text


def test_bounds_of_getTags_agree() -> None:
    uris = PACKAGED[f"{RECORD_AUTHORITY}.getTags"]["defs"]["main"]["parameters"]["properties"]["uris"]
    assert uris["maxLength"] == MAX_URIS
