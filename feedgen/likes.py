"""Who likes which track: what people's likes, reposts and playlists say of tracks and of the posts that show them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from store import Reader, signals
from store.signals import Edges
from store.tracks import RankableTrack

Places = NDArray[np.intp]

MIN_EDGES = 200  # FEEDS 4: below it who likes the same says nothing
POPULARITY_PENALTY = 0.3  # FEEDS 4: exponent

_FEW = 20_000  # signals that are read anew for each ranking: it takes some milliseconds
_LATE_US = 600_000_000  # more are read when they are so old: 200 000 take a second or two


class Likes:
    """The newest signals of a store, as they were at most ten minutes ago."""

    def __init__(self) -> None:
        self._edges: Edges | None = None
        self._read_us = 0

    async def read(self, reader: Reader, *, now_us: int) -> Edges:
        """Who said something good of what."""
        if self._edges is None or len(self._edges.people) < _FEW or now_us - self._read_us >= _LATE_US:
            self._edges, self._read_us = await signals.edges(reader), now_us
        return self._edges


def join_likes(tracks: Sequence[RankableTrack], edges: Edges) -> tuple[Places, Places]:
    """(people, places in `tracks`): who likes which track, itself or a post that shows it, once each."""
    place_of = {link.post_uri: place for place, track in enumerate(tracks) for link in track.links}
    place_of |= {track.uri: place for place, track in enumerate(tracks)}
    liked = np.array([place_of.get(name, -1) for name in edges.names], np.intp)[edges.subjects]
    pairs = np.unique(np.stack([edges.people, liked], axis=1)[liked >= 0], axis=0)
    return pairs[:, 0], pairs[:, 1]


def co_likes(people: Places, liked: Places, anchors: Places) -> Places:
    """Rows that people like who like an anchor too, best first; nothing of fewer than 200 edges.

    An edge says that person `people[i]` likes row `liked[i]`, once each. Who likes little counts more (a path is worth
    one over their likes), and what everybody likes less (over popularity to the power 0.3).
    """
    if len(people) < MIN_EDGES or len(anchors) == 0:
        return np.empty(0, np.intp)
    count = int(liked.max()) + 1
    likes = np.bincount(people)
    paths = np.bincount(people[np.isin(liked, anchors)], minlength=len(likes))
    worth = paths / np.maximum(likes, 1)
    popularity = np.maximum(np.bincount(liked, minlength=count), 1) ** POPULARITY_PENALTY
    scores = np.bincount(liked, weights=worth[people], minlength=count) / popularity
    scores[anchors[anchors < count]] = 0.0
    order = np.lexsort((np.arange(count), -scores))
    return order[: int((scores > 0).sum())]
