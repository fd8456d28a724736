"""Reads the catalogue of feeds: the built-in one, or the operator's, and refuses what the network would."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from core.errors import Misconfigured
from core.feed import PROMPT_WRAPPERS, Feed, FeedKind
from core.taxonomy import Taxonomy
from core.types import parse_rkey
from feedgen.wording import Words, is_number, read_gates, read_weights, refuse_unknown

# app.bsky.feed.generator (P100). A character here is a code point: never fewer than the graphemes that are counted
# there, so what passes here passes there.
MAX_NAME_CHARACTERS, MAX_NAME_BYTES = 24, 240
MAX_DESCRIPTION_CHARACTERS, MAX_DESCRIPTION_BYTES = 300, 3000
MAX_RKEY_CHARACTERS = 15  # FEEDS, at its head: feed generators of Bluesky have no longer ones

_TOP_KEYS = ("_about", "template_wrappers", "feeds", "structural")
_TEXTS = ("rkey", "displayName", "description")
_LISTS = ("pos", "neg", "allow_non_music")  # of texts
_WEIGHTS = ("tags", "styles", "moods")  # name -> weight
_NUMBERS = ("min_seconds", "max_seconds")
_FEED_KEYS = (*_TEXTS, "enabled", *_LISTS, *_WEIGHTS, "veto", "require", "mode", *_NUMBERS)
_STRUCTURAL_KEYS = (*_TEXTS, "enabled", "kind", *_NUMBERS)
_FRESH_SECONDS = 20.0  # FEEDS 4: what is shorter is no track


def load_catalogue(
    path: Path | None = None,
    *,
    taxonomy: Taxonomy,
    known_tags: Collection[str] | None = None,
    known_moods: Collection[str] | None = None,
    min_seconds: float = 30.0,
    max_seconds: float = 1200.0,
    include_disabled: bool = False,
) -> tuple[Feed, ...]:
    """The feeds of a catalogue file (default: the packaged one), in its order; only enabled ones unless told.

    `min_seconds` and `max_seconds` hold where a feed of music states none of its own; `fresh` and `voices` are open to
    at least as much. `known_tags` are the names of the tag space ("msd:ambient"), `known_moods` those of the mood
    tagger; without them only the form is checked. Raises Misconfigured, naming file, feed and key.
    """
    if not 0 <= min_seconds < max_seconds:
        raise Misconfigured("feeds.min_seconds", f"must be at least 0 and less than {max_seconds:g}")
    source = path or files("feedgen").joinpath("feeds.json")
    name = str(path or "feeds.json")
    try:
        table = orjson.loads(source.read_bytes())
    except (OSError, ValueError) as error:
        raise Misconfigured(name, f"cannot be read as a feed catalogue: {error}") from None
    if not isinstance(table, dict) or not isinstance(table.get("feeds"), list):
        raise Misconfigured(name, "must be an object with a list `feeds`")
    refuse_unknown(name, table, _TOP_KEYS)
    words = Words(taxonomy, known_tags, known_moods)
    limits = {"min_seconds": min_seconds, "max_seconds": max_seconds}
    wrappers = _read_wrappers(name, table.get("template_wrappers", list(PROMPT_WRAPPERS)))
    feeds: dict[str, Feed] = {}
    enabled: set[str] = set()
    for where, row, kinds in _rows(name, table):
        feed = _read_structural(where, row, limits) if kinds else _read_mood(where, limits | row, wrappers, words)
        if feed.rkey in feeds:
            raise Misconfigured(where, f"the rkey {feed.rkey} occurs twice")
        feeds[feed.rkey] = feed
        if row.get("enabled", True):
            enabled.add(feed.rkey)
    return tuple(feed for feed in feeds.values() if include_disabled or feed.rkey in enabled)


def _rows(name: str, table: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Where each row stands, the row, and whether it is structural."""
    for section in ("feeds", "structural"):
        rows = table.get(section, [])
        if not isinstance(rows, list):
            raise Misconfigured(f"{name}: {section}", "must be a list")
        for place, row in enumerate(rows):
            where = f"{name}: {section}[{place}]"
            if not isinstance(row, dict):
                raise Misconfigured(where, "must be an object")
            yield f"{name}: {row['rkey']}" if isinstance(row.get("rkey"), str) else where, row, section == "structural"


