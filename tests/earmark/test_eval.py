"""`earmark eval` on small folders: which genres a file has, what is reported, what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from core.taxonomy import Taxonomy
from earmark.cli import cli
from earmark.known_music import BadFolder, read_folder
from labeler.thresholds import Thresholds
from tests.earmark.test_service import techno, wav

__all__ = ["techno"]  # a fixture

TAXONOMY = Taxonomy.load()


def place(folder: Path, *names: str, audio: bytes = b"") -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(audio)


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["eval", *map(str, arguments)])


def test_every_folder_on_the_way_that_is_a_genre_counts(tmp_path: Path) -> None:
    place(tmp_path, "Electronic/Techno/one.mp3", "Lo-Fi/one.mp3", "mine/two.FLAC", "top.ogg")
    place(tmp_path, "Hip Hop/three.wav", "Hip Hop/cover.jpg", "Hip Hop/.four.wav", ".git/Jazz/five.wav")
    found = read_folder(tmp_path, TAXONOMY)
    assert {str(file.relative_to(tmp_path)): set(genres) for file, genres in found.genres.items()} == {
        "Electronic/Techno/one.mp3": {"electronic", "electronic-techno"},
        "Lo-Fi/one.mp3": {"rock-lo-fi"},
        "Hip Hop/three.wav": {"hip-hop"},
    }
    assert {file.name for file in found.unplaced} == {"two.FLAC", "top.ogg"}
    assert found.unknown == ("mine",)


def test_a_table_beside_the_files_counts_alone(tmp_path: Path) -> None:
    place(tmp_path, "Jazz/one.mp3", "two.mp3")
    (tmp_path / "genres.csv").write_text('file,artist,genres\nJazz/one.mp3,"A, B",Rock; Dub (Reggae) ;\ntwo.mp3,C,\n')
    found = read_folder(tmp_path, TAXONOMY)
    assert {file.name: set(genres) for file, genres in found.genres.items()} == {"one.mp3": {"rock", "reggae-dub"}}
    assert [file.name for file in found.unplaced] == ["two.mp3"]


@pytest.mark.parametrize(
    "text", [b"name,style\na,b\n", b"", b"file,genres\n\xff\xfe,x\n", b'file,genres\n"' + b"a" * 200_000]
)
def test_a_broken_table_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "genres.csv").write_bytes(text)
    with pytest.raises(BadFolder):
        read_folder(tmp_path, TAXONOMY)


def test_a_folder_that_tells_nothing_is_bad_usage(tmp_path: Path) -> None:
    assert evaluate(tmp_path).exit_code == 2
    assert evaluate(tmp_path / "missing").exit_code == 2


def test_it_reports_precision_shares_and_each_label_and_fits(tmp_path: Path, techno: np.ndarray[Any, Any]) -> None:
    music, out = tmp_path / "music", tmp_path / "out.json"
    place(music, "Techno/one.wav", "Jazz/two.wav", audio=wav(techno))
    place(music, "Jazz/broken.wav", audio=b"no audio" * 500)
    place(music, "Jazz/silent.wav", audio=wav(np.zeros(44_100 * 6)))
    done = evaluate(music, "--fit", "--out", out, "--json")
    assert done.exit_code == 1  # one could not be heard
    assert f"not heard: {music / 'Jazz/broken.wav'}: " in done.stderr
    told = json.loads(done.stdout)
    assert (told["files"], told["tracks"], told["failures"]) == (4, 3, {"not_audio": 1})
    assert (told["precision"], told["share_labelled"], told["share_undecided"]) == (0.5, 0.6667, 0.3333)
    rows = {row["label"]: row for row in told["labels"]}
    assert (rows["electronic"]["judged"], rows["electronic"]["right"]) == (2, 1)
    assert (rows["jazz"]["positives"], rows["jazz"]["found"]) == (2, 0.0)
    written = Thresholds.load(out, TAXONOMY)
    assert written.pack == told["pack"] == "musicnn"
    assert written.silences("electronic-techno")  # too few examples
    assert told["fitted"]["file"] == str(out)
    shown = evaluate(music, "--fit", "--out", out)
    assert "musicnn: 3 tracks, precision 50%, labelled 67%, undecided 33%" in shown.stdout
    assert f"written to {out}" in shown.stdout
    assert evaluate(music, "--fit", "--out", tmp_path / "no" / "where.json").exit_code == 2  # before anything is heard
