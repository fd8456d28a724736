"""Vectors in tag space and how well a track fits a mood (POLICY-MUSICNN: "Sound-alike vector", "Moods in tag space").

Absolute tag scores of moods are tiny, so everything is relative to a frozen prior: the means and deviations of 188
pieces of music, shipped as data. It never changes with the corpus, so neither do the vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from core.analysis import Tag, TaggerName, Vector
from models.pack import read_tag_names

TAGGERS: tuple[TaggerName, ...] = ("msd", "mtt")
_SCORE_FLOOR = 0.001  # inside the logit: a score of 0 must not become minus infinity
_SPREAD_FLOOR = 0.1  # beside sigma: rare tags have hardly any spread
_Z_LIMIT = 3.0


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
    names = read_tag_names()
    return {f"{tagger}:{name}": i for i, (tagger, name) in enumerate((t, n) for t in TAGGERS for n in names[t])}


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


def mood_score(tags: Mapping[str, float], vector: Vector) -> float:
    """How well a track fits a mood: the query's inner product with its tag vector; 0 is as well as the prior's mean."""
    return float(query_vector(tags) @ vector)


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
