"""Pulling, converting, installing and verifying a pack."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from core.errors import Corrupt, Misconfigured, Unreachable
from core.home import default_home
from models.bundle import read_bundle
from models.catalogue import get_pack
from models.pack import PACK_NAMES, Consent, choose, is_installed, pack_folder, verify
from models.pull import pull

WHEEL = "musicnn-0.1.0-py3-none-any.whl"
INSTALLED = ["LICENSE.md", "labels.json", "manifest.json", "msd.onnx", "mtt.onnx"]


def _left_behind(home: Path) -> list[str]:
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() or path.name.startswith(".")]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory, wheel_folder: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    pull("musicnn", home, source=wheel_folder)
    return home


def test_a_pull_from_a_folder_installs_what_was_declared(pulled: Path, synthetic_reference: Any) -> None:
    installed = verify(pulled, "musicnn")
    folder = pack_folder(pulled, "musicnn")
    assert sorted(path.name for path in folder.iterdir()) == INSTALLED
    assert installed.folder == folder
    labels = json.loads((folder / "labels.json").read_text())
    assert labels == {tagger: list(synthetic_reference[tagger]) for tagger in ("msd", "mtt")}
    assert installed.pack.licence == "ISC"
    assert "Permission to use, copy, modify" in (folder / "LICENSE.md").read_text()


def test_the_same_wheel_gives_the_same_bytes(pulled: Path, tmp_path: Path, wheel_folder: Path, pack_home: Path) -> None:
    again = pull("musicnn", tmp_path, source=wheel_folder)
    assert again.pack_hash == verify(pulled, "musicnn").pack_hash
    # If only this fails, models.convert has changed: raise "recipe" in packs.json, so that installed packs are remade.
    assert again.pack_hash == verify(pack_home, "musicnn").pack_hash


def test_pulling_twice_does_nothing(pulled: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    installed = pull("musicnn", pulled, source=tmp_path, progress=steps.append)  # a folder without a wheel
    assert installed == verify(pulled, "musicnn")
    assert steps == []


def test_progress_is_told_step_by_step(tmp_path: Path, wheel_folder: Path) -> None:
    steps: list[str] = []
    pull("musicnn", tmp_path, source=wheel_folder, progress=steps.append)
    assert [step.split()[0] for step in steps] == ["verifying", "converting", "installing"]


@pytest.mark.parametrize("damage", ["flipped", "short", "empty"])
def test_a_corrupt_wheel_is_refused_and_nothing_is_left(tmp_path: Path, wheel_folder: Path, damage: str) -> None:
    content = bytearray((wheel_folder / WHEEL).read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    (source / WHEEL).write_bytes({"flipped": content, "short": content[:-1], "empty": b""}[damage])
    with pytest.raises(Corrupt, match="SHA-256" if damage == "flipped" else "bytes, expected"):
        pull("musicnn", home, source=source)
    assert _left_behind(home) == []
    assert not is_installed(home, "musicnn")


def test_a_failed_conversion_leaves_nothing(
    tmp_path: Path, wheel_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.wheel._CONVERT_DEADLINE_SECONDS", 0.01)
    with pytest.raises(Exception, match="did not end"):
        pull("musicnn", tmp_path, source=wheel_folder)
    assert _left_behind(tmp_path) == []


def test_a_source_without_the_wheel_says_which_file_it_wants(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"holds no musicnn-0\.1\.0"):
        pull("musicnn", tmp_path / "home", source=tmp_path)


def test_an_index_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(Unreachable, match=r"could not download musicnn==0\.1\.0.*package index"):
        pull("musicnn", tmp_path)
    assert _left_behind(tmp_path) == []


def test_an_environment_without_pip_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    monkeypatch.setattr("models.wheel.sys.executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(Misconfigured, match="ensurepip"):
        pull("musicnn", tmp_path / "home")


def test_a_home_that_cannot_be_written(tmp_path: Path, wheel_folder: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="EARMARK_HOME"):
        pull("musicnn", tmp_path / "file", source=wheel_folder)


def test_damage_after_installation_is_noticed_and_repaired(tmp_path: Path, wheel_folder: Path) -> None:
    first = pull("musicnn", tmp_path, source=wheel_folder)
    graph = first.folder / "msd.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")
    with pytest.raises(Corrupt, match=r"changed since it was pulled \(msd\.onnx\)"):
        verify(tmp_path, "musicnn")
    (first.folder / "labels.json").unlink()
    with pytest.raises(Corrupt, match=r"labels\.json, msd\.onnx"):
        verify(tmp_path, "musicnn")
    assert pull("musicnn", tmp_path, source=wheel_folder) == first
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["musicnn"]


def test_what_is_not_installed_and_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="earmark models pull musicnn"):
        verify(tmp_path, "musicnn")
    with pytest.raises(Misconfigured, match="did you mean 'musicnn'"):
        get_pack("musicn")
    with pytest.raises(Misconfigured, match="there are: musicnn, effnet, clap"):
        get_pack("vggish")


def test_the_home_folder_is_a_setting_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EARMARK_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("EARMARK_HOME")
    assert default_home().name == "earmark"


def test_every_tensor_is_checked(wheel_folder: Path) -> None:
    with zipfile.ZipFile(wheel_folder / WHEEL) as wheel:
        index = wheel.read("musicnn/MSD_musicnn/.index")
        shard = wheel.read("musicnn/MSD_musicnn/.data-00000-of-00001")
    names = frozenset(["dense/bias", "batch_normalization_2/gamma"])
    whole = read_bundle(index, shard, names)
    assert whole["dense/bias"].shape == (200,)
    flipped = bytearray(shard)
    at = shard.index(whole["dense/bias"].tobytes())
    flipped[at + 5] ^= 4
    with pytest.raises(Corrupt, match="dense/bias fails its checksum"):
        read_bundle(index, bytes(flipped), names)
    with pytest.raises(Corrupt, match="index fails its checksum"):
        read_bundle(index[:100] + b"\x00" + index[101:], shard, names)
    with pytest.raises(Corrupt, match="lacks nonsense"):
        read_bundle(index, shard, frozenset(["nonsense"]))
    for wrong in (b"", index[:-1], index[:-48] + bytes(48)):
        with pytest.raises(Corrupt):
            read_bundle(wrong, shard, names)
    with pytest.raises(Corrupt, match="cut short"):
        read_bundle(index, shard[:at], names)


# --- consent -----------------------------------------------------------------------------------------------


@pytest.fixture
def effnet(stand_in_home: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A home of one's own with effnet installed, and the catalogue."""
    home, catalogue = stand_in_home
    shutil.copytree(pack_folder(home, "effnet"), pack_folder(tmp_path, "effnet"))
    return tmp_path, catalogue


