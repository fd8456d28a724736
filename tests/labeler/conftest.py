"""What the labeler's tests share: a clock to turn by hand, a real store, a key that no one uses."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.keys import SigningKey
from core.types import Did
from store import Store


class HandClock:
    """Time stands still until it is moved."""

    def __init__(self) -> None:
        self.us = 1_767_323_045_678_000

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1e6

    def random(self) -> float:
        return 0.5

    def advance(self, seconds: float) -> None:
        self.us += round(seconds * 1e6)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def store(tmp_path: Path, clock: HandClock) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "earmark.db", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return SigningKey(bytes(range(1, 33)))


@pytest.fixture(scope="session")
def src() -> Did:
    return Did("did:plc:z72i7hdynmk6r22z27h6tvur")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Other people's data beside the clone; never in it."""
    folder = Path(os.environ.get("EARMARK_SHARED_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set EARMARK_SHARED_DATA to check against it")
    return folder
