"""Which patches of a stream are listened to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.child.analyse import analyse
from models.child.musicnn import Taggers
from models.child.patches import FRAMES, PatchReservoir
from models.child.spectra import frame_count
from models.pack import pack_folder

STEP = FRAMES * 256


def _numbers(patches: int) -> list[int]:
    """Which patches are chosen of a stream in which every sample is the number of its patch."""
    reservoir = PatchReservoir()
    for number in range(patches):
        reservoir.feed(np.full(STEP, number, np.float32))
    return [int(patch[-1]) for patch in reservoir.finish()]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5 * STEP), st.lists(st.integers(1, STEP), min_size=1, max_size=20))
def test_blocks_of_any_size_give_the_patches_of_the_whole(samples: int, sizes: list[int]) -> None:
    signal = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    reservoir, at = PatchReservoir(), 0
    while at < samples:
        size = sizes[at % len(sizes)]
        reservoir.feed(signal[at : at + size])
        at += size
    patches = reservoir.finish()
    assert len(patches) == frame_count(samples) // FRAMES
    padded = np.pad(signal, (256, STEP))
    for number, patch in enumerate(patches):
        # Frame 0 of a patch is centred on its first sample, so the patch needs the 256 before it.
        np.testing.assert_array_equal(patch, padded[number * STEP : number * STEP + len(patch)])
        assert len(patch) == 186 * 256 + 512


def test_three_seconds_are_one_patch() -> None:
    reservoir = PatchReservoir()
    reservoir.feed(np.zeros(48_000, np.float32))
    assert len(reservoir.finish()) == 1


@pytest.mark.parametrize("patches", [1, 39, 40])
def test_up_to_forty_all_are_used(patches: int) -> None:
    assert _numbers(patches) == list(range(patches))


@pytest.mark.parametrize("patches", [41, 60, 160])
def test_up_to_eight_minutes_forty_are_evenly_spaced(patches: int) -> None:
    assert _numbers(patches) == np.rint(np.linspace(0, patches - 1, 40)).astype(int).tolist()


@pytest.mark.parametrize("patches", [161, 401, 3_610])
def test_long_streams_are_covered_from_end_to_end(patches: int) -> None:
    numbers = _numbers(patches)
    assert len(numbers) == len(set(numbers)) == 40
    ideal = np.linspace(0, patches - 1, 40)
    assert np.abs(np.array(numbers) - ideal).max() <= 0.5 * (ideal[1] - ideal[0])


def test_the_reservoir_is_bounded() -> None:
    reservoir = PatchReservoir()
    for _ in range(1_000):
        reservoir.feed(np.zeros(STEP, np.float32))
        assert len(reservoir._kept) <= 160


def test_a_long_file_costs_forty_patches(pack_home: Path, make_signal: Any, write_wav: Any) -> None:
    path = write_wav(np.tile(make_signal(16_000), 100), 16_000, subtype="PCM_16")  # twenty minutes
    heard = analyse(path, Taggers(pack_folder(pack_home, "musicnn")), max_seconds=10_800)
    assert heard.patches == 40
    assert heard.duration_seconds == 1_200
