"""EffNet's taggers and heads on a graph of the true architecture with random weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bench.graphs.effnet import build_effnet
from core.analysis import Space
from core.errors import Misconfigured, Undecodable
from models.child.effnet import BUDGET, EMBEDDING, FRAMES, HOP, STYLES, Effnet
from models.child.patches import Patch
from models.child.session import open_session
from models.child.tagged import as_scores
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


def test_a_head_that_is_not_installed_says_nothing(changed: Path) -> None:
    (changed / f"{VOICE}.onnx").unlink()
    (changed / "mtg_jamendo_moodtheme-discogs-effnet-1.onnx").unlink()
    effnet = Effnet(changed)
    effnet.self_test()
    tagged = effnet.tag(_patches(2))
    assert "moodtheme" not in tagged.scores
    assert np.isnan(tagged.scores["heads"][:, 6]).all()
    assert np.isfinite(tagged.scores["heads"][:, :6]).all()


def _give_no_numbers_above(path: Path, output: str, limit: float) -> None:
    """Where any input is above the limit, the graph's output is NaN: 0 times the root of what is left below it."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = ["before" if name == output else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(limit), "limit"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    for operator, inputs, name in (
        ("ReduceMax", [model.graph.input[0].name], "highest"),
        ("Sub", ["limit", "highest"], "left"),
        ("Sqrt", ["left"], "root"),
        ("Mul", ["root", "nothing"], "none"),
        ("Add", ["before", "none"], output),
    ):
        attributes = {"keepdims": 0} if operator == "ReduceMax" else {}
        model.graph.node.append(helper.make_node(operator, inputs, [name], **attributes))
    onnx.save(model, path)


@pytest.mark.parametrize("output", ["activations", "embeddings"])
def test_styles_that_are_no_numbers_are_the_files_fault(changed: Path, output: str) -> None:
    """They are not scores of heads that nobody installed."""
    patches = _patches(3)
    _give_no_numbers_above(changed / "discogs-effnet-bsdynamic-1.onnx", output, 4.0)
    effnet = Effnet(changed)
    effnet.self_test()
    assert np.isfinite(effnet.tag(patches).scores["discogs"]).all()
    patches[1].spectrum[0, 0] = 5.0
    with pytest.raises(Undecodable, match="no numbers"):
        effnet.tag(patches)


def test_a_head_that_gives_no_numbers_is_not_called_missing(changed: Path) -> None:
    patches = _patches(3)
    embeddings = Effnet(changed).tag(patches).embeddings["effnet"]
    _give_no_numbers_above(changed / f"{VOICE}.onnx", "activations", float(embeddings.max()) * 0.9999)
    effnet = Effnet(changed)
    with pytest.raises(Undecodable, match="no numbers"):
        effnet.tag(patches)


def test_scores_a_rounding_beyond_0_and_1_are_clipped() -> None:
    rows = np.array([[-1e-6, 0.0, 0.5, 1.0, 1 + 1e-6]], np.float32)
    np.testing.assert_array_equal(as_scores(rows), np.array([[0, 0, 0.5, 1, 1]], np.float32))
    for wrong in (-0.1, 1.1, np.inf, np.nan):
        with pytest.raises(Undecodable):
            as_scores(np.array([[0.5, wrong]], np.float32))


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
        Space.EFFNET_TAGS: 457,
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
