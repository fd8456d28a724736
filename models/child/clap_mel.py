"""CLAP's front end in numpy: one window of ten seconds at 48 kHz becomes a log-mel image.

Frames of 1024 samples every 480, frame i centred on sample 480 i with the window mirrored at both ends; periodic Hann;
power spectrum; 64 triangles from 50 to 14 000 Hz on Slaney's mel scale, each of area one; 10 log10(max(1e-10, x)).
These are the parameters of the published preprocessor_config.json (feature extractor `ClapFeatureExtractor`, truncation
`rand_trunc`); the fused model's, with another filter bank, are not meant.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.child.mel_filters import mel_filters

RATE, WINDOW = 48_000, 480_000  # Hz; samples of one window
FRAME, HOP, BANDS, FRAMES = 1024, 480, 64, 1001
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 14_000.0
_BLOCK = 143  # frames at a time, a seventh: half a megabyte of spectrum instead of four
_FLOOR = np.float32(1e-10)

Samples = NDArray[np.float32]
LogMel = NDArray[np.float32]


def log_mel(window: Samples) -> LogMel:
    """f32 [1001, 64] in dB, of exactly 480 000 samples at 48 kHz."""
    frames = sliding_window_view(np.pad(window, FRAME // 2, mode="reflect"), FRAME)[::HOP]
    filters = _filters()
    image = np.empty((FRAMES, BANDS), np.float32)
    for start in range(0, FRAMES, _BLOCK):
        bins = np.fft.rfft(frames[start : start + _BLOCK] * _hann())[:, : len(filters)]
        np.matmul(bins.real**2 + bins.imag**2, filters, out=image[start : start + _BLOCK])
    np.maximum(image, _FLOOR, out=image)
    np.log10(image, out=image)
    image *= np.float32(10)
    return image


def fill_window(short: Samples) -> Samples:
    """A window from less than one: as often as it fits as a whole, then silence. At least one sample is needed."""
    window = np.zeros(WINDOW, np.float32)
    times = WINDOW // len(short)
    window[: times * len(short)] = np.tile(short, times)
    return window


@cache
def _hann() -> NDArray[np.float32]:
    return np.hanning(FRAME + 1)[:-1].astype(np.float32)


@cache
def _filters() -> NDArray[np.float32]:
    """f32 [bins up to 14 kHz, 64]."""
    triangles = mel_filters(RATE, FRAME, BANDS, _LOWEST_HZ, _HIGHEST_HZ)
    return np.ascontiguousarray(triangles[: int(np.ceil(_HIGHEST_HZ / (RATE / FRAME)))])
