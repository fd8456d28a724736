"""The outline of a stream: 800 peaks of equal time, although nobody knows beforehand how long it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.child.chunks import Channels, find_peak

PEAKS = 800
_STEPS_A_SECOND = 1000  # at first; halved whenever there are too many
_MOST_STEPS = 16_384  # 64 kB; more than 10 steps a peak are left, so that the borders of the peaks are right to 10 %


class Waveform:
    """Feed blocks in order, then `finish`. The sample rate and the channel count may change on the way."""

    def __init__(self) -> None:
        self._steps: NDArray[np.float32] = np.zeros(_MOST_STEPS, np.float32)  # the peak of each
        self._count = 0
        self._doublings = 0
        self._peak = self._filled = 0.0  # of the step that is not complete: peak, and share of its time

    def feed(self, rate: int, channels: Channels) -> None:
        """Take f32 [channels, n] at `rate` Hz."""
        channels = np.ascontiguousarray(channels)  # a peak across interleaved samples takes twenty times as long
        start, end = 0, channels.shape[1]
        while start < end:
            width = max(1, round(rate / _STEPS_A_SECOND)) << self._doublings
            missing = max(1, round((1.0 - self._filled) * width))
            if self._filled or end - start < width:
                part = channels[:, start : start + missing]
                start += part.shape[1]
                self._peak = max(self._peak, find_peak(part))
                self._filled += part.shape[1] / width
                if part.shape[1] == missing:
                    self._add(np.array([self._peak], np.float32))
                    self._peak = self._filled = 0.0
            else:
                count = min((end - start) // width, _MOST_STEPS - self._count)
                steps = channels[:, start : start + count * width].reshape(len(channels), count, width)
                start += count * width
                self._add(np.maximum(steps.max(axis=2), -steps.min(axis=2)).max(axis=0))

    def finish(self) -> bytes:
        """800 values, 255 for full scale and beyond."""
        steps = np.append(self._steps[: self._count], np.float32(self._peak))
        edges = np.linspace(0.0, self._count + self._filled, PEAKS + 1)
        first, last = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
        peaks = np.array([steps[i : max(i + 1, j)].max() for i, j in zip(first, last, strict=True)])
        return bytes(np.rint(peaks.clip(0.0, 1.0) * 255).astype(np.uint8))

    def _add(self, steps: NDArray[np.float32]) -> None:
        self._steps[self._count : self._count + len(steps)] = steps
        self._count += len(steps)
        if self._count == _MOST_STEPS:
            self._count //= 2
            self._steps[: self._count] = self._steps.reshape(-1, 2).max(axis=1)
            self._doublings += 1
