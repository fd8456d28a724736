"""Peaks against the signals that EBU Tech 3341 describes, and against soxr."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import soxr

from models.child.true_peak import SILENCE_DBFS, PeakMeter, Peaks

Pcm = Any


def measure(channels: Pcm, rate: int = 48_000, cuts: Iterable[int] = ()) -> Peaks:
    meter = PeakMeter()
    for block in np.split(channels, list(cuts), axis=1):
        meter.feed(rate, block)
    return meter.finish()


def sine(amplitude: float, period: int, degrees: float) -> Pcm:
    """f32 [2, n] that swells over 10 ms, so that nothing but the tone is measured."""
    n = np.arange(48_000)
    swell = np.minimum(1.0, n / 480) * np.minimum(1.0, n[::-1] / 480)
    return np.tile(amplitude * swell * np.sin(2 * np.pi * n / period + np.radians(degrees)), (2, 1)).astype(np.float32)


# Tech 3341, signals 15 to 19: amplitude, samples a period, phase, expected dBTP (+.2, -.4).
@pytest.mark.parametrize(
    ("amplitude", "period", "degrees", "expected"),
    [(0.5, 4, 0, -6.0), (0.5, 4, 45, -6.0), (0.5, 6, 60, -6.0), (0.5, 8, 67.5, -6.0), (1.41, 4, 45, 3.0)],
)
def test_ebu_3341_sines(amplitude: float, period: int, degrees: float, expected: float) -> None:
    peaks = measure(sine(amplitude, period, degrees))
    assert expected - 0.4 <= peaks.true_peak_dbtp <= expected + 0.2
    assert peaks.true_peak_dbtp == pytest.approx(20 * np.log10(amplitude), abs=0.05)


@pytest.mark.parametrize("quarter", range(4))
def test_ebu_3341_peak_between_samples(quarter: int) -> None:
    """In the manner of signals 20 to 23: a swell of a sine to 1.0 that lies 0 to 3 quarters of a sample further on."""
    time = np.arange(48_000) - 24_000 - quarter / 4
    envelope = 0.5 + 0.5 * np.exp(-0.5 * (time / 6) ** 2)
    signal = (envelope * np.cos(2 * np.pi * time / 6))[None].astype(np.float32)
    assert -0.4 <= measure(signal).true_peak_dbtp <= 0.2


def test_a_sample_peak_that_hides_the_true_one() -> None:
    peaks = measure(sine(0.5, 4, 45))
    assert peaks.sample_peak_dbfs == pytest.approx(20 * np.log10(0.5 * np.sqrt(0.5)), abs=0.01)


def test_against_soxr(make_signal: Any) -> None:
    rng = np.random.default_rng(6)
    noise = soxr.resample(rng.standard_normal(3 * 44_100), 44_100, 48_000, "VHQ")  # leaves the top of the band empty
    for signal in (make_signal(44_100), make_signal(16_000)[::-1], (0.1 * noise).astype(np.float32)):
        expected = 20 * np.log10(np.abs(soxr.resample(signal, 1, 4, "VHQ")).max())
        assert measure(signal[None]).true_peak_dbtp == pytest.approx(expected, abs=0.03)


def test_however_it_is_cut(make_signal: Any) -> None:
    """A cut is no edge: oversampling block by block would ring there."""
    signal = np.stack([make_signal(44_100), -make_signal(44_100)[::-1]])
    whole = measure(signal)
    rng = np.random.default_rng(7)
    for pieces in (5, 2000):
        assert measure(signal, cuts=np.sort(rng.integers(0, signal.shape[1], pieces))) == whole


def test_the_loudest_channel_at_the_very_end_counts() -> None:
    signal = np.zeros((2, 40_000), np.float32)
    signal[1, -1] = -0.5
    assert measure(signal).true_peak_dbtp == pytest.approx(-6.02, abs=0.01)


def test_silence_and_nothing() -> None:
    assert measure(np.zeros((2, 5000), np.float32)) == (SILENCE_DBFS, SILENCE_DBFS, 0.0)
    assert PeakMeter().finish() == (SILENCE_DBFS, SILENCE_DBFS, 0.0)


def test_clipping_counts_runs_of_three(make_signal: Any) -> None:
    signal = 0.9 * np.stack([make_signal(44_100), make_signal(44_100)])
    signal[0, 100:102] = 1.0  # two: a peak that just fits
    signal[0, 200:203] = 1.0
    signal[1, 300:310] = -1.0
    signal[1, 0:4] = 32_767 / 32_768
    signal[0, 32_760:32_780] = 1.2  # beyond full scale, across our own border of chunks
    expected = (3 + 10 + 4 + 20) / signal.size
    assert measure(signal).clipped == expected
    assert measure(signal, cuts=[1, 201, 202, 305, 32_765]).clipped == expected


def test_a_master_that_clips_and_one_that_does_not() -> None:
    loud = 3 * np.sin(2 * np.pi * np.arange(48_000) / 100)[None].astype(np.float32)
    assert measure(loud.clip(-1, 1)).clipped == pytest.approx(1 - 2 * np.arcsin(1 / 3) / np.pi, abs=0.02)
    assert measure(loud / 3.0001).clipped == 0.0


def test_a_stream_that_changes_on_the_way() -> None:
    meter = PeakMeter()
    meter.feed(48_000, sine(0.25, 4, 45))
    meter.feed(44_100, sine(0.5, 4, 45)[:1])
    meter.feed(44_100, sine(0.1, 4, 45))
    assert meter.finish().true_peak_dbtp == pytest.approx(-6.02, abs=0.05)
