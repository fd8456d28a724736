"""The log-mel front end of musicnn and effnet (that of Essentia's TensorflowInputMusiCNN) in numpy, streamed.

16 kHz mono; frames of 512 samples every 256, frame i centred on sample 256 i with zeros beyond both ends; symmetric
Hann, not normalised; power spectrum; 96 triangles from 0 to 8000 Hz on Slaney's mel scale, each of area one;
log10(1 + 10 000 x).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.child.chunks import Chunks
from models.child.mel_filters import mel_filters

RATE, FRAME, HOP, BANDS = 16_000, 512, 256, 96
_CHUNK_FRAMES = 256  # 4 s: the matrix product is fast, and the stream costs half a megabyte

Spectrum = NDArray[np.float32]


def frame_count(samples: int) -> int:
    """How many frames that many samples have: ceil(n / 256) + 1."""
    return -(-samples // HOP) + 1


class MelStream:
    """Feed 16 kHz samples in order, then `finish`. Bit for bit the same frames however the samples are cut."""

    def __init__(self) -> None:
        # A matrix product may round a row differently in another company: frames are always made 256 at once.
        self._chunks = Chunks(1, _CHUNK_FRAMES * HOP, HOP)

    def feed(self, samples: NDArray[np.float32]) -> Spectrum:
        """f32 [k, 96], the frames that are ready by now; k is a multiple of 256, mostly 0."""
        ready = [log_mel(chunk[0]) for chunk in self._chunks.feed(samples[None])]
        return np.concatenate(ready) if ready else np.empty((0, BANDS), np.float32)

    def finish(self) -> Spectrum:
        """f32 [k, 96], the frames that remain, 1 to 257: `frame_count` of all samples has come out then."""
        chunk, count = self._chunks.finish()
        silence = np.zeros(HOP, np.float32)
        return log_mel(np.concatenate([chunk[0], silence])[: (frame_count(count) + 1) * HOP])


def log_mel(padded: NDArray[np.float32]) -> Spectrum:
    """f32 [frames, 96] of samples that begin 256 before the centre of the first frame and end 256 after the last's."""
    frames = sliding_window_view(padded, FRAME)[::HOP] * _window()
    bins = np.fft.rfft(frames)
    power = bins.real**2 + bins.imag**2
    bands = power @ _filters()
    np.multiply(bands, np.float32(10_000), out=bands)
    bands += np.float32(1)
    return np.log10(bands, out=bands)


def levels_dbfs(spectrum: Spectrum) -> NDArray[np.float64]:
    """f64 [frames]: about the RMS of the sound of each frame of a log-mel f32 [frames, 96]; -200 where all is zero."""
    power = (10.0**spectrum - 1.0) @ _weights()
    levels: NDArray[np.float64] = 10.0 * np.log10(np.maximum(power, 1e-20))
    return levels


@cache
def _weights() -> NDArray[np.float64]:
    """f64 [96]: what makes the power of a frame's samples of its bands. Parseval's theorem, the window included."""
    ones = np.linalg.lstsq(_filters().astype(np.float64), np.ones(FRAME // 2 + 1), rcond=None)[0]
    weights: NDArray[np.float64] = ones / (1e4 * FRAME / 2 * np.square(_window()).sum())
    return weights


@cache
def _window() -> NDArray[np.float32]:
    return np.hanning(FRAME).astype(np.float32)


@cache
def _filters() -> NDArray[np.float32]:
    return mel_filters(RATE, FRAME, BANDS, 0.0, RATE / 2)
