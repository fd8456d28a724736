"""Prompts of feeds are placed once and kept; what people search for is not."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from core.analysis import Vector
from models.crew import Crew
from models.prompt_book import PromptBook


def _vectors(*texts: str) -> dict[str, Vector]:
    rows = np.random.default_rng(1).standard_normal((len(texts), 512)).astype(np.float32)
    return dict(zip(texts, rows, strict=True))


def test_what_is_added_is_read_again(tmp_path: Path) -> None:
    book = PromptBook(tmp_path, "a" * 64)
    first, second = _vectors("calm", "ruhig – größer"), _vectors("calm", "dunkel")
    book.add(first)
    book.add(second)
    read = PromptBook(tmp_path, "a" * 64).read()
    assert set(read) == {"calm", "ruhig – größer", "dunkel"}
    np.testing.assert_array_equal(read["calm"], second["calm"])
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_full_disk_leaves_the_old_book_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = PromptBook(tmp_path, "a" * 64)
    book.add(_vectors("calm"))

    def fill(part: IO[bytes], **_: object) -> None:
        part.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill)
    book.add(_vectors("dark"))
    assert set(book.read()) == {"calm"}
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_another_version_of_the_pack_has_its_own_book(tmp_path: Path) -> None:
    PromptBook(tmp_path, "a" * 64).add(_vectors("calm"))
    assert PromptBook(tmp_path, "b" * 64).read() == {}


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a book", b"\x93NUMPY"])
def test_a_damaged_book_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    book = PromptBook(tmp_path, "a" * 64)
    book.add(_vectors("calm"))
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(damage)
    assert book.read() == {}
    book.add(_vectors("calm"))
    assert set(book.read()) == {"calm"}


def test_a_book_with_other_vectors_is_an_empty_one(tmp_path: Path) -> None:
    book = PromptBook(tmp_path, "a" * 64)
    book.add(_vectors("calm"))
    (path,) = (tmp_path / "cache").iterdir()
    for vectors in (
        np.zeros((1, 4), np.float32),
        np.full((1, 512), np.nan, np.float32),
        np.zeros((2, 512), np.float32),
    ):
        np.savez(path, texts=np.array(["calm"]), vectors=vectors)
        assert book.read() == {}
    np.savez(path, texts=np.array([{"an": "object"}], dtype=object), vectors=np.zeros((1, 512), np.float32))
    assert book.read() == {}


def test_a_home_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    book = PromptBook(tmp_path, "a" * 64)
    book.add(_vectors("calm"))
    assert book.read() == {}


async def test_kept_prompts_outlive_the_process_and_others_do_not(
    stand_in_home: tuple[Path, Path], tmp_path: Path
) -> None:
    installed, catalogue = stand_in_home
    shutil.copytree(installed / "models", tmp_path / "models")
    crew = Crew(home=tmp_path, packs=("effnet", "clap"), catalogue=catalogue)
    await crew.start()
    try:
        placed = await crew.embed(["calm piano"], keep=True)
        await crew.embed(["what somebody looked for"])
    finally:
        await crew.close()
    (book,) = (tmp_path / "cache").iterdir()
    with np.load(book) as kept:
        assert kept["texts"].tolist() == ["calm piano"]

    crew = Crew(home=tmp_path, packs=("effnet", "clap"), catalogue=catalogue)
    await crew.start()
    try:
        *_, tower = crew.pids
        os.kill(tower, signal.SIGKILL)
        while tower in crew.pids:
            await asyncio.sleep(0.01)
        np.testing.assert_array_equal(await crew.embed(["calm piano"]), placed)
        await crew.embed(["something new"])  # which has to wake the tower again
        assert crew.pids[-1] != tower
    finally:
        await crew.close()
