"""What listening yielded, by audio and generation, and the log of vectors that indexes follow."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson

from core.analysis import Acoustics, Analysis, Segment, Space, Tag, TaggerName, Vector
from store import sequence
from store.engine import Reader, Tx

SILENCE_DBFS = -200.0  # how minus infinity is stored: JSON has no infinity


@dataclass(frozen=True, slots=True, eq=False)
class VectorRow:
    """One row of a generation's vector log. `vector` None: the track has none in this space any more."""

    seq: int
    track_id: int
    space: Space
    vector: Vector | None


async def put(tx: Tx, audio_key: str, analysis: Analysis, *, now_us: int) -> None:
    """Keep an analysis in place of an older one of its generation. Raises ValueError on non-finite vectors."""
    body: dict[str, Any] = {
        "packs": dict(analysis.packs),
        "duration_seconds": analysis.duration_seconds,
        "rms_dbfs": max(analysis.rms_dbfs, SILENCE_DBFS),
        "tags": _plain(analysis.tags),
        "spaces": [(space.value, int(vector.size)) for space, vector in analysis.vectors.items()],
        "acoustics": analysis.acoustics and _plain_acoustics(analysis.acoustics),
        "segments": [(one.start_seconds, one.end_seconds, _plain(one.tags)) for one in analysis.segments],
        "warnings": analysis.warnings,
        "container": analysis.container,
    }
    await tx.run(
        "analyses.put",
        audio_key=audio_key,
        generation=analysis.generation,
        duration_seconds=analysis.duration_seconds,
        speech=analysis.acoustics and analysis.acoustics.speech,
        voice=analysis.acoustics and analysis.acoustics.voice,
        minor=_is_minor(analysis.acoustics),
        body=orjson.dumps(body).decode(),
        vectors=b"".join(_vector_bytes(vector) for vector in analysis.vectors.values()),
        now_us=now_us,
    )


async def get(r: Reader, audio_key: str, generation: str) -> Analysis | None:
    """The analysis of this audio in exactly this generation."""
    row = await r.row("analyses.get", audio_key=audio_key, generation=generation)
    return None if row is None else _analysis(generation, *row)


async def shown(r: Reader, audio_key: str) -> Analysis | None:
    """What to tell people of this audio: the analysis of the generation that serves, else the newest one."""
    row = await r.row("analyses.shown", audio_key=audio_key)
    return None if row is None else _analysis(*row)


async def note_crash(tx: Tx, audio_key: str, *, now_us: int) -> int:
    """Count a crash of the listening child on this audio; crashes so far.

    Whatever the packs: audio that crashed once for the generation that serves has one crash left for the next.
    """
    crashes: int = await tx.value("analyses.note_crash", audio_key=audio_key, now_us=now_us)
    return crashes


async def put_vectors(tx: Tx, track_id: int, generation: str, vectors: Mapping[Space, Vector]) -> None:
    """Make these the vectors of a track in a generation; spaces not named stay. What is the same already gets no new
    number. Rings "vector". Raises ValueError on non-finite values: no index could rank them.
    """
    wanted = {(generation, space.value): _vector_bytes(vector) for space, vector in vectors.items()}
    stored = await _vectors_of(tx, track_id)
    await _log_vectors(tx, track_id, {key: data for key, data in wanted.items() if stored.get(key) != data})


async def drop_vectors(tx: Tx, track_id: int, generation: str | None = None) -> None:
    """Have every follower remove the track, or only those of one generation. Rings "vector"."""
    stored = await _vectors_of(tx, track_id)
    gone = [key for key, data in stored.items() if data is not None and generation in (None, key[0])]
    await _log_vectors(tx, track_id, dict.fromkeys(gone))


async def forget_unused(tx: Tx, audio_key: str) -> None:
    """Drop all analyses of an audio that no track names any more."""
    await tx.run("analyses.forget_unused", audio_key=audio_key)


async def vector_log(r: Reader, generation: str, *, after_seq: int, limit: int) -> list[VectorRow]:
    """The changes of a generation after a number, in order, at most `limit`."""
    rows = await r.rows("analyses.vector_log", generation=generation, after_seq=after_seq, limit=limit)
    return [
        VectorRow(seq, track_id, Space(space), None if data is None else _vector_of(data))
        for seq, track_id, space, data in rows
    ]


async def _vectors_of(r: Reader, track_id: int) -> dict[tuple[str, str], bytes | None]:
    rows = await r.rows("analyses.vectors_of", track_id=track_id)
    return {(generation, space): data for generation, space, data in rows}


async def _log_vectors(tx: Tx, track_id: int, changed: Mapping[tuple[str, str], bytes | None]) -> None:
    """`changed`: (generation, space) -> the bytes, None for gone."""
    if not changed:
        return
    first = await sequence.take(tx, "vector", len(changed))
    rows = [
        {"track_id": track_id, "generation": generation, "space": space, "seq": first + place, "bytes": data}
        for place, ((generation, space), data) in enumerate(changed.items())
    ]
    await tx.run_many("analyses.put_vector", rows)
    tx.ring("vector")


def _analysis(generation: str, text: str, data: bytes) -> Analysis:
    body = orjson.loads(text)
    vectors: dict[Space, Vector] = {}
    offset = 0
    for space, size in body["spaces"]:
        vectors[Space(space)] = _vector_of(data[offset : offset + 4 * size])
        offset += 4 * size
    acoustics = body.get("acoustics")
    return Analysis(
        # Migration 0002 named the generation of an older analysis after the hash of its one pack.
        packs=body["packs"] if "packs" in body else {body["pack"]: generation},
        duration_seconds=body["duration_seconds"],
        rms_dbfs=body["rms_dbfs"],
        tags=_tags(body["tags"]),
        vectors=vectors,
        acoustics=acoustics and Acoustics(**(acoustics | {"peaks": b64decode(acoustics["peaks"])})),
        segments=tuple(Segment(start, end, _tags(tags)) for start, end, tags in body.get("segments", ())),
        warnings=tuple(body["warnings"]),
        container=body["container"],
    )


def _plain(tags: Iterable[Tag]) -> list[tuple[str, str, float]]:
    return [(tag.name, tag.model, tag.score) for tag in tags]


def _tags(rows: Iterable[tuple[str, TaggerName, float]]) -> tuple[Tag, ...]:
    return tuple(Tag(*row) for row in rows)


def _is_minor(acoustics: Acoustics | None) -> int | None:
    """Where the key may be published: a guess is no ground for anything."""
    return None if acoustics is None or acoustics.shown_key is None else int(acoustics.mode == "minor")


def _plain_acoustics(acoustics: Acoustics) -> dict[str, Any]:
    return asdict(acoustics) | {"peaks": b64encode(acoustics.peaks).decode()}


def _vector_bytes(vector: Vector) -> bytes:
    """Little-endian float32. Raises ValueError unless all values are finite."""
    if not np.isfinite(vector).all():
        raise ValueError("a vector has values that are not finite")
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def _vector_of(data: bytes) -> Vector:
    return np.frombuffer(data, dtype="<f4").astype(np.float32)
