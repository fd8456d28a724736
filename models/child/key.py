"""Key of a stream of 16 kHz samples: which of the 24 its pitches fit best.

Spectral peaks from 55 to 1250 Hz, each weighed by the root of its amplitude within its frame, fall into a histogram of
120 pitch classes of ten cents. Where they gather tells the tuning, and how much they gather whether there is pitch at
all. Folded to twelve at that tuning, the histogram is correlated with the profiles of Albrecht and Shanahan ("The use
of large corpora to train a new type of key-finding algorithm", 2013), which tell keys apart by wider margins than
Krumhansl's on what we tried.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.child.chunks import Channels, Chunks

Tonic = Literal["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
Mode = Literal["major", "minor"]
TONICS: tuple[Tonic, ...] = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

_RATE, _FRAME, _HOP, _FRAMES = 16_000, 8192, 4096, 8  # half a second resolves semitones from 130 Hz upwards
_LOWEST_HZ, _HIGHEST_HZ = 55.0, 1250.0  # higher partials are overtones rather than notes
_A4_HZ, _A4_CLASS = 440.0, 9
_FLOOR = 0.05  # of a frame's strongest peak
_QUIET = 1.0  # root of the spectrum of a sine at -66 dBFS: a frame with no more than that counts half
_SILENT = 10 ** (-70 / 20) * _FRAME / 4  # spectrum of a sine at -70 dBFS: frames without a peak above it are residue
_FINE = 10  # classes a semitone
_WIDTH = 0.15  # semitones: standard deviation of a note about its place
_LEAST_CLARITY = 0.12  # music .16 to .66, noise, drums, speech and birdsong .01 to .08

_PROFILES: dict[Mode, tuple[float, ...]] = {  # from the tonic upwards
    "major": (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
    "minor": (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
}

Histogram = NDArray[np.float64]


class KeyMeter:
    """Feed samples in order, then `finish`."""

    def __init__(self) -> None:
        self._chunks = Chunks(1, _FRAMES * _HOP, lead=_FRAME - _HOP)
        self._taper = np.hanning(_FRAME).astype(np.float32)
        self._classes: Histogram = np.zeros(12 * _FINE)

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Take f32 [n] at 16 kHz."""
        for chunk in self._chunks.feed(samples[None]):
            self._add_frames(chunk)

    def finish(self) -> tuple[Tonic | None, Mode | None, float]:
        """(tonic, mode, confidence); None where there is no pitch, or none above -70 dBFS.

        The confidence is how much better the profile of the key correlates (-1..1) than that of the second best.
        """
        self._add_frames(self._chunks.finish()[0])
        self._chunks = Chunks(1, _FRAMES * _HOP, lead=_FRAME - _HOP)
        return _find_key(self._classes)

    def _add_frames(self, chunk: Channels) -> None:
        frames = sliding_window_view(chunk[0], _FRAME)[::_HOP] * self._taper
        lowest, highest = (round(hz * _FRAME / _RATE) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
        spectrum = np.abs(np.fft.rfft(frames)[:, lowest - 1 : highest + 2]).astype(np.float64)
        below, here, above = spectrum[:, :-2], spectrum[:, 1:-1], spectrum[:, 2:]
        strongest = here.max(axis=1, keepdims=True)
        floor = np.where(strongest > _SILENT, _FLOOR * strongest, np.inf)
        frame, peak = np.nonzero((here > below) & (here >= above) & (here > floor))
        hz = (peak + lowest + _place_summit(*(part[frame, peak] for part in (below, here, above)))) * _RATE / _FRAME
        weight = np.sqrt(here[frame, peak])
        weight /= np.bincount(frame, weight, _FRAMES)[frame] + _QUIET
        place = (12 * np.log2(hz / _A4_HZ) + _A4_CLASS) * _FINE
        left = np.floor(place)
        for classes, share in ((left, left + 1 - place), (left + 1, place - left)):
            self._classes += np.bincount(classes.astype(int) % (12 * _FINE), weight * share, 12 * _FINE)


def _place_summit(below: Histogram, here: Histogram, above: Histogram) -> Histogram:
    """Where the parabola through three neighbouring log magnitudes has its top: -.5 to .5 bins from the middle one."""
    low, middle, high = (np.log(np.maximum(part, 1e-12)) for part in (below, here, above))
    offset: Histogram = 0.5 * (low - high) / np.minimum(low - 2 * middle + high, -1e-12)
    return offset


def _find_key(classes: Histogram) -> tuple[Tonic | None, Mode | None, float]:
    total = classes.sum()
    if total <= 0.0:
        return None, None, 0.0
    semitones = np.arange(12 * _FINE) / _FINE
    gathering = complex((classes * np.exp(2j * np.pi * semitones)).sum()) / total
    if abs(gathering) < _LEAST_CLARITY:
        return None, None, 0.0
    semitones -= np.angle(gathering) / (2 * np.pi)
    notes = np.rint(semitones)
    near = np.exp(-0.5 * ((semitones - notes) / _WIDTH) ** 2)
    chroma = np.bincount(notes.astype(int) % 12, classes * near, 12)
    fits = [
        (float(np.corrcoef(np.roll(profile, tonic), chroma)[0, 1]), TONICS[tonic], mode)
        for mode, profile in _PROFILES.items()
        for tonic in range(12)
    ]
    best, second = sorted(fits, reverse=True)[:2]
    return best[1], best[2], best[0] - second[0]
