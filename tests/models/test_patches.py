"""Which patches of a track are heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.child import effnet, musicnn
from models.child.analyse import Listener
from models.child.patches import Patch, PatchReservoir, choose_evenly, leave_out_silence
from models.child.spectra import HOP, levels_dbfs, log_mel
from models.pack import pack_folder

SHAPES = [(musicnn.FRAMES, musicnn.FRAMES), (effnet.FRAMES, effnet.HOP)]


def _numbers(patches: int, *, capacity: int, budget: int, frames: int = 6, hop: int = 4) -> list[int]:
    """Which patches are chosen of a stream in which every frame holds its own number."""
    reservoir = PatchReservoir(frames=frames, hop=hop, capacity=capacity)
    total = (patches - 1) * hop + frames
    for start in range(0, total, 1000):
        numbers = np.arange(start, min(start + 1000, total), dtype=np.float32)
        reservoir.feed(np.repeat(numbers[:, None], 96, axis=1))
    chosen = choose_evenly(reservoir.finish(), budget)
    assert all(patch.spectrum[0, 0] == patch.start and len(patch.spectrum) == frames for patch in chosen)
    return [patch.start // hop for patch in chosen]


@pytest.mark.parametrize(("frames", "hop"), SHAPES)
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 900), st.lists(st.integers(0, 300), min_size=1, max_size=10).filter(any))
def test_frames_cut_anyhow_give_the_patches_of_the_whole(frames: int, hop: int, total: int, sizes: list[int]) -> None:
    spectrum = np.random.default_rng(total).random((total, 96), np.float32)
    reservoir, at, turn = PatchReservoir(frames=frames, hop=hop, capacity=100), 0, 0
    while at < total:
        reservoir.feed(spectrum[at : at + sizes[turn % len(sizes)]])
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    patches = reservoir.finish()
    assert [patch.start for patch in patches] == list(range(0, total - frames + 1, hop))
    for patch in patches:
        np.testing.assert_array_equal(patch.spectrum, spectrum[patch.start : patch.start + frames])


@pytest.mark.parametrize("patches", [1, 39, 40])
def test_within_the_budget_all_are_heard(patches: int) -> None:
    assert _numbers(patches, capacity=320, budget=40) == list(range(patches))


@pytest.mark.parametrize("patches", [41, 60, 160, 320])
def test_as_long_as_the_reservoir_holds_all_they_are_evenly_spaced(patches: int) -> None:
    assert _numbers(patches, capacity=320, budget=40) == np.rint(np.linspace(0, patches - 1, 40)).astype(int).tolist()


@pytest.mark.parametrize("patches", [321, 801, 3_610])
def test_long_streams_are_covered_from_end_to_end(patches: int) -> None:
    numbers = _numbers(patches, capacity=320, budget=40)
    assert len(numbers) == len(set(numbers)) == 40
    ideal = np.linspace(0, patches - 1, 40)
    assert np.abs(np.array(numbers) - ideal).max() <= 0.5 * (ideal[1] - ideal[0])


def test_the_reservoir_is_bounded_and_never_less_than_half_full() -> None:
    reservoir = PatchReservoir(frames=6, hop=4, capacity=320)
    for fed in range(1, 5_000):
        reservoir.feed(np.zeros((4, 96), np.float32))
        held = len(reservoir.finish())
        assert held <= 320
        assert held >= min(fed - 1, 160)


def test_what_is_shorter_than_a_patch_is_repeated_only_if_asked() -> None:
    spectrum = np.random.default_rng(1).random((50, 96), np.float32)
    for repeat in (False, True):
        reservoir = PatchReservoir(frames=128, hop=62, capacity=10)
        reservoir.feed(spectrum)
        patches = reservoir.finish(repeat_short=repeat)
        assert len(patches) == repeat
    np.testing.assert_array_equal(patches[0].spectrum, np.concatenate([spectrum, spectrum, spectrum[:28]]))


def test_kept_patches_do_not_hold_on_to_what_they_were_cut_from() -> None:
    spectrum = np.zeros((1_000, 96), np.float32)
    reservoir = PatchReservoir(frames=187, hop=187, capacity=10)
    reservoir.feed(spectrum)
    spectrum += 1
    assert all(patch.spectrum.base is None and not patch.spectrum.any() for patch in reservoir.finish())


@pytest.mark.parametrize(("minutes", "patches"), [(3, 40), (15, 40), (16, 40), (40, 48)])
def test_how_much_of_a_file_musicnn_hears(
    pack_home: Path, make_signal: Any, write_wav: Any, minutes: int, patches: int
) -> None:
    """Six patches a segment, once there are more than six segments of five minutes."""
    path = write_wav(np.tile(make_signal(16_000), 5 * minutes), 16_000, subtype="PCM_16")
    listener = Listener({"musicnn": pack_folder(pack_home, "musicnn")})
    assert listener.musicnn is not None
    with mock.patch.object(listener.musicnn, "tag", wraps=listener.musicnn.tag) as tag, path.open("rb") as audio:
        heard = listener.analyse(audio, max_seconds=10_800)
    assert len(tag.call_args.args[0]) == patches
    assert heard.duration_seconds == 60 * minutes
    assert len(heard.segments) == (minutes // 5 if minutes > 15 else 0)


def _spectrum(rms: float, seed: int = 0) -> Any:
    sound = rms * np.random.default_rng(seed).standard_normal(200 * HOP)
    return log_mel(sound.astype(np.float32))


@pytest.mark.parametrize("decibels", [-90, -60, -30, -6])
def test_the_level_of_a_spectrum_is_that_of_its_sound(decibels: float) -> None:
    assert levels_dbfs(_spectrum(10 ** (decibels / 20))).mean() == pytest.approx(decibels, abs=0.5)


def test_digital_silence_has_a_level() -> None:
    assert (levels_dbfs(np.zeros((187, 96), np.float32)) == -200.0).all()


def test_silence_is_left_out_unless_there_is_nothing_else() -> None:
    sound, hiss, nothing = (
        Patch(0, _spectrum(0.1)),
        Patch(187, _spectrum(1e-4)),
        Patch(374, np.zeros((187, 96), np.float32)),
    )
    assert [patch.start for patch in leave_out_silence([sound, hiss, nothing])] == [0]
    assert [patch.start for patch in leave_out_silence([hiss, nothing])] == [187, 374]


def test_silence_around_a_piece_says_nothing(
    stand_in_home: tuple[Path, Path], make_signal: Any, write_wav: Any
) -> None:
    """musicnn calls zeros classical, so that a minute of them would rename any track; CLAP has its own opinion."""
    home, _ = stand_in_home
    listener = Listener({name: pack_folder(home, name) for name in ("musicnn", "effnet", "clap")})
    signal = np.tile(make_signal(16_000), 2)[: 20 * 16_000]
    quiet = np.zeros(60 * 16_000, np.float32)
    heard = []
    for name, pcm in (("bare", signal), ("silence", np.concatenate([signal, quiet]))):
        with write_wav(pcm, 16_000, name=f"{name}.wav").open("rb") as audio:
            heard.append(listener.analyse(audio, max_seconds=600))
    for tagger in ("msd", "mtt", "discogs"):  # the patch at the edge sounds for two of its three seconds
        np.testing.assert_allclose(heard[1].scores[tagger], heard[0].scores[tagger], atol=0.1)
    np.testing.assert_allclose(heard[1].embeddings["clap"], heard[0].embeddings["clap"], atol=1e-4)
    assert heard[1].acoustics.music == pytest.approx(heard[0].acoustics.music, abs=0.15)
