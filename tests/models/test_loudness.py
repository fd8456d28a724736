"""Loudness against the signals that EBU Tech 3341 and 3342 describe, and against scipy's filter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from scipy.signal import sosfilt

from models.child.loudness import LoudnessMeter, weigh_channels

RATES = (44_100, 48_000, 37_800)
STEREO = ("FL", "FR")
SURROUND = ("FL", "FR", "FC", "LFE", "SL", "SR")

Pcm = Any


def tones(rate: int, *levels: tuple[float, float]) -> Pcm:
    """f32 [n]: a sine of 1 kHz that never breaks off, at (peak dBFS, seconds) one after the other."""
    gain = np.concatenate([np.full(round(seconds * rate), 10 ** (level / 20)) for level, seconds in levels])
    return (gain * np.sin(2 * np.pi * 1000 / rate * np.arange(len(gain)))).astype(np.float32)


def stereo(rate: int, *levels: tuple[float, float]) -> Pcm:
    return np.tile(tones(rate, *levels), (2, 1))


def measure(rate: int, channels: Pcm, layout: tuple[str, ...] = (), cuts: Iterable[int] = ()) -> Any:
    meter = LoudnessMeter()
    for block in np.split(channels, list(cuts), axis=1):
        meter.feed(rate, block, layout)
    return meter.finish()


# Tech 3341, table 1: signals 1 to 5 in stereo.
PROGRAMMES = {
    1: ([(-23, 20)], -23.0),
    2: ([(-33, 20)], -33.0),
    3: ([(-36, 10), (-23, 60), (-36, 10)], -23.0),
    4: ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),
    5: ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),
    9: ([(-20, 1.34), (-30, 1.66)] * 5, -23.0),
    12: ([(-20, 0.18), (-30, 0.22)] * 25, -23.0),
}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("number", PROGRAMMES)
def test_ebu_3341_integrated(number: int, rate: int) -> None:
    """9 and 12 are meant for the short-term and momentary meters, whose constant reading is the programme's too."""
    levels, expected = PROGRAMMES[number]
    assert measure(rate, stereo(rate, *levels), STEREO)[0] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("rate", RATES)
def test_ebu_3341_signal_6_in_five_channels(rate: int) -> None:
    levels = {"FL": -28, "FR": -28, "FC": -24, "LFE": -10, "SL": -30, "SR": -30}
    channels = np.stack([tones(rate, (levels[name], 20)) for name in SURROUND])
    assert measure(rate, channels, SURROUND)[0] == pytest.approx(-23.0, abs=0.1)
    without_effects = np.delete(channels, 3, axis=0)
    assert measure(rate, without_effects, ("FL", "FR", "FC", "BL", "BR"))[0] == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    ("levels", "expected"),
    [((-20, -30), 10.0), ((-20, -15), 5.0), ((-40, -20), 20.0), ((-50, -35, -20, -35, -50), 15.0)],
)
def test_ebu_3342_range(levels: tuple[int, ...], expected: float, rate: int) -> None:
    """Tech 3342 allows 1 LU, we a tenth of it."""
    signal = stereo(rate, *((level, 20) for level in levels))
    assert measure(rate, signal, STEREO)[1] == pytest.approx(expected, abs=0.1)


def test_a_full_scale_sine_of_997_hz_in_one_channel_reads_3_01() -> None:
    sine = np.sin(2 * np.pi * 997 / 48_000 * np.arange(48_000 * 20)).astype(np.float32)
    assert measure(48_000, sine[None], ("FC",))[0] == pytest.approx(-3.01, abs=0.01)


def test_mono_counts_once_and_stereo_twice() -> None:
    mono = tones(48_000, (-20, 10))
    once, twice = measure(48_000, mono[None], ("FC",))[0], measure(48_000, np.stack([mono, mono]), STEREO)[0]
    assert twice - once == pytest.approx(10 * np.log10(2), abs=1e-6)


def test_channel_weights() -> None:
    assert weigh_channels(SURROUND, 6) == (1.0, 1.0, 1.0, 0.0, 1.41, 1.41)
    assert weigh_channels(("FL", "FR", "FC", "LFE", "BL", "BR"), 6) == (1.0, 1.0, 1.0, 0.0, 1.41, 1.41)
    # In 7.1 the sides are the surrounds; what is behind them is beyond 120 degrees.
    assert weigh_channels((*SURROUND, "BL", "BR"), 8) == (1.0, 1.0, 1.0, 0.0, 1.41, 1.41, 1.0, 1.0)
    assert weigh_channels((), 3) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("name", ["NONE", None])
