"""Tag space: z-scored tags, mood queries, the sound-alike vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import Space, Tag, Vector
from models.moods import (
    TagSpread,
    build_query,
    load_prior,
    measure_spread,
    query_vector,
    score_tags,
    sound_vector,
    tag_positions,
    tag_vector,
)
from models.pack import tag_names

CALM = {"msd:ambient": 1.0, "msd:Mellow": 1.0, "mtt:quiet": 0.6, "msd:metal": -1.0}
HEAVY = {"msd:metal": 1.0, "msd:hard rock": 1.0, "mtt:loud": 0.5}


def _tags(**scores: float) -> tuple[Tag, ...]:
    """All tags at the prior's mean but those given as `msd_metal=0.9`."""
    prior, tags = load_prior(), []
    for i, name in enumerate(tag_positions()):
        tagger, tag = name.split(":")
        score = scores.get(f"{tagger}_{tag}", 1 / (1 + np.exp(-prior.logit_mean[i])) - 0.001)
        tags.append(Tag(tag, "msd" if tagger == "msd" else "mtt", float(score)))
    return tuple(tags)


def test_names_are_those_of_the_reference_outputs(synthetic_reference: Any) -> None:
    names = {tagger: tag_names(tagger) for tagger in ("msd", "mtt")}
    assert list(names["msd"]) == list(synthetic_reference["msd"])
    assert list(names["mtt"]) == list(synthetic_reference["mtt"])
    assert list(tag_positions()) == [f"msd:{n}" for n in names["msd"]] + [f"mtt:{n}" for n in names["mtt"]]


def test_an_average_track_is_the_origin() -> None:
    np.testing.assert_allclose(tag_vector(_tags()), 0, atol=1e-4)


def test_z_is_relative_to_the_prior_and_clipped() -> None:
    prior, at = load_prior(), tag_positions()["msd:metal"]
    vector = tag_vector(_tags(msd_metal=0.05))
    expected = (np.log(0.051 / 0.949) - prior.logit_mean[at]) / (prior.logit_std[at] + 0.1)
    assert vector[at] == pytest.approx(min(3.0, expected), abs=1e-4)
    assert tag_vector(_tags(msd_metal=1.0))[at] == 3.0
    assert tag_vector(_tags(msd_metal=0.0))[at] < 0
    assert np.isfinite(tag_vector(_tags(msd_metal=1.0))).all()


def _score(tags: dict[str, float], vector: Vector) -> float:
    """By the prior alone."""
    return float(score_tags(build_query(tags), vector[np.newaxis], measure_spread(vector[np.newaxis]))[0])


def test_a_mood_ranks_the_track_that_has_it_first() -> None:
    heavy, calm = tag_vector(_tags(msd_metal=0.6, mtt_loud=0.3)), tag_vector(_tags(msd_ambient=0.6, mtt_quiet=0.4))
    assert _score(HEAVY, heavy) > 1.0
    assert _score(CALM, heavy) < 0.0
    assert _score(CALM, calm) > 0.5
    assert _score(HEAVY, calm) < 0.5
    assert _score(CALM, calm) == pytest.approx(float(query_vector(CALM) @ calm))


@given(
    st.dictionaries(
        st.sampled_from(sorted(tag_positions())), st.floats(-5, 5).filter(lambda w: abs(w) > 0.01), min_size=1
    )
)
def test_queries_have_length_one_and_keep_the_weights_proportions(weights: dict[str, float]) -> None:
    query = query_vector(weights)
    assert query.dtype == np.float32
    assert np.linalg.norm(query) == pytest.approx(1.0, abs=1e-5)
    name, weight = next(iter(weights.items()))
    for other, other_weight in weights.items():
        ratio = query[tag_positions()[other]] * weight - query[tag_positions()[name]] * other_weight
        assert abs(ratio) < 1e-4


