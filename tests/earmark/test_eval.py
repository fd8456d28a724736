"""`earmark eval` on small folders: which genres a file has, what is reported, what is written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from core.taxonomy import Taxonomy
from earmark.cli import cli
from earmark.known_music import BadFolder, Said, read_folder
from labeler.thresholds import Thresholds
from tests.earmark.test_service import techno, wav

__all__ = ["techno"]  # a fixture

TAXONOMY = Taxonomy.load()


def place(folder: Path, *names: str, audio: bytes = b"") -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(audio)


def evaluate(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(cli, ["eval", *map(str, arguments)], env=environment)


def test_every_folder_on_the_way_that_is_a_genre_counts(tmp_path: Path) -> None:
    place(tmp_path, "Electronic/Techno/one.mp3", "Lo-Fi/one.mp3", "mine/two.FLAC", "top.ogg")
    place(tmp_path, "Hip Hop/three.wav", "Hip Hop/cover.jpg", "Hip Hop/.four.wav", ".git/Jazz/five.wav")
    found = read_folder(tmp_path, TAXONOMY)
    assert {str(file.relative_to(tmp_path)): set(said.genres) for file, said in found.said.items()} == {
        "Electronic/Techno/one.mp3": {"electronic", "electronic-techno"},
        "Lo-Fi/one.mp3": {"rock-lo-fi"},
        "Hip Hop/three.wav": {"hip-hop"},
    }
    assert {file.name for file in found.unplaced} == {"two.FLAC", "top.ogg"}
    assert found.unknown == ("mine",)
    assert {said.source for said in found.said.values()} == {"names of folders"}


def test_a_table_beside_the_files_counts_alone(tmp_path: Path) -> None:
    place(tmp_path, "Jazz/one.mp3", "two.mp3")
    (tmp_path / "genres.csv").write_text('file,artist,genres\nJazz/one.mp3,"A, B",Rock; Dub (Reggae) ;\ntwo.mp3,C,\n')
    found = read_folder(tmp_path, TAXONOMY)
    assert {file.name: set(said.genres) for file, said in found.said.items()} == {"one.mp3": {"rock", "reggae-dub"}}
    assert found.said[tmp_path / "Jazz" / "one.mp3"].artist == "A, B"
    assert [file.name for file in found.unplaced] == ["two.mp3"]


def test_an_album_or_a_mood_is_something_to_measure_against_and_says_who_says_so(tmp_path: Path) -> None:
    columns = "file,genres,artist,album,title,moods,source"
    (tmp_path / "genres.csv").write_text(
        f"{columns}\na.ogg,,Ann,First,One,calm; sleep,tags of the file\nb.ogg,,Ann,,Two,,tags\nc.ogg,,,,,heavy\n"
    )
    found = read_folder(tmp_path, TAXONOMY)
    assert found.said == {
        tmp_path / "a.ogg": Said(
            moods=frozenset({"calm", "sleep"}), artist="Ann", album="First", title="One", source="tags of the file"
        ),
        tmp_path / "c.ogg": Said(moods=frozenset({"heavy"})),
    }
    assert [file.name for file in found.unplaced] == ["b.ogg"]  # an artist alone is nothing to measure


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
    assert told["sources"] == {"names of folders": 4}
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


def test_it_reports_albums_and_thirty_days_of_feeds(tmp_path: Path, techno: np.ndarray[Any, Any]) -> None:
    """Six cuts of one techno piece are an album, six of noise another; `dance-floor` takes the first."""
    random = np.random.default_rng(5)
    rows = ["file,genres,artist,album,title,moods,source"]
    for number in range(6):
        at = number * 44_100
        place(tmp_path, f"techno{number}.wav", audio=wav(techno[at : at + 6 * 44_100]))
        place(tmp_path, f"noise{number}.wav", audio=wav(0.1 * random.standard_normal(5 * 44_100)))
        rows += [f"techno{number}.wav,Techno,Ann,Beats,Beat {number},dance-floor,made here"]
        rows += [f"noise{number}.wav,,Bob,Hisses,Hiss {number},strange;nonsense,"]
    (tmp_path / "genres.csv").write_text("\n".join(rows))
    done = evaluate(tmp_path, "--json", EARMARK_FEEDS__MIN_SECONDS="1")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["unknown_names"] == ["nonsense"]
    assert told["sources"] == {"made here": 6, "not named": 6}
    feeds = told["feeds"]
    assert (feeds["corpus"], feeds["artists"]) == (12, 2)
    albums = feeds["albums"]
    assert (albums["tracks"], albums["albums"], albums["chance"]) == (12, 2, 0.4545)
    assert albums["precision_at_5"] > 0.9
    by_rkey = {row["feed"]: row for row in feeds["feeds"]}
    dance = by_rkey["dance-floor"]
    judged = dance["precision_at_20"]["judged"]
    assert dance["precision_at_20"] == {"share": 1.0, "chance": 0.5, "judged": judged, "known": 12, "right": 6}
    assert 0 < judged <= 6
    assert dance["admitted"] > 0
    assert by_rkey["heavy"]["precision_at_20"] is None
    assert "fresh" not in by_rkey
    shown = evaluate(tmp_path, COLUMNS="100")
    assert "(musicnn-sound): of the 5 nearest" in shown.stdout
    assert "not measured" in shown.stdout
    assert "12 shorter than the 30 s that feeds ask for" in shown.stdout
    assert [line.split()[0] for line in shown.stdout.splitlines() if "dance" in line] == ["dance-floor"]  # in one line
    assert "neither genres nor feeds here: nonsense" in shown.stderr


def test_any_bytes_may_name_a_file(tmp_path: Path, techno: np.ndarray[Any, Any]) -> None:
    folder = tmp_path / "Techno"
    folder.mkdir()
    (folder / os.fsdecode(b"one\xff.wav")).write_bytes(wav(techno[: 6 * 44_100]))
    done = evaluate(tmp_path, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["feeds"]["corpus"] == 1
