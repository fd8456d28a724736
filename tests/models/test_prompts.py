"""Moods as texts: ensembles, what makes a score, hubness, and which space a feed asks.

The maths runs on an analyst whose vectors are known; the texts of the last test go through the real text child.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from core.analysis import Analysis, Space, Vector
from core.feed import PROMPT_WRAPPERS, Feed
from models.crew import Crew
from models.pack import PackSet, select
from models.prompts import (
    build_prompt_query,
    feed_queries,
    load_neutral_prompts,
    score_prompts,
)

RNG = np.random.default_rng(7)
COMMON = np.full(512, 1 / np.sqrt(512))  # what all texts share, as they do in a real joint space


class Texts:
    """Embeds each text at a place of its own, always the same, on the common side; keeps what it was asked."""

    packs = MappingProxyType({"clap": "0"})

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    async def analyse(self, path: Path) -> Analysis:
        raise NotImplementedError

    async def embed(self, texts: Sequence[str], *, keep: bool = False) -> Vector:
        self.calls.append(tuple(texts))
        return np.stack([self.place(text) for text in texts])

    @staticmethod
    def place(text: str) -> Vector:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        own = np.random.default_rng(seed).standard_normal(512)
        return unit(COMMON + own / np.linalg.norm(own))

    @classmethod
    def centre(cls) -> Vector:
        return np.mean([cls.place(text) for text in load_neutral_prompts()], axis=0)


def unit(vector: np.ndarray) -> Vector:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def score(query_positive: Vector, query_negative: Vector, tracks: Vector) -> np.ndarray:
    return score_prompts(tracks @ query_positive.T, tracks @ query_negative.T)


def test_neutral_prompts_are_some_200_different_ones() -> None:
    prompts = load_neutral_prompts()
    assert len(prompts) >= 200
    assert len({prompt.casefold() for prompt in prompts}) == len(prompts)
    assert all(0 < len(prompt) < 60 for prompt in prompts)


async def test_a_prompt_is_the_mean_of_its_wordings_less_what_is_near_everything() -> None:
    analyst = Texts()
    query = await build_prompt_query(analyst, ["calm music", "soft piano"], ["shouting"])
    assert query.space is Space.CLAP
    assert (query.positive.shape, query.negative.shape) == ((2, 512), (1, 512))
    for row, prompt in zip([*query.positive, *query.negative], ["calm music", "soft piano", "shouting"], strict=True):
        wordings = [analyst.place(text) for text in (prompt, f"a recording of {prompt}", f"{prompt}, music")]
        mean = np.mean(wordings, axis=0)
        np.testing.assert_allclose(row, (mean - analyst.centre()) / np.linalg.norm(mean), atol=1e-6)
    assert max(len(call) for call in analyst.calls) <= 64


def test_the_two_best_positives_count_and_half_the_worst_negative() -> None:
    positive = np.array([[0.3, 0.1, -0.4], [0.1, 0.2, 0.2]] * 30, np.float32)
    negative = np.array([[0.2, -0.1], [-0.3, -0.2]] * 30, np.float32)
    fit = np.array([0.2 - 0.1, 0.2 + 0.1] * 30)
    scores = score_prompts(positive, negative)
    np.testing.assert_allclose(scores, (fit - fit.mean()) / fit.std(), atol=1e-5)
    one = score_prompts(positive[:, :1], negative[:, :0])  # one positive, no negative
    np.testing.assert_allclose(one, [1.0, -1.0] * 30, atol=1e-5)


@pytest.mark.parametrize("negatives", [[], ["shouting", "a drill"]])
async def test_a_track_that_is_near_everything_gains_nothing_by_it(negatives: list[str]) -> None:
    """Hubness: with the neutral prompts' mean taken off, the same track pulled towards all texts keeps its score."""
    analyst = Texts()
    query = await build_prompt_query(analyst, ["calm music", "soft piano"], negatives)
    tracks = np.stack([unit(row) for row in RNG.standard_normal((200, 512))])
    pulled = tracks.copy()
    pulled[0] += (0.3 * COMMON).astype(np.float32)
    raw = query.positive + analyst.centre(), query.negative + analyst.centre()
    assert score(*raw, pulled)[0] - score(*raw, tracks)[0] > 1, "without the correction it would gain"
    gained = score(query.positive, query.negative, pulled)[0] - score(query.positive, query.negative, tracks)[0]
    assert abs(gained) < 0.5


async def test_scores_are_standard_deviations_of_the_corpus() -> None:
    analyst = Texts()
    query = await build_prompt_query(analyst, ["calm music"])
    tracks = np.stack([unit(RNG.standard_normal(512) + n * 0.05 * query.positive[0]) for n in range(300)])
    scores = score(query.positive, query.negative, tracks)
    assert scores.mean() == pytest.approx(0, abs=1e-6)
    assert scores.std() == pytest.approx(1, abs=1e-6)
    assert scores[250:].mean() > 1 > scores[:50].mean()


