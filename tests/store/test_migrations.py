"""Schema changes: each once, each whole, none edited, none from the future."""

from __future__ import annotations

import dataclasses
import sqlite3

import pytest

from core.errors import Corrupt
from store.migrate import Migration, migrate, packaged_migrations
from store.sqlite import SqliteEngine

FIRST = Migration(
    1, "first", "-- a; comment\nCREATE TABLE one (a text {bytewise} NOT NULL);\nCREATE TABLE two (b bigint);\n"
)
SECOND = Migration(2, "second", "INSERT INTO one VALUES ('x; y');\nALTER TABLE two ADD COLUMN c bigint\n")


@pytest.fixture
async def engine(place):
    engine = await SqliteEngine.open(place.path)
    yield engine
    await engine.close()


async def test_migrations_are_applied_once_and_in_order(engine, place):
    assert await migrate(engine, [FIRST], now_us=5) == 1
    assert await migrate(engine, [FIRST, SECOND], now_us=6) == 1
    assert await migrate(engine, [FIRST, SECOND], now_us=7) == 0
    content = place.content()
    assert content["one"] == [("x; y",)]
    assert [(row[0], row[1], row[3]) for row in content["migration"]] == [(1, "first", 5), (2, "second", 6)]


async def test_a_migration_that_fails_leaves_nothing_and_can_be_run_again(engine, place):
    broken = dataclasses.replace(SECOND, text=SECOND.text + ";\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        await migrate(engine, [FIRST, broken], now_us=5)
    assert place.content()["one"] == []
    assert await migrate(engine, [FIRST, SECOND], now_us=6) == 1


async def test_a_changed_migration_is_corrupt(engine):
    await migrate(engine, [FIRST], now_us=5)
    with pytest.raises(Corrupt, match="first"):
        await migrate(engine, [dataclasses.replace(FIRST, text=FIRST.text + "-- edited\n")], now_us=5)


async def test_a_newer_schema_is_refused_untouched(engine, place):
    await migrate(engine, [FIRST, SECOND], now_us=5)
    before = place.content()
    with pytest.raises(Corrupt, match="schema 2"):
        await migrate(engine, [FIRST], now_us=6)
    assert place.content() == before


async def test_opening_a_newer_store_is_refused_and_frees_the_lock(place):
    store = await place.open()
    await store.close()
    for change in (
        "INSERT INTO migration VALUES (9999, 'future', 'x', 1)",
        "DELETE FROM migration WHERE version > 9000",
    ):
        connection = sqlite3.connect(place.path)
        connection.execute(change)
        connection.commit()
        connection.close()
        if change.startswith("INSERT"):
            with pytest.raises(Corrupt, match="9999"):
                await place.open()
    await (await place.open()).close()


def test_the_packaged_migrations_are_numbered_without_gaps():
    packaged = packaged_migrations()
    assert [migration.version for migration in packaged] == list(range(1, len(packaged) + 1))
    assert all(migration.statements() for migration in packaged)
