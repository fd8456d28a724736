"""What the packs say of every track of a corpus when mood feeds ask: by the names that taggers give, and by prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.analysis import Space, Vector
from core.feed import FeedQuery, MoodQuery, Questions, Requirement, Veto
from feedgen.checks import Checks, check
from feedgen.ranking import Why
from models.moods import measure_spread, score_tags
from models.prompts import SMALL_CORPUS, score_prompts
from models.styles import strongest, voice
from store.index import VectorIndex
from store.tracks import RankableTrack

Scores = NDArray[np.float64]

CHECKED_FROM = 300  # tracks (FEEDS 6): the nearest of fewer say little of a prompt
_SAMPLE = 10_000  # tracks that are looked at to check prompts
_BATCH = 4_096  # vectors copied at a time
_STYLES_TOLD = 3  # of a veto, to people


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A veto or a requirement of a feed: which tracks it bars, bool [tracks], and the number that decided, f64."""

    why: Why
    name: str
    strength: Scores
    bars: NDArray[np.bool_]


class Names:
    """What effnet and musicnn name, of the tracks `asked` about; arrays are aligned to all tracks."""

    def __init__(
        self, index: VectorIndex, tracks: Sequence[RankableTrack], asked: NDArray[np.bool_], questions: Questions
    ) -> None:
        self._track_ids = np.array([track.track_id for track in tracks], np.int64)
        self._asked = self._track_ids[asked]
        self._tagged, self._tags = np.zeros(len(tracks), bool), np.empty((0, 100), np.float32)
        if Space.MUSICNN_TAGS in index.spaces:
            present, self._tags = index.vectors(Space.MUSICNN_TAGS, self._asked.tolist())
            self._tagged = np.isin(self._track_ids, present)
        self._spread = measure_spread(self._tags) if len(self._tags) else None
        self._styled: dict[int, Scores] = {}  # by id of what asks: a query of styles, a veto or a requirement
        if Space.EFFNET_TAGS in index.spaces:
            self._read_styles(index, questions)

    def judge_by_styles(self, query: FeedQuery, wanted: NDArray[np.bool_]) -> bool:
        """Whether effnet heard enough of the tracks that are `wanted`, bool [tracks]: what is usual of styles is only
        known in a corpus that is not small.
        """
        by_style = self._styled.get(id(query.styles))
        return by_style is not None and int(np.isfinite(by_style[wanted]).sum()) >= SMALL_CORPUS

    def score(self, query: FeedQuery, wanted: NDArray[np.bool_]) -> Scores | None:
        """How well each track fits by styles and moods, else by tags, whose spread is known beforehand; not a number
        where nobody listened.
        """
        if self.judge_by_styles(query, wanted):
            return self._styled[id(query.styles)]
        return None if query.tags is None else self._score_tags(query.tags)

    def bar(self, query: FeedQuery) -> tuple[Gate, ...]:
        """The vetoes and requirements of a feed: by their pack where that listened, else by their tag rule; what
        neither can tell of is barred.
        """
        return tuple(self._bar(gate, rule) for gate, rule in query.gates)

    def _bar(self, gate: Veto | Requirement, rule: MoodQuery) -> Gate:
        heard, told = self._styled.get(id(gate)), self._score_tags(rule)
        by_pack = np.zeros(len(told), bool) if heard is None else np.isfinite(heard)
        strength = told if heard is None else np.where(by_pack, heard, told)
        reached = strength >= np.where(by_pack, gate.at, gate.without.at)
        if isinstance(gate, Veto):
            return Gate(Why.VETO, ", ".join(gate.styles[:_STYLES_TOLD]), strength, reached | np.isnan(strength))
        return Gate(Why.REQUIREMENT, gate.quality, strength, ~reached)

    def _score_tags(self, query: MoodQuery) -> Scores:
        found = np.full(len(self._track_ids), np.nan)
        if self._spread is not None:
            found[self._tagged] = score_tags(query, self._tags, self._spread)
        return found

    def _read_styles(self, index: VectorIndex, questions: Questions) -> None:
        """One pass over the vectors, for all who ask."""
        readers: dict[int, Callable[[Vector], NDArray[np.floating[Any]]]] = {}
        for query in questions.feeds.values():
            readers |= {id(gate): partial(_measure, gate) for gate, _ in query.gates}
            if query.styles is not None:
                readers[id(query.styles)] = partial(_weigh, query.styles.positive[0])
        self._styled = {asks: np.full(len(self._track_ids), np.nan) for asks in readers}
        for at in range(0, len(self._asked), _BATCH):
            present, rows = index.vectors(Space.EFFNET_TAGS, self._asked[at : at + _BATCH].tolist())
            places = np.searchsorted(self._track_ids, present)
            for asks, read in readers.items():
                self._styled[asks][places] = read(rows)


class Texts:
    """How well the tracks `asked` about fit prompts; arrays are aligned to all tracks."""

    def __init__(
        self, index: VectorIndex, tracks: Sequence[RankableTrack], asked: NDArray[np.bool_], questions: Questions
    ) -> None:
        self._index = index
        self._track_ids = np.array([track.track_id for track in tracks], np.int64)
        self._queries = {rkey: query.prompts for rkey, query in questions.feeds.items() if query.prompts is not None}
        self._neutral = questions.neutral
        self._present: list[int] = []
        if self._queries and Space.CLAP in index.spaces:
            rows = np.concatenate([part for one in self._queries.values() for part in (one.positive, one.negative)])
            self._present, self._products = index.products(Space.CLAP, rows, self._track_ids[asked].tolist())
            self._places = np.searchsorted(self._track_ids, self._present)

    def score(self, rkey: str) -> Scores | None:
        """How well each track fits the feed's prompts; not a number where nobody listened."""
        if rkey not in self._queries or not self._present:
            return None
        positive, negative = self._columns(rkey)
        found = np.full(len(self._track_ids), np.nan)
        found[self._places] = score_prompts(self._products[:, positive], self._products[:, negative])
        return found

    def may_be_checked(self, rkey: str) -> bool:
        """Whether the corpus is large enough to tell if the feed's prompts mean anything."""
        return rkey in self._queries and self._neutral is not None and len(self._present) >= CHECKED_FROM

    def check(self, rkey: str, prompts: Scores, tags: Scores | None, *, seed: int) -> Checks:
        """What the tests say, on at most 10 000 tracks."""
        assert self._neutral is not None
        step = -(-len(self._present) // _SAMPLE)
        rows = np.concatenate([self._queries[rkey].positive, self._neutral])
        present, products = self._index.products(Space.CLAP, rows, self._present[::step])
        places = np.searchsorted(self._track_ids, present)
        positives = len(self._queries[rkey].positive)
        told = None if tags is None else tags[places]
        return check(products[:, :positives], products[:, positives:], prompts[places], told, seed=seed)

    def _columns(self, rkey: str) -> tuple[slice, slice]:
        """Where the products with the feed's positives and negatives stand."""
        at = 0
        for name, query in self._queries.items():
            middle, end = at + len(query.positive), at + len(query.positive) + len(query.negative)
            if name == rkey:
                return slice(at, middle), slice(middle, end)
            at = end
        raise KeyError(rkey)


def _weigh(weights: Vector, rows: Vector) -> Vector:
    weighed: Vector = rows @ weights
    return weighed


def _measure(gate: Veto | Requirement, rows: Vector) -> Vector:
    """What a veto or a requirement asks of f32 [tracks, 457]."""
    return strongest(rows, gate.styles) if isinstance(gate, Veto) else 1.0 - voice(rows)
