"""`earmark moods` as a person and a script use it: a real process on real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE = 22_050
ROW = ["file", "status", "reason", "warnings", "score", "tag_score"]


def moods(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "earmark.cli", "moods", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | environment
    )


def only_musicnn(pack_home: Path) -> dict[str, str]:
    return {"EARMARK_HOME": str(pack_home), "EARMARK_LISTENING__PACKS": '["musicnn"]'}


def ask(home: dict[str, str], *arguments: str | Path) -> dict[str, Any]:
    done = moods(*arguments, "--json", **home)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def write_wav(path: Path, samples: np.ndarray[Any, Any]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def drone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Soft chords that swell slowly."""
    t = np.arange(RATE * 8) / RATE
    chord = sum(np.sin(2 * np.pi * f * t + 0.3 * np.sin(0.5 * t)) for f in (110.0, 164.8, 220.0, 277.2))
    return write_wav(tmp_path_factory.mktemp("audio") / "drone.wav", 0.05 * chord * (1 + np.sin(0.7 * t)) / 2)


@pytest.fixture(scope="module")
def club(drone: Path) -> Path:
    """A kick drum at 130 beats a minute, hi-hats between, a saw-tooth bass."""
    t, rng = np.arange(RATE * 8) / RATE, np.random.default_rng(1)
    beat = (t * 130 / 60) % 1.0
    kick = np.exp(-beat * 9) * np.sin(2 * np.pi * (50 * beat + 8 * (1 - np.exp(-beat * 30))))
    hat = np.exp(-((beat + 0.5) % 1.0) * 40) * rng.standard_normal(len(t))
    bass = ((t * 55) % 1.0 - 0.5) * (((t * 130 / 15) % 1.0) < 0.6)
    return write_wav(drone.with_name("club.wav"), 0.7 * kick + 0.15 * hat + 0.25 * bass)


def test_a_prompt_alone_says_what_it_means(pack_home: Path) -> None:
    answer = ask(only_musicnn(pack_home), "dark ambient techno without vocals for a Flurb")
    assert list(answer) == ["prompt", "space", "understood", "unknown", "tags", "files"]
    assert [(one["text"], one["word"], one["kind"], one["negated"]) for one in answer["understood"]] == [
        ("dark ambient", "dark ambient", "genre", False),
        ("techno", "techno", "genre", False),
        ("vocals", "vocals", "voice", True),
    ]
    assert answer["unknown"] == ["Flurb"]
    assert (answer["space"], answer["files"]) == (None, [])
    assert answer["tags"]["mtt:techno"] > 0 > answer["tags"]["mtt:vocals"]
    assert np.linalg.norm(list(answer["tags"].values())) == pytest.approx(1.0, abs=1e-2)


def test_files_are_ranked_best_first(pack_home: Path, drone: Path, club: Path) -> None:
    home = only_musicnn(pack_home)
    techno = ask(home, "techno for clubbing", drone, club)
    assert techno["space"] == "musicnn-tags"
    assert [Path(row["file"]).stem for row in techno["files"]] == ["club", "drone"]
    assert all(list(row) == ROW for row in techno["files"])
    assert techno["files"][0]["score"] > 1
    assert techno["files"][1]["score"] < 0
    assert all(row["tag_score"] == row["score"] for row in techno["files"])
    calm = ask(home, "calm, beatless ambient", club, drone)
    assert [Path(row["file"]).stem for row in calm["files"]] == ["drone", "club"]


