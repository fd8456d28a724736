"""Streams mono audio of any rate to another with soxr HQ, the resampler that the reference outputs were made with."""

from __future__ import annotations

from typing import cast

import numpy as np
import soxr

from models.child.block import Samples


class Resampler:
    """Feed blocks in order, then `finish`. A new sample rate on the way drains the old filter and starts another."""

    def __init__(self, target: int) -> None:
        """To `target` Hz."""
        self._target = self._rate = target
        self._filter: soxr.ResampleStream | None = None

    def feed(self, rate: int, block: Samples) -> Samples:
        """The samples that are ready by now (soxr keeps some hundred back)."""
        drained = None
        if rate != self._rate:
            drained = self.finish()
            self._rate = rate
            self._filter = None if rate == self._target else soxr.ResampleStream(rate, self._target, 1, "float32", "HQ")
        ready = block if self._filter is None else cast("Samples", self._filter.resample_chunk(block))
        return ready if drained is None or not len(drained) else np.concatenate([drained, ready])

    def finish(self) -> Samples:
        """What the filter still holds."""
        silence = np.empty(0, np.float32)
        return silence if self._filter is None else cast("Samples", self._filter.resample_chunk(silence, last=True))
