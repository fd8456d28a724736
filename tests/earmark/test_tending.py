"""The vector index is kept stored; when that fails it is tried again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import pytest

from core.errors import Unstored
from core.log import Log
from earmark.tending import tend_index


class Index:
    """Cannot be stored the first time."""

    def __init__(self) -> None:
        self.tended = 0
        self.twice = asyncio.Event()

    async def tend(self) -> bool:
        self.tended += 1
        if self.tended == 1:
            raise Unstored("no room")
        self.twice.set()
        return True


async def test_an_index_that_could_not_be_stored_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("earmark.tending.EVERY_SECONDS", 0.0)
    index = Index()
    feeds: Any = type("Feeds", (), {"index": index})
    logger = logging.getLogger("test-tending")  # "earmark" may be set up by then not to tell pytest
    tending = asyncio.create_task(tend_index(feeds, Log(logger)))
    async with asyncio.timeout(10):
        await index.twice.wait()
    tending.cancel()
    with suppress(asyncio.CancelledError):
        await tending
    assert "was not stored" in caplog.text
