"""What feeds choose from: every track that may be shown, and each one's score in each feed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from core.analysis import Space, Vector
from store import Store
from store import tracks as stored_tracks
from store.index import VectorIndex
from store.tracks import RankableTrack


@dataclass(frozen=True, slots=True)
class Corpus:
    """One consistent look at the store. `scores`: feed's rkey -> track_id -> mood score."""

    tracks: tuple[RankableTrack, ...]
    scores: Mapping[str, Mapping[int, float]]

    def links(self) -> frozenset[tuple[str, str]]:
        """(track uri, post uri) of every link that may be shown now."""
        return frozenset((track.uri, link.post_uri) for track in self.tracks for link in track.links)


async def gather(store: Store, index: VectorIndex, queries: Mapping[str, Vector]) -> Corpus:
    """The corpus of now. Scores are exact: feeds rank all tracks, so there is nothing for a search to save."""
    await index.follow()
    async with store.read() as reader:
        tracks = tuple(await stored_tracks.rankable(reader))
    return Corpus(tracks, await asyncio.to_thread(_score, index, queries, [track.track_id for track in tracks]))


def _score(index: VectorIndex, queries: Mapping[str, Vector], track_ids: list[int]) -> dict[str, dict[int, float]]:
    return {rkey: index.scores(Space.MUSICNN_TAGS, query, track_ids) for rkey, query in queries.items()}
