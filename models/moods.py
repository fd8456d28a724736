"""Vectors in tag space and how well a track fits a mood (POLICY-MUSICNN: "Sound-alike vector", "Moods in tag space").

Absolute tag scores of moods are tiny, so everything is relative. Stored vectors are relative to a frozen prior: the
means and deviations of 188 pieces of music, shipped as data, so that they never change with the corpus. Scores in a
large corpus are relative to that corpus.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.analysis import Space, Tag, TaggerName, Vector
from core.feed import MoodQuery
from models.catalogue import tag_names

TAGGERS: tuple[TaggerName, ...] = ("msd", "mtt")
_SCORE_FLOOR = 0.001  # inside the logit: a score of 0 must not become minus infinity
_SPREAD_FLOOR = 0.1  # beside sigma: rare tags have hardly any spread
_Z_LIMIT = 3.0
_OWN_FROM, _OWN_ONLY = 50, 200  # tracks: the prior alone up to the first, the corpus alone from the second


class _Spread(msgspec.Struct, frozen=True):
    """One tagger's part of the prior file."""

    mean: list[float]  # [200], of the embedding
    std: list[float]
    tag_logit_mean: list[float]  # [50]
    tag_logit_std: list[float]


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Frozen statistics, msd before mtt: embeddings f32 [400], tag logits f32 [100]."""

    embedding_mean: Vector
    embedding_std: Vector
    logit_mean: Vector
    logit_std: Vector


@dataclass(frozen=True, slots=True, eq=False)
class TagSpread:
    """What is usual in a corpus of tag vectors: f64 [100] each, in the prior's z-scores."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


@cache
def load_prior() -> Prior:
    """The prior of the musicnn pack, read once."""
    source = Path(__file__).with_name("musicnn_prior.json").read_bytes()
    parts = msgspec.json.decode(source, type=dict[str, msgspec.Raw])
    spreads = [msgspec.json.decode(parts[tagger], type=_Spread) for tagger in TAGGERS]
    return Prior(
        embedding_mean=_join(spread.mean for spread in spreads),
        embedding_std=_join(spread.std for spread in spreads),
        logit_mean=_join(spread.tag_logit_mean for spread in spreads),
        logit_std=_join(spread.tag_logit_std for spread in spreads),
    )


@cache
def tag_positions() -> Mapping[str, int]:
    """`msd:ambient` -> position in a tag vector: 50 msd, then 50 mtt, each in its tagger's order."""
    return {f"{tagger}:{name}": i for i, (tagger, name) in enumerate((t, n) for t in TAGGERS for n in tag_names(t))}


def tag_vector(tags: Sequence[Tag]) -> Vector:
    """f32 [100]: z-scored logits of the track's mean tag scores, clipped to -3..3. ValueError unless complete."""
    positions = tag_positions()
    scores = np.full(len(positions), np.nan)
    for tag in tags:
        scores[_position(positions, f"{tag.model}:{tag.name}")] = tag.score
    if np.isnan(scores).any():
        raise ValueError(f"a tag vector needs all {len(positions)} tags")
    prior = load_prior()
    lifted = np.clip(scores + _SCORE_FLOOR, _SCORE_FLOOR, 1 - _SCORE_FLOOR)
    z = (np.log(lifted / (1 - lifted)) - prior.logit_mean) / (prior.logit_std + _SPREAD_FLOOR)
    return np.clip(z, -_Z_LIMIT, _Z_LIMIT).astype(np.float32)


def query_vector(tags: Mapping[str, float]) -> Vector:
    """f32 [100] of length 1 from weights such as `{"msd:ambient": 1.0, "mtt:quiet": 0.6, "msd:metal": -1}`.

    Raises ValueError for an unknown tag and when nothing weighs anything.
    """
    positions = tag_positions()
    query = np.zeros(len(positions))
    for name, weight in tags.items():
        query[_position(positions, name)] = weight
    length = float(np.linalg.norm(query))
    if not np.isfinite(length) or length == 0.0:
        raise ValueError("a mood needs at least one tag with a weight")
    return cast("Vector", (query / length).astype(np.float32))


def build_query(tags: Mapping[str, float]) -> MoodQuery:
    """The same as a question to the tag space. Raises ValueError as above."""
    query = query_vector(tags)
    return MoodQuery(Space.MUSICNN_TAGS, query[np.newaxis], np.empty((0, len(query)), np.float32))


def measure_spread(vectors: Vector) -> TagSpread:
    """What is usual among tag vectors f32 [n, 100].

    Up to 50 tracks that is the prior, from 200 on the corpus itself: (logit - mu) / (sigma + 0.1) with the corpus' own
    mu and sigma in place of the prior's, as far as the clipping of stored vectors allows. Between the two it goes over
    in a straight line, so that no track's score jumps when another one comes.
    """
    count = len(vectors)
    own = min(1.0, max(0.0, (count - _OWN_FROM) / (_OWN_ONLY - _OWN_FROM)))
    mean, std = np.zeros(vectors.shape[1]), np.ones(vectors.shape[1])
    if own > 0:
        floor = _SPREAD_FLOOR / (load_prior().logit_std + _SPREAD_FLOOR)
        mean = own * vectors.mean(axis=0, dtype=np.float64)
        std = (1 - own) + own * (vectors.std(axis=0, dtype=np.float64) + floor)
    return TagSpread(mean, std)


def score_tags(query: MoodQuery, vectors: Vector, spread: TagSpread) -> NDArray[np.float64]:
    """How well each track of tag vectors f32 [n, 100] fits, in standard deviations: f64 [n]; 0 is as well as usual."""
    adjusted = query.positive[0] / spread.std
    return cast("NDArray[np.float64]", vectors @ adjusted - spread.mean @ adjusted)


def sound_vector(msd_embedding: Vector, mtt_embedding: Vector) -> Vector:
    """f32 [400] of length 1, from a track's mean embeddings f32 [200]; inner products say what sounds alike."""
    prior = load_prior()
    z = (np.concatenate([msd_embedding, mtt_embedding]) - prior.embedding_mean) / prior.embedding_std
    halves = [half / max(float(np.linalg.norm(half)), 1e-12) for half in np.split(z, 2)]
    return cast("Vector", (np.concatenate(halves) / np.sqrt(2.0)).astype(np.float32))


def _position(positions: Mapping[str, int], name: str) -> int:
    if name not in positions:
        raise ValueError(f"no tag is called {name!r}; tags are written msd:NAME or mtt:NAME")
    return positions[name]


def _join(parts: Iterable[list[float]]) -> Vector:
    return np.concatenate([np.asarray(part, np.float32) for part in parts])
