"""Key of chord progressions in every key and tuning, and of what has none."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import soxr

from core.analysis import KEY_SHOWN_FROM
from models.child.key import TONICS, KeyMeter

RATE = 16_000
Pcm = Any

# Semitones from the tonic, and the third of the chord.
PROGRESSIONS = {
    "major": [(0, 4), (9, 3), (5, 4), (7, 4), (0, 4), (5, 4), (7, 4), (0, 4)],
    "minor": [(0, 3), (8, 4), (5, 3), (7, 4), (0, 3), (5, 3), (7, 3), (0, 3)],
}


def listen(samples: Pcm, block: int = 1 << 30) -> Any:
    meter = KeyMeter()
    for start in range(0, len(samples), block):
        meter.feed(samples[start : start + block].astype(np.float32))
    return meter.finish()


def note(hz: float, seconds: float, fall: float) -> Pcm:
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = sum(np.sin(2 * np.pi * hz * k * time) / k for k in (1, 2, 3, 4))
    return harmonics * np.exp(-time / fall) * np.minimum(1, time / 0.005)


def play(tonic: int, mode: str, cents: float = 0.0, seconds: float = 12.0) -> Pcm:
    """Triads over a bass, one each .75 s."""
    signal = np.zeros(int(seconds * RATE))
    for start, (root, third) in zip(np.arange(0.0, seconds, 0.75), itertools.cycle(PROGRESSIONS[mode])):
        low = 440 * 2 ** ((tonic - 9 + root) / 12 + cents / 1200 - 2)
        parts = [(low, 0.4, 0.5), *((2 * low * 2 ** (up / 12), 0.3, 0.8) for up in (0, third, 7))]
        for hz, gain, fall in parts:
            at = int(start * RATE)
            sound = gain * note(hz, 0.8, fall)[: len(signal) - at]
            signal[at : at + len(sound)] += sound
    return signal / np.abs(signal).max() * 0.7


@pytest.mark.parametrize("cents", [0, 40, -40])
@pytest.mark.parametrize("mode", ["major", "minor"])
@pytest.mark.parametrize("tonic", range(12))
def test_all_keys_in_any_tuning(tonic: int, mode: str, cents: int) -> None:
    name, scale, confidence = listen(play(tonic, mode, cents))
    assert (name, scale) == (TONICS[tonic], mode)
    assert confidence > KEY_SHOWN_FROM


@pytest.mark.parametrize("mode", ["major", "minor"])
def test_under_drums(mode: str) -> None:
    signal = play(4, mode)
    rng, fall = np.random.default_rng(12), np.exp(-np.arange(3200) / 700)
    for start in range(0, len(signal) - 3200, 6000):
        signal[start : start + 3200] += 0.5 * rng.standard_normal(3200) * fall
    assert listen(signal)[:2] == ("E", mode)


def test_chroma_of_librosa_agrees(make_signal: Any) -> None:
    """Its constant-Q chroma, correlated with Krumhansl's own profiles, names the same keys."""
    major = [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88]
    minor = [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17]
    for tonic, mode in ((0, "major"), (3, "minor"), (8, "major"), (10, "minor")):
        signal = play(tonic, mode, cents=15).astype(np.float32)
        chroma = librosa.feature.chroma_cqt(y=signal, sr=RATE).mean(axis=1)
        _, name, scale = max(
            (np.corrcoef(np.roll(profile, up), chroma)[0, 1], TONICS[up], scale)
            for scale, profile in (("major", major), ("minor", minor))
            for up in range(12)
        )
        assert listen(signal)[:2] == (name, scale)


def without_pitch(name: str) -> Pcm:
    rng = np.random.default_rng(13)
    match name:
        case "noise":
            return 0.1 * rng.standard_normal(20 * RATE)
        case "four seconds of noise":
            return 0.1 * rng.standard_normal(4 * RATE)
        case "rumble":
            return 0.001 * np.cumsum(rng.standard_normal(20 * RATE))
        case "constant":
            return np.ones(5 * RATE)
        case _:  # a kick and hits of noise, no two of them alike
            time = np.arange(8000) / RATE
            kick = np.sin(2 * np.pi * (50 * time + 3 * (1 - np.exp(-time / 0.03)))) * np.exp(-time / 0.08)
            hits = 0.3 * rng.standard_normal((30, 8000)) * np.exp(-time / 0.05)
            return (kick + hits).ravel()


@pytest.mark.parametrize("name", ["noise", "four seconds of noise", "rumble", "constant", "drums"])
def test_what_has_no_pitch(name: str) -> None:
    assert listen(without_pitch(name)) == (None, None, 0.0)


def test_one_tone_is_no_key() -> None:
    assert listen(0.4 * np.sin(2 * np.pi * 440 / RATE * np.arange(10 * RATE)))[2] < KEY_SHOWN_FROM


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_what_is_left_of_a_tone_too_high_to_hear_has_no_key(rate: int) -> None:
    """12 kHz is gone at 16 kHz but for the residue of the resampling."""
    tone = 0.5 * np.sin(2 * np.pi * 12_000 / rate * np.arange(rate * 20))
    residue = soxr.resample(tone.astype(np.float32), rate, RATE, "HQ")
    assert np.abs(residue).max() > 0
    assert listen(residue) == (None, None, 0.0)


@pytest.mark.parametrize(("level", "heard"), [(-75, False), (-45, True)])
def test_below_70_dbfs_nothing_has_a_key(level: float, heard: bool) -> None:
    tonic, _, _ = listen(play(4, "minor") * 10 ** (level / 20))
    assert tonic == ("E" if heard else None)


def test_silence_and_nothing() -> None:
    assert listen(np.zeros(RATE * 5)) == (None, None, 0.0)
    assert KeyMeter().finish() == (None, None, 0.0)


def test_however_it_is_cut() -> None:
    signal = play(7, "minor")
    whole = listen(signal)
    assert listen(signal, 977) == whole
    assert listen(signal, 32_768) == whole


def clip(folder: Path, name: str) -> Pcm:
    samples, rate = soundfile.read(folder / "audio" / name, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, RATE, "HQ")


def test_the_sugar_plum_fairy_dances_in_e_minor(shared_data: Path) -> None:
    tonic, mode, confidence = listen(clip(shared_data, "sugar-plum-fairy.ogg"))
    assert (tonic, mode) == ("E", "minor")
    assert confidence > KEY_SHOWN_FROM


@pytest.mark.parametrize("name", ["speech-a.ogg", "speech-b.ogg", "robin.ogg", "humpback.ogg"])
def test_real_speech_and_animals(shared_data: Path, name: str) -> None:
    assert listen(clip(shared_data, name))[2] < KEY_SHOWN_FROM
