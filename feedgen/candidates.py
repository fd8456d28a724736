"""What feeds choose from: every track that may be shown, and each one's score in each feed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.analysis import DIMENSIONS, Space
from core.feed import MoodQuery
from models.moods import measure_spread, score_tags
from models.prompts import score_prompts
from store import Store
from store import tracks as stored_tracks
from store.index import VectorIndex
from store.tracks import RankableTrack

Scores = dict[str, dict[int, float]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """One consistent look at the store. `scores`: feed's rkey -> track_id -> mood score in standard deviations.

    A track without a vector in the space that a feed asks has no score there.
    """

    tracks: tuple[RankableTrack, ...]
    scores: Mapping[str, Mapping[int, float]]


async def gather(store: Store, index: VectorIndex, queries: Mapping[str, MoodQuery]) -> Corpus:
    """The corpus of now. Scores are exact: feeds rank all tracks, so there is nothing for a search to save."""
    await index.follow()
    async with store.read() as reader:
        tracks = tuple(await stored_tracks.rankable(reader))
    track_ids = [track.track_id for track in tracks]
    tags = {rkey: query for rkey, query in queries.items() if query.space is Space.MUSICNN_TAGS}
    texts = {rkey: query for rkey, query in queries.items() if query.space is Space.CLAP}
    by_tags = await asyncio.to_thread(_score_tags, index, tags, track_ids)
    return Corpus(tracks, by_tags | await asyncio.to_thread(_score_texts, index, texts, track_ids))


def _score_tags(index: VectorIndex, queries: Mapping[str, MoodQuery], track_ids: list[int]) -> Scores:
    if not queries:
        return {}
    axes = np.eye(DIMENSIONS[Space.MUSICNN_TAGS], dtype=np.float32)  # products with these are the vectors themselves
    present, vectors = index.products(Space.MUSICNN_TAGS, axes, track_ids)
    spread = measure_spread(vectors)
    return {rkey: _by_track(present, score_tags(query, vectors, spread)) for rkey, query in queries.items()}


def _score_texts(index: VectorIndex, queries: Mapping[str, MoodQuery], track_ids: list[int]) -> Scores:
    if not queries:
        return {}
    rows = np.concatenate([part for query in queries.values() for part in (query.positive, query.negative)])
    present, products = index.products(Space.CLAP, rows, track_ids)
    scores: dict[str, dict[int, float]] = {}
    for rkey, query in queries.items():
        positive, negative, products = np.split(
            products, [len(query.positive), len(query.positive) + len(query.negative)], axis=1
        )
        scores[rkey] = _by_track(present, score_prompts(positive, negative))
    return scores


def _by_track(track_ids: list[int], scores: NDArray[np.float64]) -> dict[int, float]:
    return dict(zip(track_ids, scores.tolist(), strict=True))
