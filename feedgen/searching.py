"""Finding tracks by a few words: by what their records say, and by how they sound."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.analysis import Space
from core.feed import MoodQuery
from feedgen.corpus import Corpus
from feedgen.taste import Rows, fuse
from models.moods import measure_spread, score_tags
from models.prompts import score_prompts
from store.index import VectorIndex

MOST_FOUND = 400  # by each way, like a mood feed's pool
_MAX_WORDS = 20  # of a question that records are searched for
_MAX_FIELD = 300  # characters of a title, an artist, an album
_MOST_LOOKED_AT = 5_000  # records that have the longest word: a word that all have finds nothing in particular
_BETWEEN = "\x1f"

_Said = tuple[str, str | None, str | None, tuple[str, ...]]


class Field(StrEnum):
    """Where in a record a word was found."""

    TITLE = "title"
    ARTIST = "artist"
    ALBUM = "album"
    LABEL = "label"  # what was heard in it


@dataclass(frozen=True, slots=True)
class Hit:
    """One track that was found. `sound`: how well it fits in standard deviations, by prompts or by tags; None: not by
    sound. `fields`: where the words are; none: not by words.
    """

    track_uri: str
    sound: float | None
    fields: tuple[Field, ...]


class Words:
    """What the records of a corpus say, folded so that spelling does not matter. `before`: that of an earlier corpus,
    whose folding is used again.
    """

    def __init__(self, corpus: Corpus, before: Words | None = None) -> None:
        self.corpus = corpus
        known = {} if before is None else before._folded
        said = [(track.title, track.artist, track.album, track.labels) for track in corpus.tracks]
        self._folded: dict[_Said, str] = {one: known.get(one) or _fold_record(one) for one in dict.fromkeys(said)}
        self._lines = [self._folded[one] for one in said]
        self._text = "\n".join(self._lines)
        self._starts = np.cumsum([0, *(len(line) + 1 for line in self._lines)])

    def find(self, text: str) -> dict[int, tuple[Field, ...]]:
        """Places of the tracks whose records have words that begin as each of these, each with where; the best first.

        Whole titles and artists come before parts, titles before the rest, then what people like.
        """
        words = [f" {word}" for word in fold(text).split()[:_MAX_WORDS]]
        if not words:
            return {}
        whole = "".join(words)
        found: list[tuple[tuple[object, ...], int, tuple[Field, ...]]] = []
        for place in self._having(max(words, key=len)):
            fields = dict(zip(Field, self._lines[place].split(_BETWEEN), strict=True))
            if all(any(word in said for said in fields.values()) for word in words):
                where = tuple(name for name, said in fields.items() if any(word in said for word in words))
                part = whole not in (fields[Field.TITLE], fields[Field.ARTIST])
                rank = (part, where[0] is not Field.TITLE, -int(self.corpus.likes[place]), place)
                found.append((rank, place, where))
        return {place: where for _, place, where in sorted(found)[:MOST_FOUND]}

    def _having(self, word: str) -> list[int]:
        """Places of the first records that have the word, found at the speed of memory."""
        places: list[int] = []
        at = self._text.find(word)
        while at >= 0 and len(places) < _MOST_LOOKED_AT:
            place = int(np.searchsorted(self._starts, at, "right")) - 1
            places.append(place)
            at = self._text.find(word, int(self._starts[place + 1]) - 1)
        return places


def fold(text: str) -> str:
    """Lower case without diacritics, words of letters and digits."""
    plain = text if text.isascii() else unicodedata.normalize("NFKD", text)
    return " ".join(
        re.findall(r"[^\W_]+", "".join(char for char in plain if not unicodedata.combining(char)).casefold())
    )


def find_by_sound(corpus: Corpus, index: VectorIndex, query: MoodQuery, *, at: float) -> dict[int, float]:
    """Places of the music that fits a question to its space with at least `at` standard deviations, the best first."""
    places = {track.track_id: place for place, track in enumerate(corpus.tracks) if track.music}
    if query.space is Space.CLAP:
        rows = np.concatenate([query.positive, query.negative])
        present, products = index.products(Space.CLAP, rows, list(places))
        scores = score_prompts(products[:, : len(query.positive)], products[:, len(query.positive) :])
    else:
        present, vectors = index.vectors(query.space, list(places))
        scores = score_tags(query, vectors, measure_spread(vectors)) if present else np.empty(0)
    order = [row for row in np.argsort(-scores, kind="stable")[:MOST_FOUND].tolist() if scores[row] >= at]
    return {places[present[row]]: float(scores[row]) for row in order}


def join(corpus: Corpus, by_sound: Mapping[int, float], by_words: Mapping[int, Sequence[Field]]) -> list[Hit]:
    """Both lists as one by the sum of reciprocal ranks: what both found comes first, then in turn, words first."""
    lists: list[Rows] = [np.array(list(found), np.intp) for found in (by_words, by_sound)]
    places, gains = fuse(lists)
    order = sorted(
        zip((-gains).tolist(), (place not in by_words for place in places.tolist()), places.tolist(), strict=True)
    )
    return [Hit(corpus.tracks[place].uri, by_sound.get(place), tuple(by_words.get(place, ()))) for _, _, place in order]


def _fold_record(said: _Said) -> str:
    """In the order of Field; every word behind a space."""
    title, artist, album, labels = said
    texts = (title, artist or "", album or "", " ".join(labels))
    return _BETWEEN.join("".join(f" {word}" for word in fold(text[:_MAX_FIELD]).split()) for text in texts)
