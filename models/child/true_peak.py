"""Sample peak, true peak (ITU-R BS.1770-5 annex 2: four times oversampled) and clipping of a stream.

The interpolator is a windowed sinc of 48 taps a phase, flat to .46 of the sample rate, that leaves the samples
themselves as they are. It runs as a matrix product on rows of 32 samples, with the samples around each row.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.child.chunks import Channels, Chunks, find_peak

SILENCE_DBFS = -200.0  # stands for minus infinity
FULL_SCALE = 32_767 / 32_768  # the highest 16-bit sample; the decoders of lossy codecs go beyond 1.0
CLIPPED_RUN = 3  # samples at full scale in a row: one or two may be a peak that just fits

_OVERSAMPLING = 4
_TAPS, _KAISER_BETA = 48, 6.0
_LEAD = _TAPS - 1
_ROW, _ROWS = 32, 1024  # a chunk is 32 768 samples


class Peaks(NamedTuple):
    """What a whole stream came to."""

    sample_peak_dbfs: float  # -200.0 for silence
    true_peak_dbtp: float  # never below the sample peak
    clipped: float  # 0..1, share of all channels' samples that lie in runs of three or more at full scale


class PeakMeter:
    """Feed blocks in order, then `finish`. A new rate or channel count starts from silence and keeps the peaks."""

    def __init__(self) -> None:
        self._rate = 0
        self._chunks: Chunks | None = None
        self._sample_peak = self._between_peak = 0.0
        self._samples = self._clipped = 0

    def feed(self, rate: int, channels: Channels) -> None:
        """Take f32 [channels, n] at `rate` Hz."""
        if self._chunks is None or (self._rate, self._chunks.channels) != (rate, len(channels)):
            self._end_stretch()
            self._rate, self._chunks = rate, Chunks(len(channels), _ROW * _ROWS, _LEAD)
        self._samples += channels.size
        for chunk in self._chunks.feed(channels):
            self._measure(chunk)

    def finish(self) -> Peaks:
        """Of everything that was fed."""
        self._end_stretch()
        return Peaks(
            sample_peak_dbfs=_to_decibels(self._sample_peak),
            true_peak_dbtp=_to_decibels(max(self._sample_peak, self._between_peak)),
            clipped=self._clipped / self._samples if self._samples else 0.0,
        )

    def _end_stretch(self) -> None:
        if self._chunks is not None:
            silence = np.zeros((self._chunks.channels, _LEAD), np.float32)  # the interpolator rings on into it
            for chunk in self._chunks.feed(silence):
                self._measure(chunk)
            self._measure(self._chunks.finish()[0])
            self._chunks = None

    def _measure(self, chunk: Channels) -> None:
        peak = find_peak(chunk)
        self._sample_peak = max(self._sample_peak, peak)
        if peak >= FULL_SCALE:
            self._clipped += _count_clipped(chunk[:, _LEAD - CLIPPED_RUN :])
        for samples in chunk:
            rows = sliding_window_view(samples, _ROW + _LEAD)[::_ROW]
            self._between_peak = max(self._between_peak, find_peak(np.ascontiguousarray(rows) @ _interpolator()))


def _count_clipped(samples: Channels) -> int:
    """Samples in runs at full scale; the first three of each channel belong to what was counted before."""
    full = np.abs(samples) >= FULL_SCALE
    triples = full[:, :-2] & full[:, 1:-1] & full[:, 2:]
    begun = triples[:, 1:] & ~triples[:, :-1]
    return int(triples[:, 1:].sum()) + (CLIPPED_RUN - 1) * int(begun.sum())


@cache
def _interpolator() -> NDArray[np.float32]:
    """f32 [79, 96]: the three values between each sample of a row and the next, of the row and what is around it."""
    taps = np.arange(_TAPS)
    matrix = np.zeros((_ROW + _LEAD, _OVERSAMPLING - 1, _ROW))
    for phase in range(1, _OVERSAMPLING):
        distance = taps - (_TAPS // 2 - 1) - phase / _OVERSAMPLING  # in samples from the point between
        window = np.i0(_KAISER_BETA * np.sqrt(1 - (distance / (_TAPS // 2)) ** 2))
        weights = np.sinc(distance) * window
        for i in range(_ROW):
            matrix[i : i + _TAPS, phase - 1, i] = weights / weights.sum()
    return matrix.reshape(_ROW + _LEAD, -1).astype(np.float32)


def _to_decibels(amplitude: float) -> float:
    return max(SILENCE_DBFS, 20 * float(np.log10(amplitude))) if amplitude > 0 else SILENCE_DBFS
