"""The log-mel front end that musicnn and effnet share, alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.child.decode import Decoder
from models.child.resample import Resampler
from models.child.spectra import MelStream, frame_count


def _stream(*blocks: Any) -> Any:
    """The log-mel of a signal that comes in these blocks."""
    stream = MelStream()
    return np.concatenate([*(stream.feed(block) for block in blocks), stream.finish()])


def test_the_reference_frame(synthetic: Any, synthetic_reference: Any) -> None:
    spectrum = _stream(synthetic)
    assert len(spectrum) == frame_count(len(synthetic)) == synthetic_reference["frames"]
    assert spectrum.dtype == np.float32
    np.testing.assert_allclose(spectrum[100, :8], synthetic_reference["log_mel_frame_100_first8"], atol=2e-5)


AT_A_CHUNK = [(65_279, 256), (65_280, 256), (65_281, 257), (65_536, 257), (65_537, 258)]


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 1), (1, 2), (256, 2), (257, 3), (48_000, 189), *AT_A_CHUNK, (192_000, 751)]
)
def test_frame_count_is_the_ceiling_plus_one(samples: int, frames: int) -> None:
    assert frame_count(samples) == frames
    assert len(_stream(np.ones(samples, np.float32))) == frames


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 150_000), st.lists(st.integers(1, 70_000), min_size=1, max_size=10))
def test_blocks_of_any_size_give_the_same_bits(samples: int, sizes: list[int]) -> None:
    signal = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    blocks, at = [], 0
    while at < samples:
        blocks.append(signal[at : at + sizes[len(blocks) % len(sizes)]])
        at += len(blocks[-1])
    np.testing.assert_array_equal(_stream(*blocks), _stream(signal))


def test_against_librosa(synthetic: Any) -> None:
    """librosa with the same (symmetric) window and zero padding agrees to 1e-4 in log10 units everywhere."""
    mel = librosa.feature.melspectrogram(
        y=synthetic, sr=16_000, n_fft=512, hop_length=256, n_mels=96, window=np.hanning(512), pad_mode="constant"
    )
    expected = np.log10(1 + 10_000 * mel.T)
    np.testing.assert_allclose(_stream(synthetic)[: len(expected)], expected, atol=1e-4)


def test_a_periodic_window_would_be_noticed(synthetic: Any) -> None:
    mel = librosa.feature.melspectrogram(
        y=synthetic, sr=16_000, n_fft=512, hop_length=256, n_mels=96, window="hann", pad_mode="constant"
    )
    other = np.log10(1 + 10_000 * mel.T)
    assert np.abs(_stream(synthetic)[: len(other)] - other).max() > 1e-3


def test_real_audio(shared_data: Path) -> None:
    """Decoding and resampling land on the reference's frames: count, mean and one frame of every clip."""
    clips = json.loads((shared_data / "models" / "musicnn_reference.json").read_text())["clips"]
    for name, clip in clips.items():
        with (shared_data / "audio" / name).open("rb") as audio:
            decoder, resampler = Decoder(audio, max_seconds=600), Resampler(16_000)
            blocks = [resampler.feed(block.rate, block.mono()) for block in decoder.blocks()]
            decoder.close()
        spectrum = _stream(*blocks, resampler.finish())
        expected = clip["log_mel"]
        assert len(spectrum) == expected["frames"], name
        assert float(spectrum.mean(dtype=np.float64)) == pytest.approx(expected["mean"], abs=1e-4), name
        np.testing.assert_allclose(spectrum[100, :8], expected["frame_100_first8"], atol=2e-4, err_msg=name)
