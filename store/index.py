"""The vector index: a follower of the vector log that can be thrown away at any time.

Vectors are kept whole in memory; where there are many, a graph finds candidates among them. Graphs are made, changed
and stored by a child process (`store.indexing`), for that takes minutes and the interpreter's lock; the service reads
what the child has finished.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from core.analysis import Space, Vector
from core.errors import Unstored
from store import analyses, checkpoint, generations, sequence
from store.analyses import VectorRow
from store.checkpoint import Checkpoint
from store.nearest import EXACT_BELOW, Nearest
from store.rows import Keys, Rows
from store.store import Store
from store.storing import have_child_store

_BATCH = 256  # rows of the log read at a time; searches wait while they are applied: a millisecond
_BATCH_OF_PRODUCTS = 4096  # vectors copied at a time: 8 MB
_STORED_EVERY = 1_000  # rows of the log: what a start would have to read again


class VectorIndex:
    """The vectors of one generation by space, compared by inner product. Searches may run in any thread while the log
    is followed.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        spaces: Mapping[Space, int],
        generation: str,
        *,
        exact_below: int = EXACT_BELOW,
        to_read: bool = True,
    ) -> None:
        self._store = store
        self._folder = folder
        self._generation = generation
        self._dimensions = dict(spaces)
        self._exact_below = exact_below
        self._to_read = to_read
        self._identity = ""  # of the log: the store, the generation and which of its lives
        self._watermark = 0  # the newest row of the log that is applied
        self._stored = 0  # the watermark of the newest checkpoint
        self._spaces = {space: Nearest(space, Rows(size), exact_below=exact_below) for space, size in spaces.items()}
        self._following = asyncio.Lock()
        self._guard = threading.Lock()  # between searches and changes

    @classmethod
    async def open(
        cls,
        store: Store,
        folder: Path,
        *,
        spaces: Mapping[Space, int],
        generation: str,
        exact_below: int = EXACT_BELOW,
        to_read: bool = True,
    ) -> VectorIndex:
        """An index that has caught up with a generation's log, `spaces` giving the length of the vectors of each.

        Starts from the generation's checkpoint in `folder` if it is whole, of this store, of the same life of the
        generation (it may have been deleted and come back) and of these spaces, else from nothing. Spaces of fewer than
        `exact_below` vectors have no graph. `to_read`: graphs are as they were stored and never changed.
        """
        index = cls(store, folder, spaces, generation, exact_below=exact_below, to_read=to_read)
        async with store.read() as r:
            known = await generations.get(r, generation)
            life = known.started_us if known is not None else 0
            index._identity = f"{await sequence.identity(r)}/{generation}/{life}"
        await index._restore()
        await index.follow()
        return index

    async def follow(self) -> int:
        """Apply what the log has beyond the watermark; how many rows that were."""
        async with self._following:
            return await self._follow()

    def search(
        self, space: Space, query: Vector, k: int, *, among: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """The `k` tracks with the greatest inner products, best first; only tracks of `among` if it is given.

        Exact below `exact_below` vectors and where fewer than half of them may be found, else approximate; the products
        are exact in any case. Raises ValueError for a query that is not finite or not as long as the space's vectors.
        """
        query = self._checked(space, query)
        passing = None if among is None else np.unique(np.fromiter(among, np.int64, len(among)))
        with self._guard:
            return self._spaces[space].search(query, k, passing)

    def products(self, space: Space, queries: Vector, track_ids: Sequence[int]) -> tuple[list[int], Vector]:
        """Exact inner products with several queries at once: the tracks that have a vector, f32 [those, queries].

        `queries` is f32 [queries, length of the space's vectors]. However many tracks there are, few of their vectors
        are copied at a time.
        """
        queries = np.stack([self._checked(space, query) for query in queries])
        wanted = np.asarray(track_ids, dtype=np.int64)
        present: list[int] = []
        rows: list[Vector] = [np.empty((0, len(queries)), np.float32)]
        for at in range(0, len(wanted), _BATCH_OF_PRODUCTS):
            keys, vectors = self._take(space, wanted[at : at + _BATCH_OF_PRODUCTS])
            present += keys.tolist()
            rows.append(vectors @ queries.T)
        return present, np.concatenate(rows)

    def vectors(self, space: Space, track_ids: Sequence[int]) -> tuple[list[int], Vector]:
        """The tracks that have a vector in the space, in this order, and the vectors: f32 [those, length]."""
        keys, vectors = self._take(space, np.asarray(track_ids, dtype=np.int64))
        return keys.tolist(), vectors

    def present(self, space: Space, track_ids: Sequence[int]) -> list[int]:
        """The tracks of these that have a vector in the space, in this order."""
        with self._guard:
            found: list[int] = self._spaces[space].rows.present(np.asarray(track_ids, dtype=np.int64)).tolist()
            return found

    @property
    def spaces(self) -> Collection[Space]:
        """Those it has."""
        return self._dimensions.keys()

    @property
    def sound(self) -> Space | None:
        """The space of sound-alikes: the best of those it has (MODELS section 1)."""
        return next((space for space in (Space.EFFNET_SOUND, Space.MUSICNN_SOUND) if space in self._dimensions), None)

    def size(self, space: Space) -> int:
        """How many tracks have a vector in this space."""
        with self._guard:
            return len(self._spaces[space].rows)

    async def tend(self) -> bool:
        """Store the index if much is new, and take up the graphs that were made on the way. Whether there was need.

        Raises Unstored.
        """
        with self._guard:
            wanting = any(space.wants_graph for space in self._spaces.values())
        if not wanting and self._watermark - self._stored < _STORED_EVERY:
            return False
        await self.checkpoint()
        fresh = await self.open(
            self._store,
            self._folder,
            spaces=self._dimensions,
            generation=self._generation,
            exact_below=self._exact_below,
            to_read=self._to_read,
        )
        async with self._following:
            await fresh.follow()
            with self._guard:  # at no time is anything found that the log has dropped
                self._identity, self._spaces = fresh._identity, fresh._spaces
                self._watermark, self._stored = fresh._watermark, fresh._stored
        return True

    async def checkpoint(self) -> None:
        """Store the index so that the next start need not read the whole log. A crash leaves the older one.

        Without graphs it is written here; with them by a child that follows the log on its own. Raises Unstored.
        """
        with self._guard:
            graphs = any(space.wants_graph or space.graph is not None for space in self._spaces.values())
        if graphs:
            await have_child_store(
                self._store.address, self._folder, self._generation, self._exact_below, self._dimensions
            )
        else:
            async with self._following:
                await asyncio.to_thread(self.save)

    def renew(self) -> None:
        """Build the graphs that are missing or worn, bring the others up to date: minutes. In a child's index only."""
        for space in self._spaces.values():
            space.renew()

    def save(self) -> None:
        """Write a checkpoint of what is applied. Nothing may be applied meanwhile. Raises Unstored."""
        now = Checkpoint(self._identity, self._watermark, self._spaces)
        try:
            checkpoint.save(checkpoint.folder_of(self._folder, self._generation), now)
        except OSError as error:
            raise Unstored(f"the vector index cannot be stored in {self._folder}: {error.strerror}") from None
        self._stored = self._watermark

    async def _restore(self) -> None:
        """Start from the checkpoint, if there is one."""
        async with self._store.read() as r:
            newest = await sequence.newest(r, "vector")
        found = await asyncio.to_thread(
            checkpoint.load,
            checkpoint.folder_of(self._folder, self._generation),
            self._identity,
            self._dimensions,
            exact_below=self._exact_below,
            to_read=self._to_read,
        )
        if found is None or found.watermark > newest:  # the database came back from a backup
            return
        self._spaces = dict(found.spaces)
        self._watermark = self._stored = found.watermark

    async def _follow(self) -> int:
        applied = 0
        while True:
            async with self._store.read() as r:
                rows = await analyses.vector_log(r, self._generation, after_seq=self._watermark, limit=_BATCH)
            if not rows:
                return applied
            await asyncio.to_thread(self._apply, rows)
            self._watermark = rows[-1].seq
            applied += len(rows)

    def _apply(self, rows: Sequence[VectorRow]) -> None:
        with self._guard:
            for row in rows:
                if row.space in self._spaces:
                    self._spaces[row.space].put(row.track_id, row.vector)

    def _take(self, space: Space, track_ids: Keys) -> tuple[Keys, Vector]:
        with self._guard:
            rows = self._spaces[space].rows
            present = rows.present(track_ids)
            return present, rows.take(present)

    def _checked(self, space: Space, query: Vector) -> Vector:
        query = np.asarray(query, dtype=np.float32)
        if query.shape != (self._dimensions[space],) or not np.isfinite(query).all():
            raise ValueError(f"a query for {space} is {self._dimensions[space]} finite numbers, not {query.shape}")
        return query
