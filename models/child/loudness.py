"""Loudness of a programme (ITU-R BS.1770-5) and its range (EBU Tech 3342), streamed, at any sample rate.

The K-weighting is two biquads, 4th order in all. They run as matrix products: a row of 128 samples and the state
before it give the weighted row; the states from row to row are a prefix sum by doubling. It is the same filter as a
sample-by-sample recursion, to float32's precision, and spares scipy.signal, whose import costs 79 MB and .7 s.
"""

from __future__ import annotations

from array import array
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.child.chunks import Channels, Chunks

HOP_SECONDS = 0.1  # gating blocks of 400 ms overlap by 75 %; short-term loudness is taken ten times a second
_BLOCK_HOPS, _SHORT_TERM_HOPS = 4, 30
_OFFSET = -0.691  # BS.1770: a sine of 997 Hz at full scale in one front channel reads -3.01
_ABSOLUTE_GATE = -70.0  # LUFS
_RELATIVE_GATE, _RANGE_GATE = -10.0, -20.0  # LU below what passes the absolute gate: loudness, its range
_RANGE_PERCENTILES = (10, 95)

_SURROUND = 1.41  # BS.1770 table 4: 60 to 120 degrees off the front, at ear height
_SIDES = frozenset({"SL", "SR"})
_BACKS = frozenset({"BL", "BR"})  # the surrounds of a 5.1 layout that has no sides; at 135 degrees in one that has
_LOW_EFFECTS = frozenset({"LFE", "LFE2"})
_UNNAMED = "NONE"  # libav's name of a channel whose place the file does not tell, as in a WAV without a channel mask
_USUAL_ORDERS = {  # by how many channels there are: what players take such a file for
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}

# The analogue prototypes of the two biquads that BS.1770 tabulates for 48 kHz (its coefficients to seven digits).
_SHELF_HZ, _SHELF_Q, _SHELF_GAIN = 1681.974450955533, 0.7071752369554196, 10 ** (3.999843853973347 / 20)
_SHELF_MIDDLE = _SHELF_GAIN**0.4996667741545416
_HIGH_PASS_HZ, _HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773
_LOWEST_SHELF_RATE = 4000  # Hz; below it little is left of the band that the shelf lifts

_ROW, _ROWS = 128, 256  # a chunk is 32 768 samples

Matrix = NDArray[np.float64]


class LoudnessMeter:
    """Feed blocks in order, then `finish`. A new rate or layout restarts the filters and keeps what was measured."""

    def __init__(self) -> None:
        self._stretch: _Stretch | None = None
        self._powers = array("d")  # weighted mean square of each hop; 864 kB for three hours
        self._energy = self._seconds = 0.0  # of the hop that is being filled
        self._due = HOP_SECONDS  # until it ends

    def feed(self, rate: int, channels: Channels, layout: tuple[str, ...] = ()) -> None:
        """Take f32 [channels, n] at `rate` Hz; `layout` names each channel (FL, FR, FC, LFE, BL ...) where known."""
        weights = weigh_channels(layout, len(channels))
        if self._stretch is None or (self._stretch.rate, self._stretch.weights) != (rate, weights):
            self._end_stretch()
            self._stretch = _Stretch(rate, weights)
        for chunk in self._stretch.chunks.feed(channels):
            self._measure(self._stretch, chunk, _ROW * _ROWS)

    def finish(self) -> tuple[float | None, float | None]:
        """(integrated LUFS, range in LU); None where nothing passes the gate, so for less than 400 ms and 3 s."""
        self._end_stretch()
        powers = np.array(self._powers)
        return _integrate(powers), _find_range(powers)

    def _end_stretch(self) -> None:
        if self._stretch is not None:
            self._measure(self._stretch, *self._stretch.chunks.finish())
            self._stretch = None

    def _measure(self, stretch: _Stretch, chunk: Channels, count: int) -> None:
        rate, weighted, start = stretch.rate, stretch.weighting.feed(chunk), 0
        while start < count:
            # Hops end where they do by time, whatever rates they were made of.
            wanted = max(1, round(self._due * rate))
            end = min(count, start + wanted)
            for weight, samples in zip(stretch.weights, weighted, strict=True):
                part = samples[start:end]
                self._energy += weight * float(np.dot(part, part)) / rate
            self._seconds += (end - start) / rate
            self._due -= (end - start) / rate
            if end - start == wanted:
                self._powers.append(self._energy / self._seconds)
                self._energy = self._seconds = 0.0
                self._due += HOP_SECONDS
            start = end


def weigh_channels(layout: tuple[str, ...], channels: int) -> tuple[float, ...]:
    """BS.1770's weight of each channel: 1.41 for surrounds, 0 for low-frequency effects, 1 for all others.

    Channels without names are taken to be in the usual order of their number; 1 for each where there is none.
    """
    if len(layout) != channels or set(layout) == {_UNNAMED}:
        layout = _USUAL_ORDERS.get(channels, (_UNNAMED,) * channels)
    surrounds = _SIDES if _SIDES & set(layout) else _BACKS
    return tuple(0.0 if name in _LOW_EFFECTS else _SURROUND if name in surrounds else 1.0 for name in layout)


class _Stretch:
    """What belongs to one rate and layout."""

    def __init__(self, rate: int, weights: tuple[float, ...]) -> None:
        self.rate, self.weights = rate, weights
        self.chunks = Chunks(len(weights), _ROW * _ROWS)
        self.weighting = _Weighting(rate, len(weights))


