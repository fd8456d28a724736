"""The lexicon language (spec/lexicon) as far as tests need it: is a document one, and does a value fit a definition?

Values are held to more than the language asks: what a definition does not name may not be there.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from core.clock import parse_datetime
from core.dagcbor import cid_binary
from core.types import AtUri, parse_did, parse_nsid

Documents = Mapping[str, Mapping[str, Any]]

NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9]{0,62}")
PRIMARY = {"record", "query", "procedure", "subscription"}
FORMATS: Mapping[str, Callable[[str], object]] = {
    "text": str,
    "did": parse_did,
    "nsid": parse_nsid,
    "at-uri": AtUri.parse,
    "cid": cid_binary,
    "datetime": parse_datetime,
    "language": lambda text: re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", text) or _fail(text),
}
_COMMON = {"type", "description"}
FIELDS: Mapping[str, set[str]] = {
    "boolean": {"default", "const"},
    "integer": {"minimum", "maximum", "enum", "default", "const"},
    "string": {"format", "maxLength", "minLength", "maxGraphemes", "minGraphemes", "knownValues", "enum", "default"},
    "bytes": {"minLength", "maxLength"},
    "cid-link": set(),
    "array": {"items", "minLength", "maxLength"},
    "object": {"properties", "required", "nullable"},
    "params": {"properties", "required"},
    "ref": {"ref"},
    "query": {"parameters", "output", "errors"},
    "procedure": {"parameters", "input", "output", "errors"},
    "record": {"key", "record"},
}


class BadLexicon(ValueError):
    """Not in the lexicon language, or a value that does not fit."""


def _fail(what: object) -> None:
    raise BadLexicon(repr(what))


def check_document(document: Mapping[str, Any], documents: Documents) -> None:
    """Raises BadLexicon, or ValueError for a bad name. `documents`: those that references may lead to."""
    assert set(document) <= {"lexicon", "id", "description", "defs"}, set(document)
    assert document["lexicon"] == 1
    parse_nsid(document["id"])
    assert document["defs"]
    for name, schema in document["defs"].items():
        assert NAME.fullmatch(name), name
        assert schema["type"] not in PRIMARY or name == "main", name
        _check_schema(schema, document["id"], documents, f"{document['id']}#{name}")


def _check_schema(schema: Mapping[str, Any], home: str, documents: Documents, path: str) -> None:
    kind = schema["type"]
    assert kind in FIELDS, f"{path}: {kind}"
    assert set(schema) <= FIELDS[kind] | _COMMON, f"{path}: {set(schema) - FIELDS[kind] - _COMMON}"
    for low, high in (("minimum", "maximum"), ("minLength", "maxLength")):
        assert schema.get(low, 0) <= schema.get(high, 2**53), path
    if kind == "string":
        assert schema.get("format", "did") in FORMATS, f"{path}: {schema['format']}"
        assert "maxLength" in schema or "format" in schema, f"{path}: texts are bounded"
    elif kind == "ref":
        find(schema["ref"], home, documents)
    elif kind == "array":
        assert "maxLength" in schema, f"{path}: lists are bounded"
        _check_schema(schema["items"], home, documents, path + "[]")
    elif kind in ("object", "params"):
        _check_members(schema, home, documents, path)
    elif kind == "record":
        assert schema["key"] in ("tid", "any", "nsid") or schema["key"].startswith("literal:"), path
        assert schema["record"]["type"] == "object", path
        _check_schema(schema["record"], home, documents, path)
    elif kind in ("query", "procedure"):
        _check_method(schema, home, documents, path)


def _check_members(schema: Mapping[str, Any], home: str, documents: Documents, path: str) -> None:
    assert set(schema.get("required", ())) | set(schema.get("nullable", ())) <= set(schema["properties"]), path
    for name, member in schema["properties"].items():
        assert NAME.fullmatch(name), f"{path}.{name}"
        flat = member["items"] if schema["type"] == "params" and member["type"] == "array" else member
        assert schema["type"] == "object" or flat["type"] in ("boolean", "integer", "string"), f"{path}.{name}"
        _check_schema(member, home, documents, f"{path}.{name}")


def _check_method(schema: Mapping[str, Any], home: str, documents: Documents, path: str) -> None:
    assert ("input" in schema) is (schema["type"] == "procedure"), path  # whoever takes POST here takes a body
    for body in ("input", "output"):
        if body in schema:
            assert schema[body]["encoding"] == "application/json", path
            assert schema[body]["schema"]["type"] in ("object", "ref"), path
            _check_schema(schema[body]["schema"], home, documents, f"{path} {body}")
    if "parameters" in schema:
        assert schema["parameters"]["type"] == "params", path
        _check_schema(schema["parameters"], home, documents, f"{path} parameters")
    for error in schema.get("errors", ()):
        assert NAME.fullmatch(error["name"]), path


def find(ref: str, home: str, documents: Documents) -> tuple[Mapping[str, Any], str]:
    """The definition that a reference names, and the document that it is in. Raises KeyError."""
    name, _, fragment = ref.partition("#")
    document = documents[name or home]
    definition: Mapping[str, Any] = document["defs"][fragment or "main"]
    return definition, document["id"]


def check_value(value: Any, schema: Mapping[str, Any], home: str, documents: Documents) -> None:
    """Raises BadLexicon, saying where, when the value does not fit."""
    wrong = list(_wrong(value, schema, home, documents, "$"))
    if wrong:
        raise BadLexicon("; ".join(wrong[:5]))


def _wrong(value: Any, schema: Mapping[str, Any], home: str, documents: Documents, path: str) -> Iterator[str]:
    kind = schema["type"]
    if kind == "ref":
        definition, home = find(schema["ref"], home, documents)
        yield from _wrong(value, definition, home, documents, path)
    elif kind == "object":
        yield from _wrong_object(value, schema, home, documents, path)
    elif kind == "array":
        if isinstance(value, list) and len(value) <= schema["maxLength"]:
            for place, member in enumerate(value):
                yield from _wrong(member, schema["items"], home, documents, f"{path}[{place}]")
        else:
            yield f"{path} is no list of at most {schema['maxLength']}"
    elif not FITS[kind](value, schema):
        yield f"{path} is no {schema.get('format', kind)} as declared: {str(value)[:80]!r}"


def _wrong_object(value: Any, schema: Mapping[str, Any], home: str, documents: Documents, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is no object"
        return
    yield from (f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value)
    for name, member in value.items():
        if name in schema["properties"]:
            yield from _wrong(member, schema["properties"][name], home, documents, f"{path}.{name}")
        elif name != "$type":
            yield f"{path}.{name} is not declared"


def _is_bytes(value: Any, schema: Mapping[str, Any]) -> bool:
    if not isinstance(value, dict) or set(value) != {"$bytes"}:
        return False
    return len(base64.b64decode(value["$bytes"] + "==")) <= schema["maxLength"]


def _is_integer(value: Any, schema: Mapping[str, Any]) -> bool:
    return type(value) is int and schema.get("minimum", -(2**53)) <= value <= schema.get("maximum", 2**53)


def _is_text(value: Any, schema: Mapping[str, Any]) -> bool:
    if not isinstance(value, str) or len(value.encode()) > schema.get("maxLength", 8192):
        return False
    try:
        FORMATS[schema.get("format", "text")](value)
    except ValueError:
        return False
    return True


FITS: Mapping[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    "bytes": _is_bytes,
    "integer": _is_integer,
    "string": _is_text,
    "boolean": lambda value, _: type(value) is bool,
}
