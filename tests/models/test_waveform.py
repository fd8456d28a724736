"""The outline of what was played, of any length and however it came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from models.child.waveform import PEAKS, Waveform

Pcm = Any


def outline(channels: Pcm, rate: int = 8000, cuts: Iterable[int] = ()) -> Pcm:
    waveform = Waveform()
    for block in np.split(channels, list(cuts), axis=1):
        waveform.feed(rate, block)
    values = waveform.finish()
    assert len(values) == PEAKS
    return np.frombuffer(values, np.uint8)


@pytest.mark.parametrize("seconds", [4, 20, 200, 1999])
def test_peaks_of_equal_time(seconds: int) -> None:
    """Every value lies between the peak of its own 1/800 and that of the half before and after it too."""
    count = seconds * 8000
    rng = np.random.default_rng(seconds)
    signal = rng.uniform(-0.5, 0.5, count) * (0.2 + np.abs(np.sin(np.arange(count) * (60 / count))))
    signal[rng.integers(0, count, 100)] *= 1.6
    values = outline(signal[None].astype(np.float32))
    width = count // PEAKS
    peaks = np.abs(signal).reshape(PEAKS, width).max(axis=1)
    padded = np.pad(np.abs(signal), width // 2)
    wider = [padded[i * width : (i + 2) * width].max() for i in range(PEAKS)]
    assert (values >= np.rint(peaks * 255)).all()
    assert (values <= np.rint(np.array(wider) * 255)).all()


def test_full_scale_is_255_and_beyond_stays_there() -> None:
    signal = np.zeros((2, 80_000), np.float32)
    signal[1, 20_000:40_000] = -1.0
    signal[0, 40_000:60_000] = 3.0
    values = outline(signal)
    assert (values[:195] == 0).all()
    assert (values[205:595] == 255).all()
    assert (values[605:] == 0).all()


def test_shorter_than_800_steps_and_nothing() -> None:
    assert (outline(np.full((1, 37), 0.5, np.float32)) == 128).all()
    assert Waveform().finish() == bytes(PEAKS)


def test_however_it_is_cut(make_signal: Any) -> None:
    signal = np.tile(make_signal(44_100), (2, 3))
    whole = outline(signal, 44_100)
    rng = np.random.default_rng(8)
    for pieces in (7, 3000):
        cuts = np.sort(rng.integers(0, signal.shape[1], pieces))
        assert (outline(signal, 44_100, cuts) == whole).all()


def test_time_is_what_counts_when_the_rate_changes() -> None:
    waveform = Waveform()
    waveform.feed(44_100, np.full((2, 441_000), 0.25, np.float32))
    waveform.feed(22_050, np.full((1, 220_500), 0.75, np.float32))
    values = np.frombuffer(waveform.finish(), np.uint8)
    assert (values[:398] == 64).all()
    assert (values[402:] == 191).all()
