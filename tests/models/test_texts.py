"""Texts in a child of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from core.errors import ChildCrashed, Transient
from models.child.clap import ClapText
from models.crew import Crew
from models.pack import pack_folder
from models.process import ChildProcess
from models.prompt_book import PromptBook
from models.texts import Texts

PROMPTS = ["dark ambient techno", "calm piano", "", "🎷 jazz", "x" * 5_000]


@pytest.fixture
def folder(stand_in_home: tuple[Path, Path]) -> Path:
    return pack_folder(stand_in_home[0], "clap")


@pytest_asyncio.fixture
async def texts(folder: Path, tmp_path: Path) -> AsyncIterator[Texts]:
    child, book = ChildProcess(sys.executable, "text", {"clap": folder}), PromptBook(tmp_path, "aa")
    texts = Texts(child, book, deadline_seconds=20, idle_seconds=0.5)
    await texts.start()
    yield texts
    await texts.close()


async def _gone(texts: Texts) -> bool:
    for _ in range(100):
        if texts.pid is None:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_they_are_those_of_the_text_tower(texts: Texts, folder: Path) -> None:
    found = await texts.embed(PROMPTS)
    assert found.shape == (len(PROMPTS), 512)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, ClapText(folder).embed(PROMPTS), atol=1e-5)
    assert (await texts.embed([])).shape == (0, 512)


async def test_a_text_that_is_no_unicode(texts: Texts) -> None:
    """JSON can spell half a character."""
    halved, paired = await texts.embed(["calm \ud83c piano", "\ud83c\udfb7 jazz"], keep=True)
    whole = await texts.embed(["calm \ufffd piano", "🎷 jazz"])
    np.testing.assert_array_equal(np.stack([halved, paired]), whole)


async def test_many_texts_and_long_ones_fit_the_wire(texts: Texts) -> None:
    wanted = [f"{number} " + "ü" * 998 for number in range(256)]
    found = await texts.embed(wanted)
    assert len(found) == 256
    np.testing.assert_allclose(found[200], (await texts.embed([wanted[200]]))[0], atol=1e-6)
    with pytest.raises(ValueError, match="limit is 256"):
        await texts.embed(["x"] * 257)


async def test_the_child_goes_when_idle_and_comes_when_asked(texts: Texts) -> None:
    first = texts.pid
    assert first is not None
    assert await _gone(texts)
    before = await texts.embed(["calm piano"])
    assert texts.pid not in {None, first}
    assert await _gone(texts)
    np.testing.assert_array_equal(await texts.embed(["calm piano", "calm piano"]), np.vstack([before, before]))
    assert texts.pid is None, "what is remembered needs no child"


async def test_callers_take_turns(texts: Texts) -> None:
    found = await asyncio.gather(*(texts.embed([f"prompt {i}", "calm piano"]) for i in range(8)))
    assert all((rows[1] == found[0][1]).all() for rows in found)
    assert len({rows[0].tobytes() for rows in found}) == 8


async def test_a_killed_text_child(texts: Texts) -> None:
    assert texts.pid is not None
    os.kill(texts.pid, signal.SIGSTOP)
    request = asyncio.create_task(texts.embed(["calm piano"]))
    await asyncio.sleep(0.2)
    os.kill(texts.pid, signal.SIGKILL)
    with pytest.raises(ChildCrashed, match="signal 9"):
        await request
    assert (await texts.embed(["calm piano"])).shape == (1, 512)


async def test_closed_is_closed(texts: Texts) -> None:
    await texts.close()
    with pytest.raises(Transient):
        await texts.embed(["calm piano"])
    assert texts.pid is None


async def test_a_listening_child_does_not_hold_the_text_tower(stand_in_home: tuple[Path, Path]) -> None:
    home, catalogue = stand_in_home
    crew = Crew(home=home, catalogue=catalogue, packs=("clap",))
    await crew.start()
    try:
        listening, reading = crew.pids
        for pid, library in ((listening, "tokenizers"), (reading, "/av/")):
            if sys.platform == "linux":
                assert library not in Path(f"/proc/{pid}/maps").read_text()
        assert (await crew.embed(["calm piano"])).shape == (1, 512)
        assert crew.pids == (listening, reading)
    finally:
        await crew.close()
    assert crew.pids == ()
