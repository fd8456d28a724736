"""CLAP's front end against transformers' ClapFeatureExtractor and against librosa."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from bench.references.make_mel_references import EVERY, make_sounds
from models.child.clap_mel import BANDS, FRAMES, WINDOW, Samples, fill_window, log_mel

# Our spectra are made in single precision. Near the floor of -100 dB that is worth a few thousandths of a dB, on
# anything that is heard a few millionths. What the model is told spans 100 dB.
TOLERANCE_DB = 5e-3


@pytest.fixture(scope="module")
def references() -> dict[str, Any]:
    """What `make references` measured (its recipe is inside)."""
    with np.load(Path(__file__).with_name("data") / "clap_mel_references.npz", allow_pickle=False) as kept:
        return dict(kept)


@pytest.fixture(scope="module")
def sounds(references: dict[str, Any]) -> dict[str, Samples]:
    made = make_sounds()
    for name, sound in made.items():
        np.testing.assert_allclose(sound[:8], references[f"{name}_first_samples"], atol=1e-7)
    return made


def _librosa_mel(window: Samples) -> NDArray[np.float64]:
    power = librosa.feature.melspectrogram(
        y=window.astype(np.float64), sr=48_000, n_fft=1024, hop_length=480, window="hann", center=True,
        pad_mode="reflect", power=2.0, n_mels=64, fmin=50, fmax=14_000, htk=False, norm="slaney",
    )  # fmt: skip
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T


@pytest.mark.parametrize("name", ["music", "faint", "short"])
def test_it_makes_what_transformers_makes(name: str, references: dict[str, Any], sounds: dict[str, Samples]) -> None:
    sound = sounds[name]
    image = log_mel(sound if len(sound) == WINDOW else fill_window(sound))
    assert image.shape == (FRAMES, BANDS)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[::EVERY], references[f"{name}_mel"], rtol=0, atol=TOLERANCE_DB)


@pytest.mark.parametrize("name", ["music", "faint"])
def test_it_makes_what_librosa_makes(name: str, sounds: dict[str, Samples]) -> None:
    np.testing.assert_allclose(log_mel(sounds[name]), _librosa_mel(sounds[name]), rtol=0, atol=TOLERANCE_DB)


def test_silence_lies_on_the_floor() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(WINDOW, np.float32)), -100.0, atol=1e-4)


def test_samples_of_another_rate_are_far_off(references: dict[str, Any], sounds: dict[str, Samples]) -> None:
    """44.1 kHz taken for 48 kHz, the classic mistake, would not pass the comparison above."""
    other = soxr.resample(sounds["music"], 48_000, 44_100, "HQ")
    wrong = log_mel(fill_window(other))[: 9 * FRAMES // 10 : EVERY]
    difference = np.abs(wrong - references["music_mel"][: len(wrong)])
    assert difference.max() > 20
    assert np.median(difference) > 100 * TOLERANCE_DB


@pytest.mark.parametrize(("length", "times"), [(1, 480_000), (139_200, 3), (240_000, 2), (240_001, 1), (479_999, 1)])
def test_a_short_sound_is_repeated_as_a_whole(length: int, times: int) -> None:
    sound = np.arange(1, length + 1, dtype=np.float32)
    window = fill_window(sound)
    assert window.shape == (WINDOW,)
    np.testing.assert_array_equal(
        window[: times * length].reshape(times, length), np.broadcast_to(sound, (times, length))
    )
    assert not window[times * length :].any()
