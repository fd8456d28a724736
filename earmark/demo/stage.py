"""A stereo canvas on which sounds are put side by side, beat by beat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from earmark.demo.synth import RATE, Sound, fade

Stereo = NDArray[np.float64]  # [n, 2] at RATE, -1..1


class Stage:
    """Where sounds are put side by side: a stereo canvas of fixed length with a beat."""

    def __init__(self, seconds: float, *, tempo: float = 60.0) -> None:
        self.beat = 60.0 / tempo  # seconds
        self.seconds = seconds
        self.canvas = np.zeros((round(seconds * RATE), 2))

    @property
    def beats(self) -> int:
        """Whole beats that fit."""
        return int(self.seconds / self.beat)

    def play(self, sound: Sound, beat: float, *, gain: float = 1.0, pan: float = 0.0) -> None:
        """Add a sound from this beat on; `pan` -1 is left. What does not fit is cut off."""
        start = round(beat * self.beat * RATE)
        part = self.canvas[start : start + len(sound)]
        angle = (pan + 1) * np.pi / 4
        part += np.outer(sound[: len(part)], (np.cos(angle), np.sin(angle))) * gain

    def mono(self) -> Sound:
        """Both sides together."""
        return np.asarray(self.canvas.mean(axis=1), dtype=np.float64)

    def shape(self, change: Callable[[Sound], Sound]) -> None:
        """Send each side through an effect."""
        for side in (0, 1):
            self.canvas[:, side] = change(self.canvas[:, side])

    def master(self, *, peak: float, drive: float = 0.0, fade_seconds: float = 1.0) -> Stereo:
        """The finished piece at this peak; `drive` above 0 presses it together as loud records are."""
        out = self.canvas / max(1e-9, float(np.abs(self.canvas).max()))
        if drive > 0:
            out = np.tanh(drive * out) / np.tanh(drive)
        sides = [fade(out[:, side], 0.01, fade_seconds) for side in (0, 1)]
        return np.stack(sides, axis=1) * peak


def mix(*stages: tuple[Stage, float]) -> Stage:
    """Stages of the same length on top of each other, each brought to full scale and then to its gain."""
    out = Stage(stages[0][0].seconds, tempo=60.0 / stages[0][0].beat)
    for stage, gain in stages:
        out.canvas += gain * stage.canvas / max(1e-9, float(np.abs(stage.canvas).max()))
    return out
