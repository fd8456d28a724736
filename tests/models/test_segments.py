"""Long tracks in stretches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.child import effnet, musicnn
from models.child.patches import PatchReservoir, choose_evenly
from models.child.segments import PATCHES, cut, describe
from models.child.spectra import frame_count
from models.child.tagged import Tagged
from models.crew import Crew


@pytest.mark.parametrize(
    ("minutes", "segments"),
    [(0.1, 0), (15, 0), (15.01, 3), (19.9, 3), (20, 4), (60, 12), (120, 24), (180, 24), (600, 24)],
)
def test_how_a_track_is_cut(minutes: float, segments: int) -> None:
    seconds = minutes * 60
    found = cut(seconds)
    assert len(found) == segments
    if found:
        assert (found[0][0], found[-1][1]) == (0.0, seconds)
        assert all(before[1] == after[0] for before, after in pairwise(found))
        assert all(end - start >= 300 - 1e-6 for start, end in found)


@pytest.mark.parametrize("minutes", [15.5, 21, 60, 119, 180])
@pytest.mark.parametrize("pack", [musicnn, effnet])
def test_every_segment_is_heard_at_least_five_times(minutes: float, pack: Any) -> None:
    """The reservoir and the budget together, at every length."""
    seconds = minutes * 60
    hop = getattr(pack, "HOP", pack.FRAMES)
    reservoir = PatchReservoir(frames=pack.FRAMES, hop=hop, capacity=pack._CAPACITY)
    for _ in range(frame_count(int(seconds * 16_000)) // 250):
        reservoir.feed(np.zeros((250, 96), np.float32))
    segments = cut(seconds)
    chosen = choose_evenly(reservoir.finish(), max(pack.BUDGET, PATCHES * len(segments)))
    centres = np.array([patch.centre_seconds for patch in chosen])
    for start, end in segments:
        assert ((centres >= start) & (centres < end)).sum() >= 5


def test_scores_are_means_of_a_segments_own_patches() -> None:
    scores = np.array([[0.0], [0.2], [0.4], [0.6], [1.0]], np.float32)
    heads = np.full((5, 2), np.nan, np.float32)
    heads[:, 0] = 0.5
    tagged = Tagged(np.array([0.0, 100.0, 310.0, 599.0, 950.0]), {"msd": scores, "heads": heads}, {})
    found = describe(1_000, [tagged])
    assert [segment.scores["msd"][0] for segment in found] == pytest.approx([0.2, 0.6, 1.0], abs=1e-6)
    assert found[0].scores["heads"] == [0.5, None]
    assert describe(899, [tagged]) == []


@pytest.mark.asyncio
async def test_a_mix_of_two_pieces_is_described_over_time(pack_home: Path, shared_data: Path, write_wav: Any) -> None:
    """Twelve minutes of a groove, then twelve of an orchestra: the segments tell them apart."""
    import av

    parts = []
    for name in ("vibe-ace", "sugar-plum-fairy"):
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        with av.open(str(shared_data / "audio" / f"{name}.ogg")) as clip:
            frames = [out for frame in clip.decode(audio=0) for out in resampler.resample(frame)]
        whole = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        parts.append(np.tile(whole, -(-720 * 16_000 // len(whole)))[: 720 * 16_000])
    crew = Crew(home=pack_home, packs=("musicnn",))
    await crew.start()
    try:
        analysis = await crew.analyse(write_wav(np.concatenate(parts), 16_000, subtype="PCM_16"))
    finally:
        await crew.close()
    assert len(analysis.segments) == 4
    strongest = [next(tag.name for tag in segment.tags if tag.model == "mtt") for segment in analysis.segments]
    assert strongest[2:] == ["classical"] * 2
    assert "classical" not in strongest[:2]
    for segment in analysis.segments:
        assert [tag.model for tag in segment.tags] == ["msd"] * 12 + ["mtt"] * 12
        scores = [tag.score for tag in segment.tags[:12]]
        assert scores == sorted(scores, reverse=True)
