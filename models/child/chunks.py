"""Cuts a stream into equal chunks, so that nothing measured depends on how the decoder happened to cut it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Channels = NDArray[np.float32]


class Chunks:
    """Feed f32 [channels, any], get f32 [channels, lead + size]: `size` new samples after the `lead` before them.

    What precedes the stream is zeros. A chunk is a view that is overwritten when the next one is asked for.
    """

    def __init__(self, channels: int, size: int, lead: int = 0) -> None:
        if not 0 <= lead <= size:
            raise ValueError("a chunk must be at least as long as its lead")
        self._size, self._lead = size, lead
        self._buffer: Channels = np.zeros((channels, lead + size), np.float32)
        self._filled = lead

    @property
    def channels(self) -> int:
        """How many a fed block has."""
        return len(self._buffer)

    def feed(self, block: Channels) -> Iterator[Channels]:
        """The chunks that are complete by now; go through all of them before feeding again."""
        start, end = 0, block.shape[1]
        while start < end:
            taken = min(end - start, self._buffer.shape[1] - self._filled)
            self._buffer[:, self._filled : self._filled + taken] = block[:, start : start + taken]
            self._filled += taken
            start += taken
            if self._filled == self._buffer.shape[1]:
                yield self._buffer
                self._buffer[:, : self._lead] = self._buffer[:, self._size :]
                self._filled = self._lead

    def finish(self) -> tuple[Channels, int]:
        """The incomplete chunk with zeros at its end, and how many of its samples are new ones of the stream."""
        self._buffer[:, self._filled :] = 0.0
        return self._buffer, self._filled - self._lead


def find_peak(samples: Channels) -> float:
    """The largest magnitude; of at least one sample."""
    return max(float(samples.max()), -float(samples.min()))
