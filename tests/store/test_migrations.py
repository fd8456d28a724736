"""Schema changes: each once, each whole, none edited, none from the future."""

from __future__ import annotations

import dataclasses
import sqlite3

import numpy as np
import orjson
import pytest

from core.analysis import Space, Tag, generation_of
from core.errors import Corrupt
from core.types import TrackState
from store import analyses, generations, labels, posters, questions, repos, tracks
from store.index import VectorIndex
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


OLD_HASH = "5" * 64


def fill_first_schema(path, make):
    """What the code of schema 1 left behind: tracks 1 and 2 heard, 3 undecided, 4 being heard again for new words,
    5 not public, 6 an adult self-label, 7 deleted with its vectors gone."""
    states = {1: "ready", 2: "ready", 3: "undecided", 4: "queued", 5: "refused", 6: "refused", 7: "withdrawn"}
    connection = sqlite3.connect(path)
    for number, state in states.items():
        track = make.track(number)
        reason = {5: "not_public", 6: "self_label"}.get(number)
        audio = None if number == 7 else track.audio_key
        record = orjson.dumps({"blob": [audio, "audio/mpeg", 1000]} if audio else {}).decode()
        connection.execute(
            "INSERT INTO track VALUES (?,?,?,?,?,?,?,'unknown',NULL,NULL,1,1,'T',1,NULL,?,NULL,0,0,0,'[]',?)",
            (number, str(track.uri), track.did, track.cid, track.rev, state, reason, audio, record),
        )
        vectors = [make.vector(number, 400), make.vector(number, 100)]
        if number not in (5, 7):
            body = {
                "pack": "musicnn",
                "duration_seconds": 100.0 + number,
                "rms_dbfs": -12.0,
                "tags": [("ambient", "msd", 0.5)],
                "spaces": [("musicnn-sound", 400), ("musicnn-tags", 100)],
                "warnings": [],
                "container": "mp3",
            }
            connection.execute(
                "INSERT INTO analysis VALUES (?,?,?,?,?,?)",
                (audio, OLD_HASH, 100.0 + number, orjson.dumps(body), b"".join(v.tobytes() for v in vectors), number),
            )
        if number in (1, 2, 7):
            for place, (space, vector) in enumerate(zip(("musicnn-sound", "musicnn-tags"), vectors, strict=True)):
                data = None if number == 7 else vector.tobytes()
                row = (number, space, 2 * number + place, OLD_HASH, data)
                connection.execute("INSERT INTO vector VALUES (?,?,?,?,?)", row)
        live = orjson.dumps(["ambient"] if number in (1, 2) else []).decode()
        connection.execute(
            "INSERT INTO verdict VALUES (?,1,0,?,?,?,'[]','[]',?,1)",
            (str(track.uri), "ok" if number < 3 else "undecided", live, reason, int(number < 3)),
        )
    connection.execute("INSERT INTO counter VALUES ('vector', 15), ('track', 7)")
    connection.commit()
    connection.close()


async def test_a_database_of_schema_1_goes_on_serving_while_it_is_heard_again(place, make, tmp_path):
    engine = await SqliteEngine.open(place.path)
    await migrate(engine, packaged_migrations()[:1], now_us=5)
    await engine.close()
    fill_first_schema(place.path, make)

    store = await place.open()
    now = {"musicnn": OLD_HASH}  # the very same pack: yet we listen in another way
    async with store.write() as tx:
        living = await generations.arrange(tx, now, now_us=6)
        assert (living.serving.name, living.serving.packs) == (OLD_HASH, now)
        assert not living.serving.is_heard_by(now)
        assert living.building is not None
        assert living.building.name == generation_of(now)
        # What was decided by hearing is heard again; the rest is none of it, or is the worker's.
        found = await generations.next_unheard(tx, living.building, after=0, now_us=6, limit=100)
        assert [track_id for track_id, _, _ in found] == [1, 2, 3, 6]
        old = await analyses.get(tx, "audio-1", OLD_HASH)
        assert (old.packs, old.tags, old.acoustics) == (now, (Tag("ambient", "msd", 0.5),), None)
        np.testing.assert_array_equal(old.vectors[Space.MUSICNN_TAGS], make.vector(1, 100))
        assert (await labels.get_verdict(tx, make.uri(1))).audio_key == "audio-1"
        assert (await labels.get_verdict(tx, make.uri(5))).generation is None
        assert (await tracks.get(tx, make.uri(4))).state is TrackState.QUEUED
        assert [row.duration_seconds for row in await tracks.rankable(tx) if row.music] == [101.0, 102.0]
    index = await VectorIndex.open(store, tmp_path / "index", spaces=living.serving.spaces, generation=OLD_HASH)
    assert index.products(Space.MUSICNN_TAGS, make.vector(1, 100)[None], [1, 2, 3])[0] == [1, 2]
    await store.close()


async def test_whoever_has_tracks_in_an_older_database_is_followed_and_walked(place, make):
    """What these artists wish was never asked, and what they deleted meanwhile is not known."""
    engine = await SqliteEngine.open(place.path)
    await migrate(engine, packaged_migrations()[:1], now_us=5)
    await engine.close()
    fill_first_schema(place.path, make)
    connection = sqlite3.connect(place.path)
    connection.execute("UPDATE track SET did = ?, uri = ? WHERE track_id = 7", (make.did(7), make.uri(7, by=7)))
    connection.execute(
        "INSERT INTO link VALUES (?,?,?,'R2',1,0,0,1,1,9)", ("at://x/app.bsky.feed.post/a", make.uri(1), make.did(3))
    )
    connection.commit()
    connection.close()
    store = await place.open()
    async with store.read() as reader:
        assert await repos.followed(reader) == [make.did(0)]  # 7 has deleted all
        assert [repo.reason for repo in await repos.due(reader, now_us=1, limit=9)] == ["upgraded"]
        assert await posters.due(reader, now_us=1, limit=9) == [(make.did(3), 9, 0)]
        asked = [uri for uri, _ in await questions.due(reader, now_us=1, limit=9)]
        assert sorted(asked) == [make.uri(number) for number in range(1, 7)]
    await store.close()


async def test_an_empty_database_of_schema_1_has_no_generation_yet(place):
    engine = await SqliteEngine.open(place.path)
    await migrate(engine, packaged_migrations()[:1], now_us=5)
    await engine.close()
    store = await place.open()
    async with store.write() as tx:
        assert (await generations.arrange(tx, {"musicnn": "x"}, now_us=6)).coming is None
    await store.close()
