"""Instruments and effects in numpy: each function returns mono float64 samples at RATE, about -1..1."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

RATE = 44_100  # Hz
Sound = NDArray[np.float64]


def hertz(note: float) -> float:
    """Frequency of a MIDI note number (69 is 440 Hz)."""
    return float(440.0 * 2.0 ** ((note - 69.0) / 12.0))


def times(seconds: float) -> Sound:
    """Sample times of a sound of this length."""
    return np.arange(round(seconds * RATE)) / RATE


def band(sound: Sound, low: float | None, high: float | None, *, order: int = 2) -> Sound:
    """Keep what is between two frequencies: Butterworth-shaped magnitudes of this order, no phase shift."""
    size = _transform_size(len(sound) + RATE // 4)  # room for what would otherwise wrap around
    spectrum = np.fft.rfft(sound, size)
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1e-3)
    if low is not None:
        spectrum /= np.sqrt(1 + (low / frequencies) ** (2 * order))
    if high is not None:
        spectrum /= np.sqrt(1 + (frequencies / high) ** (2 * order))
    return np.asarray(np.fft.irfft(spectrum, size)[: len(sound)], dtype=np.float64)


def _transform_size(least: int) -> int:
    """A length of at least this for which Fourier transforms are quick."""
    return min(odd << max(0, (-(-least // odd) - 1).bit_length()) for odd in (1, 3, 5, 9, 15, 25))


def echo(sound: Sound, seconds: float, wet: float, source: Generator, *, dark: float = 4000.0) -> Sound:
    """Reverberation: convolution with a decaying burst of noise (`seconds` to -60 dB), `wet` 0..1."""
    burst = source.standard_normal(round(seconds * RATE)) * np.exp(-6.9 * times(seconds) / seconds)
    tail = band(burst, 150.0, dark, order=1)
    tail = tail / np.sqrt(np.sum(tail**2))
    size = _transform_size(len(sound) + len(tail))
    room = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)[: len(sound)]
    return np.asarray((1 - wet) * sound + wet * room, dtype=np.float64)


def fade(sound: Sound, attack: float, release: float) -> Sound:
    """Raised-cosine edges of these lengths in seconds."""
    out = sound.copy()
    rise, fall = min(len(out), round(attack * RATE)), min(len(out), round(release * RATE))
    out[:rise] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / max(1, rise))
    out[len(out) - fall :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(fall) / max(1, fall))
    return out


def saw(frequency: float, seconds: float, *, phase: float = 0.0) -> Sound:
    """A sawtooth whose jump is rounded over one sample on each side (polyBLEP), so that it hardly aliases."""
    step = frequency / RATE
    ramp = (phase + step * np.arange(round(seconds * RATE))) % 1.0
    after, before = ramp / step, (ramp - 1.0) / step
    rise = np.where(ramp < step, 2 * after - after**2 - 1, 0.0)
    fall = np.where(ramp > 1 - step, before**2 + 2 * before + 1, 0.0)
    return np.asarray(2 * ramp - 1 - rise - fall, dtype=np.float64)


def supersaw(frequency: float, seconds: float, source: Generator, *, voices: int = 5, spread: float = 0.006) -> Sound:
    """Detuned saws; `spread` is the largest relative detuning."""
    tunings = 1 + spread * np.linspace(-1, 1, voices)
    saws = [saw(frequency * tuning, seconds, phase=source.random()) for tuning in tunings]
    return np.asarray(np.sum(saws, axis=0) / voices**0.5, dtype=np.float64)


def pluck(frequency: float, seconds: float, source: Generator, *, bright: float = 0.5, ring: float = 0.996) -> Sound:
    """A plucked string (Karplus-Strong): a burst of noise that is averaged with itself once a period.

    `bright` 0..1 shapes the burst, `ring` is what a period keeps of the one before.
    """
    period = max(2, int(RATE / frequency - 0.5))  # the averaging delays by half a sample more
    burst = source.uniform(-1, 1, period)
    blurred = (burst + np.roll(burst, 1) + np.roll(burst, 2) + np.roll(burst, 3)) / 4
    cycle = bright * burst + (1 - bright) * blurred
    cycle -= cycle.mean()
    cycles = []
    for _ in range(int(1.05 * seconds * frequency) + 2):
        cycles.append(cycle)
        cycle = ring * 0.5 * (cycle + np.roll(cycle, 1))
    string = np.concatenate(cycles)
    # Whole-sample periods are out of tune: read the string a little faster or slower.
    pace = frequency * (period + 0.5) / RATE
    read = np.interp(times(seconds) * RATE * pace, np.arange(len(string)), string)
    return fade(read, 0.001, 0.02)


def piano(frequency: float, seconds: float, source: Generator, *, force: float = 0.6) -> Sound:
    """A struck string: stretched partials that die faster the higher they are, and the knock of the hammer."""
    time = times(seconds)
    out = np.zeros(len(time))
    for partial in range(1, 24):
        pitch = frequency * partial * np.sqrt(1 + 0.0004 * partial**2)
        if pitch > 12_000:
            break
        loud = np.exp(-partial * (0.75 - 0.5 * force)) * abs(np.sin(np.pi * partial / 8.3))
        decay = np.exp(-time * (0.5 + 0.35 * partial) * (frequency / 260) ** 0.5)
        for detune in (0.9996, 1.0004):
            out += loud * decay * np.sin(2 * np.pi * pitch * detune * time + source.uniform(0, 2 * np.pi))
    knock = band(source.standard_normal(len(time)) * np.exp(-time * 90), 200.0, 1800.0)
    return fade(out + 0.05 * force * knock, 0.003, 0.15)


def organ(frequency: float, seconds: float) -> Sound:
    """Pipes: a principal chorus of 8', 4', 2 2/3' and 2' with a slow tremulant."""
    time = times(seconds)
    ranks = ((1, 1.0), (2, 0.7), (3, 0.35), (4, 0.4), (5, 0.08), (6, 0.14), (8, 0.12))
    tone = np.sum([gain * np.sin(2 * np.pi * frequency * rank * time + rank) for rank, gain in ranks], axis=0)
    return fade(tone * (1 + 0.04 * np.sin(2 * np.pi * 5.1 * time)), 0.06, 0.12) / 2


def bowed(frequency: float, seconds: float, source: Generator) -> Sound:
    """A section of bowed strings: slightly different saws with vibrato, behind a wooden filter."""
    time = times(seconds)
    out = np.zeros(len(time))
    for _ in range(6):
        vibrato = np.sin(2 * np.pi * source.uniform(4.8, 6.0) * time + source.uniform(0, 6)) * np.minimum(1, time)
        pitch = frequency * (1 + source.normal(0, 0.0018) + 0.004 * vibrato)
        ramp = (source.random() + np.cumsum(pitch) / RATE) % 1.0
        out += 2 * ramp - 1
    wood = (
        band(out, frequency * 0.7, 2600.0, order=1) + 0.6 * band(out, 350.0, 700.0) + 0.25 * band(out, 2000.0, 3200.0)
    )
    return fade(wood, min(0.25, seconds / 4), min(0.35, seconds / 3)) / 6


def kick(seconds: float = 0.4, *, low: float = 48.0, high: float = 190.0, click: float = 0.5) -> Sound:
    """A bass drum: a sine that falls from `high` to `low` Hz, saturated."""
    time = times(seconds)
    pitch = low + (high - low) * np.exp(-time * 32)
    body = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.exp(-time * 8)
    return fade(np.tanh(2.2 * body) + click * np.exp(-time * 400) * np.sin(2 * np.pi * 2400 * time), 0.0, 0.05)


def snare(source: Generator, seconds: float = 0.3) -> Sound:
    """Two modes of the skin and the rattle of the wires."""
    time = times(seconds)
    skin = (np.sin(2 * np.pi * 185 * time) + 0.6 * np.sin(2 * np.pi * 330 * time)) * np.exp(-time * 22)
    wires = band(source.standard_normal(len(time)), 1200.0, 9500.0) * np.exp(-time * 15)
    return fade(np.tanh(1.4 * skin + 1.3 * wires), 0.0, 0.05)


def clap(source: Generator, seconds: float = 0.35) -> Sound:
    """A few bursts in a row, then a short tail."""
    time = times(seconds)
    shape = sum(np.where(time >= at, np.exp(-(time - at) * 160), 0.0) for at in (0.0, 0.011, 0.023))
    shape = shape + np.where(time >= 0.03, 0.8 * np.exp(-(time - 0.03) * 18), 0.0)
    return fade(band(source.standard_normal(len(time)), 800.0, 4500.0) * shape, 0.0, 0.05)


def cymbal(source: Generator, seconds: float, decay: float, *, low: float = 6500.0) -> Sound:
    """Metal and noise above `low` Hz: a closed hat for a decay of 60 a second, a crash for 3."""
    time = times(seconds)
    ratios = (2.0, 3.0, 4.16, 5.43, 6.79, 8.21)
    metal = np.sum([np.sign(np.sin(2 * np.pi * 540 * ratio * time + ratio)) for ratio in ratios], axis=0) / 6
    both = band(0.5 * metal + 0.7 * source.standard_normal(len(time)), low, 15_000.0)
    return fade(both * np.exp(-time * decay), 0.0005, 0.02)


def amplify(strings: Sound, *, gain: float = 10.0, bright: float = 5200.0) -> Sound:
    """A guitar amplifier turned up: tightened lows, two stages of clipping, and the box of the loudspeaker."""
    driven = np.tanh(gain * band(strings / max(1e-9, float(np.abs(strings).max())), 150.0, 5000.0, order=1))
    box = band(np.tanh(1.5 * (driven + 0.15 * driven**2)), 80.0, bright, order=3)
    return box + 0.6 * band(box, 80.0, 200.0) - 0.3 * band(box, 350.0, 800.0, order=1) + 0.5 * band(box, 1800.0, 3800.0)
