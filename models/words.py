"""From the words of a prompt to weights over tags: the curated table `mood_words.json` (MODELS section 7)."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import msgspec

from core.errors import NotUnderstood

Kind = Literal["genre", "instrument", "mood", "activity", "era", "tempo", "texture", "voice"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_PROMPT_CHARACTERS = 300
_GENRE_FACTOR = 2.0  # genre words count double (MODELS section 7)
_LISTING = frozenset({"or"})  # "no drums or vocals": both are unwanted
_LACKING = frozenset({"without", "withoutany", "sans", "ohne", "wo", "avoid", "freeof"})  # after "not": it is wanted
_OF_A_NOUN = frozenset({"no", "without"})  # "no music for sleeping": the music is refused, its purpose is not
_PURPOSE = "for"
_CLAUSES = re.compile(r"[,;:!?…|()\[\]{}\"“”„\n]+|\.\s")
_SPLIT = re.compile(r"[\s,.;:!?…/|\\()\[\]{}<>\"“”„*+=_~–—-]+")
_PLURAL_ES = ("ches", "shes", "sses", "xes", "zes")
_NO_PLURAL = ("ss", "us", "is")
# Words that mean something else than what is left without their s: "blue" is not the blues, "news" are not new.
_NO_PLURALS = frozenset(
    {
        "blues", "breaks", "countries", "currents", "eighties", "falls", "fifties", "folks", "forties", "hips",
        "houses", "keys", "lights", "lives", "news", "nineties", "noises", "odds", "rhodes", "sans", "seventies",
        "sixties", "souls", "springs", "stars", "thirties", "waves", "woods", "works",
    }
)  # fmt: skip


class Entry(msgspec.Struct, frozen=True):
    """One meaning: its word or phrase, other words for it, and what it asks of the tag space."""

    word: str
    kind: Kind
    tags: dict[str, float]  # "msd:ambient" -> -1..1
    aliases: tuple[str, ...] = ()
    without: str | None = None  # the word of the entry that says it is missing


class _Table(msgspec.Struct, frozen=True):
    """The file."""

    negators: list[str]
    fillers: list[str]
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The table by folded phrase."""

    entries: tuple[Entry, ...]
    by_phrase: Mapping[str, Entry]  # of words and aliases
    negators: frozenset[str]
    fillers: frozenset[str]
    longest: int  # words in the longest phrase


@dataclass(frozen=True, slots=True)
class Match:
    """A stretch of a prompt that the table knows."""

    text: str  # as it was typed
    entry: Entry
    negated: bool
    weights: Mapping[str, float]  # tag -> weight, of length 1 or, for a genre, 2


@dataclass(frozen=True, slots=True)
class Understood:
    """What a prompt says. Fillers ("music", "for") are in neither list."""

    matches: tuple[Match, ...]
    unknown: tuple[str, ...]  # as typed
    wanted: str  # the prompt without what it negates: for a model that reads text and does not read "no"
    unwanted: tuple[str, ...]  # what it negates, known or not

    @property
    def words(self) -> tuple[str, ...]:
        """The words and phrases that are known, as typed."""
        return tuple(match.text for match in self.matches)

    @property
    def weights(self) -> dict[str, float]:
        """Tag -> weight, of length 1, strongest first; empty when nothing is known or everything cancels out."""
        total: dict[str, float] = {}
        for match in {(match.entry.word, match.negated): match for match in self.matches}.values():
            for tag, weight in match.weights.items():
                total[tag] = total.get(tag, 0.0) + weight
        kept = {tag: weight for tag, weight in total.items() if abs(weight) > 1e-9}
        return dict(sorted(_scaled(kept, 1.0).items(), key=lambda pair: -abs(pair[1])))


@cache
def load_vocabulary() -> Vocabulary:
    """The shipped table, read once."""
    table = msgspec.json.decode(Path(__file__).with_name("mood_words.json").read_bytes(), type=_Table)
    phrases = {phrase: entry for entry in table.entries for phrase in (entry.word, *entry.aliases)}
    return Vocabulary(
        entries=tuple(table.entries),
        by_phrase={fold(phrase): entry for phrase, entry in phrases.items()},
        negators=frozenset(fold(phrase) for phrase in table.negators),
        fillers=frozenset(fold(phrase) for phrase in table.fillers),
        longest=max(len(list(_split(phrase))) for phrase in (*phrases, *table.negators, *table.fillers)),
    )


def understand(prompt: str) -> Understood:
    """What a prompt asks of the tag space. Raises NotUnderstood when that is nothing, or when it is too long."""
    understood = read_prompt(prompt)
    if not understood.matches:
        named = ", ".join(understood.unknown) or "there is none that says anything"
        raise NotUnderstood(f"no word of the prompt is known ({named})")
    if not understood.weights:
        raise NotUnderstood(f"the words of the prompt cancel each other out ({', '.join(understood.words)})")
    return understood