def test_without_consent_nothing_is_fetched(stand_in_home: tuple[Path, Path], tmp_path: Path) -> None:
    catalogue = stand_in_home[1]
    other = Consent("WTFPL", "2026-11-21T00:00:00.000Z", "0.1.0")  # to another licence
    for given in (None, other):
        with pytest.raises(Misconfigured, match=r"CC-BY-NC-SA-4\.0 .* --accept-license"):
            pull("effnet", tmp_path, source=catalogue.parent, catalogue=catalogue, consent=given)
    assert _left_behind(tmp_path) == []


def test_a_consent_survives_repairs(effnet: tuple[Path, Path]) -> None:
    home, catalogue = effnet
    before = verify(home, "effnet", catalogue=catalogue)
    assert before.consent
    (before.folder / "discogs-effnet-bsdynamic-1.onnx").unlink()
    assert pull("effnet", home, source=catalogue.parent, catalogue=catalogue) == before


def test_a_pack_whose_licence_nobody_accepted_does_not_listen(effnet: tuple[Path, Path]) -> None:
    home, catalogue = effnet
    path = pack_folder(home, "effnet") / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"consent": None}))
    with pytest.raises(Misconfigured, match=r"nobody accepted .* --accept-license"):
        verify(home, "effnet", catalogue=catalogue)
    consent = Consent(get_pack("effnet", catalogue).licence, "2026-11-21T00:00:00.000Z", "0.1.0")
    assert pull("effnet", home, source=catalogue.parent, catalogue=catalogue, consent=consent).consent == consent


def test_a_manifest_that_cannot_be_read(effnet: tuple[Path, Path]) -> None:
    home, catalogue = effnet
    (pack_folder(home, "effnet") / "manifest.json").write_text("{")
    with pytest.raises(Corrupt, match=r"manifest\.json is damaged"):
        verify(home, "effnet", catalogue=catalogue)


def test_what_a_conversion_makes_belongs_to_the_pack(stand_in_home: tuple[Path, Path], tmp_path: Path) -> None:
    home, catalogue = stand_in_home
    shutil.copytree(pack_folder(home, "clap"), pack_folder(tmp_path, "clap"))
    made = pack_folder(tmp_path, "clap") / "audio_model_fast.onnx"
    made.write_bytes(made.read_bytes() + b"!")
    with pytest.raises(Corrupt, match=r"changed since it was pulled \(audio_model_fast\.onnx\)"):
        verify(tmp_path, "clap", catalogue=catalogue)
    again = pull("clap", tmp_path, source=catalogue.parent, catalogue=catalogue)
    assert again.pack_hash == verify(home, "clap", catalogue=catalogue).pack_hash


def test_whatever_packs_are_chosen_every_mood_feed_is_judged_and_its_vetoes_are_kept() -> None:
    """A feed has prompts for clap and tags for musicnn, a veto asks effnet or else musicnn: never a silent pass."""
    sets = [some for count in range(len(PACK_NAMES) + 1) for some in combinations(PACK_NAMES, count)]
    for wanted, installed in product(sets, sets):
        chosen = set(choose(wanted, installed))
        assert "musicnn" in chosen or {"effnet", "clap"} <= chosen
