"""Does the space of sound-alikes put an album's tracks together? The one likeness that metadata can vouch for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from feedgen.corpus import Corpus

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class AlbumPrecision:
    """Of albums with more than NEIGHBOURS tracks, so that all neighbours of a track can be of its album. Shares, 0..1.

    Tracks of an album also share a microphone, a mix and an encoder: `share` says more of a space that beats another
    one than by itself.
    """

    share: float  # of the NEIGHBOURS nearest of each track, those of its album
    by_artist: float  # those of its artist
    chance: float  # `share` if neighbours were drawn at random
    tracks: int
    albums: int


def measure_albums(corpus: Corpus) -> AlbumPrecision | None:
    """Exact neighbours among all tracks that were heard; None if no album is large enough."""
    heard = np.flatnonzero(corpus.sound.any(axis=1)).tolist()
    albums = [_album(corpus, place) for place in heard]
    sizes = Counter(albums)
    asked = [row for row, album in enumerate(albums) if album is not None and sizes[album] > NEIGHBOURS]
    if not asked:
        return None
    vectors = corpus.sound[heard]
    likeness = vectors[asked] @ vectors.T
    likeness[np.arange(len(asked)), asked] = -np.inf
    nearest = np.argpartition(-likeness, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS].tolist()
    artists = [corpus.tracks[place].did for place in heard]
    same_album = [albums[row] == albums[other] for row, near in zip(asked, nearest, strict=True) for other in near]
    same_artist = [artists[row] == artists[other] for row, near in zip(asked, nearest, strict=True) for other in near]
    return AlbumPrecision(
        share=fmean(same_album),
        by_artist=fmean(same_artist),
        chance=fmean((sizes[albums[row]] - 1) / (len(heard) - 1) for row in asked),
        tracks=len(asked),
        albums=len({albums[row] for row in asked}),
    )


def _album(corpus: Corpus, place: int) -> tuple[str, str] | None:
    track = corpus.tracks[place]
    return (track.did, track.album) if track.album else None
