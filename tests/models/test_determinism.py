"""The same file gives the same analysis, whatever ran before, beside it or with it."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.analysis import Acoustics, Analysis, PackName
from models.crew import Crew

EXACT = 1e-6
ALL: tuple[PackName, ...] = ("musicnn", "effnet", "clap")


async def _listen(
    homes: tuple[Path, Path], packs: tuple[PackName, ...], children: int, files: list[Path]
) -> list[Analysis]:
    home, catalogue = homes
    crew = Crew(home=home, catalogue=catalogue, packs=packs, children=children)
    await crew.start()
    try:
        return list(await asyncio.gather(*(crew.analyse(path) for path in files)))
    finally:
        await crew.close()


def _assert_same(one: Analysis, other: Analysis, *, without_profile: bool = False) -> None:
    assert [(tag.model, tag.name) for tag in one.tags] == [(tag.model, tag.name) for tag in other.tags]
    assert max(abs(a.score - b.score) for a, b in zip(one.tags, other.tags, strict=True)) <= EXACT
    assert one.vectors.keys() == other.vectors.keys()
    for space, vector in one.vectors.items():
        np.testing.assert_allclose(vector, other.vectors[space], atol=EXACT, err_msg=space)
    assert (one.duration_seconds, one.container, one.warnings) == (
        other.duration_seconds,
        other.container,
        other.warnings,
    )
    assert one.rms_dbfs == pytest.approx(other.rms_dbfs, abs=EXACT)
    assert one.acoustics is not None
    assert other.acoustics is not None
    # Which pack heard speech, music and voice depends on which packs there were.
    ours = {"speech", "music", "voice"} if without_profile else set()
    for field in fields(Acoustics):
        if field.name not in ours:
            assert getattr(one.acoustics, field.name) == pytest.approx(getattr(other.acoustics, field.name), abs=EXACT)


@pytest.fixture
def files(make_signal: Any, encode: Any) -> list[Path]:
    """Of different kinds and lengths, so that batches and chunks end anywhere."""
    left = make_signal(44_100, 41.3)
    return [
        encode(np.stack([left, 0.5 * np.roll(left, 300)]), 44_100, "mp3", name="a"),
        encode(make_signal(48_000, 3.1), 48_000, "opus", name="b"),
        encode(make_signal(22_050, 17), 22_050, "flac", name="c"),
    ]


async def test_whatever_ran_before_or_beside(stand_in_home: tuple[Path, Path], files: list[Path]) -> None:
    alone = [(await _listen(stand_in_home, ALL, 1, [path]))[0] for path in files]
    busy = await _listen(stand_in_home, ALL, 2, [*files, *reversed(files)])
    for one, again, third in zip(alone, busy[:3], reversed(busy[3:]), strict=True):
        _assert_same(one, again)
        _assert_same(one, third)


@pytest.mark.parametrize("packs", [("musicnn",), ("effnet",), ("clap",), ("effnet", "clap")])
async def test_whichever_packs_listen_with_it(
    stand_in_home: tuple[Path, Path], files: list[Path], packs: tuple[PackName, ...]
) -> None:
    (everything,) = await _listen(stand_in_home, ALL, 1, files[:1])
    (some,) = await _listen(stand_in_home, packs, 1, files[:1])
    _assert_same(some, everything.only(some.packs), without_profile=True)
