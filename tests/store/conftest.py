"""Real databases in temporary folders, a clock that stands still, and values by a few words.

Everything that is not about SQLite itself goes through `place`, so that another engine is one more parameter here.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.analysis import Analysis, Space, Tag, Vector, Verdict, VerdictStatus, generation_of
from core.clock import format_datetime
from core.label import Label
from core.link import Link, LinkRule
from core.types import AtUri, BlobRef, Cid, Did, Nsid, Track, TrackState, make_tid
from store import Store, Tx, tracks
from store.engine import Engine
from store.migrate import migrate, packaged_migrations
from store.sqlite import SqliteEngine

START_US = 1_800_000_000_000_000
SRC = "did:plc:labelerlabelerlabelerla"
PACKS = {"musicnn": "pack-1"}
GENERATION = generation_of(PACKS)


class StillClock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.us = START_US

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1_000_000

    def random(self) -> float:
        return 0.5

    def pass_seconds(self, seconds: float) -> None:
        self.us += round(seconds * 1_000_000)


class SqlitePlace:
    """Where one database lives: open it, look at all of it, cut its power."""

    def __init__(self, folder: Path, clock: StillClock) -> None:
        self.path = folder / "earmark.db"
        self.clock = clock
        self.cuts = 0

    async def open(self) -> Store:
        return await Store.open(self.path, clock=self.clock)

    async def open_engine(self) -> Engine:
        """Migrated, for tests that put something between the store and its engine."""
        engine = await SqliteEngine.open(self.path)
        await migrate(engine, packaged_migrations(), now_us=self.clock.now_us())
        return engine

    def cut_power(self) -> SqlitePlace:
        """The files as they are at this moment, elsewhere: what a machine finds after its power was cut."""
        self.cuts += 1
        copy = SqlitePlace(self.path.parent / f"cut{self.cuts}", self.clock)
        copy.path.parent.mkdir()
        for suffix in ("", "-wal"):
            if (source := self.path.with_name(self.path.name + suffix)).exists():
                shutil.copyfile(source, copy.path.with_name(copy.path.name + suffix))
        return copy

    def content(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table that is committed."""
        connection = sqlite3.connect(self.path)
        try:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in sorted(names)}
        finally:
            connection.close()


class Make:
    """Values by number."""

    src = SRC
    packs = PACKS
    generation = GENERATION

    def did(self, number: int) -> Did:
        return Did("did:plc:" + "a" * 22 + "".join("abcdefghijklmnopqrstuvwxyz"[number // 26**n % 26] for n in (1, 0)))

    def uri(self, number: int, by: int = 0) -> str:
        return f"at://{self.did(by)}/fm.plyr.track/t{number}"

    def track(self, number: int, *, by: int = 0, rev: int = 1, **changes: Any) -> Track:
        fields: dict[str, Any] = {
            "uri": AtUri(self.did(by), Nsid("fm.plyr.track"), f"t{number}"),
            "cid": Cid(f"record-{number}-{rev}"),
            "rev": make_tid(START_US + rev),
            "title": f"Song {number}",
            "created_us": START_US - 1000,
            "blob": BlobRef(Cid(f"audio-{number}"), "audio/mpeg", 1000),
        }
        return Track(**(fields | changes))

    def label(self, number: int = 0, val: str = "ambient", *, at_us: int = START_US, **changes: Any) -> Label:
        fields: dict[str, Any] = {"src": SRC, "uri": self.uri(number), "val": val, "cts": format_datetime(at_us)}
        return Label(**(fields | {"sig": b"s" * 64} | changes))

    def verdict(self, *labels: str, rankable: bool = True, **changes: Any) -> Verdict:
        return Verdict(**({"status": VerdictStatus.OK, "labels": labels, "rankable": rankable} | changes))

    def vector(self, seed: int, size: int = 100) -> Vector:
        return np.random.default_rng(seed).standard_normal(size).astype(np.float32)

    def analysis(self, seed: int = 0, **changes: Any) -> Analysis:
        fields: dict[str, Any] = {
            "packs": PACKS,
            "duration_seconds": 180.25,
            "rms_dbfs": -14.5,
            "tags": (Tag("ambient", "msd", 0.75), Tag("quiet", "mtt", 0.125)),
            "vectors": {Space.MUSICNN_TAGS: self.vector(seed), Space.MUSICNN_SOUND: self.vector(seed, 400)},
            "warnings": ("mime_disagrees",),
            "container": "mp3",
        }
        return Analysis(**(fields | changes))

    def link(self, target: str, *, post: int = 0, author: int = 0, **changes: Any) -> Link:
        did = self.did(author)
        fields: dict[str, Any] = {
            "post_uri": f"at://{did}/app.bsky.feed.post/p{post}",
            "post_did": did,
            "target": target,
            "rule": LinkRule.EMBED_RECORD,
            "created_us": START_US + post,
        }
        return Link(**(fields | changes))

    async def stored(self, tx: Tx, track: Track, state: TrackState = TrackState.QUEUED) -> int:
        """Store a track; its number."""
        assert await tracks.put(tx, track, state=state, reason=None, now_us=START_US)
        stored = await tracks.get(tx, str(track.uri))
        assert stored is not None
        return stored.track_id


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture(params=["sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: StillClock) -> SqlitePlace:
    assert request.param == "sqlite"
    return SqlitePlace(tmp_path, clock)


@pytest.fixture
async def store(place: SqlitePlace) -> AsyncIterator[Store]:
    store = await place.open()
    yield store
    await store.close()
