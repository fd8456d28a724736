"""Triangular filters on the mel scale of Slaney's Auditory Toolbox, each of area one: what all our front ends use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Linear up to 1000 Hz (200/3 Hz a mel), logarithmic above (27 mels for a factor 6.4).
_LINEAR_HZ, _KNEE_HZ = 200.0 / 3.0, 1000.0
_KNEE_MEL = _KNEE_HZ / _LINEAR_HZ
_LOG_STEP = float(np.log(6.4)) / 27.0


def mel_filters(rate: int, frame: int, bands: int, lowest_hz: float, highest_hz: float) -> NDArray[np.float32]:
    """f32 [frame / 2 + 1, bands]: band k rises from edge k to k + 1 and falls to k + 2; peak 2 / (width in Hz)."""
    edges = _mel_to_hz(np.linspace(_hz_to_mel(lowest_hz), _hz_to_mel(highest_hz), bands + 2))
    bins = np.arange(frame // 2 + 1) * (rate / frame)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - low) / (centre - low)
    falling = (high - bins[:, None]) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    return triangles.astype(np.float32)


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ if hz < _KNEE_HZ else _KNEE_MEL + float(np.log(hz / _KNEE_HZ)) / _LOG_STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_HZ, _KNEE_HZ * np.exp((mel - _KNEE_MEL) * _LOG_STEP))
