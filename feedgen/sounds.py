"""Where tracks lie by sound, without a copy of all their vectors: 100 000 of effnet's are half a gigabyte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.analysis import Space, Vector
from store.index import VectorIndex


class Sounds(Protocol):
    """Rows f32 [d] of length 1, one a track of a corpus; zeros: not heard. A matrix is that too."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any, /) -> Any:
        """One row, or several below each other."""
        ...

    def __matmul__(self, vector: Any, /) -> Any:
        """Inner products of all rows with one vector."""
        ...

    def any(self, axis: int) -> Any:
        """Along axis 1: which tracks were heard."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class IndexedSounds:
    """What the index knows at the moment of asking: a track that it has dropped meanwhile was not heard."""

    index: VectorIndex
    space: Space
    track_ids: NDArray[np.int64]  # of the corpus, the lowest first

    def __len__(self) -> int:
        return len(self.track_ids)

    def __getitem__(self, places: Any, /) -> Vector:
        asked = self.track_ids[places]
        track_ids = np.atleast_1d(asked)
        present, rows = self.index.vectors(self.space, track_ids.tolist())
        if len(present) < len(track_ids):
            found = np.zeros((len(track_ids), rows.shape[1]), np.float32)
            found[np.isin(track_ids, present)] = rows
            rows = found
        return rows if np.ndim(asked) else rows[0]

    def __matmul__(self, vector: Vector, /) -> Vector:
        present, products = self.index.products(self.space, vector[np.newaxis], self.track_ids.tolist())
        found = np.zeros(len(self), np.float32)
        found[np.isin(self.track_ids, present)] = products[:, 0]
        return found

    def any(self, axis: int) -> NDArray[np.bool_]:
        assert axis == 1
        return np.isin(self.track_ids, self.index.present(self.space, self.track_ids.tolist()))
