"""A music record of any collection -> Track, as `collections.json` says (LEXICONS section 5). Pure, once loaded.

Paths are dotted; `[]` goes over a list; `|` takes the first path with a value; `+` joins lists; `@rkey-tid` is the time
in the record key. Records are strangers' words: every text is cleaned and bounded, every number checked (P179).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson

from core.clock import parse_datetime
from core.dagcbor import RAW, cid_binary
from core.errors import BadRecord, Held, Misconfigured, NoAudio, UnsafeHost
from core.types import AtUri, BlobRef, Cid, Did, Tid, Track, is_tid, parse_did, parse_nsid, tid_microseconds
from firehose.guard import check_url

MAX_TEXT_CHARS = 1_000
MAX_LIST_LENGTH = 64
MAX_TAG_CHARS = 128
MAX_DURATION_MS = 7 * 86_400_000
RKEY_TIME = "@rkey-tid"
_ROLES = ("track", "sound", "speech", "stem", "video")
# Control characters, line separators, lone surrogates, and the marks that reorder text on a screen.
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class CollectionMap:
    """How one collection maps to a Track; field names as in `collections.json`."""

    collection: str
    blob: str | None = None
    url: str | None = None
    url_hosts: frozenset[str] = frozenset()
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    duration: str | None = None
    duration_unit: Literal["s", "ms"] = "s"
    created: str | None = "createdAt"
    self_labels: str | None = "labels.values[].val"
    author_tags: str | None = None
    credits: str | None = None
    explicit: str | None = None
    skip_if: tuple[str, ...] = ()
    hold_until: str | None = None
    page_url: str | None = None
    visibility_check: str | None = None
    role: Literal["track", "sound", "speech", "stem", "video"] = "track"


def load_mapping(path: Path | None = None, *, only: frozenset[str] | None = None) -> dict[str, CollectionMap]:
    """The mapping of a file (None: the packaged one): the named collections, or all that are enabled.

    Raises Misconfigured for a name that the file does not map.
    """
    packaged = resources.files("firehose") / "collections.json"
    document = orjson.loads(path.read_bytes() if path else packaged.read_bytes())
    entries = {name: document["defaults"] | entry for name, entry in document["collections"].items()}
    for name in only or ():
        if name not in entries:
            raise Misconfigured("source.collections", f"{name} has no mapping; known: {', '.join(sorted(entries))}")
    names = sorted(name for name in entries if (name in only if only is not None else entries[name]["enabled"]))
    return {name: _collection_map(name, entries[name]) for name in names}


def _collection_map(name: str, entry: Mapping[str, Any]) -> CollectionMap:
    fields = {key: entry[key] for key in CollectionMap.__slots__ if key in entry}
    fields["url_hosts"] = frozenset(entry.get("url_hosts", ()))
    fields["skip_if"] = tuple(entry["skip_if"])
    parse_nsid(name)
    if entry["role"] not in _ROLES or entry["duration_unit"] not in ("s", "ms"):
        raise Misconfigured("collections.json", f"{name}: unknown role or duration unit")
    return CollectionMap(collection=name, **fields)


def read_track(mapping: CollectionMap, uri: AtUri, cid: Cid, rev: Tid, record: Any, *, now_us: int) -> Track:
    """The track in a record. A gated one comes without audio, so that nothing can fetch it.

    Raises NoAudio when there is nothing that we may fetch, Held before its release (it is not looked at again by itself
    yet), BadRecord when it is no record of this collection.
    """
    if not isinstance(record, dict):
        raise BadRecord(f"{uri}: not a readable record")
    if record.get("$type", mapping.collection) != mapping.collection:
        raise BadRecord(f"{uri}: the record is of another type")
    if _is_held(_first(record, mapping.hold_until), now_us):
        raise Held(f"{uri}: to be released later")
    gated = any(_is_present(record, path) for path in mapping.skip_if)
    blob = None if gated else _blob(_first(record, mapping.blob))
    url = None if gated or blob is not None else _url(_first(record, mapping.url), mapping.url_hosts)
    if not gated and blob is None and url is None:
        raise NoAudio(f"{uri}: no blob, and no address on this collection's list")
    return Track(
        uri=uri,
        cid=cid,
        rev=rev,
        title=_text(_first(record, mapping.title)) or "",
        created_us=_created_us(_first(record, mapping.created), uri.rkey, now_us),
        artist=_text(_first(record, mapping.artist)),
        album=_text(_first(record, mapping.album)),
        duration_ms=_duration_ms(_first(record, mapping.duration), mapping.duration_unit),
        blob=blob,
        audio_url=url,
        page_url=_page_url(mapping.page_url, uri),
        self_labels=_texts(record, mapping.self_labels),
        author_tags=_texts(record, mapping.author_tags),
        credits=tuple(did for text in _texts(record, mapping.credits) if (did := _did(text)) is not None),
        explicit=_first(record, mapping.explicit) is True,
        gated=gated,
        visibility_check=mapping.visibility_check,
        role=mapping.role,
    )


def bare_track(mapping: CollectionMap, uri: AtUri, cid: Cid, rev: Tid, record: Any, *, now_us: int) -> Track:
    """What can be kept of a record that is refused: its address, its title if there is one, and no audio."""
    fields = record if isinstance(record, dict) else {}
    return Track(
        uri=uri,
        cid=cid,
        rev=rev,
        title=_text(_first(fields, mapping.title)) or "",
        created_us=_created_us(_first(fields, mapping.created), uri.rkey, now_us),
        visibility_check=mapping.visibility_check,
        role=mapping.role,
    )


def find_values(record: Any, path: str) -> list[Any]:
    """Everything that a dotted path without `|` and `+` leads to, in order, at most 64."""
    found = [record]
    for step in path.split("."):
        name, many = step.removesuffix("[]"), step.endswith("[]")
        found = [value[name] for value in found if isinstance(value, dict) and name in value]
        if many:
            found = [member for value in found if isinstance(value, list) for member in value[:MAX_LIST_LENGTH]]
    return found[:MAX_LIST_LENGTH]


def clean_text(text: str) -> str:
    """One printable line of at most 1 000 characters."""
    return _UNWANTED.sub(" ", text[: 4 * MAX_TEXT_CHARS]).strip()[:MAX_TEXT_CHARS]


def _first(record: Any, path: str | None) -> Any:
    """The first non-empty value at any of the `|` alternatives."""
    if path == RKEY_TIME:
        return None
    for alternative in (path or "").split("|"):
        for value in find_values(record, alternative) if alternative else ():
            if value not in (None, "", [], {}):
                return value
    return None


def _is_present(record: Any, path: str) -> bool:
    """Whether a gate's path exists at all: a gate that we do not understand is closed, even an empty one."""
    return bool(find_values(record, path))


