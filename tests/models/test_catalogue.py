"""The declared packs, and which of the installed ones listen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.analysis import DIMENSIONS, PACK_OF_TAGGER, PackName, Space, generation_of
from core.errors import Corrupt, Misconfigured
from models.catalogue import get_pack, read_catalogue, tag_names
from models.pack import choose, pack_folder, select


def test_the_declared_packs_agree_with_what_the_house_knows() -> None:
    packs = read_catalogue()
    assert list(packs) == ["musicnn", "effnet", "clap"]
    for pack in packs.values():
        assert all(PACK_OF_TAGGER[tagger] == pack.name for tagger in pack.taggers)
        assert {tagger: len(tag_names(tagger)) for tagger in pack.taggers} == pack.taggers
        assert all(space.pack == pack.name for space in pack.spaces)
        assert len({file.path for file in pack.downloads}) == len(pack.downloads)
        hosts = {"effnet": "https://essentia.upf.edu/", "clap": "https://huggingface.co/Xenova/clap-htsat-unfused/"}
        assert all(file.url and file.url.startswith(hosts[pack.name]) for file in pack.files)
        assert all(file.url.endswith(f"/{file.path}") for file in pack.files if file.url)  # mirrors may copy by name
    assert {tagger for pack in packs.values() for tagger in pack.taggers} == set(PACK_OF_TAGGER)
    assert {space for pack in packs.values() for space in pack.spaces} == set(DIMENSIONS)
    assert [pack.consent for pack in packs.values()] == [False, True, False]
    assert packs["effnet"].licence == "CC-BY-NC-SA-4.0 / CC-BY-NC-ND-4.0"
    assert packs["clap"].licence == "Apache-2.0 / CC-BY-4.0"


def test_the_styles_are_in_the_order_that_the_model_has(shared_data: Path) -> None:
    assert tag_names("discogs") == tuple(json.loads((shared_data / "models" / "discogs400_labels.json").read_text()))


def test_labels_are_distinct() -> None:
    for tagger in PACK_OF_TAGGER:
        names = tag_names(tagger)
        assert len(set(names)) == len(names)


def test_what_the_graphs_hear_is_what_is_declared(stand_in_home: tuple[Path, Path]) -> None:
    onnx = pytest.importorskip("onnx")
    home, catalogue = stand_in_home
    graphs = {"musicnn": "msd.onnx", "effnet": "discogs-effnet-bsdynamic-1.onnx", "clap": "audio_model_quantized.onnx"}
    for name, file in graphs.items():
        front_end = get_pack(name, catalogue).front_end
        graph = onnx.load(pack_folder(home, name) / file).graph
        sizes = [axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim]
        assert sizes[-2:] == [front_end.patch_frames, front_end.mel_bands]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"path": "../../outside.onnx"}, "path"),
        ({"path": ".hidden"}, "path"),
        ({"path": "manifest.json"}, "path"),
        ({"sha256": "short"}, "sha256"),
        ({"size": -1}, "size"),
        ({"sise": 5}, "sise"),
    ],
)
def test_a_catalogue_that_cannot_be_meant(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    packs = msgspec.to_builtins(tuple(read_catalogue().values()))
    packs[1]["files"][0].update(change)
    (tmp_path / "packs.json").write_text(json.dumps(packs))
    with pytest.raises(Misconfigured, match=rf"listening\.pack_catalogue: .*{says}"):
        read_catalogue(tmp_path / "packs.json")


def test_a_catalogue_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"listening\.pack_catalogue: .*No such file"):
        read_catalogue(tmp_path / "packs.json")


@pytest.mark.parametrize(
    ("wanted", "installed", "chosen"),
    [
        ((), (), ("musicnn",)),
        ((), ("musicnn",), ("musicnn",)),
        ((), ("effnet",), ("musicnn", "effnet")),
        ((), ("clap",), ("musicnn", "clap")),
        ((), ("clap", "musicnn", "effnet"), ("effnet", "clap")),
        (("clap",), ("clap", "musicnn", "effnet"), ("musicnn", "clap")),
        (("clap", "effnet"), (), ("effnet", "clap")),
        (("clap", "effnet", "musicnn"), (), ("musicnn", "effnet", "clap")),
        (("musicnn",), ("clap", "musicnn", "effnet"), ("musicnn",)),
    ],
)
def test_musicnn_listens_unless_both_others_do(
    wanted: tuple[PackName, ...], installed: tuple[PackName, ...], chosen: tuple[PackName, ...]
) -> None:
    assert choose(wanted, installed) == chosen


@pytest.mark.parametrize(
    ("wanted", "genres", "sound", "moods"),
    [
        (("musicnn",), "musicnn", Space.MUSICNN_SOUND, Space.MUSICNN_TAGS),
        (("effnet",), "effnet", Space.EFFNET_SOUND, Space.MUSICNN_TAGS),
        (("clap",), "musicnn", Space.MUSICNN_SOUND, Space.CLAP),
        ((), "effnet", Space.EFFNET_SOUND, Space.CLAP),
    ],
)
def test_which_pack_does_what(
    stand_in_home: tuple[Path, Path], wanted: tuple[PackName, ...], genres: str, sound: Space, moods: Space
) -> None:
    home, catalogue = stand_in_home
    chosen = select(home, wanted, catalogue=catalogue)
    assert (chosen.genres, chosen.sound, chosen.moods) == (genres, sound, moods)
    assert {sound, moods} <= set(chosen.spaces)
    assert chosen.folders == {name: pack_folder(home, name) for name in chosen.hashes}
    assert chosen.generation == generation_of(chosen.hashes)


def test_a_wanted_pack_that_is_missing_names_its_remedy(pack_home: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="earmark models pull musicnn"):
        select(tmp_path)
    shutil.copytree(pack_folder(pack_home, "musicnn"), pack_folder(tmp_path, "musicnn"))
    assert list(select(tmp_path).hashes) == ["musicnn"]
    with pytest.raises(Misconfigured, match="earmark models pull clap"):
        select(tmp_path, ["clap"])


def test_stand_ins_are_not_the_declared_packs(stand_in_home: tuple[Path, Path]) -> None:
    with pytest.raises(Corrupt, match="another version of Earmark"):
        select(stand_in_home[0])
