"""From the numbers that a child sent to an Analysis. A child has read hostile bytes: its numbers are checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from core.analysis import Acoustics, Analysis, Segment, Space, Tag, TaggerName, Vector
from models.moods import TAGGERS, sound_vector, tag_vector
from models.pack import tag_names
from models.wire import BadFrame, Heard

_STRONGEST = 12  # tags of each tagger that a segment keeps


def describe(heard: Heard, packs: Mapping[str, str]) -> Analysis:
    """What these packs (name -> hash) heard. Raises BadFrame when something is missing or no number."""
    _refuse_nonsense(heard.acoustics)
    tags = tuple(tag for tagger, scores in heard.scores.items() for tag in _name(tagger, scores))
    return Analysis(
        packs=dict(packs),
        duration_seconds=heard.duration_seconds,
        rms_dbfs=heard.rms_dbfs,
        tags=tags,
        vectors=_find_vectors(heard.embeddings, tags, packs),
        acoustics=heard.acoustics,
        segments=tuple(
            Segment(
                segment.start_seconds,
                segment.end_seconds,
                tuple(tag for tagger, scores in segment.scores.items() for tag in _strongest(_name(tagger, scores))),
            )
            for segment in heard.segments
        ),
        warnings=tuple(heard.warnings),
        container=heard.container,
    )


def to_unit(values: Sequence[float], dimensions: int) -> Vector:
    """f32 of length 1 in the direction of a raw embedding. Raises BadFrame if it has none."""
    vector = np.asarray(values, np.float64)
    length = float(np.linalg.norm(vector))
    if vector.shape != (dimensions,) or not math.isfinite(length) or length == 0.0:
        raise BadFrame("an embedding is not what it should be")
    unit: Vector = (vector / length).astype(np.float32)
    return unit


def _find_vectors(
    embeddings: Mapping[str, Sequence[float]], tags: Sequence[Tag], packs: Mapping[str, str]
) -> dict[Space, Vector]:
    vectors: dict[Space, Vector] = {}
    try:
        if "musicnn" in packs:
            sound = sound_vector(*(np.asarray(embeddings[tagger], np.float32) for tagger in TAGGERS))
            vectors[Space.MUSICNN_SOUND] = to_unit(sound.tolist(), 400)
            vectors[Space.MUSICNN_TAGS] = tag_vector([tag for tag in tags if tag.model in TAGGERS])
        if "effnet" in packs:
            vectors[Space.EFFNET_SOUND] = to_unit(embeddings["effnet"], 1280)
        if "clap" in packs:
            vectors[Space.CLAP] = to_unit(embeddings["clap"], 512)
    except (KeyError, ValueError) as error:
        raise BadFrame(f"an embedding is missing or wrong ({error})") from error
    return vectors


def _name(tagger: TaggerName, scores: Sequence[float | None]) -> list[Tag]:
    """In the order of the pack's labels, without the heads that are not installed."""
    names = tag_names(tagger)
    if len(names) != len(scores) or not all(score is None or 0.0 <= score <= 1.0 for score in scores):
        raise BadFrame(f"the scores of {tagger} are not what they should be")
    return [Tag(name, tagger, score) for name, score in zip(names, scores, strict=True) if score is not None]


def _strongest(tags: Sequence[Tag]) -> list[Tag]:
    return sorted(tags, key=lambda tag: -tag.score)[:_STRONGEST]


def _refuse_nonsense(acoustics: Acoustics) -> None:
    values = (getattr(acoustics, field.name) for field in fields(acoustics))
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise BadFrame("an acoustic measure is no number")