def _text(value: Any) -> str | None:
    return (clean_text(value) or None) if isinstance(value, str) else None


def _texts(record: Any, path: str | None) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for alternative in (path or "").split("+"):
        for value in find_values(record, alternative) if alternative else ():
            for text in value[:MAX_LIST_LENGTH] if isinstance(value, list) else [value]:
                if isinstance(text, str) and (cleaned := clean_text(text)[:MAX_TAG_CHARS]):
                    found[cleaned] = None
    return tuple(found)[:MAX_LIST_LENGTH]


def _blob(value: Any) -> BlobRef | None:
    """A blob reference in the current or the legacy form (P185), if its CID is one that can be verified (P182)."""
    if not isinstance(value, dict):
        return None
    mime, size, ref = value.get("mimeType"), value.get("size"), value.get("ref")
    if isinstance(ref, dict) and isinstance(ref.get("$link"), str):
        cid = ref["$link"]
        if type(size) is not int or not 0 < size < 2**53:
            return None
    elif "$type" not in value and isinstance(value.get("cid"), str):
        cid, size = value["cid"], None
    else:
        return None
    try:
        if cid_binary(cid)[1] != RAW:
            return None
    except ValueError:
        return None
    return BlobRef(Cid(cid), clean_text(mime)[:MAX_TAG_CHARS] if isinstance(mime, str) else "", size)


def _url(value: Any, hosts: frozenset[str]) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return value if check_url(value).host in hosts else None
    except UnsafeHost:
        return None


def _duration_ms(value: Any, unit: Literal["s", "ms"]) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value <= MAX_DURATION_MS:
        return None
    milliseconds = round(value * 1000) if unit == "s" else round(value)
    return milliseconds if 0 < milliseconds <= MAX_DURATION_MS else None


def _is_held(value: Any, now_us: int) -> bool:
    """Whether a release date lies ahead; one that cannot be read holds as well."""
    try:
        return value is not None and parse_datetime(str(value)) > now_us
    except ValueError:
        return True


def _created_us(value: Any, rkey: str, now_us: int) -> int:
    """The record's own time, else that of its key, else now; never after now, never before 1970."""
    try:
        created_us = parse_datetime(value) if isinstance(value, str) else tid_microseconds(rkey)
    except ValueError:
        created_us = tid_microseconds(rkey) if is_tid(rkey) else now_us
    return max(0, min(created_us, now_us))


def _page_url(template: str | None, uri: AtUri) -> str | None:
    return template.format(uri=uri, did=uri.did, rkey=uri.rkey) if template else None


def _did(text: str) -> Did | None:
    try:
        return parse_did(text)
    except ValueError:
        return None


def page_hosts(mapping: Mapping[str, CollectionMap]) -> frozenset[str]:
    """Hosts whose pages stand for tracks of these collections."""
    templates = (entry.page_url for entry in mapping.values())
    return frozenset(host for template in templates if template and (host := urlsplit(template).hostname))
