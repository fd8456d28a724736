"""What a child sends is checked before it becomes an analysis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from core.analysis import PACK_OF_TAGGER, Acoustics, Space
from models.describe import describe, to_unit
from models.pack import tag_names
from models.wire import LENGTH, BadFrame, Heard, HeardSegment, decode_answer, encode

PACKS = {"musicnn": "aa", "effnet": "bb", "clap": "cc"}
ACOUSTICS = Acoustics(120.0, 0.5, "F#", "minor", 0.2, -14.0, 5.5, -0.1, 0.2, 0.0, bytes(800), 2, 44_100, 0.0, 1.0, 0.3)


def _heard(**changes: Any) -> Heard:
    rng = np.random.default_rng(5)
    heard = Heard(
        container="mp3",
        duration_seconds=1_000.0,
        rms_dbfs=-20.0,
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


NAN, INF = float("nan"), float("inf")
SCORES, EMBEDDINGS = _heard().scores, _heard().embeddings


def _segments(*times: tuple[float, float]) -> dict[str, Any]:
    return {"segments": [HeardSegment(start, end, {}) for start, end in times]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"container": "x" * 1_000},
        {"container": "exe"},
        *({"duration_seconds": value} for value in (NAN, INF, -1.0, 1e9)),
        *({"rms_dbfs": value} for value in (NAN, -INF, -201.0, 1e3)),
        *(_segments(times) for times in ((NAN, 500.0), (0.0, NAN), (-1.0, 500.0), (500.0, 400.0), (0.0, 1_001.0))),
        _segments((500.0, 1_000.0), (0.0, 500.0)),
        _segments((0.0, 500.0), (400.0, 1_000.0)),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        describe(_heard(**wrong), PACKS)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"bpm": value} for value in (NAN, INF, 0.0, -120.0, 1e4)),
        *({name: value} for name in ("loudness_lufs", "loudness_range_lu") for value in (NAN, -INF, 1e3, -1e3)),
        *({name: value} for name in ("sample_peak_dbfs", "true_peak_dbtp") for value in (NAN, -INF, 1e3, None)),
        *(
            {name: value}
            for name in ("bpm_confidence", "key_confidence", "clipped", "speech", "music", "voice")
            for value in (NAN, -0.1, 2.1, None)
        ),
        {"key": "H"},
        {"key": None},
        {"mode": None},
        {"peaks": b""},
        {"peaks": bytes(801)},
        {"channels": 0},
        {"channels": -2},
        {"sample_rate": 0},
        {"sample_rate": -44_100},
    ],
)
def test_acoustics_that_nothing_sounds_like_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        describe(_heard(acoustics=replace(ACOUSTICS, **wrong)), PACKS)


def test_acoustics_of_silence_are_not() -> None:
    silence = Acoustics(
        None, 0.0, None, None, 0.0, None, None, -200.0, -200.0, 0.0, bytes(800), 1, 8_000, 0.0, 0.0, 0.0
    )
    assert describe(_heard(acoustics=silence, rms_dbfs=-200.0), PACKS).acoustics == silence


@pytest.mark.parametrize("tagger", ["msd", "mtt", "discogs", "moodtheme", "heads"])
@pytest.mark.parametrize("value", [NAN, INF, -0.1, 1.5, None])
@pytest.mark.parametrize("place", ["scores", "segments"])
def test_scores_that_are_none_are_refused(tagger: Any, value: Any, place: str) -> None:
    """Only a two-class head may be without: the mood head is there as a whole or not at all."""
    right = [0.5] * len(tag_names(tagger))
    wrong = {tagger: [*right[:-1], value]}
    heard = _heard(
        scores=SCORES | {tagger: right} | (wrong if place == "scores" else {}),
        segments=[HeardSegment(0.0, 500.0, wrong if place == "segments" else {})],
    )
    if tagger == "heads" and value is None:
        found = describe(heard, PACKS)
        tags = found.tags if place == "scores" else found.segments[0].tags
        assert sum(tag.model == "heads" for tag in tags) == 6
        return
    with pytest.raises(BadFrame, match=tagger):
        describe(heard, PACKS)


@pytest.mark.parametrize("tagger", ["msd", "mtt", "discogs", "heads"])
@pytest.mark.parametrize("count", [None, 0, 1, 6, 399, 401])
def test_scores_are_complete(tagger: Any, count: int | None) -> None:
    scores = dict(SCORES)
    del scores[tagger]
    if count is not None:
        scores[tagger] = [0.5] * count
    with pytest.raises(BadFrame, match=tagger):
        describe(_heard(scores=scores), PACKS)


@pytest.mark.parametrize(("pack", "strange"), [("musicnn", "discogs, heads"), ("effnet", "msd, mtt"), ("clap", "msd")])
def test_scores_of_a_pack_that_does_not_listen_are_refused(pack: str, strange: str) -> None:
    with pytest.raises(BadFrame, match=strange):
        describe(_heard(scores=dict(SCORES), segments=[]), {pack: "aa"})
    only = {tagger: scores for tagger, scores in SCORES.items() if PACK_OF_TAGGER[tagger] == pack}
    assert {tag.model for tag in describe(_heard(scores=only, segments=[]), {pack: "aa"}).tags} == set(only)
    if pack != "effnet":
        with pytest.raises(BadFrame, match="discogs"):
            describe(_heard(scores=only), {pack: "aa"})  # its segment has styles


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, values) for name in EMBEDDINGS for values in ([NAN], [INF], [], [0.1, 0.1], None)),  # None: missing
        *((name, [0.0]) for name in ("effnet", "clap")),  # musicnn's are relative to the usual ones
    ],
)
def test_an_embedding_without_a_direction_is_refused(name: str, values: list[float] | None) -> None:
    embeddings = dict(EMBEDDINGS)
    width = len(embeddings.pop(name))
    if values is not None:
        embeddings[name] = values * width
    with pytest.raises(BadFrame, match="embedding"):
        describe(_heard(embeddings=embeddings), PACKS)


def test_halves_of_other_widths_are_refused() -> None:
    with pytest.raises(BadFrame, match="embedding"):
        describe(_heard(embeddings=EMBEDDINGS | {"msd": [0.1] * 199, "mtt": [0.1] * 201}), PACKS)


def test_to_unit() -> None:
    np.testing.assert_allclose(to_unit([3.0, 4.0], 2), [0.6, 0.8], atol=1e-7)
