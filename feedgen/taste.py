"""What one viewer likes, as pure functions over vectors and edges (FEEDS sections 4 and 7): anchors, pockets, fusion.

An anchor is a track that the viewer said something good of, in their own public records. Nothing here knows where
anchors come from, and nothing outlives the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray

from core.analysis import Vector
from core.types import Did
from feedgen.sounds import Sounds

Weights = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

MIN_ANCHORS = 3  # FEEDS 4: with fewer a viewer is cold
MAX_ANCHORS = 300  # what each costs is a product with every candidate; what is no anchor may be shown as if new
HALF_LIFE_DAYS = 30.0  # FEEDS 4
POCKETS = 5  # FEEDS 4: the most
FUSION = 60  # FEEDS 4: k of the reciprocal ranks
_TOP = (4 / 7, 2 / 7, 1 / 7)  # of the three nearest anchors: one that is near counts most, others support it
_CANDIDATES = 1000  # rows near the middle of a pocket that are looked at closely
_ROUNDS = 20  # of k-means; a hundred anchors settle within ten
_DAY_US = 86_400_000_000


class AnchorKind(StrEnum):
    """What the viewer did."""

    LIKE = "like"
    REPOST = "repost"
    PLAYLIST = "playlist"
    PLAY = "play"
    MORE = "more"  # asked for more like it
    SEED = "seed"  # named it, to get what sounds like it

    @property
    def of_one(self) -> bool:
        """Whether it was said of that track alone: not a playlist, and not that it was heard."""
        return self not in (AnchorKind.PLAYLIST, AnchorKind.PLAY)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A track that the viewer said something good of, and when (unix microseconds)."""

    track_uri: str
    at_us: int
    kind: AnchorKind


@dataclass(frozen=True, slots=True)
class Prefs:
    """The knobs of a viewer's own `feedPrefs` record. `breadth` and `explore` run from 0 to 1.

    The defaults are those of mood feeds: three pockets, MMR with a lambda of 0.7, 16 % of places by chance.
    """

    breadth: float = 0.5
    explore: float = 0.4
    hide_machines: bool = False  # what its artist says a machine made
    instrumental_only: bool = False
    min_seconds: float = 0.0
    muted_styles: frozenset[str] = frozenset()
    langs: frozenset[str] = frozenset()  # that posts may be in; empty: all

    @property
    def pockets(self) -> int:
        """Tastes that are told apart: 1 to 5 (FEEDS 7)."""
        return 1 + round(self.breadth * (POCKETS - 1))

    @property
    def relevance(self) -> float:
        """Lambda of MMR: 0.9 for the familiar to 0.4 for the adventurous (FEEDS 7)."""
        return 0.9 - 0.5 * self.explore

    @property
    def exploration(self) -> float:
        """Share of places that ignore the rank: 0 to 0.4 (FEEDS 7)."""
        return 0.4 * self.explore


