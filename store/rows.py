"""The vectors of one space, whole: f32 rows side by side, each track's once. What searches are scored by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.analysis import Vector

Keys = NDArray[np.int64]  # track ids

_BLOCK = 4096  # rows that are allocated together: growing never copies what is there
_ABSENT = -1
_Number = TypeVar("_Number", np.int64, np.int32)


class Rows:
    """Grows at its end; whoever leaves is replaced by the last one, so there are no holes. Not for several threads."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._blocks: list[Vector] = []
        self._keys: Keys = np.empty(0, np.int64)  # by place; longer than there are places
        self._places: NDArray[np.int32] = np.empty(0, np.int32)  # by track id, which is a small number
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, track_id: int) -> bool:
        return track_id < len(self._places) and bool(self._places[track_id] != _ABSENT)

    @property
    def keys(self) -> Keys:
        """Of all tracks, in no order."""
        return self._keys[: self._count].copy()

    def put(self, track_id: int, vector: Vector) -> None:
        """Make this the vector of the track."""
        self._places = _long_enough(self._places, track_id, fill=_ABSENT)
        place = int(self._places[track_id])
        if place == _ABSENT:
            place = self._count
            self._keys = _long_enough(self._keys, place, fill=0)
            self._keys[place], self._places[track_id] = track_id, place
            self._count += 1
            if place == len(self._blocks) * _BLOCK:
                self._blocks.append(np.empty((_BLOCK, self.dimensions), np.float32))
        self._blocks[place // _BLOCK][place % _BLOCK] = vector

    def drop(self, track_id: int) -> None:
        """Forget the track, if it is there."""
        if track_id not in self:
            return
        place, last = int(self._places[track_id]), self._count - 1
        mover = int(self._keys[last])
        self._blocks[place // _BLOCK][place % _BLOCK] = self._blocks[last // _BLOCK][last % _BLOCK]
        self._keys[place], self._places[mover] = mover, place
        self._places[track_id] = _ABSENT
        self._count = last
        if last == (len(self._blocks) - 1) * _BLOCK:
            self._blocks.pop()

    def present(self, track_ids: Keys) -> Keys:
        """Those of these tracks that have a vector, in this order."""
        known = track_ids[(track_ids >= 0) & (track_ids < len(self._places))]
        here: Keys = known[self._places[known] != _ABSENT]
        return here

    def take(self, track_ids: Keys) -> Vector:
        """The vectors of tracks that all are present: f32 [tracks, dimensions]."""
        blocks, offsets = np.divmod(self._places[track_ids], _BLOCK)
        found = np.empty((len(track_ids), self.dimensions), np.float32)
        for block in np.unique(blocks):
            here = blocks == block
            found[here] = self._blocks[block][offsets[here]]
        return found

    def blocks(self) -> Iterator[Vector]:
        """Views of all rows, in the order of `keys`."""
        for number, block in enumerate(self._blocks):
            yield block[: self._count - number * _BLOCK]

    def products(self, query: Vector) -> Vector:
        """Inner products with everybody, in the order of `keys`: 2 ms for 10 000 of 512."""
        return np.concatenate([np.empty(0, np.float32), *(block @ query for block in self.blocks())])

    def write(self, file: BinaryIO) -> None:
        """As bytes: the keys, then the vectors, little-endian."""
        file.write(self.keys.astype("<i8").tobytes())
        file.writelines(np.ascontiguousarray(block, dtype="<f4").data for block in self.blocks())

    @classmethod
    def open(cls, path: Path, count: int, dimensions: int) -> Self:
        """What `write` wrote. The file is read when its rows are asked for, and never changed; it may be deleted
        meanwhile. Raises OSError, or ValueError unless it holds so many rows of distinct tracks.
        """
        rows = cls(dimensions)
        if path.stat().st_size != count * (8 + 4 * dimensions):
            raise ValueError(f"{path} does not hold {count} rows")
        if not count:
            return rows
        keys = np.fromfile(path, "<i8", count).astype(np.int64)
        if keys.min() < 0 or len(np.unique(keys)) != count:
            raise ValueError(f"{path} names tracks twice, or none")
        matrix = np.memmap(path, "<f4", mode="c", offset=8 * count, shape=(count, dimensions)).view(np.ndarray)
        rows._blocks = [matrix[at : at + _BLOCK] for at in range(0, count, _BLOCK)]
        if len(rows._blocks[-1]) < _BLOCK:  # rows are added to it
            whole = np.empty((_BLOCK, dimensions), np.float32)
            whole[: len(rows._blocks[-1])] = rows._blocks[-1]
            rows._blocks[-1] = whole
        rows._keys, rows._count = keys, count
        rows._places = np.full(int(keys.max()) + 1, _ABSENT, np.int32)
        rows._places[keys] = np.arange(count, dtype=np.int32)
        return rows


def _long_enough(array: NDArray[_Number], place: int, *, fill: int) -> NDArray[_Number]:
    if place < len(array):
        return array
    longer = np.full(max(1024, 2 * len(array), place + 1), fill, array.dtype)
    longer[: len(array)] = array
    return longer