def read_prompt(prompt: str) -> Understood:
    """The same for a prompt of which nothing need be known. Longest phrases first. Raises NotUnderstood if too long."""
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise NotUnderstood(f"a prompt may have {MAX_PROMPT_CHARACTERS} characters; this one has {len(prompt)}")
    vocabulary = load_vocabulary()
    readings = [_read_clause(list(_split(clause)), vocabulary) for clause in _CLAUSES.split(prompt)]
    return Understood(
        matches=tuple(match for reading in readings for match in reading.matches),
        unknown=tuple(text for reading in readings for text in reading.unknown),
        wanted=", ".join(" ".join(reading.wanted) for reading in readings if reading.wanted),
        unwanted=tuple(text for reading in readings for text in reading.unwanted),
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Of one clause, in its order."""

    matches: list[Match] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)


def _read_clause(pieces: list[str], vocabulary: Vocabulary) -> _Reading:
    """Neither a phrase nor a negation goes beyond a clause."""
    reading = _Reading()
    negator = ""  # what waits for its word
    last = ""  # the negator of the word before, if that was a negated one
    at = 0
    while at < len(pieces):
        length, folded = _longest_phrase(pieces[at:], vocabulary)
        text = " ".join(pieces[at : at + length])
        at += length
        entry = vocabulary.by_phrase.get(folded)
        if entry is None and folded in vocabulary.negators:
            negator, last = ("" if negator and folded in _LACKING else folded), ""
        elif entry is None and folded in vocabulary.fillers:
            if folded in _LISTING:
                negator = negator or last
            elif folded == _PURPOSE and negator in _OF_A_NOUN:
                negator = ""
            last = ""
            if not negator:
                reading.wanted.append(text)
        else:
            if entry is not None:
                reading.matches.append(_match(text, entry, bool(negator), vocabulary))
            else:
                reading.unknown.append(text)
            (reading.unwanted if negator else reading.wanted).append(text)
            negator, last = "", negator
    return reading


def fold(phrase: str) -> str:
    """What makes two spellings one: no case, diacritics, plural, hyphens or spaces. "Hip-Hop", "hiphop" -> "hiphop"."""
    return "".join(_fold_word(piece) for piece in _split(phrase))


def _match(text: str, entry: Entry, negated: bool, vocabulary: Vocabulary) -> Match:
    """What is not wanted counts against what it is made of, for nothing else: "no techno" does not ask for guitars."""
    asked, tags = entry, entry.tags
    if negated and entry.without is not None:
        asked = vocabulary.by_phrase[fold(entry.without)]
        tags = asked.tags
    elif negated:
        tags = {tag: -weight for tag, weight in entry.tags.items() if weight > 0}
    return Match(text, entry, negated, _scaled(tags, _GENRE_FACTOR if asked.kind == "genre" else 1.0))


def _longest_phrase(pieces: list[str], vocabulary: Vocabulary) -> tuple[int, str]:
    """How many pieces the longest phrase at the start takes, and it folded; one piece if nothing is known.

    Pieces may be one word of the table, as in "hip hop", but not two letters and other fillers: "be at" is no beat.
    """
    folded = [_fold_word(piece) for piece in pieces[: vocabulary.longest]]
    for length in range(len(folded), 0, -1):
        phrase = "".join(folded[:length])
        if length > 1 and min(map(len, folded[:length])) <= 2 and vocabulary.fillers.issuperset(folded[:length]):
            continue
        if phrase in vocabulary.by_phrase or phrase in vocabulary.negators or phrase in vocabulary.fillers:
            return length, phrase
    return 1, folded[0]


def _split(text: str) -> Iterator[str]:
    """The words as typed; what holds neither letter nor digit is none."""
    for piece in _SPLIT.split(unicodedata.normalize("NFC", text).replace("&", " and ")):
        if any(char.isalnum() for char in piece):
            yield piece


def _fold_word(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    plain = "".join(char for char in decomposed if char.isalnum())
    if len(plain) > 3 and plain not in _NO_PLURALS:
        if plain.endswith(_PLURAL_ES):
            plain = plain[:-2]
        elif plain.endswith("s") and not plain.endswith(_NO_PLURAL):
            plain = plain[:-1]
        if plain.endswith("ie"):
            plain = f"{plain[:-2]}y"
    return plain


def _scaled(weights: Mapping[str, float], length: float) -> dict[str, float]:
    norm = _length(weights.values())
    return {tag: weight * length / norm for tag, weight in weights.items()} if norm > 0 else {}


def _length(weights: Iterable[float]) -> float:
    return math.sqrt(math.fsum(weight * weight for weight in weights))
