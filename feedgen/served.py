"""What a reader was served so far, in a size that a cursor can carry: a Bloom filter (FEEDS section 5).

Nobody's reading is stored here: the filter travels with the reader. What it says was not served was not; of what was
not served it takes less than one in a hundred for served, as long as at most `MAX_SERVED` tracks are in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.uint16]  # [tracks, 8]: which bits stand for each track

BITS = 6656  # 1 110 of a cursor's 1 200 characters; 13 a track for the 500 of a whole snapshot
_MARKS = 8
MAX_SERVED = 670  # (1 - e^(-8 * 670 / 6656))^8 = 0.9 %


def hash_track(uri: str) -> bytes:
    """What cursors and filters know a track by: 8 bytes."""
    return hashlib.blake2b(uri.encode(), digest_size=8).digest()


def marks_of(hashes: Iterable[bytes]) -> Marks:
    """The bits of each track: from two halves of its hash, which is as good as eight hashes."""
    halves = np.frombuffer(b"".join(hashes), dtype=">u4").reshape(-1, 2).astype(np.uint64)
    return ((halves[:, :1] + halves[:, 1:] * np.arange(_MARKS, dtype=np.uint64)) % BITS).astype(np.uint16)


@dataclass(frozen=True, slots=True)
class Served:
    """Some tracks: how many, and their bits."""

    count: int = 0
    bits: bytes = bytes(BITS // 8)

    def add(self, marks: Marks) -> Served:
        """These tracks as well."""
        bits = self._unpacked()
        bits[marks] = 1
        return Served(self.count + len(marks), np.packbits(bits).tobytes())

    def holds(self, marks: Marks) -> NDArray[np.bool_]:
        """Of each of these tracks, whether it was served."""
        return np.asarray(self._unpacked()[marks].all(axis=1))

    def _unpacked(self) -> NDArray[np.uint8]:
        return np.unpackbits(np.frombuffer(self.bits, np.uint8))
