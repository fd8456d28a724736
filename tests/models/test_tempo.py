"""Tempo of clicks, drums and what has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from core.analysis import BPM_SHOWN_FROM
from models.child.spectra import MelStream
from models.child.tempo import TempoMeter

RATE = 16_000
Pcm = Any


def listen(samples: Pcm, cuts: Iterable[int] = ()) -> tuple[float | None, float]:
    mel, tempo = MelStream(), TempoMeter()
    frames = np.concatenate([mel.feed(samples.astype(np.float32)), mel.finish()])
    for part in np.split(frames, list(cuts)):
        tempo.feed(part)
    return tempo.finish()


def decay(seconds: float, tau: float) -> tuple[Pcm, Pcm]:
    time = np.arange(int(seconds * RATE)) / RATE
    return time, np.exp(-time / tau)


def click() -> Pcm:
    time, fall = decay(0.02, 0.004)
    return 0.8 * np.sin(2 * np.pi * 1500 * time) * fall


def kick() -> Pcm:
    time, fall = decay(0.25, 0.08)
    return 0.9 * np.sin(2 * np.pi * (50 * time + 3 * (1 - np.exp(-time / 0.03)))) * fall


def snare() -> Pcm:
    time, fall = decay(0.2, 0.05)
    noise = np.random.default_rng(9).standard_normal(len(time))
    return (0.35 * noise + 0.4 * np.sin(2 * np.pi * 190 * time)) * fall


def hat() -> Pcm:
    time, fall = decay(0.1, 0.02)
    return 0.06 * np.diff(np.random.default_rng(10).standard_normal(len(time) + 2), 2) * fall


# Beats a bar, and what sounds at which beat of it.
Pattern = tuple[int, list[tuple[float, Callable[[], Pcm]]]]
CLICKS: Pattern = (1, [(0, click)])
EIGHTHS: list[tuple[float, Callable[[], Pcm]]] = [(i / 2, hat) for i in range(8)]
PATTERNS: dict[str, Pattern] = {
    "rock": (4, [(0, kick), (2, kick), (1, snare), (3, snare), *EIGHTHS]),
    "four to the floor": (4, [*((i, kick) for i in range(4)), *((i + 0.5, hat) for i in range(4)), (1, snare)]),
    "plain": (4, [(0, kick), (2, kick), (1, snare), (3, snare)]),
    "waltz": (3, [(0, kick), (1, snare), (2, snare), *((i, hat) for i in range(3))]),
}


def play(pattern: Pattern, bpm: float, seconds: float = 20.0) -> Pcm:
    """f32 [n] with a little noise, as every recording has; notes lie at any sample, not at a frame's."""
    beats, sounds = pattern
    signal = 0.003 * np.random.default_rng(int(bpm)).standard_normal(int(seconds * RATE))
    for bar in range(int(seconds * bpm / 60 / beats) + 1):
        for beat, sound in sounds:
            start = round((bar * beats + beat) * 60 / bpm * RATE) + 1000
            part = sound()[: max(0, len(signal) - start)]
            signal[start : start + len(part)] += part
    return signal


@pytest.mark.parametrize(
    "bpm", [60, 66.6, 71.3, 80, 87.7, 93.75, 100, 113.3, 120, 128, 137.9, 150, 163.2, 174, 187.5, 200]
)
def test_clicks(bpm: float) -> None:
    """Lags between frames included, and the octave is right at both ends."""
    tempo, confidence = listen(play(CLICKS, bpm))
    assert tempo == pytest.approx(bpm, rel=0.02)
    assert confidence > 2 * BPM_SHOWN_FROM


def tone(hz: float, seconds: float) -> Pcm:
    """Fades in and out, so that nothing is heard in other bands."""
    count = int(seconds * RATE)
    return 0.4 * np.sin(2 * np.pi * hz * np.arange(count) / RATE) * np.hanning(count)


@pytest.mark.parametrize("bpm", [62, 93.7, 120, 163.2, 195])
@pytest.mark.parametrize("seconds", [0.009, 0.03])
@pytest.mark.parametrize("hz", [300, 800, 2000, 3000, 3500, 4200, 5000, 7000, 7600])
def test_clicks_of_any_band(hz: float, seconds: float, bpm: float) -> None:
    tempo, confidence = listen(play((1, [(0, lambda: tone(hz, seconds))]), bpm))
    assert tempo == pytest.approx(bpm, rel=0.02)
    assert confidence > BPM_SHOWN_FROM


