"""From a few words to a feed of the catalogue: what an operator would have to write, ready to be changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from core.feed import Feed
from core.taxonomy import Taxonomy
from feedgen.catalogue import MAX_DESCRIPTION_CHARACTERS, MAX_NAME_CHARACTERS, MAX_RKEY_CHARACTERS
from models.catalogue import tag_names
from models.words import Understood, read_prompt, understand

MAX_WORDINGS = 8
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")  # that a terminal would act on
_MARKS = " ,;:.-"  # that no name begins or ends with
_ANYTHING = "music"  # what is wanted where words only say what is not
_LEAST_WEIGHT = 0.05  # of the strongest tag: what is less says nothing


def draft_feed(wordings: Sequence[str], taxonomy: Taxonomy) -> Feed:
    """A mood feed for one or more wordings of one wish. Raises NotUnderstood when no word of them is known."""
    wordings = [_CONTROLS.sub(" ", wording) for wording in wordings[:MAX_WORDINGS]]
    readings = [read_prompt(wording) for wording in wordings]
    known = [pair for pair in zip(wordings, readings, strict=False) if pair[1].weights]
    wording, told = known[0] if known else (wordings[0], understand(wordings[0]))
    weights = told.weights
    strongest = max(map(abs, weights.values()))
    styles, moods = _name_styles(readings, taxonomy), _name_moods(readings)
    unwanted = dict.fromkeys(text for reading in readings for text in reading.unwanted)
    return Feed(
        rkey=_make_rkey(told.wanted or wording),
        display_name=_cut(" ".join(wording.split()).strip(_MARKS).title(), MAX_NAME_CHARACTERS).rstrip(_MARKS),
        description=_cut(f"Music that sounds like: {wording}", MAX_DESCRIPTION_CHARACTERS),
        tags={
            tag: round(weight / strongest, 2)
            for tag, weight in weights.items()
            if abs(weight) >= _LEAST_WEIGHT * strongest
        },
        prompts=tuple(dict.fromkeys(reading.wanted for reading in readings if reading.wanted)) or (_ANYTHING,),
        negative_prompts=tuple(unwanted),
        styles=styles,
        moods=moods,
    )


def write_block(feed: Feed) -> dict[str, Any]:
    """The feed as a row of `feeds` in a catalogue file."""
    row: dict[str, Any] = {
        "rkey": feed.rkey,
        "displayName": feed.display_name,
        "description": feed.description,
        "pos": list(feed.prompts),
        "neg": list(feed.negative_prompts),
        "styles": dict(feed.styles),
        "moods": dict(feed.moods),
        "tags": dict(feed.tags),
    }
    return {key: value for key, value in row.items() if value}


def _name_styles(readings: Sequence[Understood], taxonomy: Taxonomy) -> dict[str, float]:
    """Genres that the words name, if each names exactly one; those that are refused count against."""
    found: dict[str, float] = {}
    for reading in readings:
        for match in reading.matches:
            identifier = taxonomy.identify(match.entry.word) if match.entry.kind == "genre" else None
            if identifier is not None:
                found[identifier] = -0.5 if match.negated else 1.0
    return found


def _name_moods(readings: Sequence[Understood]) -> dict[str, float]:
    known = frozenset(tag_names("moodtheme"))
    words = {match.entry.word: match.negated for reading in readings for match in reading.matches}
    return {word: -0.5 if negated else 1.0 for word, negated in words.items() if word in known}


def _make_rkey(text: str) -> str:
    """Whole words as far as they go."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    rkey = ""
    for word in words:
        longer = f"{rkey}-{word}" if rkey else word
        if len(longer) > MAX_RKEY_CHARACTERS:
            break
        rkey = longer
    return rkey or "".join(words)[:MAX_RKEY_CHARACTERS] or "my-feed"


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters].rsplit(" ", 1)[0][:characters]
