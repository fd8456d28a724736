"""EffNet's taggers and heads on a graph of the true architecture with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.graphs.effnet import build_effnet
from core.analysis import Space
from core.errors import Misconfigured
from models.child.effnet import BUDGET, EMBEDDING, FRAMES, HOP, STYLES, Effnet
from models.child.patches import Patch
from models.child.selftest import PackUnfit
from models.child.session import open_session
from models.crew import Crew
from models.pack import pack_folder, tag_names

VOICE = "voice_instrumental-discogs-effnet-1"


@pytest.fixture(scope="module")
def folder(stand_in_home: tuple[Path, Path]) -> Path:
    return pack_folder(stand_in_home[0], "effnet")


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Path:
    """A copy of the pack to break."""
    return Path(shutil.copytree(folder, tmp_path / "effnet"))


def _patches(count: int, seed: int = 1) -> list[Patch]:
    spectra = 3 * np.random.default_rng(seed).random((count, FRAMES, 96), np.float32)
    return [Patch(i * HOP, spectrum) for i, spectrum in enumerate(spectra)]


def test_what_comes_out(folder: Path) -> None:
    tagged = Effnet(folder).tag(_patches(11))
    assert {name: rows.shape for name, rows in tagged.scores.items()} == {
        "discogs": (11, STYLES),
        "moodtheme": (11, 56),
        "heads": (11, 7),
    }
    assert tagged.embeddings["effnet"].shape == (11, EMBEDDING)
    for rows in tagged.scores.values():
        assert rows.min() >= 0
        assert rows.max() <= 1
    np.testing.assert_allclose(tagged.centres[:2], [64 * 256 / 16_000, 126 * 256 / 16_000])


def test_a_batch_does_not_change_a_patch(folder: Path) -> None:
    patches, effnet = _patches(19), Effnet(folder)
    together = effnet.tag(patches)
    for number in (0, 7, 8, 18):
        alone = effnet.tag(patches[number : number + 1])
        for name, rows in together.scores.items():
            np.testing.assert_allclose(alone.scores[name][0], rows[number], atol=1e-6, err_msg=name)


def test_each_head_is_read_at_its_positive_class(folder: Path) -> None:
    effnet, patches = Effnet(folder), _patches(3)
    tagged = effnet.tag(patches)
    classes = dict(zip(tag_names("heads"), (0, 0, 0, 1, 1, 1, 1), strict=True))
    for name, positive in classes.items():
        file = VOICE if name == "voice" else f"{name}-discogs-effnet-1"
        head = open_session(folder / f"{file}.onnx")
        (expected,) = head.run(["activations"], {"embeddings": tagged.embeddings["effnet"]})
        found = tagged.scores["heads"][:, tag_names("heads").index(name)]
        np.testing.assert_array_equal(found, expected[:, positive])
        assert (found != expected[:, 1 - positive]).all()


def test_a_heads_own_description_wins(changed: Path) -> None:
    before = Effnet(changed).tag(_patches(2)).scores["heads"][:, 6]
    (changed / f"{VOICE}.json").write_text(json.dumps({"name": "x", "classes": ["voice", "instrumental"]}))
    after = Effnet(changed).tag(_patches(2)).scores["heads"][:, 6]
    np.testing.assert_allclose(before + after, 1, atol=1e-6)
    (changed / f"{VOICE}.json").write_text(json.dumps({"classes": ["song", "speech"]}))
    with pytest.raises(PackUnfit, match=r"does not say which class is 'voice'"):
        Effnet(changed)


def test_a_head_that_is_not_installed_says_nothing(changed: Path) -> None:
    (changed / f"{VOICE}.onnx").unlink()
    (changed / "mtg_jamendo_moodtheme-discogs-effnet-1.onnx").unlink()
    effnet = Effnet(changed)
    effnet.self_test()
    tagged = effnet.tag(_patches(2))
    assert "moodtheme" not in tagged.scores
    assert np.isnan(tagged.scores["heads"][:, 6]).all()
    assert np.isfinite(tagged.scores["heads"][:, :6]).all()


async def test_the_whole_way(stand_in_home: tuple[Path, Path], make_signal: Any, write_wav: Any) -> None:
    """Without clap, musicnn listens too; every tagger's tags and every space arrive."""
    home, catalogue = stand_in_home
    crew = Crew(home=home, catalogue=catalogue, packs=("effnet",))
    await crew.start()
    try:
        analysis = await crew.analyse(write_wav(make_signal(44_100), 44_100))
        assert list(crew.packs) == ["musicnn", "effnet"]
        with pytest.raises(Misconfigured, match="earmark models pull clap"):
            await crew.embed(["calm"])
    finally:
        await crew.close()
    for tagger in ("msd", "mtt", "discogs", "moodtheme", "heads"):
        assert tuple(analysis.scores(tagger)) == tag_names(tagger)  # type: ignore[arg-type]
    assert {space: len(vector) for space, vector in analysis.vectors.items()} == {
        Space.MUSICNN_SOUND: 400,
        Space.MUSICNN_TAGS: 100,
        Space.EFFNET_SOUND: EMBEDDING,
    }
    assert np.linalg.norm(analysis.vectors[Space.EFFNET_SOUND]) == pytest.approx(1, abs=1e-6)
    assert analysis.acoustics is not None
    assert analysis.acoustics.voice == pytest.approx(analysis.scores("heads")["voice"])


def test_every_patch_of_three_minutes_fits_the_budget() -> None:
    assert (180 * 16_000 // 256 + 1 - FRAMES) // HOP + 1 == 180 <= BUDGET


def test_the_stand_in_is_the_architecture(tmp_path: Path) -> None:
    """As large as the published file to a part in a thousand, so as costly."""
    path = tmp_path / "effnet" / "styles.onnx"
    path.parent.mkdir()
    build_effnet(path)
    assert path.stat().st_size == pytest.approx(18_027_718, rel=1e-3)