@pytest.mark.parametrize(
    ("channels", "weights"),
    [
        (1, (1.0,)),
        (2, (1.0, 1.0)),
        (4, (1.0, 1.0, 1.41, 1.41)),
        (5, (1.0, 1.0, 1.0, 1.41, 1.41)),
        (6, (1.0, 1.0, 1.0, 0.0, 1.41, 1.41)),
        (8, (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.41, 1.41)),
        (9, (1.0,) * 9),
    ],
)
def test_channels_without_names_are_in_the_usual_order(
    channels: int, weights: tuple[float, ...], name: str | None
) -> None:
    """A WAV without a channel mask does not say which is which: libav calls each NONE."""
    assert weigh_channels((name,) * channels if name else (), channels) == weights


def test_rumble_in_the_effects_of_six_unnamed_channels_is_not_heard() -> None:
    channels = np.zeros((6, 48_000 * 5), np.float32)
    channels[:2] = stereo(48_000, (-23, 5))
    channels[3] = tones(48_000, (-6, 5))
    assert measure(48_000, channels, ("NONE",) * 6)[0] == pytest.approx(-23.0, abs=0.1)


# BS.1770-5, tables 1 and 2: the coefficients at 48 kHz as printed.
PRINTED = [
    [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585],
    [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
]


def test_against_the_printed_filter_run_by_scipy() -> None:
    signal = np.random.default_rng(3).standard_normal((2, 48_000 * 7)) * np.linspace(0.001, 0.3, 48_000 * 7)
    weighted = sosfilt(PRINTED, signal)
    hops = (weighted.reshape(2, -1, 4800) ** 2).mean(axis=2).sum(axis=0)
    blocks = np.convolve(hops, np.full(4, 0.25), "valid")
    loud = blocks[blocks > 10 ** (-69.309 / 10)]
    expected = -0.691 + 10 * np.log10(loud[loud > loud.mean() / 10].mean())
    assert measure(48_000, signal.astype(np.float32), STEREO)[0] == pytest.approx(expected, abs=1e-4)


def test_however_it_is_cut(make_signal: Any) -> None:
    signal = np.stack([make_signal(44_100, 8.0), make_signal(44_100, 8.0)[::-1]])
    whole = measure(44_100, signal, STEREO)
    rng = np.random.default_rng(4)
    for pieces in (3, 40, 900):
        cuts = np.sort(rng.integers(0, signal.shape[1], pieces))
        assert measure(44_100, signal, STEREO, cuts) == whole


def test_a_stream_that_changes_on_the_way() -> None:
    """Of rate, of channels, and every 20 ms: the level stays, so the loudness does."""
    meter = LoudnessMeter()
    meter.feed(44_100, stereo(44_100, (-23, 8.03)), STEREO)
    meter.feed(48_000, stereo(48_000, (-23, 8.01)), STEREO)
    meter.feed(48_000, tones(48_000, (-20, 8))[None], ("FC",))
    integrated, span = meter.finish()
    assert integrated == pytest.approx(-23.0, abs=0.1)
    assert span == pytest.approx(0.0, abs=0.1)
    restless = LoudnessMeter()
    for i in range(500):
        restless.feed((32_000, 48_000)[i % 2], stereo((32_000, 48_000)[i % 2], (-23, 0.02)), STEREO)
    # Each restart rings in anew, which adds something.
    assert restless.finish()[0] == pytest.approx(-23.0, abs=0.5)


def test_nothing_to_measure() -> None:
    assert LoudnessMeter().finish() == (None, None)
    assert measure(48_000, np.zeros((2, 48_000 * 10), np.float32), STEREO) == (None, None)
    assert measure(48_000, stereo(48_000, (-75, 10)), STEREO) == (None, None)  # below the absolute gate
    assert measure(48_000, stereo(48_000, (-23, 0.39)), STEREO) == (None, None)
    integrated, span = measure(48_000, stereo(48_000, (-23, 2.9)), STEREO)
    assert integrated == pytest.approx(-23.0, abs=0.1)
    assert span is None


@pytest.mark.parametrize("rate", [2_000, 3_999, 4_000, 8_000, 192_000, 768_000])
def test_extreme_rates(rate: int) -> None:
    """A tone of 500 Hz reads what it reads at 48 kHz, even where the shelf has no room."""
    expected, here = (
        measure(r, 0.1 * np.sin(2 * np.pi * 500 / r * np.arange(r * 4))[None].astype(np.float32), ("FC",))[0]
        for r in (48_000, rate)
    )
    assert here == pytest.approx(expected, abs=0.2)
