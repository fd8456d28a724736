"""Reads the catalogue of mood feeds: the built-in one, or the operator's, and refuses what the network would."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from core.errors import Misconfigured
from core.feed import PROMPT_WRAPPERS, MoodFeed
from core.taxonomy import Taxonomy
from core.types import parse_rkey

# app.bsky.feed.generator (P100). A character here is a code point: never fewer than the graphemes that are counted
# there, so what passes here passes there.
MAX_NAME_CHARACTERS, MAX_NAME_BYTES = 24, 240
MAX_DESCRIPTION_CHARACTERS, MAX_DESCRIPTION_BYTES = 300, 3000

_TOP_KEYS = ("_about", "template_wrappers", "feeds", "structural")
_PROMPTS = ("pos", "neg", "veto", "allow_non_music")  # lists of texts
_WEIGHTS = ("tags", "styles", "moods", "require")  # name -> weight
_TEXTS = ("rkey", "displayName", "description")
_NUMBERS = ("min_seconds", "max_seconds")
_FEED_KEYS = (*_TEXTS, "enabled", *_PROMPTS, *_WEIGHTS, *_NUMBERS)
_TAG = re.compile(r"(?:msd|mtt):\S.*\Z")


def load_catalogue(
    path: Path | None = None,
    *,
    taxonomy: Taxonomy,
    known_tags: Collection[str] | None = None,
    min_seconds: float = 30.0,
    max_seconds: float = 1200.0,
    include_disabled: bool = False,
) -> tuple[MoodFeed, ...]:
    """The mood feeds of a catalogue file (default: the packaged one), in its order; only enabled ones unless told.

    `min_seconds` and `max_seconds` hold for feeds that state none of their own. `known_tags` are the names of the tag
    space ("msd:ambient"); without it only their form is checked. Raises Misconfigured, naming file, feed and key.
    """
    source = path or files("feedgen").joinpath("feeds.json")
    name = str(path or "feeds.json")
    try:
        table = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Misconfigured(name, f"cannot be read as a feed catalogue: {error}") from None
    if not isinstance(table, dict) or not isinstance(table.get("feeds"), list):
        raise Misconfigured(name, "must be an object with a list `feeds`")
    _refuse_unknown(name, table, _TOP_KEYS)
    wrappers = _read_wrappers(name, table.get("template_wrappers", list(PROMPT_WRAPPERS)))
    feeds: dict[str, MoodFeed] = {}
    enabled: set[str] = set()
    for place, row in enumerate(table["feeds"]):
        where = f"{name}: feeds[{place}]"
        if not isinstance(row, dict):
            raise Misconfigured(where, "must be an object")
        feed = _read_feed(where, {"min_seconds": min_seconds, "max_seconds": max_seconds} | row)
        _check_words(f"{name}: {feed.rkey}", feed, taxonomy, known_tags)
        if feed.rkey in feeds:
            raise Misconfigured(where, f"the rkey {feed.rkey} occurs twice")
        feeds[feed.rkey] = replace(feed, veto=_with_styles(feed.veto, taxonomy), wrappers=wrappers)
        if row.get("enabled", True):
            enabled.add(feed.rkey)
    return tuple(feed for feed in feeds.values() if include_disabled or feed.rkey in enabled)


def _read_wrappers(name: str, wrappers: object) -> tuple[str, ...]:
    if not isinstance(wrappers, list) or not wrappers or not all(isinstance(w, str) and "{}" in w for w in wrappers):
        raise Misconfigured(f"{name}: template_wrappers", "must be a list of texts with {} where a prompt goes")
    return tuple(wrappers)


def _read_feed(where: str, row: Mapping[str, Any]) -> MoodFeed:
    _refuse_unknown(where, row, _FEED_KEYS)
    for key in _TEXTS:
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise Misconfigured(f"{where}.{key}", "must be a text")
    for key in _PROMPTS:
        if not isinstance(texts := row.get(key, []), list) or not all(isinstance(text, str) for text in texts):
            raise Misconfigured(f"{where}.{key}", "must be a list of texts")
    for key in _WEIGHTS:
        if not isinstance(weights := row.get(key, {}), dict) or not all(_is_number(n) for n in weights.values()):
            raise Misconfigured(f"{where}.{key}", "must give each name a number")
    if not all(_is_number(row[key]) for key in _NUMBERS) or not 0 <= row["min_seconds"] < row["max_seconds"]:
        raise Misconfigured(f"{where}.min_seconds", "min_seconds and max_seconds must be numbers, the first smaller")
    if not isinstance(row.get("enabled", True), bool):
        raise Misconfigured(f"{where}.enabled", "must be true or false")
    _check_length(f"{where}.displayName", row["displayName"], MAX_NAME_CHARACTERS, MAX_NAME_BYTES)
    _check_length(f"{where}.description", row["description"], MAX_DESCRIPTION_CHARACTERS, MAX_DESCRIPTION_BYTES)
    try:
        parse_rkey(row["rkey"])
    except ValueError:
        raise Misconfigured(f"{where}.rkey", "is not a record key: letters, digits and . - _ ~ :") from None
    return MoodFeed(
        rkey=row["rkey"],
        display_name=row["displayName"],
        description=row["description"],
        tags={tag: float(weight) for tag, weight in row.get("tags", {}).items()},
        prompts=tuple(row.get("pos", ())),
        negative_prompts=tuple(row.get("neg", ())),
        veto=tuple(row.get("veto", ())),
        min_seconds=float(row["min_seconds"]),
        max_seconds=float(row["max_seconds"]),
        extra={key: row[key] for key in ("styles", "moods", "require", "allow_non_music") if key in row},
    )


def _check_words(where: str, feed: MoodFeed, taxonomy: Taxonomy, known_tags: Collection[str] | None) -> None:
    if not any(feed.tags.values()):
        raise Misconfigured(f"{where}.tags", "needs at least one tag with a weight")
    for tag in feed.tags:
        if not _TAG.match(tag) or (known_tags is not None and tag not in known_tags):
            raise Misconfigured(f"{where}.tags", f"unknown tag {tag!r}{_nearest(tag, known_tags or ())}")
    for identifier in (*feed.veto, *feed.extra.get("styles", ()), *feed.extra.get("allow_non_music", ())):
        if identifier not in taxonomy.parents and identifier not in taxonomy.styles:
            near = _nearest(identifier, taxonomy.identifiers)
            raise Misconfigured(f"{where}", f"unknown style {identifier!r}{near}")


def _with_styles(veto: tuple[str, ...], taxonomy: Taxonomy) -> tuple[str, ...]:
    """A veto on a parent holds for every style under it."""
    return veto + tuple(style.identifier for style in taxonomy.styles.values() if style.parent in veto)


def _check_length(where: str, text: str, characters: int, byte_limit: int) -> None:
    if len(text) > characters or len(text.encode()) > byte_limit:
        raise Misconfigured(where, f"may have at most {characters} characters and {byte_limit} bytes")


def _refuse_unknown(where: str, row: Mapping[str, Any], known: Collection[str]) -> None:
    for key in row:
        if key not in known:
            raise Misconfigured(where, f"unknown key {key!r}{_nearest(key, known)}")


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6