def _corpus(count: int, *, spread: float = 0.3) -> tuple[Vector, Vector]:
    """Mean tag scores f64 [count, 100] of tracks that are all louder and faster than the prior's; their vectors."""
    prior, rng = load_prior(), np.random.default_rng(3)
    logits = prior.logit_mean + 0.2 + spread * rng.standard_normal((count, 100))
    scores = np.clip(1 / (1 + np.exp(-logits)) - 0.001, 1e-6, None)
    names = list(tag_positions())
    tracks = [
        [
            Tag(name[4:], "msd" if name.startswith("msd") else "mtt", float(s))
            for name, s in zip(names, row, strict=True)
        ]
        for row in scores
    ]
    return logits, np.stack([tag_vector(tags) for tags in tracks])


def test_a_query_of_the_tag_space() -> None:
    query = build_query(CALM)
    assert (query.space, query.negative.shape) == (Space.MUSICNN_TAGS, (0, 100))
    np.testing.assert_array_equal(query.positive[0], query_vector(CALM))


def test_a_small_corpus_is_scored_by_the_prior() -> None:
    _, vectors = _corpus(50)
    scores = score_tags(build_query(CALM), vectors, measure_spread(vectors))
    np.testing.assert_allclose(scores, [_score(CALM, vector) for vector in vectors], atol=1e-5)
    assert score_tags(build_query(CALM), vectors[:0], measure_spread(vectors[:0])).shape == (0,)


def test_a_large_corpus_is_scored_by_itself() -> None:
    """The policy's own formula, with the corpus' mu and sigma in place of the prior's."""
    logits, vectors = _corpus(200)
    lifted = np.log((1 / (1 + np.exp(-logits))) / (1 - 1 / (1 + np.exp(-logits))))
    z = (lifted - lifted.mean(axis=0)) / (lifted.std(axis=0) + 0.1)
    scores = score_tags(build_query(CALM), vectors, measure_spread(vectors))
    np.testing.assert_allclose(scores, z @ query_vector(CALM), atol=0.05)
    assert abs(scores.mean()) < 1e-4


def test_it_goes_over_from_the_prior_to_the_corpus_without_a_jump() -> None:
    _, vectors = _corpus(260)
    query = build_query(HEAVY)
    first = [score_tags(query, vectors[:n], measure_spread(vectors[:n]))[0] for n in range(45, 260)]
    by_prior, by_corpus = _score(HEAVY, vectors[0]), first[-1]
    assert abs(by_prior - by_corpus) > 0.3
    assert np.abs(np.diff(first)).max() < 0.1
    middle = first[125 - 45]
    assert min(by_prior, by_corpus) < middle < max(by_prior, by_corpus)


def test_tags_that_a_corpus_has_none_of_do_not_blow_up() -> None:
    _, vectors = _corpus(300, spread=0.0)
    scores = score_tags(build_query(CALM), vectors, measure_spread(vectors))
    np.testing.assert_allclose(scores, 0, atol=1e-4)


def test_the_prior_is_the_spread_of_no_corpus() -> None:
    spread = measure_spread(np.zeros((0, 100), np.float32))
    assert isinstance(spread, TagSpread)
    assert (spread.mean == 0).all()
    assert (spread.std == 1).all()


@pytest.mark.parametrize(
    "tags", [{"msd:nonsense": 1.0}, {"ambient": 1.0}, {}, {"msd:ambient": 0.0}, {"msd:sad": float("nan")}]
)
def test_a_query_that_means_nothing_is_refused(tags: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="tag"):
        query_vector(tags)


def test_tags_of_another_pack_are_refused() -> None:
    with pytest.raises(ValueError, match="all 100"):
        tag_vector(_tags()[:-1])
    with pytest.raises(ValueError, match="no tag"):
        tag_vector((*_tags(), Tag("polka", "msd", 0.1)))


def test_sound_alike_is_the_mean_of_two_cosines() -> None:
    prior, rng = load_prior(), np.random.default_rng(1)
    z = rng.standard_normal((2, 400))
    one, other = (
        sound_vector(*np.split((row * prior.embedding_std + prior.embedding_mean).astype(np.float32), 2)) for row in z
    )
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(np.split(z[0], 2), np.split(z[1], 2), strict=True)
    ]
    assert float(one @ other) == pytest.approx(np.mean(cosines), abs=1e-4)
    assert float(one @ one) == pytest.approx(1.0, abs=1e-5)