def high_hat() -> Pcm:
    """Noise above 6 kHz."""
    time, fall = decay(0.1, 0.02)
    spectrum = np.fft.rfft(np.random.default_rng(14).standard_normal(len(time)))
    spectrum[: int(6000 / RATE * len(time))] = 0
    return 0.1 * np.fft.irfft(spectrum, len(time)) * fall


@pytest.mark.parametrize("bpm", [66.6, 93.7, 120, 178])
@pytest.mark.parametrize("under", ["silence", "drone", "rumble"])
def test_a_hat_by_itself(under: str, bpm: float) -> None:
    signal = play((1, [(0, high_hat)]), bpm)
    if under != "silence":
        signal = signal + without_beat(under)[: len(signal)]
    tempo, confidence = listen(signal)
    assert tempo == pytest.approx(bpm, rel=0.02)
    assert confidence > 2 * BPM_SHOWN_FROM


def test_two_chirps_are_no_beat() -> None:
    signal = play((1, [(0, lambda: tone(5000, 0.05))]), 53, seconds=2.7)
    assert listen(signal)[1] < BPM_SHOWN_FROM


@pytest.mark.parametrize("seconds", [3, 5, 12])
def test_noise_in_any_company(seconds: int) -> None:
    """The best of several regions is no more than chance either."""
    for seed in range(10):
        noise = 0.1 * np.random.default_rng(100 + seed).standard_normal(seconds * RATE)
        assert listen(noise)[1] < (2 if seconds == 3 else 1) * BPM_SHOWN_FROM


@pytest.mark.parametrize("bpm", [71.3, 84, 93.7, 107, 118.2, 128, 141, 155.5, 166, 178])
@pytest.mark.parametrize("name", PATTERNS)
def test_drums(name: str, bpm: float) -> None:
    tempo, confidence = listen(play(PATTERNS[name], bpm))
    assert tempo == pytest.approx(bpm, rel=0.02)
    assert confidence > 2 * BPM_SHOWN_FROM


def test_a_short_clip() -> None:
    assert listen(play(PATTERNS["rock"], 110, seconds=5))[0] == pytest.approx(110, rel=0.02)


def test_drums_under_a_drone() -> None:
    time = np.arange(20 * RATE) / RATE
    drone = 0.2 * np.sin(2 * np.pi * 220 * time) + 0.1 * np.sin(2 * np.pi * 331 * time)
    assert listen(drone + play(PATTERNS["rock"], 96))[0] == pytest.approx(96, rel=0.02)


def without_beat(name: str) -> Pcm:
    rng, time = np.random.default_rng(11), np.arange(30 * RATE) / RATE
    match name:
        case "white noise":
            return 0.1 * rng.standard_normal(len(time))
        case "five seconds of noise":
            return 0.1 * rng.standard_normal(5 * RATE)
        case "rumble":
            return 0.001 * np.cumsum(rng.standard_normal(len(time)))
        case "drone":
            return sum(0.1 * np.sin(2 * np.pi * hz * time) for hz in (110.0, 164.8, 220.3))
        case "sine":
            return 0.5 * np.sin(2 * np.pi * 440 * time)
        case _:  # clicks at any time
            signal = 0.003 * rng.standard_normal(len(time))
            for start in rng.integers(0, len(time) - 400, 60):
                signal[start : start + 320] += click()
            return signal


@pytest.mark.parametrize(
    "name", ["white noise", "five seconds of noise", "rumble", "drone", "sine", "clicks without order"]
)
def test_what_has_no_beat(name: str) -> None:
    assert listen(without_beat(name))[1] < BPM_SHOWN_FROM


def test_silence_and_nothing() -> None:
    assert listen(np.zeros(RATE * 10)) == (None, 0.0)
    assert TempoMeter().finish() == (None, 0.0)


def test_however_it_is_cut() -> None:
    signal = play(PATTERNS["rock"], 121.7, seconds=30)
    whole = listen(signal)
    for cuts in ([1, 2, 511, 512, 700], range(7, 1800, 13)):
        assert listen(signal, cuts) == whole


def clip(folder: Path, name: str) -> Pcm:
    samples, rate = soundfile.read(folder / "audio" / name, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, RATE, "HQ")


def test_a_real_groove(shared_data: Path) -> None:
    tempo, confidence = listen(clip(shared_data, "vibe-ace.ogg"))
    assert tempo == pytest.approx(129.3, rel=0.02)
    assert confidence > BPM_SHOWN_FROM


@pytest.mark.parametrize("name", ["speech-a.ogg", "speech-b.ogg", "robin.ogg", "humpback.ogg"])
def test_real_speech_and_animals(shared_data: Path, name: str) -> None:
    assert listen(clip(shared_data, name))[1] < BPM_SHOWN_FROM
