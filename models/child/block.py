"""What a decoder hands on: about a second of sound at the file's own rate, in all its channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

# Shares of a surround mix in (L + R) / 2 of its stereo fold-down, ITU-R BS.775: what is in the front pair alone is as
# loud as in a stereo file; the low-frequency effects are left out.
_FOLD_DOWN = {"FL": 0.5, "FR": 0.5, "FC": 0.5**0.5, "LFE": 0.0, "LFE2": 0.0, "BC": 0.5}
_BEHIND = 0.5**1.5


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """About a second of sound."""

    rate: int  # Hz
    channels: Samples  # [channels, n], full scale 1.0, finite
    layout: tuple[str, ...]  # libav's name of each channel: FL FR FC LFE BL BR SL SR ...

    def mono(self) -> Samples:
        """f32 [n]: the mean of one or two channels, surround folded down; the mean of any others."""
        if len(self.channels) == 1:
            only: Samples = self.channels[0]
            return only
        if len(self.channels) == 2 or not {"FL", "FR"} <= set(self.layout):
            mean: Samples = self.channels.mean(axis=0)
            return mean
        weights = np.array([_FOLD_DOWN.get(name, _BEHIND) for name in self.layout], np.float32)
        folded: Samples = np.matmul(weights, self.channels)
        return folded


def to_float(block: NDArray[Any]) -> Samples:
    """Any libav sample type to f32 of full scale 1.0."""
    if block.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is cleaned
            return np.ascontiguousarray(block, np.float32)
    scaled = np.ascontiguousarray(block, np.float32)  # 24 bits of precision, as our own arithmetic has
    if block.dtype.kind == "u":
        scaled -= np.float32(128)
        scaled *= np.float32(1 / 128)
    else:
        scaled *= np.float32(0.5 ** (8 * block.dtype.itemsize - 1))
    return scaled
