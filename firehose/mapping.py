"""How the records of each collection map to tracks: `collections.json`, or an operator's file like it (LEXICONS 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import orjson

from core.errors import Misconfigured
from core.types import parse_nsid

SETTING = "source.mapping"


@dataclass(frozen=True, slots=True)
class CollectionMap:
    """How one collection maps to a Track; field names as in `collections.json`, paths as in firehose.records.

    `noted` are paths that are known and not used. `walk`: the collection has no mapping; its records are searched for
    audio (firehose.fallback).
    """

    collection: str
    blob: str | None = None
    url: str | None = None
    url_hosts: frozenset[str] = frozenset()
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    duration: str | None = None
    duration_unit: Literal["s", "ms"] = "s"
    created: str = "createdAt"
    self_labels: str = "labels.values[].val"
    author_tags: str | None = None
    credits: str | None = None
    explicit: str | None = None
    isrc: str | None = None
    skip_if: tuple[str, ...] = ()
    hold_until: str | None = None
    post_ref: str | None = None
    page_url: str | None = None
    visibility_check: str | None = None
    role: Literal["track", "sound", "speech", "stem", "video"] = "track"
    feeds_min_seconds: float | None = None
    max_bytes: int | None = None
    noted: tuple[str, ...] = ()
    enabled: bool = True
    walk: bool = False

    def paths(self) -> frozenset[str]:
        """Every path that the mapping reads or notes, without `|` and `+`."""
        said = [self.blob, self.url, self.title, self.artist, self.album, self.duration, self.created, self.self_labels]
        said += [self.author_tags, self.credits, self.explicit, self.isrc, self.hold_until, self.post_ref]
        alternatives = [part for path in said for part in (path or "").replace("+", "|").split("|")]
        return frozenset(part for part in (*alternatives, *self.skip_if, *self.noted) if part and part[0] != "@")


# Of a collection without a mapping: LEXICONS 5, and whatever looks like a gate keeps a record closed.
_WALKED = CollectionMap(
    "",
    title="title|name|text",
    created="createdAt|publishedAt",
    skip_if=("supportGate", "gate", "visibility", "unlisted", "private"),
    walk=True,
)


def load_mapping(path: Path | None = None, *, only: frozenset[str] | None = None) -> dict[str, CollectionMap]:
    """The mapping of a file (None: the packaged one): the named collections, or all that are enabled.

    A named one that the file does not map is searched for audio. Raises Misconfigured for a file that cannot be read,
    and for collections that the file says are never ours.
    """
    try:
        text = path.read_bytes() if path else (resources.files("firehose") / "collections.json").read_bytes()
        document = orjson.loads(text)
        defaults, never = document.get("defaults", {}), document.get("never", {})
        entries = {name: _collection_map(name, defaults | entry) for name, entry in document["collections"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Misconfigured(SETTING, f"{path or 'collections.json'} is no mapping: {error}") from None
    for name in sorted(only if only is not None else entries):
        reason = next((never[pattern] for pattern in never if _is_match(name, pattern)), None)
        if reason is not None:
            raise Misconfigured("source.collections", f"{name} is never listened to: {reason}")
        if name not in entries:
            entries[name] = replace(_WALKED, collection=_nsid(name))
    names = sorted(name for name in entries if (name in only if only is not None else entries[name].enabled))
    return {name: entries[name] for name in names}


def page_hosts(mapping: Mapping[str, CollectionMap]) -> frozenset[str]:
    """Hosts whose pages stand for tracks of these collections."""
    templates = (entry.page_url for entry in mapping.values())
    return frozenset(host for template in templates if template and (host := urlsplit(template).hostname))


def _collection_map(name: str, entry: Mapping[str, Any]) -> CollectionMap:
    """Raises ValueError for a name, field or value that has no meaning here."""
    parse_nsid(name)
    unknown = sorted(set(entry) - set(CollectionMap.__slots__) | {"collection", "walk"} & set(entry))
    if unknown:
        raise ValueError(f"{name} has unknown fields: {', '.join(unknown)}")
    found = msgspec.convert({**entry, "collection": name}, CollectionMap)
    (found.page_url or "").format(uri="", did="", rkey="")
    return found


def _is_match(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith(".*") else name == pattern


def _nsid(name: str) -> str:
    try:
        return parse_nsid(name)
    except ValueError:
        raise Misconfigured("source.collections", f"{name[:100]!r} is not the name of a collection") from None
