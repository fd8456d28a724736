"""The vector index: a follower of the vector log that can be thrown away at any time.

usearch refuses little by itself and has no transactions, so everything that must hold is held here: finite vectors of
the right size, one vector a track, and a checkpoint that is whole or ignored.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from usearch.index import Index

from core.analysis import Space, Vector
from store import analyses, generations, sequence
from store.analyses import VectorRow
from store.store import Store

EXACT_BELOW = 20_000  # up to here comparing with every vector is quick enough, and right (PERFORMANCE, traps)
_BATCH = 256  # rows applied while searches wait: some tens of milliseconds
_BATCH_OF_PRODUCTS = 4096  # vectors copied at a time: 8 MB
_FORMAT = 2
_FOLDER_CHARACTERS = 16  # of a generation's name, enough to tell its checkpoint's folder from others
_MANIFEST = "manifest.json"


class VectorIndex:
    """One usearch index a space of one generation, by inner product. Searches may run in any thread while the log is
    followed.
    """

    def __init__(self, store: Store, folder: Path, spaces: Mapping[Space, int], generation: str) -> None:
        self._store = store
        self._folder = folder / generation[:_FOLDER_CHARACTERS]
        self._generation = generation
        self._dimensions = dict(spaces)
        self._indexes = {space: _empty(size) for space, size in spaces.items()}
        self._watermark = 0  # the newest row of the log that is applied
        self._identity = ""  # of the log: the store, the generation and which of its lives
        self._following = asyncio.Lock()
        self._guard = threading.Lock()  # between searches and changes

    @classmethod
    async def open(cls, store: Store, folder: Path, *, spaces: Mapping[Space, int], generation: str) -> VectorIndex:
        """An index that has caught up with a generation's log, `spaces` giving the length of the vectors of each.

        Starts from the generation's checkpoint in `folder` if it is whole, of this store, of the same life of the
        generation (it may have been deleted and come back) and of these spaces, else from nothing.
        """
        index = cls(store, folder, spaces, generation)
        async with store.read() as r:
            known = await generations.get(r, generation)
            life = known.started_us if known is not None else 0
            index._identity = f"{await sequence.identity(r)}/{generation}/{life}"
            newest = await sequence.newest(r, "vector")
        restored = await asyncio.to_thread(_load, index._folder, index._identity, index._dimensions)
        if restored is not None and restored[0] <= newest:
            index._watermark, index._indexes = restored
        await index.follow()
        return index

    async def follow(self) -> int:
        """Apply what the log has beyond the watermark; how many rows that were."""
        applied = 0
        async with self._following:
            while True:
                async with self._store.read() as r:
                    rows = await analyses.vector_log(r, self._generation, after_seq=self._watermark, limit=_BATCH)
                if not rows:
                    return applied
                await asyncio.to_thread(self._apply, rows)
                self._watermark = rows[-1].seq
                applied += len(rows)

    def search(self, space: Space, query: Vector, k: int) -> list[tuple[int, float]]:
        """The `k` tracks with the greatest inner products, best first: exact below 20 000 vectors, else approximate.

        Raises ValueError for a query that is not finite or not as long as the space's vectors.
        """
        query = self._checked(space, query)
        with self._guard:
            index = self._indexes[space]
            k = min(k, len(index))
            if k < 1:
                return []
            found = index.search(query, k, exact=len(index) < EXACT_BELOW).keys
            products = _products(index, found, query)
        return sorted(products.items(), key=lambda pair: (-pair[1], pair[0]))

    def products(self, space: Space, queries: Vector, track_ids: Sequence[int]) -> tuple[list[int], Vector]:
        """Exact inner products with several queries at once: the tracks that have a vector, f32 [those, queries].

        `queries` is f32 [queries, length of the space's vectors]. However many tracks there are, few of their vectors
        are copied at a time.
        """
        queries = np.stack([self._checked(space, query) for query in queries])
        present: list[int] = []
        rows: list[Vector] = [np.empty((0, len(queries)), np.float32)]
        for at in range(0, len(track_ids), _BATCH_OF_PRODUCTS):
            keys = np.array(track_ids[at : at + _BATCH_OF_PRODUCTS], dtype=np.uint64)
            with self._guard:
                vectors: Any = self._indexes[space].get(keys)
            found = [(int(key), vector) for key, vector in zip(keys, vectors, strict=True) if vector is not None]
            if found:
                present += [key for key, _ in found]
                rows.append(np.stack([vector for _, vector in found]) @ queries.T)
        return present, np.concatenate(rows)

    def size(self, space: Space) -> int:
        """How many tracks have a vector in this space."""
        with self._guard:
            return len(self._indexes[space])

    async def checkpoint(self) -> None:
        """Store the index so that the next start need not read the whole log. A crash leaves the older one."""
        async with self._following:
            await asyncio.to_thread(self._save)

    def _apply(self, rows: Sequence[VectorRow]) -> None:
        with self._guard:
            for row in rows:
                index = self._indexes.get(row.space)
                if index is None:
                    continue
                if index.contains(row.track_id):
                    index.remove(row.track_id)
                # A vector that cannot be compared with the others is as good as none.
                if row.vector is not None and row.vector.shape == (index.ndim,) and np.isfinite(row.vector).all():
                    index.add(row.track_id, row.vector)

    def _checked(self, space: Space, query: Vector) -> Vector:
        query = np.asarray(query, dtype=np.float32)
        if query.shape != (self._dimensions[space],) or not np.isfinite(query).all():
            raise ValueError(f"a query for {space} is {self._dimensions[space]} finite numbers, not {query.shape}")
        return query

    def _save(self) -> None:
        """One file a space under a new name, then a manifest that says which files count, then the old ones go."""
        self._folder.mkdir(parents=True, exist_ok=True)
        files: dict[str, dict[str, Any]] = {}
        for space, index in self._indexes.items():
            path = self._folder / f"{space.value}.{self._watermark}.usearch"
            part = path.with_suffix(".part")
            index.save(str(part))
            files[space.value] = {
                "file": path.name,
                "sha256": _sha256(part),
                "dimensions": index.ndim,
                "vectors": len(index),
            }
            _rename_durably(part, path)
        manifest = {"format": _FORMAT, "store": self._identity, "watermark": self._watermark, "spaces": files}
        part = self._folder / f"{_MANIFEST}.part"
        part.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        _rename_durably(part, self._folder / _MANIFEST)
        current = {_MANIFEST, *(entry["file"] for entry in files.values())}
        for path in self._folder.iterdir():
            if path.suffix in (".usearch", ".part") and path.name not in current:
                path.unlink()


def sweep_checkpoints(folder: Path, keep: Collection[str]) -> None:
    """Delete what lies in an index folder and is not the checkpoint of one of these generations."""
    names = {generation[:_FOLDER_CHARACTERS] for generation in keep}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _empty(dimensions: int) -> Index:
    return Index(ndim=dimensions, metric="ip", dtype="f32")


def _products(index: Index, keys: Any, query: Vector) -> dict[int, float]:
    """Inner products from the stored vectors themselves; usearch's distances (1 - product) have lost digits."""
    if len(keys) == 0:
        return {}
    vectors: Any = index.get(keys)
    present = [(int(key), vector) for key, vector in zip(keys, vectors, strict=True) if vector is not None]
    if not present:
        return {}
    products = np.stack([vector for _, vector in present]) @ query
    return dict(zip((key for key, _ in present), products.tolist(), strict=True))


def _load(folder: Path, identity: str, dimensions: Mapping[Space, int]) -> tuple[int, dict[Space, Index]] | None:
    """Watermark and indexes of the checkpoint, or None unless every part of it is as its manifest says."""
    try:
        manifest = orjson.loads((folder / _MANIFEST).read_bytes())
        if (manifest["format"], manifest["store"]) != (_FORMAT, identity):
            return None
        if set(manifest["spaces"]) != {space.value for space in dimensions}:
            return None
        indexes = {}
        for space, size in dimensions.items():
            entry = manifest["spaces"][space.value]
            path = folder / Path(entry["file"]).name
            if _sha256(path) != entry["sha256"]:
                return None
            indexes[space] = _empty(size)
            indexes[space].load(str(path))
            if (indexes[space].ndim, len(indexes[space])) != (size, entry["vectors"]):
                return None
        return int(manifest["watermark"]), indexes
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # absent or broken: the log has everything
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rename_durably(part: Path, path: Path) -> None:
    """The content reaches the disk before the name does."""
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)
