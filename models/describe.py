"""From the numbers that a child sent to an Analysis. A child has read hostile bytes: every number is checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from types import MappingProxyType

import numpy as np

from core.analysis import PACK_OF_TAGGER, Acoustics, Analysis, Segment, Space, Tag, TaggerName, Vector
from models.child.containers import Container
from models.child.key import TONICS
from models.child.waveform import PEAKS
from models.moods import TAGGERS, sound_vector, tag_vector
from models.pack import tag_names
from models.styles import style_vector
from models.wire import BadFrame, Heard

_STRONGEST = 12  # tags of each tagger that a segment keeps
_HALF = 200  # dimensions of one musicnn embedding
_OPTIONAL: frozenset[TaggerName] = frozenset({"moodtheme"})  # its head may be missing
# What the decoder and the meters can yield, with some room: samples are at most 16 times full scale.
_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "duration_seconds": (0.0, 1e6),
        "rms_dbfs": (-200.0, 60.0),
        "bpm": (49.0, 221.0),
        "bpm_confidence": (0.0, 1.0),
        "key_confidence": (0.0, 2.0),
        "loudness_lufs": (-70.1, 60.0),
        "loudness_range_lu": (0.0, 130.0),
        "sample_peak_dbfs": (-200.0, 60.0),
        "true_peak_dbtp": (-200.0, 60.0),
        "clipped": (0.0, 1.0),
        "channels": (1, 65_535),
        "sample_rate": (2_000, 768_000),
        "speech": (0.0, 1.0),
        "music": (0.0, 1.0),
        "voice": (0.0, 1.0),
    }
)
_MAY_BE_NONE = frozenset({"bpm", "loudness_lufs", "loudness_range_lu"})


def describe(heard: Heard, packs: Mapping[str, str]) -> Analysis:
    """What these packs (name -> hash) heard. Raises BadFrame for what they cannot have heard."""
    if heard.container not in frozenset(Container):
        raise BadFrame("no container that we read")
    _check_ranges(heard, ("duration_seconds", "rms_dbfs"))
    _check_acoustics(heard.acoustics)
    _check_segments(heard)
    expected = [tagger for tagger, pack in PACK_OF_TAGGER.items() if pack in packs]
    if missing := set(expected) - _OPTIONAL - heard.scores.keys():
        raise BadFrame(f"no scores of {', '.join(sorted(missing))}")
    tags = tuple(chain.from_iterable(_name_all(heard.scores, expected)))
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
                tuple(tag for named in _name_all(segment.scores, expected) for tag in _strongest(named)),
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
            halves = [np.asarray(embeddings[tagger], np.float32) for tagger in TAGGERS]
            if any(half.shape != (_HALF,) or not np.isfinite(half).all() for half in halves):
                raise BadFrame("an embedding is not what it should be")
            sound = sound_vector(*halves)
            vectors[Space.MUSICNN_SOUND] = to_unit(sound.tolist(), 400)
            vectors[Space.MUSICNN_TAGS] = tag_vector([tag for tag in tags if tag.model in TAGGERS])
        if "effnet" in packs:
            vectors[Space.EFFNET_SOUND] = to_unit(embeddings["effnet"], 1280)
            vectors[Space.EFFNET_TAGS] = style_vector(tags)
        if "clap" in packs:
            vectors[Space.CLAP] = to_unit(embeddings["clap"], 512)
    except (KeyError, ValueError) as error:
        raise BadFrame(f"an embedding is missing or wrong ({error})") from error
    return vectors


def _name_all(scores: Mapping[TaggerName, Sequence[float | None]], expected: Sequence[TaggerName]) -> list[list[Tag]]:
    """By tagger, in the order of the expected ones."""
    if strange := scores.keys() - set(expected):
        raise BadFrame(f"scores of {', '.join(sorted(strange))}, whose pack does not listen")
    return [_name(tagger, scores[tagger]) for tagger in expected if tagger in scores]


def _name(tagger: TaggerName, scores: Sequence[float | None]) -> list[Tag]:
    """In the order of the pack's labels, without the heads that are not installed."""
    names = tag_names(tagger)
    if len(names) != len(scores) or not all(
        tagger == "heads" if score is None else 0.0 <= score <= 1.0 for score in scores
    ):
        raise BadFrame(f"the scores of {tagger} are not what they should be")
    return [Tag(name, tagger, score) for name, score in zip(names, scores, strict=True) if score is not None]


def _strongest(tags: Sequence[Tag]) -> list[Tag]:
    return sorted(tags, key=lambda tag: -tag.score)[:_STRONGEST]


def _check_acoustics(acoustics: Acoustics) -> None:
    _check_ranges(acoustics, [name for name in _RANGES if hasattr(acoustics, name)])
    if (acoustics.key is None) != (acoustics.mode is None) or acoustics.key not in (None, *TONICS):
        raise BadFrame("a key that is none")
    if len(acoustics.peaks) != PEAKS:
        raise BadFrame(f"{len(acoustics.peaks)} peaks")


def _check_segments(heard: Heard) -> None:
    """One after the other within the track."""
    times = [time for segment in heard.segments for time in (segment.start_seconds, segment.end_seconds)]
    if not all(before <= after for before, after in pairwise([0.0, *times, heard.duration_seconds])):  # NaN is not
        raise BadFrame("the segments are out of order")


def _check_ranges(measured: Heard | Acoustics, names: Iterable[str]) -> None:
    for name in names:
        value, (lowest, highest) = getattr(measured, name), _RANGES[name]
        if value is None and name in _MAY_BE_NONE:
            continue
        if value is None or not lowest <= value <= highest:  # NaN is in no range
            raise BadFrame(f"{name} cannot be {value}")
