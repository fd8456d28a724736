"""Tempo of a stream of log-mel frames: how strongly the onsets repeat, and how fast.

Onsets are the rises of the 96 bands, lower bands counting more (kick and snare carry the beat, hi-hats its halves).
Windows of 8.2 s give a mean power spectrum of the onsets. It shows a tempo and its multiples; its Fourier transform,
the autocorrelation, shows a tempo and its fractions: their product has its peak where both agree, which settles most
octave questions, so that a click every second is 60 and one every .3 s is 200. What is still open (drum and bass at 170
is also hip-hop at 85) a broad prior around 105 decides.

Clicks and hi-hats by themselves, in a few high bands, hardly move that sum. So six regions of 16 bands are followed as
well, each alone; the clearest of them tells the tempo where the sum shows none and the region a very regular one.
"""

from __future__ import annotations

from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from core.analysis import BPM_SHOWN_FROM
from models.child.chunks import Chunks
from models.child.spectra import BANDS, HOP, RATE

FRAMES_A_SECOND = RATE / HOP  # 62.5
SLOWEST, FASTEST = 50.0, 220.0  # beats a minute

_HALF_WINDOW = 256  # frames; windows of 512 overlap by half
_TRANSFORM = 8192  # zeros to 131 s: the spectrum in steps of .46 beats a minute
_FINER = 4  # lags in quarters of a frame
_BAND_DECAY = 20.0  # bands: their weight falls to 1/e
_REGION = 16  # bands; a short tone moves five to eight
_REGION_CLEAR = 2 * BPM_SHOWN_FROM  # the best of six reaches .2 by chance (3 s of noise), clicks .3 to .8
_REGION_BEATS = 4  # at least heard: two chirps of a bird are no beat
_STEADY = 0.04  # a window whose onsets vary by less (log10 units, standard deviation) counts less than half
_BEATS = ((1, 1.0), (2, 0.5), (3, 0.25), (4, 0.25))  # periods at which a beat must come again, and their weights
_LONGEST_SHARE = 0.66  # of a window: longer lags have too few pairs
_PRIOR_TEMPO, _PRIOR_OCTAVES = 105.0, 0.9  # middle and standard deviation
_SPECTRUM_POWER = 0.25  # the power spectrum's weight in the product
_STEP = 0.001  # between candidates: .1 %

Curve = NDArray[np.float64]
Onsets = NDArray[np.float32]  # [7, frames]: of the weighted sum and of each region
Tempo = tuple[float | None, float]  # beats a minute, confidence


class TempoMeter:
    """Feed log-mel frames in order, then `finish`."""

    def __init__(self) -> None:
        self._chunks = Chunks(BANDS, _HALF_WINDOW, lead=1)
        sum_of_all = np.exp(-np.arange(BANDS) / _BAND_DECAY)
        weights = np.vstack([sum_of_all, np.repeat(np.eye(BANDS // _REGION), _REGION, axis=1)])
        self._weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        self._last: Onsets | None = None  # of the half window before
        self._spectra = np.zeros((len(weights), _TRANSFORM // 2 + 1))  # summed over windows
        self._windows = 0

    def feed(self, frames: NDArray[np.float32]) -> None:
        """Take f32 [k, 96] of 62.5 frames a second, each log10(1 + 10 000 x) of the band's power."""
        for chunk in self._chunks.feed(frames.T):
            onsets = self._find_onsets(chunk)
            if self._last is not None:
                self._add_window(np.hstack([self._last, onsets]))
            self._last = onsets

    def finish(self) -> Tempo:
        """(beats a minute, confidence 0..1: how alike the onsets are one to four beats later, less what is chance).

        Below .15 nothing repeats: noise, speech and drones are there. None without any candidate.
        """
        length = 2 * _HALF_WINDOW
        if not self._windows:  # what is shorter is one window by itself
            chunk, count = self._chunks.finish()
            onsets = self._find_onsets(chunk)[:, :count]
            onsets = onsets if self._last is None else np.hstack([self._last, onsets])
            length = onsets.shape[1]
            if not length:
                return None, 0.0
            self._add_window(onsets)
        frames = length + (self._windows - 1) * _HALF_WINDOW
        whole, *regions = (_choose_tempo(spectrum / self._windows, length, frames) for spectrum in self._spectra)
        if whole[1] >= BPM_SHOWN_FROM:
            return whole
        clearest = max(regions, key=itemgetter(1))
        return clearest if _is_clear(clearest, frames) else whole

    def _find_onsets(self, chunk: NDArray[np.float32]) -> Onsets:
        onsets: Onsets = self._weights @ np.maximum(chunk[:, 1:] - chunk[:, :-1], np.float32(0))
        return onsets

    def _add_window(self, onsets: Onsets) -> None:
        self._windows += 1
        taper = _taper(onsets.shape[1])
        varying = (onsets - (onsets @ taper)[:, None] / taper.sum()) * taper
        energy = np.square(varying).sum(axis=1, keepdims=True) + _STEADY**2 * float(taper @ taper)
        self._spectra += np.abs(np.fft.rfft(varying, _TRANSFORM)) ** 2 / energy


def _is_clear(found: Tempo, frames: int) -> bool:
    tempo, confidence = found
    return tempo is not None and confidence >= _REGION_CLEAR and frames * tempo >= _REGION_BEATS * 60 * FRAMES_A_SECOND


def _choose_tempo(spectrum: Curve, length: int, frames: int) -> Tempo:
    tempos = np.exp(np.arange(np.log(SLOWEST), np.log(FASTEST), _STEP))
    likeness = _compare_beats(spectrum, length, 60.0 * FRAMES_A_SECOND / tempos)
    bins = tempos / 60.0 / FRAMES_A_SECOND * _TRANSFORM
    strength = np.interp(bins, np.arange(len(spectrum)), spectrum) ** _SPECTRUM_POWER
    prior = np.exp(-0.5 * (np.log2(tempos / _PRIOR_TEMPO) / _PRIOR_OCTAVES) ** 2)
    best = int(np.argmax(likeness * strength * prior))
    if likeness[best] <= 0.0:
        return None, 0.0
    chance = frames**-0.5
    return float(tempos[best]), max(0.0, min(1.0, float(likeness[best])) - chance)


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