@dataclass(frozen=True, slots=True)
class Reading:
    """What a viewer's own public records say. Not `complete`: some of them could not be read just now."""

    anchors: tuple[Anchor, ...] = ()
    prefs: Prefs = field(default_factory=Prefs)
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who asks for a feed of theirs. Anchors are the newest first, one a track."""

    did: Did
    anchors: tuple[Anchor, ...] = ()
    prefs: Prefs = field(default_factory=Prefs)
    disliked: frozenset[str] = frozenset()  # tracks that they want no more of
    left_out: frozenset[str] = frozenset()  # artists, likewise


@dataclass(frozen=True, slots=True, eq=False)
class Taste:
    """How well rows of the corpus fit, best first. `anchors`: of each row, the place of the anchor it is nearest to;
    -1 where only people who like the same speak for it.
    """

    rows: Rows
    scores: Weights
    anchors: Rows


def newest_anchors(anchors: Sequence[Anchor]) -> tuple[Anchor, ...]:
    """One a track, by the last time that something was said of it, the newest first; at most MAX_ANCHORS, of which
    playlists and plays make room for the others. What is liked stays a like when it is put on a playlist.
    """
    newest: dict[str, Anchor] = {}
    for anchor in sorted(anchors, key=_newest_first):
        known = newest.setdefault(anchor.track_uri, anchor)
        if anchor.kind.of_one and not known.kind.of_one:
            newest[anchor.track_uri] = replace(known, kind=anchor.kind)
    kept = sorted(newest.values(), key=lambda one: (not one.kind.of_one, _newest_first(one)))[:MAX_ANCHORS]
    return tuple(sorted(kept, key=_newest_first))


def _newest_first(anchor: Anchor) -> tuple[int, str, str]:
    return -anchor.at_us, anchor.track_uri, anchor.kind


def decay(anchors: Sequence[Anchor], now_us: int) -> Weights:
    """The weight of each anchor, 0..1: half after 30 days. What claims to be of the future is of now."""
    ages = np.array([max(0, now_us - anchor.at_us) for anchor in anchors], dtype=np.float64) / _DAY_US
    return cast("Weights", np.exp2(-ages / HALF_LIFE_DAYS))


def find_pockets(vectors: Vector, weights: Weights, count: int) -> list[Rows]:
    """Anchors (f32 [n, d], of length 1) grouped by k-means on the sphere: places of each group's, none empty.

    Never more pockets than half as many as there are anchors: one like alone is no taste. Starts from the weightiest
    anchor and then from whichever is farthest from those chosen, so that the same anchors give the same pockets.
    """
    count = max(1, min(count, len(vectors) // 2))
    chosen = [int(np.argmax(weights))]
    while len(chosen) < count:
        chosen.append(int(np.argmin((vectors @ vectors[chosen].T).max(axis=1))))
    centres = vectors[chosen]
    for _ in range(_ROUNDS):
        member = np.argmax(vectors @ centres.T, axis=1)
        before, centres = centres, centres.copy()
        for one in set(member.tolist()):
            centres[one] = _middle(vectors[member == one], weights[member == one])
        if np.array_equal(before, centres):
            break
    return [found for one in range(count) if len(found := np.flatnonzero(member == one))]


def soft_top(similarities: NDArray[np.float32], weights: Weights) -> Weights:
    """How near each row is to its three nearest anchors, weighted by their age: f64 [rows] from f32 [rows, anchors].

    Likeness below zero counts as none.
    """
    weighted = np.maximum(similarities, 0.0) * weights
    count = min(len(_TOP), weighted.shape[1])
    best = -np.sort(-np.partition(weighted, -count, axis=1)[:, -count:], axis=1)
    return cast("Weights", best @ np.array(_TOP[:count]))


def fuse(lists: Sequence[Rows]) -> tuple[Rows, Weights]:
    """Rows of several lists (each best first) by the sum of their reciprocal ranks, best first, ties by row."""
    if not any(len(one) for one in lists):
        return np.empty(0, np.intp), np.empty(0)
    rows, where = np.unique(np.concatenate(lists), return_inverse=True)
    gains = np.concatenate([1.0 / (FUSION + 1 + np.arange(len(one))) for one in lists])
    scores: Weights = np.bincount(where, weights=gains, minlength=len(rows)).astype(np.float64)
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]


def taste_of(
    sound: Sounds, anchors: Rows, weights: Weights, *, pockets: int, together: Rows, may_fit: Mask | None = None
) -> Taste:
    """What fits somebody with these anchors (rows of `sound`, f32 [tracks, d] of length 1; zeros: not heard), of the
    rows that `may_fit` if that is given.

    Each row belongs to the pocket of the anchor that it is nearest to. Every pocket makes a list of its own, `together`
    (see feedgen.likes) one more, and reciprocal ranks decide, so that no taste drowns another. Anchors themselves are
    left out: they are known.
    """
    vectors, open_rows = sound[anchors], _open_rows(len(sound), anchors, may_fit)
    heard = np.flatnonzero(vectors.any(axis=1))
    groups = [heard[group] for group in find_pockets(vectors[heard], weights[heard], pockets)] if len(heard) else []
    candidates = open_rows & sound.any(axis=1)
    around = [_around(sound, _middle(vectors[group], weights[group]), candidates) for group in groups]
    rows = np.unique(np.concatenate([np.empty(0, np.intp), *around]))
    similarities = sound[rows] @ vectors.T
    nearest = heard[np.argmax(similarities[:, heard], axis=1)] if len(heard) else np.empty(0, np.intp)
    lists: list[Rows] = [together[open_rows[together]]]
    for group in groups:
        own = np.flatnonzero(np.isin(nearest, group))
        scores = soft_top(similarities[np.ix_(own, group)], weights[group])
        lists.append(rows[own[np.lexsort((own, -scores))]])
    fused, gains = fuse(lists)
    anchor_of = np.full(len(sound), -1, np.intp)
    anchor_of[rows] = nearest
    return Taste(fused, gains, anchor_of[fused])


def nearest_to(sound: Sounds, seeds: Rows, may_fit: Mask | None = None) -> Taste:
    """What sounds most like the middle of the seeds (FEEDS 4, more-like), of the rows that `may_fit` if that is given:
    cosines, best first, seeds left out.
    """
    middle = _middle(sound[seeds], np.ones(len(seeds)))
    if not middle.any():
        return Taste(np.empty(0, np.intp), np.empty(0), np.empty(0, np.intp))
    rows = _around(sound, middle, _open_rows(len(sound), seeds, may_fit) & sound.any(axis=1))
    scores = (sound[rows] @ middle).astype(np.float64)
    order = np.lexsort((rows, -scores))
    return Taste(rows[order], scores[order], np.zeros(len(rows), np.intp))


def _open_rows(count: int, known: Rows, may_fit: Mask | None) -> Mask:
    """Of so many rows those that come in question."""
    found = np.ones(count, bool) if may_fit is None else may_fit.copy()
    found[known] = False
    return found


def _around(sound: Sounds, middle: Vector, candidates: Mask) -> Rows:
    """Candidates nearest to the middle, in no order."""
    if candidates.sum() <= _CANDIDATES:
        return np.flatnonzero(candidates)
    return np.argpartition(-np.where(candidates, sound @ middle, -np.inf), _CANDIDATES)[:_CANDIDATES]


def _middle(vectors: Vector, weights: Weights) -> Vector:
    """The weighted mean, of length 1; zeros where there is none. Of likes that are all old the newest weighs most."""
    mean = (vectors * (weights / weights.max())[:, np.newaxis]).sum(axis=0)
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length if length > 1e-12 else np.zeros_like(mean), np.float32)
