"""Searches in one space: exact over all rows, or by a graph that knows most of them and the rest exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from core.analysis import Space, Vector
from store.graph import Graph, Precision
from store.rows import Keys, Rows

EXACT_BELOW = 20_000  # up to here comparing with every vector is quick enough, and right (PERFORMANCE, traps)
SIGNS_FROM = 500_000  # from here on the graph keeps one bit a number
_UNIT_SPACES = frozenset({Space.MUSICNN_SOUND, Space.EFFNET_SOUND, Space.CLAP})  # where the greatest product is nearest
_STALE_SHARE = 0.1  # of the rows: when so many changed since the graph was made, searching them exactly shows
_WORN_SHARE = 0.2  # of the graph: with so many gaps it is built anew (PERFORMANCE, traps: never compacted)
_SPARE = 16


@dataclass(slots=True, eq=False)
class Nearest:
    """The vectors of one space and, above `exact_below` of them, a graph that finds candidates.

    The graph stays as it was made. `changed` are the tracks that came, went or changed since: what it says of them is
    passed over, and those still here are compared one by one. So a removed track is never found, whatever the graph is
    like, and no search waits while one is changed.
    """

    space: Space
    rows: Rows
    graph: Graph | None = None
    gaps: int = 0  # places in the graph that removed vectors left
    changed: set[int] = field(default_factory=set)
    exact_below: int = EXACT_BELOW

    @property
    def wants_graph(self) -> bool:
        """Whether a graph is missing or so old that searches suffer."""
        if self.space not in _UNIT_SPACES or len(self.rows) < self.exact_below:
            return False
        return self.graph is None or len(self.changed) > _STALE_SHARE * len(self.rows)

    def put(self, track_id: int, vector: Vector | None) -> None:
        """The track's vector from now on; None for none. One that cannot be compared is as good as none."""
        if vector is not None and self._is_comparable(vector):
            self.rows.put(track_id, vector)
        else:
            self.rows.drop(track_id)
        if self.graph is not None:
            self.changed.add(track_id)

    def _is_comparable(self, vector: Vector) -> bool:
        """A direction of no length is none; of moods it says that none was heard."""
        if vector.shape != (self.rows.dimensions,) or not np.isfinite(vector).all():
            return False
        return self.space not in _UNIT_SPACES or bool(vector.any())

    def renew(self) -> None:
        """Bring the graph (opened to be changed) up to date; build one if there is none fit for it."""
        if self.space not in _UNIT_SPACES or len(self.rows) < self.exact_below:
            self.graph = None
        else:
            precision = Precision.SIGNS if len(self.rows) >= SIGNS_FROM else Precision.BF16
            changed = np.fromiter(self.changed, np.int64)
            stale = changed if self.graph is None else self.graph.holds(changed)
            gaps = self.gaps + len(stale)
            if self.graph is None or self.graph.precision is not precision or gaps > _WORN_SHARE * len(self.graph):
                self.graph, gaps = Graph.build(self.rows, precision), 0
            else:
                self.graph.remove(stale)
                self.graph.add(self.rows.present(changed), self.rows)
            self.gaps = gaps
        self.changed.clear()

    def search(self, query: Vector, k: int, among: Keys | None) -> list[tuple[int, float]]:
        """The `k` tracks (of `among`, if given) with the greatest products, best first; the older track on a tie."""
        passing = None if among is None else self.rows.present(among)
        count = len(self.rows) if passing is None else len(passing)
        k = min(k, count)
        if k < 1:
            return []
        if self.graph is not None and 2 * count >= len(self.rows):
            found = self._candidates(query, math.ceil(k * len(self.rows) / count))
            if passing is not None:
                found = found[np.isin(found, passing)]
            if len(found) >= k:
                return _best(found, self.rows.take(found) @ query, k)
        if passing is None:
            return _best(self.rows.keys, self.rows.products(query), k)
        return _best(passing, self.rows.take(passing) @ query, k)

    def _candidates(self, query: Vector, k: int) -> Keys:
        assert self.graph is not None
        changed = np.fromiter(self.changed, np.int64)
        near = self.graph.near(query, self.graph.precision.widening * k + _SPARE)
        return self.rows.present(np.concatenate([near[~np.isin(near, changed)], changed]))


def _best(keys: Keys, products: Vector, k: int) -> list[tuple[int, float]]:
    if k < len(keys):
        first = np.argpartition(-products, k - 1)[:k]
        keys, products = keys[first], products[first]
    order = np.lexsort((keys, -products))
    return list(zip(keys[order].tolist(), products[order].tolist(), strict=True))