def test_the_best_of_a_few_is_not_said_to_fit_for_being_the_best() -> None:
    nothing = np.zeros((10, 0), np.float32)
    far = np.linspace(-0.02, 0.02, 10, dtype=np.float32)[:, np.newaxis]  # of 50 and more, the last would be at 1.6
    assert score_prompts(far, nothing).max() == pytest.approx(0.02 / 0.06, abs=1e-4)
    assert np.argsort(score_prompts(far, nothing)).tolist() == list(range(10))
    assert score_prompts(far[:1], nothing[:1]).tolist() == [pytest.approx(-0.02 / 0.06, abs=1e-4)]
    assert score_prompts(far[:0], nothing[:0]).shape == (0,)
    assert score_prompts(np.full((60, 1), 0.3, np.float32), np.zeros((60, 0), np.float32)).tolist() == [0.0] * 60


def test_one_of_a_few_that_fits_is_said_to_fit_whatever_it_is_beside() -> None:
    near = np.array([[0.15]], np.float32)
    for others in (0, 2, 48):
        beside = np.concatenate([near, np.full((others, 1), 0.15, np.float32)])
        scores = score_prompts(beside, np.zeros((others + 1, 0), np.float32))
        np.testing.assert_allclose(scores, 0.15 / 0.06, atol=1e-4)


FEEDS = (
    Feed("calm", "Calm", "", tags={"mtt:quiet": 1.0}, prompts=("calm music",), negative_prompts=("shouting",)),
    Feed("own", "Own", "", tags={"mtt:loud": 3.0, "mtt:fast": 4.0}, wrappers=("{}!",)),
)


def packs(stand_in_home: tuple[Path, Path], *names: str) -> PackSet:
    home, catalogue = stand_in_home
    return select(home, names, catalogue=catalogue)  # type: ignore[arg-type]


async def test_feeds_ask_the_tag_space_without_clap(pack_home: Path) -> None:
    analyst = Texts()
    asked = await feed_queries(analyst, FEEDS, select(pack_home, ("musicnn",)))
    assert asked.neutral is None
    for query in asked.feeds.values():
        assert (query.prompts, query.styles) == (None, None)
        assert query.tags is not None
    own = asked.feeds["own"].tags
    assert own is not None
    assert sorted(own.positive[0].tolist())[-2:] == [pytest.approx(0.6), pytest.approx(0.8)]
    assert analyst.calls == []


async def test_feeds_ask_the_joint_space_with_clap_and_tags_as_a_second_opinion(
    stand_in_home: tuple[Path, Path],
) -> None:
    analyst = Texts()
    asked = await feed_queries(analyst, FEEDS, packs(stand_in_home, "musicnn", "clap"))
    calm = asked.feeds["calm"].prompts
    assert calm is not None
    assert (calm.positive.shape, calm.negative.shape) == ((1, 512), (1, 512))
    assert asked.feeds["own"].prompts is None
    assert all(query.tags is not None and query.styles is None for query in asked.feeds.values())
    assert asked.neutral is not None
    np.testing.assert_allclose(asked.neutral.mean(axis=0), 0, atol=1e-6)
    texts = [text for call in analyst.calls for text in call]
    assert texts.count(load_neutral_prompts()[0]) == 1, "once for all feeds"


async def test_feeds_ask_effnet_for_styles_where_it_listens(stand_in_home: tuple[Path, Path]) -> None:
    feeds = [replace(FEEDS[0], styles={"electronic-ambient": 1.0}, moods={"calm": 1.0})]
    asked = await feed_queries(Texts(), feeds, packs(stand_in_home, "effnet", "clap"))
    query = asked.feeds["calm"]
    assert query.styles is not None
    assert query.tags is None
    assert sorted(query.styles.positive[0].tolist())[-2:] == [0.5, 1.0], "moods count half as much (FEEDS 2.2)"


async def test_texts_through_the_real_child(stand_in_home: tuple[Path, Path]) -> None:
    home, catalogue = stand_in_home
    crew = Crew(home=home, packs=("effnet", "clap"), catalogue=catalogue)
    positive, negative = ["calm gentle music", "heavy metal with screaming"], ["a person talking"]
    await crew.start()
    try:
        query = await build_prompt_query(crew, positive, negative)
        again = await build_prompt_query(crew, positive, negative)
        wordings = await crew.embed([wrapper.replace("{}", positive[0]) for wrapper in PROMPT_WRAPPERS])
        neutral = await crew.embed(load_neutral_prompts())
    finally:
        await crew.close()
    assert query.positive.shape == (2, 512)
    assert np.isfinite(query.positive).all()
    assert not np.allclose(query.positive[0], query.positive[1], atol=1e-3)
    np.testing.assert_array_equal(query.positive, again.positive)
    mean = wordings.mean(axis=0)
    np.testing.assert_allclose(query.positive[0], (mean - neutral.mean(axis=0)) / np.linalg.norm(mean), atol=1e-5)
    assert not np.allclose(wordings[0], mean, atol=1e-3), "the wrappers make a difference"
