"""Tempo of a stream of log-mel frames: how strongly the onsets repeat, and how fast.

Onsets are the rises of the 96 bands, lower bands counting more (kick and snare carry the beat, hi-hats its halves).
Windows of 8.2 s give a mean power spectrum of the onsets. It shows a tempo and its multiples; its Fourier transform,
the autocorrelation, shows a tempo and its fractions: their product has its peak where both agree, which settles most
octave questions, so that a click every second is 60 and one every .3 s is 200. What is still open (drum and bass at 170
is also hip-hop at 85) a broad prior around 105 decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.child.chunks import Chunks
from models.child.spectra import BANDS, HOP, RATE

FRAMES_A_SECOND = RATE / HOP  # 62.5
SLOWEST, FASTEST = 50.0, 220.0  # beats a minute

_HALF_WINDOW = 256  # frames; windows of 512 overlap by half
_TRANSFORM = 8192  # zeros to 131 s: the spectrum in steps of .46 beats a minute
_FINER = 4  # lags in quarters of a frame
_BAND_DECAY = 20.0  # bands: their weight falls to 1/e
_STEADY = 0.04  # a window whose onsets vary by less (log10 units, standard deviation) counts less than half
_BEATS = ((1, 1.0), (2, 0.5), (3, 0.25), (4, 0.25))  # periods at which a beat must come again, and their weights
_LONGEST_SHARE = 0.66  # of a window: longer lags have too few pairs
_PRIOR_TEMPO, _PRIOR_OCTAVES = 105.0, 0.9  # middle and standard deviation
_SPECTRUM_POWER = 0.25  # the power spectrum's weight in the product
_STEP = 0.001  # between candidates: .1 %

Curve = NDArray[np.float64]


class TempoMeter:
    """Feed log-mel frames in order, then `finish`."""

    def __init__(self) -> None:
        self._chunks = Chunks(BANDS, _HALF_WINDOW, lead=1)
        weights = np.exp(-np.arange(BANDS) / _BAND_DECAY)
        self._weights = (weights / weights.sum()).astype(np.float32)
        self._last: NDArray[np.float32] | None = None  # the onsets of the half window before
        self._spectrum = np.zeros(_TRANSFORM // 2 + 1)  # summed over windows
        self._windows = 0

    def feed(self, frames: NDArray[np.float32]) -> None:
        """Take f32 [k, 96] of 62.5 frames a second, each log10(1 + 10 000 x) of the band's power."""
        for chunk in self._chunks.feed(frames.T):
            onsets = self._find_onsets(chunk)
            if self._last is not None:
                self._add_window(np.concatenate([self._last, onsets]))
            self._last = onsets

    def finish(self) -> tuple[float | None, float]:
        """(beats a minute, confidence 0..1: how alike the onsets are one to four beats later, less what is chance).

        Below .15 nothing repeats: noise, speech and drones are there. None without any candidate.
        """
        length = 2 * _HALF_WINDOW
        if not self._windows:  # what is shorter is one window by itself
            chunk, count = self._chunks.finish()
            onsets = self._find_onsets(chunk)[:count]
            onsets = onsets if self._last is None else np.concatenate([self._last, onsets])
            length = len(onsets)
            if not length:
                return None, 0.0
            self._add_window(onsets)
        tempo, likeness = _choose_tempo(self._spectrum / self._windows, length)
        chance = (length + (self._windows - 1) * _HALF_WINDOW) ** -0.5
        return tempo, max(0.0, likeness - chance)

    def _find_onsets(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        onsets: NDArray[np.float32] = self._weights @ np.maximum(chunk[:, 1:] - chunk[:, :-1], np.float32(0))
        return onsets

    def _add_window(self, onsets: NDArray[np.float32]) -> None:
        self._windows += 1
        taper = _taper(len(onsets))
        varying = (onsets - float(taper @ onsets) / float(taper.sum())) * taper
        energy = float(varying @ varying) + _STEADY**2 * float(taper @ taper)
        self._spectrum += np.abs(np.fft.rfft(varying, _TRANSFORM)) ** 2 / energy


def _choose_tempo(spectrum: Curve, length: int) -> tuple[float | None, float]:
    tempos = np.exp(np.arange(np.log(SLOWEST), np.log(FASTEST), _STEP))
    likeness = _compare_beats(spectrum, length, 60.0 * FRAMES_A_SECOND / tempos)
    bins = tempos / 60.0 / FRAMES_A_SECOND * _TRANSFORM
    strength = np.interp(bins, np.arange(len(spectrum)), spectrum) ** _SPECTRUM_POWER
    prior = np.exp(-0.5 * (np.log2(tempos / _PRIOR_TEMPO) / _PRIOR_OCTAVES) ** 2)
    best = int(np.argmax(likeness * strength * prior))
    if likeness[best] <= 0.0:
        return None, 0.0
    return float(tempos[best]), min(1.0, float(likeness[best]))


def _compare_beats(spectrum: Curve, length: int, periods: Curve) -> Curve:
    """0..1 for each period in frames: the autocorrelation at one to four of it, free of the taper's own."""
    lags = np.arange(length * _FINER) / _FINER
    taper_spectrum = np.abs(np.fft.rfft(_taper(length), _TRANSFORM)) ** 2
    taper_alike, alike = (np.fft.irfft(s, _TRANSFORM * _FINER)[: len(lags)] for s in (taper_spectrum, spectrum))
    taper_alike /= taper_alike[0]
    total, weights = np.zeros(len(periods)), np.zeros(len(periods))
    for beats, weight in _BEATS:
        reached = np.where(beats * periods < _LONGEST_SHARE * length, weight, 0.0)
        overlap = np.interp(beats * periods, lags, taper_alike)
        total += reached * np.interp(beats * periods, lags, alike, right=0.0) / np.maximum(overlap, 0.02)
        weights += reached
    return np.maximum(total * _FINER / np.maximum(weights, 1e-30), 0.0)


def _taper(length: int) -> Curve:
    return np.hanning(length + 2)[1:-1]
