"""What only SQLite has: the lock file, the write-ahead log, query plans, threads that outlive a cancelled task."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from contextlib import suppress

import pytest

from core.errors import Corrupt, Misconfigured, StoreBusy
from store import Store, cursors, sequence
from store.engine import load_statements
from store.sqlite import SqliteEngine

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_second_process_is_refused_with_a_remedy_until_the_first_ends(place):
    script = (
        "import asyncio, sys, pathlib\n"
        "from core.clock import SystemClock\n"
        "from store import Store\n"
        "async def main():\n"
        "    await Store.open(pathlib.Path(sys.argv[1]), clock=SystemClock())\n"
        "    print('open', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(place.path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await child.stdout.readline() == b"open\n"
        with pytest.raises(Misconfigured, match=f"in use by process {child.pid}; stop that one"):
            await place.open()
    finally:
        child.kill()
        await child.wait()
    await (await place.open()).close()


async def test_two_stores_in_one_process_are_refused_too(store, place):
    with pytest.raises(Misconfigured):
        await place.open()


async def test_the_settings_that_durability_rests_on(place):
    engine = await SqliteEngine.open(place.path)
    async with engine.write() as session:
        assert await session.fetch("PRAGMA journal_mode", {}) == [("wal",)]
        assert await session.fetch("PRAGMA synchronous", {}) == [(2,)]  # FULL
        assert await session.fetch("PRAGMA foreign_keys", {}) == [(1,)]
        assert await session.fetch("PRAGMA busy_timeout", {}) == [(5000,)]
    async with engine.read() as session:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await session.fetch("CREATE TABLE x (a)", {})
    await engine.close()


async def test_close_folds_the_log_into_the_file_and_is_idempotent(place):
    store = await place.open()
    async with store.write() as tx:
        await cursors.advance(tx, "s", 1, now_us=1)
    await store.close()
    await store.close()
    assert sorted(path.name for path in place.path.parent.iterdir()) == ["earmark.db", "earmark.db.lock"]
    for open_block in (store.read, store.write):
        with pytest.raises(RuntimeError, match="closed"):
            async with open_block():
                pass


async def test_close_waits_for_the_writer_under_way(place):
    store = await place.open()
    async with store.write() as tx:
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0.01)
        await cursors.advance(tx, "s", 1, now_us=1)
    await closing
    assert place.content()["cursor"] == [("s", 1, 1)]


async def test_a_reader_sees_one_snapshot_while_writers_commit(store):
    async with store.write() as tx:
        await cursors.advance(tx, "s", 1, now_us=1)
    async with store.read() as before:
        assert (await cursors.get(before, "s")).value == 1
        async with store.write() as tx:
            await cursors.advance(tx, "s", 2, now_us=1)
            async with store.read() as during:
                assert (await cursors.get(during, "s")).value == 1
        assert (await cursors.get(before, "s")).value == 1
    async with store.read() as after:
        assert (await cursors.get(after, "s")).value == 2


async def test_a_writer_sees_what_it_wrote_and_an_exception_takes_it_back(store):
    with suppress(ZeroDivisionError):
        async with store.write() as tx:
            assert await sequence.take(tx, "x", 5) == 1
            assert await sequence.newest(tx, "x") == 5
            raise ZeroDivisionError
    async with store.write() as tx:
        assert await sequence.take(tx, "x", 1) == 1
        with pytest.raises(ValueError, match="0"):
            await sequence.take(tx, "x", 0)


@pytest.mark.parametrize("turns", range(12))
async def test_a_writer_cancelled_at_any_point_commits_all_or_nothing(store, place, turns):
    async def write():
        async with store.write() as tx:
            await sequence.take(tx, "x", 1)
            await sequence.take(tx, "y", 1)

    task = asyncio.create_task(write())
    for _ in range(turns):
        await asyncio.sleep(0.0004)
    task.cancel()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with store.write() as tx:
        first = await sequence.take(tx, "x", 1)
        assert await sequence.take(tx, "y", 1) == first
    assert place.content()["counter"] == [("x", first), ("y", first)]


async def test_a_writer_cancelled_while_it_waits_its_turn_leaves_the_queue(store):
    async def write():
        async with store.write() as tx:
            return await sequence.take(tx, "x", 1)

    async with store.write() as tx:
        waiting = [asyncio.create_task(write()) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[1].cancel()
        assert await sequence.take(tx, "x", 1) == 1
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert (results[0], results[2]) == (2, 3)
    assert isinstance(results[1], asyncio.CancelledError)


async def test_a_cancelled_reader_stops_its_statement_and_frees_its_connection(place):
    engine = await SqliteEngine.open(place.path, readers=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), engine.read() as session:
            await session.fetch(ENDLESS, {})
    async with asyncio.timeout(5), engine.read() as session:
        assert await session.fetch("SELECT 1", {}) == [(1,)]
    await engine.close()


async def test_more_readers_than_connections_take_turns(store):
    async def read():
        async with store.read() as r:
            await asyncio.sleep(0.001)
            return await sequence.newest(r, "x")

    assert await asyncio.gather(*(read() for _ in range(20))) == [0] * 20


async def test_a_file_that_is_no_database_is_corrupt(place):
    place.path.write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(Corrupt, match="restore a backup"):
        await place.open()
    assert place.path.read_bytes().startswith(b"not a database")


async def test_a_database_locked_by_another_program_is_busy_not_broken(place, monkeypatch):
    monkeypatch.setattr("store.sqlite._BUSY_TIMEOUT_MS", 50)
    store = await place.open()
    other = sqlite3.connect(place.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        async with store.write():
            pass
    other.execute("ROLLBACK")
    other.close()
    async with store.write() as tx:
        assert await sequence.take(tx, "x", 1) == 1
    await store.close()


async def test_whether_somebody_writes_can_be_asked(place):
    assert not Store.is_in_use(place.path)
    store = await place.open()
    assert Store.is_in_use(place.path)
    await store.close()
    assert not Store.is_in_use(place.path)


PLANS = {
    "tracks.get": ["SEARCH t USING INDEX sqlite_autoindex_track_1 (uri=?)"],
    "tracks.of_account": ["SEARCH t USING INDEX track_of_account (did=?)"],
    "tracks.rankable": ["SEARCH v USING INDEX", "SEARCH n USING", "SEARCH a USING INDEX"],
    "links.of_track": ["SEARCH t USING INDEX", "SEARCH l USING INDEX link_by_target (target=?)"],
    "links.of_all_tracks": ["SEARCH t USING", "SEARCH l USING INDEX link_by_target (target=?)"],
    "links.drop_author": ["link_of_account"],
    "links.drop_range": ["link_by_target (target>? AND target<?)"],
    "links.concerns": [
        "SEARCH t USING COVERING INDEX track_of_account",
        "SEARCH l USING COVERING INDEX link_of_account",
    ],
    "links.uncount_target": ["SEARCH link USING INDEX sqlite_autoindex_link_1", "SEARCH o USING INDEX link_by_target"],
    "mirrors.range_end": ["SEARCH t USING INTEGER PRIMARY KEY (rowid>?)"],
    "mirrors.wanted": ["SEARCH t USING INTEGER PRIMARY KEY (rowid>?", "SEARCH l USING INDEX link_by_target"],
    "mirrors.held": ["SEARCH t USING INTEGER PRIMARY KEY (rowid>?", "SEARCH m USING INDEX mirror_of_track"],
    "mirrors.posts_of": ["SEARCH mirror USING INDEX mirror_of_track"],
    "pages.due": ["page_due (due_us<?)"],
    "pages.waiting": ["page_due"],
    "pages.forget_nothing": ["page_settled (due_us<?)"],
    "posters.due": ["poster_due (due_us<?)"],
    "questions.due": ["link_question_due (due_us<?)"],
    "signals.count": ["SEARCH signal USING INDEX signal_of_subject (subject=?)"],
    "signals.drop_actor": ["signal_of_actor"],
    "signals.drop_range": ["SEARCH signal USING", "signal_of_subject (subject>? AND subject<?)"],
    "jobs.claim": ["USING COVERING INDEX job_due (due_us<?)"],
    "jobs.next_due_us": ["job_due"],
    "jobs.ready_count": ["USING COVERING INDEX job_due"],
    "analyses.vector_log": ["SEARCH vector USING INDEX sqlite_autoindex_vector_2 (generation=? AND seq>?)"],
    "generations.next_unheard": ["SEARCH t USING INTEGER PRIMARY KEY (rowid>?)", "SEARCH v USING", "SEARCH n USING"],
    "generations.next_unjudged": ["SEARCH t USING INTEGER PRIMARY KEY (rowid>?)", "SEARCH v USING", "SEARCH n USING"],
    "generations.count_heard": ["COVERING INDEX analysis_of_generation"],
    "generations.clear_analyses": ["COVERING INDEX analysis_of_generation"],
    "tracks.of_audio": ["SEARCH t USING INDEX track_of_audio"],
    # The two steps in this order: what waits is taken from its index in turn, not all of it sorted.
    "labels.pending": [
        "SCAN v USING INDEX verdict_pending\nCORRELATED",
        "SEARCH l USING INDEX label_current (uri=?)",
    ],
    "labels.reflected": [
        "SEARCH v USING INDEX verdict_pending (turn=? AND updated_us=?)",
        "SEARCH m USING INDEX mirror_of_track (track_uri=?)",
    ],
    "labels.put_verdict": ["SEARCH l USING INDEX label_current (uri=?)", "mirror"],
    "labels.live": ["SEARCH label USING INDEX label_current (uri=? AND src=?)"],
    "labels.retire": ["SEARCH label USING INDEX label_current (uri=? AND src=? AND cid=? AND val=?)"],
    "labels.stream": ["SEARCH label USING INTEGER PRIMARY KEY (rowid>?)"],
    "served.of_subject": ["SEARCH label USING INDEX label_current (uri=? AND src=?)"],
    "served.few": ["SEARCH label USING INDEX label_current (uri>? AND uri<?)"],
    "served.range": ["SEARCH label USING INDEX label_current (uri>? AND uri<?)"],
    "served.walk": ["SEARCH label USING INTEGER PRIMARY KEY (rowid>?)"],
    "served.all": ["SEARCH label USING INTEGER PRIMARY KEY (rowid>?)"],
    "served.width": ["SEARCH label USING INDEX label_current (uri>? AND uri<?)"],
    "served.log": ["SEARCH label USING INTEGER PRIMARY KEY (rowid>?)"],
    "served.signed_otherwise": ["SEARCH label USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "labels.newest_seq": ["SEARCH label"],
    # From the last address on, or a kill switch over 50 000 tracks walks all of them two thousand times.
    "holds.labelled": ["SEARCH t USING COVERING INDEX sqlite_autoindex_track_1 (uri>?)", "SEARCH v USING"],
    "dossiers.disputes_with": ["dispute_of_track (uri>? AND uri<?)", "dispute_of_reporter (reporter=?)"],
}


@pytest.mark.parametrize("name", PLANS)
async def test_query_plans(store, place, name):
    """The planner walks the whole log where a bound LIMIT looks tempting; these pin that it does not."""
    sql = load_statements(SqliteEngine)[name]
    connection = sqlite3.connect(place.path)
    parameters = dict.fromkeys(re.findall(r":(\w+)", sql), 1)
    plan = "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
    connection.close()
    for step in PLANS[name]:
        assert step in plan, plan
    for table in ("label", "verdict", "v", "n", "vector"):
        assert f"SCAN {table}\n" not in plan + "\n", plan


async def test_a_store_that_cannot_migrate_leaves_no_connection_open(place, clock):
    store = await place.open()
    await store.close()
    connection = sqlite3.connect(place.path)
    connection.execute("UPDATE migration SET sha256 = 'x'")
    connection.commit()
    connection.close()
    with pytest.raises(Corrupt):
        await Store.open(place.path, clock=clock)
    assert not place.path.with_name("earmark.db-wal").exists()


async def test_a_store_can_be_read_beside_the_one_that_writes_and_not_written(store, place):
    beside = await Store.open_to_read(place.path)
    async with store.write() as tx:
        await cursors.advance(tx, "s", 7, now_us=1)
    async with beside.read() as r:
        assert (await cursors.get(r, "s")).value == 7
    with suppress(sqlite3.OperationalError):
        async with beside.write() as tx:
            await cursors.advance(tx, "s", 8, now_us=1)
    await beside.close()
    async with store.write() as tx:
        assert (await cursors.get(tx, "s")).value == 7
        await cursors.advance(tx, "s", 9, now_us=1)


async def test_reading_beside_makes_no_file_and_refuses_another_schema(place):
    with pytest.raises(Misconfigured, match="no database"):
        await Store.open_to_read(place.path)
    assert not place.path.exists()
    await (await place.open()).close()
    connection = sqlite3.connect(place.path)
    connection.execute("INSERT INTO migration VALUES (9999, 'future', 'x', 1)")
    connection.commit()
    connection.close()
    with pytest.raises(Corrupt):
        await Store.open_to_read(place.path)
