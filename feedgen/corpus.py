"""What feeds choose from: every track that may be shown, each one's scores in each feed, and where it lies by sound."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.analysis import Space
from core.feed import Questions
from feedgen.fits import CheckBook, Fits, measure_fits
from feedgen.likes import Likes, Places, join_likes
from feedgen.sounds import IndexedSounds, Sounds
from store import Store
from store import tracks as stored_tracks
from store.index import VectorIndex
from store.signals import Edges
from store.tracks import RankableTrack


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """One consistent look at the store: everything below is aligned to `tracks`."""

    tracks: tuple[RankableTrack, ...]
    fits: Mapping[str, Fits]  # mood feed's rkey -> its scores
    likes: NDArray[np.int64]  # how many accounts like, repost or list the track or a post that shows it
    sound: Sounds  # where each lies by sound
    space: Space | None  # which space that is
    people: Places = field(default_factory=lambda: np.empty(0, np.intp))  # who likes something, one an edge ...
    liked: Places = field(default_factory=lambda: np.empty(0, np.intp))  # ... and the position of what they like
    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # artist's DID -> mood feeds that admit theirs
    places: Mapping[str, int] = field(init=False)  # track's at-uri -> its position in `tracks`

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {track.uri: place for place, track in enumerate(self.tracks)})


async def gather(
    store: Store, index: VectorIndex, questions: Questions, checked: CheckBook, likes: Likes, *, now_us: int
) -> Corpus:
    """The corpus of now: what is released. Scores are exact: all tracks are ranked, a search would save nothing."""
    await index.follow()
    async with store.read() as reader:
        tracks = tuple(one for one in await stored_tracks.rankable(reader) if one.release_us <= now_us)
        said = await likes.read(reader, now_us=now_us)
    return await asyncio.to_thread(_build, tracks, said, index, questions, checked, now_us)


def _build(
    tracks: tuple[RankableTrack, ...],
    said: Edges,
    index: VectorIndex,
    questions: Questions,
    checked: CheckBook,
    now_us: int,
) -> Corpus:
    fits = measure_fits(tracks, index, questions, checked, now_us=now_us)
    people, liked = join_likes(tracks, said)
    likes = np.bincount(liked, minlength=len(tracks))
    return Corpus(tracks, fits, likes, _place_by_sound(index, tracks), index.sound, people, liked)


def _place_by_sound(index: VectorIndex, tracks: Sequence[RankableTrack]) -> Sounds:
    if index.sound is None:
        return np.zeros((len(tracks), 1), np.float32)
    return IndexedSounds(index, index.sound, np.array([track.track_id for track in tracks], np.int64))
