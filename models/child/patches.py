"""Chooses at most 40 evenly spaced patches of a stream whose length nobody knows yet, in bounded memory.

A patch is 187 frames; patches lie end to end, and a trailing part is dropped. Kept are *samples*, so that no spectrum
is computed of a patch that is thrown away: a reservoir holds every patch until it is full (160, some eight minutes,
31 MB), then drops every second one and from there on keeps every 2nd, 4th, 8th. At the end 40 evenly spaced ones of the
81 to 160 that a long file leaves are taken: off their ideal place by half their distance at most, by nothing up to
eight minutes.
"""

from __future__ import annotations

import numpy as np

from models.child.decode import Samples
from models.child.spectra import HOP, frame_count

FRAMES = 187
MAX_PATCHES = 40
_STEP = FRAMES * HOP  # samples from patch to patch
_LEAD = HOP  # samples before the centre of a patch's first frame
_RESERVOIR = 160


class PatchReservoir:
    """Feed 16 kHz blocks in order, then `finish`."""

    def __init__(self) -> None:
        self.samples = 0
        self._lead: Samples = np.zeros(_LEAD, np.float32)  # what precedes the patch that is being filled
        self._parts: list[Samples] = []
        self._filled = 0
        self._patch = 0  # its number
        self._stride = 1
        self._kept: list[Samples] = []

    def feed(self, block: Samples) -> None:
        """Take samples; keeps copies of what it needs only."""
        self.samples += len(block)
        while self._filled + len(block) >= _STEP:
            wanted = _STEP - self._filled
            self._parts.append(block[:wanted])
            self._complete(np.concatenate([self._lead, *self._parts]))
            block = block[wanted:]
            self._parts, self._filled = [], 0
        self._parts.append(block)
        self._filled += len(block)

    def finish(self) -> list[Samples]:
        """f32 [48 128] samples of each chosen patch, in order of time; none when there is not one whole patch."""
        if frame_count(self.samples) >= (self._patch + 1) * FRAMES:
            # The last frames of a patch may reach beyond the end of the audio: zeros.
            rest = np.zeros(_STEP - self._filled, np.float32)
            self._complete(np.concatenate([self._lead, *self._parts, rest]))
        if len(self._kept) <= MAX_PATCHES:
            return self._kept
        chosen = np.rint(np.linspace(0, len(self._kept) - 1, MAX_PATCHES)).astype(int)
        return [self._kept[i] for i in chosen]

    def _complete(self, patch: Samples) -> None:
        self._lead = patch[-_LEAD:].copy()
        if self._patch % self._stride == 0:
            if len(self._kept) == _RESERVOIR:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self._patch % self._stride == 0:
                self._kept.append(patch)
        self._patch += 1