class _Weighting:
    """The K-weighting filter: feed chunks in order."""

    def __init__(self, rate: int, channels: int) -> None:
        self._rows = _tabulate_rows(rate)
        self._state = np.zeros((channels, 4))

    def feed(self, chunk: Channels) -> Channels:
        """f32 [channels, 32 768] weighted."""
        rows = chunk.reshape(len(chunk), _ROWS, _ROW)
        states = np.empty((len(chunk), _ROWS + 1, 4))
        states[:, 0] = self._state
        states[:, 1:] = rows @ self._rows.to_state
        for step, decay in self._rows.decays:
            states[:, step:] += states[:, :-step] @ decay
        self._state = states[:, -1]
        weighted = rows @ self._rows.to_row
        weighted += states[:, :-1] @ self._rows.from_state
        return weighted.reshape(chunk.shape)


class _Rows(NamedTuple):
    """The filter as matrices that act on rows of 128 samples and of 4 state variables."""

    to_row: NDArray[np.float32]  # [128, 128]: the answer to a row that follows silence
    to_state: Matrix  # [128, 4]: the state that such a row leaves
    from_state: NDArray[np.float32]  # [4, 128]: the answer to a state that silence follows
    decays: tuple[tuple[int, Matrix], ...]  # (r, [4, 4]): what r rows of silence make of a state, r = 1, 2, 4 ... 128


@cache
def _tabulate_rows(rate: int) -> _Rows:
    transition, entry, exit_, through = _chain(_high_shelf(rate), _high_pass(rate))
    to_state, from_state = np.empty((_ROW, 4)), np.empty((4, _ROW))
    entered, leaving = entry, exit_
    for i in range(_ROW):
        to_state[_ROW - 1 - i], from_state[:, i] = entered, leaving
        entered, leaving = transition @ entered, leaving @ transition
    impulse = np.concatenate([[through], entry @ from_state[:, :-1]])
    to_row = sliding_window_view(np.concatenate([np.zeros(_ROW - 1), impulse]), _ROW)[::-1]
    decay, decays = np.linalg.matrix_power(transition, _ROW).T, []
    for doubling in range(_ROWS.bit_length() - 1):
        decays.append((1 << doubling, decay))
        decay = decay @ decay
    return _Rows(np.ascontiguousarray(to_row, np.float32), to_state, from_state.astype(np.float32), tuple(decays))


def _chain(first: tuple[Matrix, Matrix], second: tuple[Matrix, Matrix]) -> tuple[Matrix, Matrix, Matrix, float]:
    """State space of two biquads (b, a) in direct form II transposed: s' = A s + B x; y = C s + D x."""
    (b1, a1), (b2, a2) = first, second
    inner1, inner2 = np.array([[-a1[1], 1], [-a1[2], 0]]), np.array([[-a2[1], 1], [-a2[2], 0]])
    entry1, entry2 = b1[1:] - a1[1:] * b1[0], b2[1:] - a2[1:] * b2[0]
    first_only = np.array([1.0, 0.0])
    transition = np.block([[inner1, np.zeros((2, 2))], [np.outer(entry2, first_only), inner2]])
    entry = np.concatenate([entry1, entry2 * b1[0]])
    exit_ = np.concatenate([first_only * b2[0], first_only])
    return transition, entry, exit_, float(b1[0] * b2[0])


def _high_shelf(rate: int) -> tuple[Matrix, Matrix]:
    if rate < _LOWEST_SHELF_RATE:
        return np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0])
    k = np.tan(np.pi * _SHELF_HZ / rate)
    b = [_SHELF_GAIN + _SHELF_MIDDLE * k / _SHELF_Q + k * k, 2 * (k * k - _SHELF_GAIN)]
    b.append(_SHELF_GAIN - _SHELF_MIDDLE * k / _SHELF_Q + k * k)
    a = _denominator(k, _SHELF_Q)
    return np.array(b) / a[0], a / a[0]


def _high_pass(rate: int) -> tuple[Matrix, Matrix]:
    a, tabulated = (_denominator(np.tan(np.pi * _HIGH_PASS_HZ / r), _HIGH_PASS_Q) for r in (rate, 48_000))
    # BS.1770 leaves its numerator at 1, -2, 1, which lifts what passes by .04 dB at 48 kHz; so here at any rate.
    return np.array([1.0, -2.0, 1.0]) * tabulated[0] / a[0], a / a[0]


def _denominator(k: float, q: float) -> Matrix:
    return np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])


def _integrate(powers: Matrix) -> float | None:
    blocks = _pass_gates(_slide(powers, _BLOCK_HOPS), _RELATIVE_GATE)
    return _to_lufs(float(blocks.mean())) if len(blocks) else None


def _find_range(powers: Matrix) -> float | None:
    windows = _pass_gates(_slide(powers, _SHORT_TERM_HOPS), _RANGE_GATE)
    if not len(windows):
        return None
    low, high = np.percentile(windows, _RANGE_PERCENTILES, method="nearest")
    return _to_lufs(high) - _to_lufs(low)


def _pass_gates(powers: Matrix, relative_gate: float) -> Matrix:
    """Those above the absolute gate, and among them those above the mean's loudness plus the relative one."""
    loud = powers[powers > 10 ** ((_ABSOLUTE_GATE - _OFFSET) / 10)]
    return loud[loud > loud.mean() * 10 ** (relative_gate / 10)] if len(loud) else loud


def _slide(powers: Matrix, hops: int) -> Matrix:
    """Mean power of each run of that many hops."""
    if len(powers) < hops:
        return np.empty(0)
    means: Matrix = sliding_window_view(powers, hops).mean(axis=1)
    return means


def _to_lufs(power: float) -> float:
    return _OFFSET + 10 * float(np.log10(power))
