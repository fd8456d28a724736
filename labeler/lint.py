"""What is wrong with a labeler's declaration: rules that clients enforce without a word (P16-P23, P28, P91, P92).

A client drops a definition that breaks one of them, and an index drops the record; nobody is told. So this is asked
before the record is written, and by the tests of the vocabulary.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from core.clock import parse_datetime
from core.dagcbor import encode
from core.types import parse_nsid
from labeler.vocabulary import NSID

IDENTIFIER = re.compile(r"[a-z]+(?:-[a-z]+)*")
MAX_IDENTIFIER_BYTES = 100  # com.atproto.label.defs#labelValueDefinition
MAX_NAME_CHARS = 64  # graphemes in the lexicon: a character is never less than one
MAX_NAME_BYTES = 640
MAX_DESCRIPTION_CHARS = 10_000
MAX_DEFINITIONS = 150  # P28: one row of settings each
MAX_RECORD_BYTES = 100_000  # ours; a PDS takes 150 kB at least
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "severity": ("inform", "alert", "none"),
    "blurs": ("content", "media", "none"),
    "defaultSetting": ("ignore", "warn", "hide"),
}
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_KNOWN = {"$type", "policies", "labels", "createdAt", "reasonTypes", "subjectTypes", "subjectCollections"}


def lint_declaration(record: Mapping[str, Any]) -> list[str]:
    """Every broken rule in words; none if the list is empty."""
    return list(_faults(record))


def _faults(record: Mapping[str, Any]) -> Iterator[str]:
    if record.get("$type") != NSID:
        yield f"$type is not {NSID}"
    for name in sorted(set(record) - _KNOWN):
        yield f"{name} is no field of the record"
    try:
        parse_datetime(str(record.get("createdAt")))
    except ValueError:
        yield "createdAt is not a datetime with a time zone"
    yield from _faults_of_lists(record)
    policies = record.get("policies")
    if not isinstance(policies, Mapping) or not isinstance(policies.get("labelValues"), list):
        yield "policies.labelValues is missing (P91)"
        return
    values, definitions = policies["labelValues"], policies.get("labelValueDefinitions", [])
    yield from _twice("labelValues", values)
    for value in values:
        yield from _faults_of_value(value)
    if not isinstance(definitions, list) or not all(isinstance(one, Mapping) for one in definitions):
        yield "labelValueDefinitions is not a list of objects"
        return
    if len(definitions) > MAX_DEFINITIONS:
        yield f"{len(definitions)} definitions, more than {MAX_DEFINITIONS} rows of settings (P28)"
    yield from _twice("labelValueDefinitions", [one.get("identifier") for one in definitions])
    for one in definitions:
        if one.get("identifier") not in values:
            yield f"{one.get('identifier')!r} is defined and not in labelValues (P22)"
        yield from _faults_of_definition(one)
    if (size := len(encode(dict(record)))) > MAX_RECORD_BYTES:
        yield f"the record has {size} bytes, more than {MAX_RECORD_BYTES}"


def _faults_of_lists(record: Mapping[str, Any]) -> Iterator[str]:
    for name in ("reasonTypes", "subjectTypes", "subjectCollections"):
        words = record.get(name)
        if not isinstance(words, list) or not all(map(_is_text, words)):
            yield f"{name} is missing, which means that everything is accepted (P92)"
            continue
        yield from _twice(name, words)
        if name == "subjectCollections":
            for word in words:
                try:
                    parse_nsid(word)
                except ValueError:
                    yield f"{word!r} in subjectCollections is not the name of a collection"


def _faults_of_value(value: object) -> Iterator[str]:
    """P16-P19: what a value may look like for a client to look its definition up."""
    if not isinstance(value, str) or not IDENTIFIER.fullmatch(value):
        yield f"{str(value)[:130]!r} is not lower-case words joined by dashes (P17, P18)"
    elif len(value) > MAX_IDENTIFIER_BYTES:
        yield f"{value[:130]!r} is longer than {MAX_IDENTIFIER_BYTES} bytes (P20)"


def _faults_of_definition(definition: Mapping[str, Any]) -> Iterator[str]:
    """P20, P21."""
    name = definition.get("identifier")
    yield from _faults_of_value(name)
    for field, allowed in _CHOICES.items():
        if definition.get(field) not in allowed:
            yield f"{field} of {name!r} is none of {', '.join(allowed)} (P20)"
    if not isinstance(definition.get("adultOnly"), bool):
        yield f"adultOnly of {name!r} is not true or false (P20)"
    locales = definition.get("locales")
    if not isinstance(locales, list) or not locales or not all(isinstance(one, Mapping) for one in locales):
        yield f"{name!r} has no locales (P21)"
        return
    yield from _twice(f"languages of {name!r}", [one.get("lang") for one in locales])
    for one in locales:
        lang, shown, said = one.get("lang"), one.get("name"), one.get("description")
        if not isinstance(lang, str) or not _LANGUAGE.fullmatch(lang):
            yield f"{lang!r} is no language for {name!r} (P21)"
        if not isinstance(shown, str) or not 0 < len(shown) <= MAX_NAME_CHARS or len(shown.encode()) > MAX_NAME_BYTES:
            yield f"the name of {name!r} in {lang} is missing or longer than {MAX_NAME_CHARS} characters (P21)"
        if not isinstance(said, str) or not 0 < len(said) <= MAX_DESCRIPTION_CHARS:
            yield f"the description of {name!r} in {lang} is missing or too long (P21)"


def _twice(where: str, words: list[Any]) -> Iterator[str]:
    for word, count in Counter(map(str, words)).items():
        if count > 1:
            yield f"{word!r} is {count} times in {where}"


def _is_text(word: object) -> bool:
    return isinstance(word, str)