def _read_wrappers(name: str, wrappers: object) -> tuple[str, ...]:
    if not isinstance(wrappers, list) or not wrappers or not all(isinstance(w, str) and "{}" in w for w in wrappers):
        raise Misconfigured(f"{name}: template_wrappers", "must be a list of texts with {} where a prompt goes")
    return tuple(wrappers)


def _read_mood(where: str, row: Mapping[str, Any], wrappers: tuple[str, ...], words: Words) -> Feed:
    refuse_unknown(where, row, _FEED_KEYS)
    common = _read_common(where, row)
    for key in _LISTS:
        if not isinstance(texts := row.get(key, []), list) or not all(_is_text(text) for text in texts):
            raise Misconfigured(f"{where}.{key}", "must be a list of texts")
    weights = {key: read_weights(f"{where}.{key}", row.get(key, {})) for key in _WEIGHTS}
    if not any(weights["tags"].values()):
        raise Misconfigured(f"{where}.tags", "needs at least one tag with a weight")
    if not row.get("pos"):
        raise Misconfigured(f"{where}.pos", "needs at least one prompt: what is wanted, in words")
    if row.get("mode") not in (None, "major", "minor"):
        raise Misconfigured(f"{where}.mode", "must be major or minor")
    words.check_tags(f"{where}.tags", weights["tags"])
    words.check_styles(f"{where}.styles", weights["styles"])
    words.check_moods(f"{where}.moods", weights["moods"])
    words.check_non_music(f"{where}.allow_non_music", row.get("allow_non_music", ()))
    return Feed(
        **common,
        tags=weights["tags"],
        prompts=tuple(row["pos"]),
        negative_prompts=tuple(row.get("neg", ())),
        wrappers=wrappers,
        styles=weights["styles"],
        moods=weights["moods"],
        vetoes=tuple(read_gates(f"{where}.veto", row.get("veto", []), words.read_veto)),
        requirements=tuple(read_gates(f"{where}.require", row.get("require", []), words.read_requirement)),
        non_music=tuple(row.get("allow_non_music", ())),
        mode=row.get("mode"),
    )


def _read_structural(where: str, row: Mapping[str, Any], limits: Mapping[str, float]) -> Feed:
    refuse_unknown(where, row, _STRUCTURAL_KEYS)
    kinds = [kind.value for kind in FeedKind if kind is not FeedKind.MOOD]
    if row.get("kind") not in kinds:
        raise Misconfigured(f"{where}.kind", f"must be one of {', '.join(kinds)}")
    kind = FeedKind(row["kind"])
    music = kind not in (FeedKind.FRESH, FeedKind.VOICES)
    open_to_all = {"min_seconds": min(_FRESH_SECONDS, limits["min_seconds"]), "max_seconds": 1e5}
    usual = limits if music else open_to_all
    return Feed(**_read_common(where, {**usual, **row}), kind=kind)


def _read_common(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """What every feed has, as fields of Feed."""
    for key in _TEXTS:
        if not _is_text(row.get(key)):
            raise Misconfigured(f"{where}.{key}", "must be a text")
    if not all(is_number(row[key]) for key in _NUMBERS) or not 0 <= row["min_seconds"] < row["max_seconds"]:
        raise Misconfigured(f"{where}.min_seconds", "min_seconds and max_seconds must be numbers, the first smaller")
    if not isinstance(row.get("enabled", True), bool):
        raise Misconfigured(f"{where}.enabled", "must be true or false")
    _check_length(f"{where}.displayName", row["displayName"], MAX_NAME_CHARACTERS, MAX_NAME_BYTES)
    _check_length(f"{where}.description", row["description"], MAX_DESCRIPTION_CHARACTERS, MAX_DESCRIPTION_BYTES)
    try:
        parse_rkey(row["rkey"])
    except ValueError:
        raise Misconfigured(f"{where}.rkey", "is not a record key: letters, digits and . - _ ~ :") from None
    if len(row["rkey"]) > MAX_RKEY_CHARACTERS:
        raise Misconfigured(f"{where}.rkey", f"may have at most {MAX_RKEY_CHARACTERS} characters")
    return {
        "rkey": row["rkey"],
        "display_name": row["displayName"],
        "description": row["description"],
        "min_seconds": float(row["min_seconds"]),
        "max_seconds": float(row["max_seconds"]),
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _check_length(where: str, text: str, characters: int, byte_limit: int) -> None:
    if len(text) > characters or len(text.encode()) > byte_limit:
        raise Misconfigured(where, f"may have at most {characters} characters and {byte_limit} bytes")
