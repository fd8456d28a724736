"""The log-mel front end of musicnn (and of Essentia's TensorflowInputMusiCNN) in numpy.

16 kHz mono; frames of 512 samples every 256, frame i centred on sample 256 i with zeros beyond both ends; symmetric
Hann, not normalised; power spectrum; 96 triangles from 0 to 8000 Hz on Slaney's mel scale, each of area one;
log10(1 + 10 000 x).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE, FRAME, HOP, BANDS = 16_000, 512, 256, 96

Spectrum = NDArray[np.float32]


def frame_count(samples: int) -> int:
    """How many frames that many samples have: ceil(n / 256) + 1."""
    return -(-samples // HOP) + 1


def log_mel(padded: NDArray[np.float32]) -> Spectrum:
    """f32 [frames, 96] of samples that begin 256 before the centre of the first frame and end 256 after the last's."""
    frames = sliding_window_view(padded, FRAME)[::HOP] * _window()
    bins = np.fft.rfft(frames)
    power = bins.real**2 + bins.imag**2
    bands = power @ _mel_filters()
    np.multiply(bands, np.float32(10_000), out=bands)
    bands += np.float32(1)
    return np.log10(bands, out=bands)


@cache
def _window() -> NDArray[np.float32]:
    return np.hanning(FRAME).astype(np.float32)


@cache
def _mel_filters() -> NDArray[np.float32]:
    """f32 [257, 96]: band k rises from edge k to k + 1 and falls to k + 2; peak 2 / (width in Hz)."""
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(RATE / 2), BANDS + 2))
    bins = np.arange(FRAME // 2 + 1) * (RATE / FRAME)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - low) / (centre - low)
    falling = (high - bins[:, None]) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    return triangles.astype(np.float32)


# Slaney's Auditory Toolbox: linear up to 1000 Hz (200/3 Hz a mel), logarithmic above (27 mels for a factor 6.4).
_LINEAR_HZ, _KNEE_HZ = 200.0 / 3.0, 1000.0
_KNEE_MEL = _KNEE_HZ / _LINEAR_HZ
_LOG_STEP = float(np.log(6.4)) / 27.0


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ if hz < _KNEE_HZ else _KNEE_MEL + float(np.log(hz / _KNEE_HZ)) / _LOG_STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_HZ, _KNEE_HZ * np.exp((mel - _KNEE_MEL) * _LOG_STEP))
