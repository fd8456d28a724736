"""The graph that finds near vectors without looking at all of them. Only candidates: rows decide (`store.nearest`).

Half-precision floats (bf16) take half the room of f32; signs alone (b1) a sixteenth of that, for corpora whose graph
would not fit beside everything else. What both find and cost is measured by `python -m bench index` (docs/feeds.md).
"""

from __future__ import annotations

import errno
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from usearch.index import Index

from core.analysis import Vector
from store.rows import Keys, Rows

_BATCH = 1024
_EXPANSION = {"bf16": 256, "b1": 512}  # vectors looked at by a search: recall against speed
_CONNECTIVITY = {"bf16": 32, "b1": 16}  # neighbours that a vector knows: the same against room


class Precision(StrEnum):
    """How much of a vector the graph keeps."""

    BF16 = "bf16"
    SIGNS = "b1"  # one bit a number: above the corpus' mean or not

    @property
    def widening(self) -> int:
        """Candidates asked for each that is wanted, since the order among them is not to be trusted."""
        return 2 if self is Precision.BF16 else 16


class Graph:
    """Vectors of length 1 by track id. One that was opened to be read costs next to nothing until it is searched."""

    def __init__(self, index: Index, precision: Precision, middle: Vector) -> None:
        self._index = index
        self.precision = precision
        self.middle = middle  # f32 [dimensions], of the corpus it was built from

    def __len__(self) -> int:
        return len(self._index)

    @classmethod
    def build(cls, rows: Rows, precision: Precision) -> Self:
        """Of all rows: minutes for a hundred thousand."""
        total = np.zeros(rows.dimensions)
        for block in rows.blocks():
            total += block.sum(axis=0, dtype=np.float64)
        middle = (total / max(1, len(rows))).astype(np.float32)
        graph = cls(_empty(rows.dimensions, precision), precision, middle)
        # In any order but theirs: albums and uploads of one day come together, and would be an island of their own.
        keys = np.random.default_rng(0).permutation(rows.keys)
        for at in range(0, len(keys), _BATCH):
            graph.add(keys[at : at + _BATCH], rows)
        return graph

    @classmethod
    def open(cls, path: Path, dimensions: int, precision: Precision, middle: Vector, *, to_read: bool) -> Self:
        """What `save` wrote. To be read it is mapped into memory, to be changed it is loaded. Raises ValueError."""
        index = _empty(dimensions, precision)
        try:
            if to_read:
                index.view(str(path))
            else:
                index.load(str(path))
        except RuntimeError as error:
            raise ValueError(f"{path} is no graph: {error}") from None
        if index.ndim != dimensions:
            raise ValueError(f"{path} is of another space")
        return cls(index, precision, middle)

    def save(self, path: Path) -> None:
        """Holds the interpreter's lock meanwhile: not in the service's process. Raises OSError."""
        try:
            self._index.save(str(path))
        except RuntimeError as error:
            raise OSError(errno.EIO, f"a graph cannot be written: {error}") from None
        if path.stat().st_size != self._index.serialized_length:  # of a disk that is full at the end it says nothing
            raise OSError(errno.ENOSPC, "a graph cannot be written to its end")

    def add(self, track_ids: Keys, rows: Rows) -> None:
        """Tracks that are not in it yet."""
        self._index.add(track_ids.astype(np.uint64), self._encode(rows.take(track_ids)))

    def remove(self, track_ids: Keys) -> None:
        """Tracks that are in it. They leave gaps that every search steps over."""
        self._index.remove(track_ids.astype(np.uint64))

    def holds(self, track_ids: Keys) -> Keys:
        """Those of these tracks that are in it."""
        if not len(track_ids):
            return track_ids
        held: Keys = track_ids[np.asarray(self._index.contains(track_ids.astype(np.uint64)), dtype=bool)]
        return held

    def near(self, query: Vector, count: int) -> Keys:
        """About the `count` nearest tracks to a query of any length, in no order to rely on."""
        found: Any = self._index.search(self._encode(query[np.newaxis])[0], min(count, len(self)))
        return np.asarray(found.keys, dtype=np.int64)

    def _encode(self, vectors: Vector) -> Any:
        """Less the middle: real vectors lie in a narrow cone, and few bits have to tell them apart. Where a length is
        the same for all, the nearest point is the one with the greatest product, wherever the origin is.
        """
        moved = vectors - self.middle
        return moved if self.precision is Precision.BF16 else np.packbits(moved > 0, axis=1)


def _empty(dimensions: int, precision: Precision) -> Index:
    metric = "l2sq" if precision is Precision.BF16 else "hamming"
    return Index(
        ndim=dimensions,
        metric=metric,
        dtype=precision.value,
        connectivity=_CONNECTIVITY[precision],
        expansion_search=_EXPANSION[precision],
    )
