"""The log-mel front end, alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest

from models.child.decode import Decoder
from models.child.resample import Resampler
from models.child.spectra import frame_count, log_mel


def _whole(signal: Any) -> Any:
    """The log-mel of all frames of a signal at once."""
    frames = frame_count(len(signal))
    after = (frames - 1) * 256 + 256 - len(signal)
    return log_mel(np.pad(signal, (256, after)))


def test_the_reference_frame(synthetic: Any, synthetic_reference: Any) -> None:
    spectrum = _whole(synthetic)
    assert len(spectrum) == frame_count(len(synthetic)) == synthetic_reference["frames"]
    assert spectrum.dtype == np.float32
    np.testing.assert_allclose(spectrum[100, :8], synthetic_reference["log_mel_frame_100_first8"], atol=2e-5)


@pytest.mark.parametrize(("samples", "frames"), [(1, 2), (256, 2), (257, 3), (48_000, 189), (192_000, 751)])
def test_frame_count_is_the_ceiling_plus_one(samples: int, frames: int) -> None:
    assert frame_count(samples) == frames


def test_against_librosa(synthetic: Any) -> None:
    """librosa with the same (symmetric) window and zero padding agrees to 1e-4 in log10 units everywhere."""
    mel = librosa.feature.melspectrogram(
        y=synthetic, sr=16_000, n_fft=512, hop_length=256, n_mels=96, window=np.hanning(512), pad_mode="constant"
    )
    expected = np.log10(1 + 10_000 * mel.T)
    np.testing.assert_allclose(_whole(synthetic)[: len(expected)], expected, atol=1e-4)


def test_a_periodic_window_would_be_noticed(synthetic: Any) -> None:
    mel = librosa.feature.melspectrogram(
        y=synthetic, sr=16_000, n_fft=512, hop_length=256, n_mels=96, window="hann", pad_mode="constant"
    )
    other = np.log10(1 + 10_000 * mel.T)
    assert np.abs(_whole(synthetic)[: len(other)] - other).max() > 1e-3


def test_real_audio(shared_data: Path) -> None:
    """Decoding and resampling land on the reference's frames: count, mean and one frame of every clip."""
    clips = json.loads((shared_data / "models" / "musicnn_reference.json").read_text())["clips"]
    for name, clip in clips.items():
        decoder, resampler = Decoder(shared_data / "audio" / name, max_seconds=600), Resampler()
        blocks = [resampler.feed(rate, block) for rate, block in decoder.blocks()]
        decoder.close()
        spectrum = _whole(np.concatenate([*blocks, resampler.finish()]))
        expected = clip["log_mel"]
        assert len(spectrum) == expected["frames"], name
        assert float(spectrum.mean(dtype=np.float64)) == pytest.approx(expected["mean"], abs=1e-4), name
        np.testing.assert_allclose(spectrum[100, :8], expected["frame_100_first8"], atol=2e-4, err_msg=name)
