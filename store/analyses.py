"""What listening yielded, by audio and pack, and the log of vectors that indexes follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from core.analysis import Analysis, Space, Tag, Vector
from store import sequence
from store.engine import Reader, Tx

SILENCE_DBFS = -200.0  # how minus infinity is stored: JSON has no infinity


@dataclass(frozen=True, slots=True, eq=False)
class VectorRow:
    """One row of the vector log. `vector` None: the track has none in this space any more."""

    seq: int
    track_id: int
    space: Space
    vector: Vector | None


async def put(tx: Tx, audio_key: str, analysis: Analysis, *, now_us: int) -> None:
    """Keep an analysis in place of an older one of this audio and pack. Raises ValueError on non-finite vectors."""
    body: dict[str, Any] = {
        "pack": analysis.pack,
        "duration_seconds": analysis.duration_seconds,
        "rms_dbfs": max(analysis.rms_dbfs, SILENCE_DBFS),
        "tags": [(tag.name, tag.model, tag.score) for tag in analysis.tags],
        "spaces": [(space.value, int(vector.size)) for space, vector in analysis.vectors.items()],
        "warnings": analysis.warnings,
        "container": analysis.container,
    }
    await tx.run(
        "analyses.put",
        audio_key=audio_key,
        pack_hash=analysis.pack_hash,
        duration_seconds=analysis.duration_seconds,
        body=orjson.dumps(body).decode(),
        vectors=b"".join(_vector_bytes(vector) for vector in analysis.vectors.values()),
        now_us=now_us,
    )


async def get(r: Reader, audio_key: str, pack_hash: str) -> Analysis | None:
    """The analysis of this audio by exactly this pack."""
    row = await r.row("analyses.get", audio_key=audio_key, pack_hash=pack_hash)
    if row is None:
        return None
    body = orjson.loads(row[0])
    vectors: dict[Space, Vector] = {}
    offset = 0
    for space, size in body["spaces"]:
        vectors[Space(space)] = _vector_of(row[1][offset : offset + 4 * size])
        offset += 4 * size
    return Analysis(
        pack=body["pack"],
        pack_hash=pack_hash,
        duration_seconds=body["duration_seconds"],
        rms_dbfs=body["rms_dbfs"],
        tags=tuple(Tag(*tag) for tag in body["tags"]),
        vectors=vectors,
        warnings=tuple(body["warnings"]),
        container=body["container"],
    )


async def note_crash(tx: Tx, audio_key: str, *, now_us: int) -> int:
    """Count a crash of the listening child on this audio; crashes so far."""
    crashes: int = await tx.value("analyses.note_crash", audio_key=audio_key, now_us=now_us)
    return crashes


async def put_vectors(tx: Tx, track_id: int, pack_hash: str, vectors: Mapping[Space, Vector]) -> None:
    """Make these the vectors of a track; spaces not named stay. What is the same already gets no new number.

    Rings "vector". Raises ValueError on non-finite values: no index could rank them.
    """
    wanted = {space.value: _vector_bytes(vector) for space, vector in vectors.items()}
    stored = {space: (pack, data) for space, pack, data in await tx.rows("analyses.vectors_of", track_id=track_id)}
    changed = {space: data for space, data in wanted.items() if stored.get(space) != (pack_hash, data)}
    await _log_vectors(tx, track_id, {space: (pack_hash, data) for space, data in changed.items()})


async def drop_vectors(tx: Tx, track_id: int) -> None:
    """Have every follower remove the track. Rings "vector"."""
    stored = await tx.rows("analyses.vectors_of", track_id=track_id)
    await _log_vectors(tx, track_id, {space: (pack, None) for space, pack, data in stored if data is not None})


async def vector_log(r: Reader, *, after_seq: int, limit: int) -> list[VectorRow]:
    """The changes after a number, in order, at most `limit`."""
    rows = await r.rows("analyses.vector_log", after_seq=after_seq, limit=limit)
    return [
        VectorRow(seq, track_id, Space(space), None if data is None else _vector_of(data))
        for seq, track_id, space, data in rows
    ]


async def _log_vectors(tx: Tx, track_id: int, changed: Mapping[str, tuple[str, bytes | None]]) -> None:
    if not changed:
        return
    first = await sequence.take(tx, "vector", len(changed))
    rows = [
        {"track_id": track_id, "space": space, "seq": first + place, "pack_hash": pack_hash, "bytes": data}
        for place, (space, (pack_hash, data)) in enumerate(changed.items())
    ]
    await tx.run_many("analyses.put_vector", rows)
    tx.ring("vector")


def _vector_bytes(vector: Vector) -> bytes:
    """Little-endian float32. Raises ValueError unless all values are finite."""
    if not np.isfinite(vector).all():
        raise ValueError("a vector has values that are not finite")
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def _vector_of(data: bytes) -> Vector:
    return np.frombuffer(data, dtype="<f4").astype(np.float32)
