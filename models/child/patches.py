"""Chooses evenly spaced patches of a stream whose length nobody knows yet, in bounded memory.

A patch is a fixed number of frames, one begins every `hop` frames, and a trailing part is dropped. At the end the
caller takes as many evenly spaced ones as it can afford: exactly those it would take of the whole stream as long as
the reservoir never overflowed, otherwise off their ideal place by half their distance at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from core.analysis import SILENCE_DBFS
from models.child.reservoir import Reservoir
from models.child.spectra import BANDS, HOP, RATE, Spectrum, levels_dbfs

_LEAST_SOUND = 0.2


class Patch(NamedTuple):
    """Frames [n, 96] of the log-mel and the number of the first."""

    start: int
    spectrum: Spectrum

    @property
    def centre_seconds(self) -> float:
        """Where its middle lies in the track."""
        return (self.start + len(self.spectrum) / 2) * HOP / RATE

    @property
    def sounds(self) -> bool:
        """Whether a fifth of it at least is more than silence: sparse clicks are, the end of a fade is not."""
        return float((levels_dbfs(self.spectrum) >= SILENCE_DBFS).mean()) >= _LEAST_SOUND


class PatchReservoir:
    """Feed log-mel frames in order, then `finish`."""

    def __init__(self, *, frames: int, hop: int, capacity: int) -> None:
        """`capacity` patches at most are held, and at least half as many once it overflowed."""
        self._frames, self._hop = frames, hop
        self._waiting: Spectrum = np.empty((0, BANDS), np.float32)  # from the start of the patch that is not complete
        self._reservoir: Reservoir[Patch] = Reservoir(capacity)

    def feed(self, spectrum: Spectrum) -> None:
        """Take frames f32 [k, 96]; keeps copies of what it needs only."""
        if not len(spectrum):
            return
        frames, at = np.concatenate([self._waiting, spectrum]), 0
        while len(frames) - at >= self._frames:
            self._offer(frames[at : at + self._frames])
            at += self._hop
        self._waiting = frames[at:].copy()

    def finish(self, *, repeat_short: bool = False) -> list[Patch]:
        """What was kept, in order of time; a stream shorter than one patch has none, or is repeated to fill one."""
        if repeat_short and not self._reservoir.offered and len(self._waiting):
            times = -(-self._frames // len(self._waiting))
            self._offer(np.tile(self._waiting, (times, 1))[: self._frames])
        return self._reservoir.kept

    def _offer(self, spectrum: Spectrum) -> None:
        start = self._reservoir.offered * self._hop
        self._reservoir.offer(lambda: Patch(start, spectrum.copy()))


def leave_out_silence(patches: Sequence[Patch]) -> list[Patch]:
    """Those with sound in them, or all if there is none: of silence the models say "classical" or "rock"."""
    return [patch for patch in patches if patch.sounds] or list(patches)


def choose_evenly(patches: Sequence[Patch], budget: int) -> list[Patch]:
    """All of them, or `budget` from the first to the last in equal steps."""
    if len(patches) <= budget:
        return list(patches)
    return [patches[i] for i in np.rint(np.linspace(0, len(patches) - 1, budget)).astype(int)]
