"""A music record of any collection -> Track, as `collections.json` says (LEXICONS section 5). Pure, once loaded.

Paths are dotted; `[]` goes over a list; `|` takes the first path with a value; `+` joins lists; `@rkey-tid` is the time
in the record key. Records are strangers' words: every text is cleaned and bounded, every number checked (P179).
"""

from __future__ import annotations

import re
from typing import Any, Literal

from core.clock import parse_datetime
from core.dagcbor import RAW, cid_binary
from core.errors import BadRecord, BlobTooLarge, Held, NoAudio, UnsafeHost
from core.types import AtUri, BlobRef, Cid, Did, Tid, Track, is_tid, parse_did, tid_microseconds
from firehose.fallback import find_audio
from firehose.guard import check_url
from firehose.mapping import CollectionMap

MAX_TEXT_CHARS = 1_000
MAX_LIST_LENGTH = 64
MAX_TAG_CHARS = 128
MAX_DURATION_MS = 7 * 86_400_000
RKEY_TIME = "@rkey-tid"
# Control characters, line separators, lone surrogates, and the marks that reorder text on a screen.
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_LONGEST_ISRC = 15  # characters, with hyphens
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


def read_track(mapping: CollectionMap, uri: AtUri, cid: Cid, rev: Tid, record: Any, *, now_us: int) -> Track:
    """The track in a record. A gated one comes without audio, so that nothing can fetch it; one that is to be released
    later says when.

    Raises NoAudio when there is nothing that we may fetch, BlobTooLarge by the record's own word, Held when its release
    date cannot be read, BadRecord when it is no record of this collection.
    """
    if not isinstance(record, dict):
        raise BadRecord(f"{uri}: not a readable record")
    if record.get("$type", mapping.collection) != mapping.collection:
        raise BadRecord(f"{uri}: the record is of another type")
    gated = any(_is_present(record, path) for path in mapping.skip_if)
    blob = None if gated else _blob(find_audio(record) if mapping.walk else _first(record, mapping.blob))
    url = None if gated or blob is not None else _url(_first(record, mapping.url), mapping.url_hosts)
    if not gated and blob is None and url is None:
        raise NoAudio(f"{uri}: no blob, and no address on this collection's list")
    if blob is not None and mapping.max_bytes is not None and (blob.size or 0) > mapping.max_bytes:
        raise BlobTooLarge(f"{uri}: {blob.size} bytes, and {mapping.max_bytes} are the most of {mapping.collection}")
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
        credits=_dids(record, mapping.credits),
        explicit=_first(record, mapping.explicit) is True,
        isrc=_isrc(_first(record, mapping.isrc)),
        gated=gated,
        visibility_check=mapping.visibility_check,
        role=mapping.role,
        feeds_min_seconds=mapping.feeds_min_seconds,
        hold_until_us=_hold_until_us(uri, _first(record, mapping.hold_until), now_us),
        post_refs=_post_refs(_first(record, mapping.post_ref)),
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


def _isrc(value: Any) -> str | None:
    """As ISO 3901 has it, whether or not it is written with hyphens; None if it is none."""
    code = value.replace("-", "").upper() if isinstance(value, str) and len(value) <= _LONGEST_ISRC else ""
    return code if _ISRC.fullmatch(code) else None


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


def _hold_until_us(uri: AtUri, value: Any, now_us: int) -> int | None:
    """A release that lies ahead. Raises Held for a date that cannot be read: it may lie ahead as well."""
    if value is None:
        return None
    try:
        release_us = parse_datetime(value) if isinstance(value, str) else parse_datetime("")
    except ValueError:
        raise Held(f"{uri}: to be released, and nobody can tell when") from None
    return release_us if release_us > now_us else None


def _created_us(value: Any, rkey: str, now_us: int) -> int:
    """The record's own time, else that of its key, else now; never after now, never before 1970."""
    try:
        created_us = parse_datetime(value) if isinstance(value, str) else tid_microseconds(rkey)
    except ValueError:
        created_us = tid_microseconds(rkey) if is_tid(rkey) else now_us
    return max(0, min(created_us, now_us))


def _page_url(template: str | None, uri: AtUri) -> str | None:
    return template.format(uri=uri, did=uri.did, rkey=uri.rkey) if template else None


def _dids(record: Any, path: str | None) -> tuple[Did, ...]:
    return tuple(dict.fromkeys(did for text in _texts(record, path) if (did := _did(text)) is not None))


def _did(text: str) -> Did | None:
    try:
        return parse_did(text)
    except ValueError:
        return None


def _post_refs(value: Any) -> tuple[str, ...]:
    """The post that a record names, as an at-uri or a strong reference to one."""
    text = value.get("uri") if isinstance(value, dict) else value
    try:
        return (str(AtUri.parse(text)),) if isinstance(text, str) else ()
    except ValueError:
        return ()
