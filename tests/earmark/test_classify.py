"""`earmark classify` as a person and a script use it: a real process on real files."""

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

KEYS = [
    *("file", "status", "reason", "warnings", "duration_seconds", "pack", "genres", "labels", "moods", "tags"),
    *("packs", "acoustics", "segments"),
]
ACOUSTICS = [
    *("bpm", "bpm_confidence", "key", "key_confidence", "loudness_lufs", "loudness_range_lu", "sample_peak_dbfs"),
    *("true_peak_dbtp", "clipped", "channels", "sample_rate", "speech", "music", "voice"),
]


def classify(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "earmark.cli", "classify", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | environment
    )


def write_wav(path: Path, samples: np.ndarray[Any, Any], rate: int = 22_050) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    t = np.arange(22_050 * 6) / 22_050
    beat = (t * 2) % 1.0
    samples = 0.4 * np.exp(-beat * 12) * np.sin(2 * np.pi * 60 * t) + 0.2 * np.sin(2 * np.pi * 220 * t)
    return write_wav(tmp_path / "tone.wav", samples)


def test_json_is_one_list_in_input_order_with_the_promised_keys(tone: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp3"
    text.write_text("not audio\n" * 500)
    short = write_wav(tmp_path / "short.wav", np.zeros(22_050))
    silent = write_wav(tmp_path / "silent.wav", np.zeros(22_050 * 5))
    done = classify(text, tone, tmp_path / "nowhere.ogg", short, silent, tone, "--json", "--embedding")
    assert done.returncode == 1  # some were refused; the others still ran
    results = json.loads(done.stdout)
    assert [result["file"] for result in results] == [
        str(text),
        str(tone),
        str(tmp_path / "nowhere.ogg"),
        str(short),
        str(silent),
        str(tone),
    ]
    assert all(list(result) == [*KEYS, "embedding"] for result in results)
    assert [(result["status"], result["reason"]) for result in results[:1] + results[2:5]] == [
        ("refused", "not_audio"),
        ("refused", "no_such_file"),
        ("refused", "too_short"),
        ("undecided", "silence"),
    ]
    heard = results[1]
    assert heard["status"] in ("ok", "undecided")
    assert heard["duration_seconds"] == pytest.approx(6.0, abs=0.01)
    assert heard["pack"] == "musicnn"
    assert [sum(tag["model"] == model for tag in heard["tags"]) for model in ("msd", "mtt")] == [50, 50]
    assert all(0 <= tag["score"] <= 1 for tag in heard["tags"])
    assert list(heard["packs"]) == ["musicnn"]
    assert list(heard["acoustics"]) == ACOUSTICS
    assert (heard["acoustics"]["channels"], heard["acoustics"]["sample_rate"]) == (1, 22_050)
    assert heard["segments"] == []
    assert [(results[at]["packs"], results[at]["acoustics"], results[at]["embedding"]) for at in (0, 2)] == [
        ({}, None, None)
    ] * 2
    assert len(results[4]["tags"]) == 100  # whenever audio decoded, also when nothing is claimed
    assert len(heard["genres"]) == 10
    assert len({mood["name"] for mood in heard["moods"]}) == 12
    assert np.linalg.norm(heard["embedding"]) == pytest.approx(1.0, abs=1e-5)
    assert results[5] == heard | {"file": str(tone)}


def test_a_name_that_is_no_text_is_a_file_like_any_other(tone: Path) -> None:
    odd = os.fsencode(tone.parent) + b"/odd\xff.wav"
    os.link(tone, odd)
    command = [sys.executable, "-m", "earmark.cli", "classify", "--json", odd]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    [result] = json.loads(done.stdout)
    assert result["file"].endswith("/odd\ufffd.wav")
    assert result["duration_seconds"] == pytest.approx(6.0, abs=0.01)


def test_the_file_is_named_as_given(tone: Path) -> None:
    given = f"{tone.parent}/./{tone.name}"
    assert json.loads(classify("--json", given).stdout)[0]["file"] == given


def test_without_embedding_and_with_nothing_refused(tone: Path) -> None:
    done = classify("--json", tone)
    assert done.returncode == 0
    [result] = json.loads(done.stdout)
    assert list(result) == KEYS


def test_acoustics_say_what_was_measured_and_nothing_that_is_unsure(tmp_path: Path) -> None:
    t = np.arange(22_050 * 12) / 22_050
    clicks = 0.5 * np.exp(-((t * 2) % 1.0) * 60) * np.random.default_rng(1).standard_normal(len(t))  # 120 a minute
    beat = write_wav(tmp_path / "beat.wav", clicks)
    noise = write_wav(tmp_path / "noise.wav", 0.1 * np.random.default_rng(2).standard_normal(len(t)))
    sine = write_wav(tmp_path / "sine.wav", 0.1 * np.sin(2 * np.pi * 997 * t))
    done = classify("--json", "--peaks", beat, noise, sine)
    told = [result["acoustics"] for result in json.loads(done.stdout)]
    assert told[0]["bpm"] == pytest.approx(120.0, rel=0.02)
    assert told[1]["key"] is None
    assert told[2]["bpm"] is None
    assert told[2]["loudness_lufs"] == pytest.approx(-23.0, abs=0.11)  # 0 dBFS at 997 Hz in one channel is -3.01
    assert told[2]["true_peak_dbtp"] == pytest.approx(-20.0, abs=0.05)
    assert told[2]["clipped"] == 0.0
    assert all(list(one) == [*ACOUSTICS, "peaks"] and len(one["peaks"]) == 800 for one in told)
    assert set(told[2]["peaks"]) <= {24, 25, 26}  # a tenth of 255


def test_a_long_mix_is_described_stretch_by_stretch(tmp_path: Path) -> None:
    """Sixteen minutes: first a beat, then a chord without one."""
    rate, seconds = 8_000, 960
    t = np.arange(rate * seconds) / rate
    beat = 0.5 * np.exp(-((t * 2) % 1.0) * 12) * np.sin(2 * np.pi * 60 * t)
    chord = 0.2 * (np.sin(2 * np.pi * 220 * t) + np.sin(2 * np.pi * 277.2 * t) + np.sin(2 * np.pi * 329.6 * t))
    mix = write_wav(tmp_path / "mix.wav", np.where(t < seconds / 2, beat, chord), rate)
    [result] = json.loads(classify("--json", mix).stdout)
    segments = result["segments"]
    assert [(one["start"], one["end"]) for one in segments] == [(0.0, 320.0), (320.0, 640.0), (640.0, 960.0)]
    assert all(len(one["genres"]) <= 3 for one in segments)
    assert segments[0]["genres"] != segments[2]["genres"]
    table = classify(mix, COLUMNS="160").stdout
    assert "16:00" in table
    assert "10:40-16:00" in table


def test_effnet_and_clap_take_over_what_they_do_better(tone: Path, stand_in_home: tuple[Path, Path]) -> None:
    """Stand-ins with random weights: what they say means nothing, but everything runs as with the real ones."""
    home, catalogue = stand_in_home
    place = {"EARMARK_HOME": str(home), "EARMARK_LISTENING__PACK_CATALOGUE": str(catalogue)}
    done = classify("--json", "--embedding", tone, **place)
    assert done.returncode == 0, done.stderr
    [result] = json.loads(done.stdout)
    assert result["pack"] == "effnet"
    assert list(result["packs"]) == ["effnet", "clap"]
    models = {tag["model"] for tag in result["tags"]}
    assert models == {"discogs", "moodtheme", "heads"}
    assert sum(tag["model"] == "discogs" for tag in result["tags"]) == 400
    assert len(result["genres"]) == 10
    assert len(result["embedding"]) == 1280
    assert np.linalg.norm(result["embedding"]) == pytest.approx(1.0, abs=1e-5)
    assert len({mood["name"] for mood in result["moods"]}) == 12
    assert any(mood["score"] != 0 for mood in result["moods"])  # by the file alone: there is no corpus here

    asked = json.dumps(["musicnn", "effnet"])
    [both] = json.loads(classify("--json", tone, **place, EARMARK_LISTENING__PACKS=asked).stdout)
    assert (both["pack"], list(both["packs"])) == ("effnet", ["musicnn", "effnet"])
    assert both["genres"] == result["genres"]
    [default] = json.loads(classify("--json", tone).stdout)
    assert both["moods"] == default["moods"]  # in the space of tags


def test_the_table_is_for_people(tone: Path) -> None:
    done = classify(tone, COLUMNS="140")
    assert done.returncode == 0
    assert "tone.wav" in done.stdout
    assert "genres heard" in done.stdout
    assert "LUFS" in done.stdout


def test_a_pipe_is_wide_enough_for_names(tone: Path) -> None:
    long = tone.with_name("a song with quite a long name.wav")
    long.write_bytes(tone.read_bytes())
    command = [sys.executable, "-m", "earmark.cli", "classify", str(long)]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert "a song with quite a" in done.stdout
    assert max(map(len, done.stdout.splitlines())) == 120


def test_usage_and_configuration_mistakes_exit_with_2(tone: Path, tmp_path: Path) -> None:
    assert classify().returncode == 2
    for option in ("--embedding", "--peaks"):
        assert classify(option, tone).returncode == 2
    done = classify(tone, EARMARK_HOME=str(tmp_path / "empty"))
    assert done.returncode == 2
    assert "earmark models pull musicnn" in done.stderr
    assert "Traceback" not in done.stderr


def test_real_clips_get_a_genre_only_if_they_are_music(tmp_path: Path) -> None:
    """The three music clips carry a label; speech, whale and robin carry none."""
    shared = Path(os.environ.get("EARMARK_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    clips = sorted((shared / "audio").glob("*.ogg"))
    if not clips:
        pytest.skip(f"the audio clips are not in {shared / 'audio'}: labels on real recordings are NOT checked")
    done = classify("--json", *clips)
    labels = {Path(result["file"]).stem: result["labels"] for result in json.loads(done.stdout)}
    music = {"vibe-ace", "sugar-plum-fairy", "solo-trumpet"}
    assert {name for name, found in labels.items() if found} == music
    assert labels["sugar-plum-fairy"] == ["classical"]
    assert labels["solo-trumpet"] == ["jazz"]