def test_what_cannot_be_analysed_comes_last_and_exits_with_1(pack_home: Path, drone: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp3"
    text.write_text("not audio\n" * 500)
    done = moods("ambient", text, drone, tmp_path / "nowhere.ogg", "--json", **only_musicnn(pack_home))
    assert done.returncode == 1
    rows = json.loads(done.stdout)["files"]
    assert [(row["file"], row["status"], row["reason"]) for row in rows] == [
        (str(drone), "ok", None),
        (str(text), "refused", "not_audio"),
        (str(tmp_path / "nowhere.ogg"), "refused", "no_such_file"),
    ]
    assert rows[1]["score"] is None
    assert rows[1]["warnings"]


def test_a_prompt_without_a_known_word_is_refused(pack_home: Path, drone: Path) -> None:
    done = moods("xyzzy plugh", drone, **only_musicnn(pack_home))
    assert done.returncode == 2
    assert "xyzzy, plugh" in done.stderr
    assert "--words" in done.stderr
    assert done.stdout == ""
    assert moods("music for the", **only_musicnn(pack_home)).returncode == 2
    assert moods("jazz " * 100, **only_musicnn(pack_home)).returncode == 2
    assert moods().returncode == 2


def test_people_read_words_and_a_table(pack_home: Path, drone: Path) -> None:
    done = moods("sad cello, no Flurbs", drone, **only_musicnn(pack_home), COLUMNS="160")
    assert done.returncode == 0
    assert "understood: sad (mood), cello (instrument)" in done.stdout
    assert "Flurbs (ignored)" in done.stdout
    assert "mtt:cello +" in done.stdout
    assert "drone.wav" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_prompt_that_is_no_text_is_read_as_far_as_it_is(pack_home: Path) -> None:
    command = [sys.executable, "-m", "earmark.cli", "moods", b"dark \xff\xe9", "--json"]
    done = subprocess.run(
        command, capture_output=True, check=False, timeout=120, env=os.environ | only_musicnn(pack_home)
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["prompt"] == "dark \ufffd\ufffd"
    assert [match["word"] for match in answer["understood"]] == ["dark"]


def test_the_vocabulary_is_listed() -> None:
    everything = json.loads(moods("--words", "--json").stdout)
    assert len(everything) >= 400
    assert list(everything[0]) == ["word", "kind", "aliases", "tags"]
    eras = moods("--words", "era", COLUMNS="120")
    assert "nineties" in eras.stdout
    assert "techno" not in eras.stdout
    assert "is not one of" in moods("--words", "polka").stderr


def test_help_teaches_by_example() -> None:
    text = moods("--help").stdout
    assert 'earmark moods "dark ambient techno"' in text
    assert "--words" in text


def test_with_clap_the_text_itself_is_compared(stand_in_home: tuple[Path, Path], drone: Path, club: Path) -> None:
    """Stand-in towers know no music. Checked are the space that is asked, the text, and the table's second opinion."""
    home, catalogue = stand_in_home
    environment = {
        "EARMARK_HOME": str(home),
        "EARMARK_LISTENING__PACK_CATALOGUE": str(catalogue),
        "EARMARK_LISTENING__PACKS": '["musicnn", "clap"]',
    }
    answer = ask(environment, "Flurbing techno without singing", drone, club)
    assert answer["space"] == "clap"
    assert answer["unknown"] == ["Flurbing"]
    scores = {Path(row["file"]).stem: (row["score"], row["tag_score"]) for row in answer["files"]}
    assert scores["club"][1] > scores["drone"][1]
    assert [row["score"] for row in answer["files"]] == sorted((row["score"] for row in answer["files"]), reverse=True)
    assert scores["club"][0] != scores["drone"][0]
    unread = ask(environment, "Flurbing", drone, club)  # no word of the table, and yet an answer
    assert unread["tags"] == {}
    assert [row["tag_score"] for row in unread["files"]] == [None, None]
    assert [row["score"] for row in unread["files"]] != [row["score"] for row in answer["files"]]
    assert sorted((row["file"], row["score"]) for row in unread["files"]) == sorted(
        (str(file), ask(environment, "Flurbing", file)["files"][0]["score"]) for file in (drone, club)
    ), "each is judged alone"
    shown = moods("Flurbing", drone, **environment, COLUMNS="160").stdout
    assert "the text model reads them all the same" in shown
    assert moods("...", drone, **environment).returncode == 2


def test_silence_fits_no_mood(pack_home: Path, club: Path) -> None:
    silence = write_wav(club.with_name("silence.wav"), np.zeros(RATE * 5))
    best, last = ask(only_musicnn(pack_home), "heavy loud metal", silence, club)["files"]
    assert (best["file"], best["status"]) == (str(club), "ok")
    assert (last["status"], last["reason"], last["score"]) == ("undecided", "silence", None)


def test_a_forgotten_prompt_is_noticed(pack_home: Path, club: Path) -> None:
    done = moods(club, **only_musicnn(pack_home))
    assert done.returncode == 2
    assert "is a file: the prompt comes first" in done.stderr


@pytest.mark.parametrize(
    ("prompt", "word"), [("something to fall asleep to", "sleep"), ("174bpm", "fast"), ("120 BPM", "driving beat")]
)
def test_what_people_also_say(pack_home: Path, prompt: str, word: str) -> None:
    answer = ask(only_musicnn(pack_home), prompt)
    assert [one["word"] for one in answer["understood"]] == [word]
    assert answer["unknown"] == []
