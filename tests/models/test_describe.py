"""What a child sends is checked before it becomes an analysis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from core.analysis import Acoustics, Space
from models.describe import describe, to_unit
from models.wire import LENGTH, BadFrame, Heard, HeardSegment, decode_answer, encode

PACKS = {"musicnn": "aa", "effnet": "bb", "clap": "cc"}
ACOUSTICS = Acoustics(120.0, 0.5, "F#", "minor", 0.2, -14.0, 5.5, -0.1, 0.2, 0.0, bytes(800), 2, 44_100, 0.0, 1.0, 0.3)


def _heard(**changes: Any) -> Heard:
    rng = np.random.default_rng(5)
    heard = Heard(
        container="mp3",
        duration_seconds=1_000.0,
        rms_dbfs=-20.0,
        patches=40,
        scores={
            "msd": rng.random(50).tolist(),
            "mtt": rng.random(50).tolist(),
            "discogs": rng.random(400).tolist(),
            "heads": [0.1, 0.2, None, 0.4, 0.5, 0.6, 0.7],
        },
        embeddings={
            "msd": rng.standard_normal(200).tolist(),
            "mtt": rng.standard_normal(200).tolist(),
            "effnet": rng.standard_normal(1280).tolist(),
            "clap": rng.standard_normal(512).tolist(),
        },
        acoustics=ACOUSTICS,
        segments=[HeardSegment(0.0, 500.0, {"discogs": rng.random(400).tolist()})],
        warnings=[],
    )
    return msgspec.structs.replace(heard, **changes)


def test_what_it_becomes() -> None:
    heard = decode_answer(encode(_heard())[LENGTH.size :])
    assert isinstance(heard, Heard)
    analysis = describe(heard, PACKS)
    assert analysis.packs == PACKS
    assert set(analysis.vectors) == set(Space)
    for space in (Space.MUSICNN_SOUND, Space.EFFNET_SOUND, Space.CLAP):
        assert np.linalg.norm(analysis.vectors[space]) == pytest.approx(1, abs=1e-6)
    assert [tag.name for tag in analysis.tags if tag.model == "heads"] == [
        "danceability",
        "mood_aggressive",
        "mood_party",
        "mood_relaxed",
        "mood_sad",
        "voice",
    ]
    (segment,) = analysis.segments
    assert len(segment.tags) == 12
    assert segment.tags[0].score == max(score for score in heard.segments[0].scores["discogs"] if score is not None)
    assert analysis.acoustics == ACOUSTICS


@pytest.mark.parametrize(
    "wrong",
    [
        {"scores": {"msd": [0.5] * 49, "mtt": [0.5] * 50}},
        {"scores": {"msd": [0.5] * 49 + [1.5], "mtt": [0.5] * 50}},
        {"scores": {"msd": [0.5] * 49 + [float("nan")], "mtt": [0.5] * 50}},
        {"scores": {"msd": [0.5] * 50}},
        {"embeddings": {}},
        {"embeddings": {"msd": [0.1] * 200, "mtt": [float("nan")] * 200}},
        {"embeddings": {"msd": [0.1] * 199, "mtt": [0.1] * 200}},
        {"acoustics": replace(ACOUSTICS, bpm=float("inf"))},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        describe(_heard(**wrong), {"musicnn": "aa"})


@pytest.mark.parametrize("pack", ["effnet", "clap"])
@pytest.mark.parametrize("values", [[0.0], [float("nan")], [float("inf")], []])
def test_an_embedding_without_a_direction_is_refused(pack: str, values: list[float]) -> None:
    width = {"effnet": 1280, "clap": 512}[pack]
    with pytest.raises(BadFrame, match="embedding"):
        describe(_heard(embeddings={pack: values * width}), {pack: "aa"})


def test_to_unit() -> None:
    np.testing.assert_allclose(to_unit([3.0, 4.0], 2), [0.6, 0.8], atol=1e-7)
