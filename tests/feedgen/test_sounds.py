"""Where tracks lie by sound is asked of the index, and reads like a matrix aligned to the corpus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from core.analysis import DIMENSIONS, Space
from core.clock import SystemClock
from core.feed import Questions
from feedgen.corpus import Corpus, gather
from feedgen.fits import CheckBook
from feedgen.likes import Likes
from store import Store, analyses
from store.index import VectorIndex
from store.tracks import RankableTrack
from tests.feedgen.test_fits import fill

SOUND = Space.EFFNET_SOUND
SIZE = DIMENSIONS[SOUND]
MATRIX = np.random.default_rng(5).standard_normal((9, SIZE)).astype(np.float32)
MATRIX[[2, 8]] = 0.0  # were never heard


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    yield opened
    await opened.close()


@pytest.fixture
async def index(store: Store, tmp_path: Path, track: Callable[..., RankableTrack]) -> VectorIndex:
    vectors = [{SOUND: row} if row.any() else {} for row in MATRIX]
    return await fill(store, tmp_path, [track(number + 1) for number in range(len(MATRIX))], vectors)


async def look(store: Store, index: VectorIndex) -> Corpus:
    return await gather(store, index, Questions({}), CheckBook(), Likes(), now_us=2**60)


async def test_it_reads_like_the_matrix_that_it_stands_for(store: Store, index: VectorIndex) -> None:
    corpus = await look(store, index)
    sound = corpus.sound
    assert not isinstance(sound, np.ndarray), "no copy of all vectors"
    assert (len(sound), corpus.space) == (len(MATRIX), SOUND)
    for places in (0, 2, 7, [], [2], [8, 0, 0, 3], np.array([5, 1]), np.arange(9) % 2 == 0):
        np.testing.assert_array_equal(sound[places], MATRIX[places])
    query = np.arange(SIZE, dtype=np.float32) / SIZE
    np.testing.assert_allclose(sound @ query, MATRIX @ query, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(sound.any(axis=1), MATRIX.any(axis=1))


async def test_what_was_dropped_meanwhile_was_not_heard(store: Store, index: VectorIndex) -> None:
    corpus = await look(store, index)
    async with store.write() as tx:
        await analyses.drop_vectors(tx, 4)
    await index.follow()
    assert corpus.sound[2:5].any(axis=1).tolist() == [False, False, True]
    assert corpus.sound.any(axis=1).tolist() == [True, True, False, False, True, True, True, True, False]
    assert (corpus.sound @ np.ones(SIZE, np.float32))[3] == 0.0
