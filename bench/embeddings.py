"""Vectors to search among: clustered ones that anybody can make, and real ones of real sound.

Real ones are what musicnn hears in windows of three seconds of the demo's music and of the clips in
$EARMARK_SHARED_DATA if it is set: neighbours overlap, pieces differ, as versions and genres do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from core.analysis import Vector

_MUSIC_RATE = 44_100
_TRACKS_OF_CLUSTER = 200
_SPREAD = 0.8  # of a cluster, against the distance of clusters


def clustered(count: int, size: int, *, seed: int = 1) -> Vector:
    """f32 [count, size] of length 1: middles drawn at random, 200 vectors around each on average."""
    random = np.random.default_rng(seed)
    middles = random.standard_normal((max(1, count // _TRACKS_OF_CLUSTER), size), np.float32)
    vectors = middles[random.integers(0, len(middles), count)]
    vectors += _SPREAD * random.standard_normal((count, size), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def near(vectors: Vector, count: int, *, seed: int = 2) -> Vector:
    """Queries f32 [count, size] of length 1: some of the vectors, each moved a little."""
    random = np.random.default_rng(seed)
    queries = vectors[random.choice(len(vectors), count, replace=False)]
    moved = queries + 0.3 / np.sqrt(queries.shape[1]) * random.standard_normal(queries.shape).astype(np.float32)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    return moved.astype(np.float32)


def heard(home: Path, *, hop_seconds: float, seeds: int = 1, pieces: Collection[str] = ()) -> Vector:
    """f32 [windows, 400] of length 1, of `seeds` renderings of each piece; `home` has the pack musicnn. A window takes
    a fortieth of a CPU second, a piece one to four until it is composed: `pieces` are the titles wanted, of none all.

    Heard in a process of its own, as a listening child is: what runs models there does not get on with the index.
    """
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        path = Path(folder) / "heard.npy"
        command = [
            sys.executable,
            "-m",
            "bench.embeddings",
            str(home),
            str(hop_seconds),
            str(seeds),
            str(path),
            *pieces,
        ]
        subprocess.run(command, check=True)
        vectors: Vector = np.load(path)
        return vectors


def _listen(home: Path, hop_seconds: float, seeds: int, pieces: Collection[str]) -> Vector:
    from models.child.musicnn import FRAMES, Musicnn
    from models.child.patches import Patch
    from models.child.resample import Resampler
    from models.child.spectra import HOP, RATE, MelStream
    from models.pack import pack_folder

    musicnn, hop = Musicnn(pack_folder(home, "musicnn")), round(hop_seconds * RATE / HOP)
    found = []
    for rate, samples in _signals(seeds, pieces):
        resampler, mel = Resampler(RATE), MelStream()
        frames = [mel.feed(resampler.feed(rate, samples)), mel.feed(resampler.finish()), mel.finish()]
        spectrum = np.concatenate(frames)
        patches = [Patch(at, spectrum[at : at + FRAMES]) for at in range(0, len(spectrum) - FRAMES, hop)]
        if not patches:  # shorter than one
            continue
        halves = [
            rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in musicnn.tag(patches).embeddings.values()
        ]
        found.append(np.concatenate(halves, axis=1) / np.sqrt(len(halves)))
    return np.concatenate(found).astype(np.float32)


def _signals(seeds: int, pieces: Collection[str]) -> Iterator[tuple[int, Vector]]:
    import soundfile

    from earmark.demo.music import PIECES, compose

    for piece in PIECES if not pieces else [piece for piece in PIECES if piece.title in pieces]:
        for seed in range(1, seeds + 1):
            yield _MUSIC_RATE, compose(piece, seed=seed).mean(axis=1).astype(np.float32)
    if folder := os.environ.get("EARMARK_SHARED_DATA"):
        for path in sorted(Path(folder, "audio").glob("*.ogg")):
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            yield rate, samples.mean(axis=1)


if __name__ == "__main__":
    np.save(sys.argv[4], _listen(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[5:]))
