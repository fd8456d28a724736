"""Files of thresholds: what is written is read, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import Misconfigured
from core.taxonomy import Taxonomy
from labeler.thresholds import MAX_BYTES, Thresholds

TAXONOMY = Taxonomy.load()
GOOD: dict[str, Any] = {"version": 1, "pack": "effnet", "thresholds": {"electronic": 0.12, "electronic-drone": None}}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    whole = Thresholds("musicnn", dict.fromkeys(TAXONOMY.identifiers, 0.25) | {"jazz": None})
    whole.write(path, {"tracks": 7, "at": "2026-01-01T00:00:00.000Z"})
    assert path.stat().st_size < MAX_BYTES / 4
    read = Thresholds.load(path, TAXONOMY)
    assert (read.pack, dict(read.floors)) == ("musicnn", dict(whole.floors))
    assert json.loads(path.read_text())["fitted_on"]["tracks"] == 7
    assert read.silences("jazz")
    assert read.floor("rock") == 0.25
    assert not read.silences("no-such")
    assert read.of("effnet").floor("rock") is None


def test_the_file_of_the_documentation_is_read(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(GOOD))
    read = Thresholds.load(path, TAXONOMY)
    assert (read.floor("electronic"), read.silences("electronic-drone"), read.silences("rock")) == (0.12, True, False)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"version": 2}, "version"),
        ({"pack": "clap"}, "pack"),
        ({"thresholds": {"elektronik": 0.5}}, "elektronik"),
        ({"thresholds": {"electronic": 0.0}}, "thresholds"),
        ({"thresholds": {"electronic": 1.01}}, "thresholds"),
        ({"thresholds": {"electronic": True}}, "thresholds"),
        ({"thresholds": [0.5]}, "thresholds"),
        ({"tresholds": {}}, "tresholds"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(Misconfigured, match=r"policy\.thresholds") as raised:
        Thresholds.load(path, TAXONOMY)
    assert word in str(raised.value)


def test_neither_a_missing_nor_a_broken_nor_a_huge_file_is_taken(tmp_path: Path) -> None:
    for name, text in (
        ("missing", None),
        ("broken", b"\xff{"),
        ("huge", b" " * (MAX_BYTES + 1)),
        ("deep", b"[" * 9999),
    ):
        path = tmp_path / name
        if text is not None:
            path.write_bytes(text)
        with pytest.raises(Misconfigured, match=name):
            Thresholds.load(path, TAXONOMY)
