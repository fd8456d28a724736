"""From events to the store: T1, its idempotence, gates and withdrawals (P151-P157)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.analysis import Space, Verdict, VerdictStatus
from core.datamodel import to_json_form
from core.errors import StoreBusy
from core.types import TrackState, make_tid
from firehose.apply import Applier
from firehose.events import AccountEvent, Event, GapEvent, IdentityEvent, Interest, Operation, RecordEvent, SeenEvent
from firehose.following import Following
from firehose.frames import decode_repo_frame
from firehose.ingest import Ingest, IngestLimits
from firehose.links import POSTS, LinkRules
from firehose.listings import Listings
from firehose.mapping import load_mapping
from firehose.posts import PostLinks
from firehose.pulse import Pulse
from firehose.source import Health
from store import Store, analyses, cursors, jobs, labels, links, repos, tracks, unmapped
from store.sqlite import SqliteEngine

MAPPING = load_mapping(only=frozenset({"fm.plyr.track"}))
RULES = LinkRules(frozenset({"fm.plyr.track"}), frozenset({"plyr.fm"}))
DID = "did:plc:artist222222222222222222"
FAN = "did:plc:fan222222222222222222222"
URI = f"at://{DID}/fm.plyr.track/a"
# Columns that hold our own time, and numbers that are given out in the order of attempts.
OUR_CLOCK = ("updated_us", "wall_us", "seen_us", "first_seen_us", "due_us", "applied_us", "met_us", "job_id")
CID = ["bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz45" + last for last in "4abc"]


class Scripted:
    """A source that yields what it is given, then waits."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self.name = "relay:test/xrpc"
        self.health = Health()
        self.events = list(events)
        self.asked: list[int | None] = []
        self.taken = 0
        self.kept = 0
        self.open = False

    async def stream(self, cursor: int | None) -> AsyncIterator[Event]:
        self.asked.append(cursor)
        self.open = True
        try:
            for event in self.events:
                if cursor is None or event.position > cursor:
                    self.taken += 1
                    yield event
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)  # saying goodbye takes a moment
            self.open = False

    async def committed(self, events: Sequence[Event]) -> None:
        self.kept += len(events)


def rev(number: int) -> str:
    return make_tid(1_700_000_000_000_000 + number)


def wrote(number: int, record: Any, *, rkey: str = "a", operation: Operation = Operation.CREATE) -> RecordEvent:
    record = to_json_form(record) if record is not None else None
    return RecordEvent(DID, "fm.plyr.track", rkey, rev(number), operation, CID[number % 4], record, number)


def deleted(number: int, rkey: str = "a") -> RecordEvent:
    return RecordEvent(DID, "fm.plyr.track", rkey, rev(number), Operation.DELETE, None, None, number)


def posted(number: int, rkey: str, target: str | None, operation: Operation = Operation.CREATE) -> RecordEvent:
    record = None
    if target is not None:
        record = {"embed": {"record": {"uri": target}}, "createdAt": "2023-01-01T00:00:00Z"}
    return RecordEvent(
        FAN, "app.bsky.feed.post", rkey, rev(number), operation, CID[0] if record else None, record, number
    )


@pytest.fixture
def applier(kit: Any, clock: Any, log: Any) -> Applier:
    readers = (Listings(MAPPING, log=log), PostLinks(RULES))
    return Applier(readers, directory=kit.KnownIdentities(), log=log, pulse=Pulse(clock))


@pytest.fixture
def ingest(store: Store, applier: Applier, clock: Any, log: Any) -> Any:
    def build(source: Any = None, **limits: Any) -> Ingest:
        bounds = IngestLimits(**({"batch_seconds": 0.02, "recheck_seconds": 0.02} | limits))
        return Ingest(store, source or Scripted(), applier, clock=clock, log=log, limits=bounds)

    return build


async def state_of(store: Store, uri: str = URI) -> tuple[str | None, str | None]:
    async with store.read() as reader:
        stored = await tracks.get(reader, uri)
    return (None, None) if stored is None else (stored.state.value, stored.reason)


def dump(path: Any) -> dict[str, list[Any]]:
    """All rows of the database, without the columns that hold our own wall clock."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    out = {}
    for name in names:
        rows = [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]
        for row in rows:
            for column in OUR_CLOCK:
                row.pop(column, None)
        out[name] = sorted(map(repr, rows))
    connection.close()
    out.pop("migration", None)
    return out


async def test_a_new_track_waits_for_its_job(store: Store, ingest: Any, kit: Any) -> None:
    await ingest().apply([wrote(1, kit.track_record()), SeenEvent(5)])
    assert await state_of(store) == ("queued", None)
    async with store.read() as reader:
        job = await jobs.latest(reader, URI)
        cursor = await cursors.get(reader, "relay:test/xrpc")
    assert (job.state, job.cid, cursor.value) == ("ready", CID[1], 5)


async def test_a_newer_version_replaces_the_job_and_an_older_one_is_ignored(
    store: Store, ingest: Any, kit: Any
) -> None:
    await ingest().apply([wrote(2, kit.track_record())])
    await ingest().apply([wrote(3, kit.track_record(b"new", title="Second"), operation=Operation.UPDATE)])
    await ingest().apply([wrote(1, kit.track_record(title="Old")), deleted(1)])
    async with store.read() as reader:
        stored = await tracks.get(reader, URI)
        counted = await jobs.counts(reader)
    assert (stored.track.title, stored.state) == ("Second", TrackState.QUEUED)
    assert (counted["ready"], counted["done"]) == (1, 1)


async def test_P157_P161_a_source_that_starts_over_gets_a_smaller_cursor(store: Store, ingest: Any) -> None:
    await ingest().apply([SeenEvent(1000)])
    await ingest().apply([SeenEvent(1001), GapEvent(1001, "FutureCursor", starts_over=True), SeenEvent(7)])
    async with store.read() as reader:
        assert (await cursors.get(reader, "relay:test/xrpc")).value == 7


async def label_it(store: Store, clock: Any) -> None:
    """As the worker leaves a track: labelled, with vectors."""
    async with store.write() as tx:
        stored = await tracks.get(tx, URI)
        await tracks.set_state(tx, URI, TrackState.READY, None, now_us=clock.now_us())
        await labels.put_verdict(
            tx, URI, Verdict(VerdictStatus.OK, labels=("techno",), rankable=True), now_us=clock.now_us()
        )
        await analyses.put_vectors(tx, stored.track_id, "pack", {Space.MUSICNN_TAGS: np.ones(100, np.float32)})


async def assert_retracted(store: Store, status: str, reason: str) -> None:
    async with store.read() as reader:
        verdict = (await labels.get_verdict(reader, URI)).verdict
        log = await analyses.vector_log(reader, "pack", after_seq=0, limit=10)
        counts = await jobs.counts(reader)
    waiting = counts["ready"] + counts["leased"]
    assert (verdict.status, verdict.labels, verdict.reason, verdict.rankable) == (status, (), reason, False)
    assert [row.vector for row in log] == [None]
    assert waiting == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"supportGate": {"type": "any"}}, "gated"),
        ({"supportGate": {"type": "something new"}}, "gated"),
        ({"audioBlob": {"nothing": 1}}, "no_audio"),
        ({"audioBlob": None, "audioUrl": "https://evil.example.com/x.mp3"}, "no_audio"),
        ({"$type": "fm.plyr.like"}, "bad_record"),
    ],
)
async def test_an_update_that_may_not_be_fetched_takes_labels_vectors_and_job_away(
    store: Store, ingest: Any, kit: Any, clock: Any, fields: dict[str, Any], reason: str
) -> None:
    await ingest().apply([wrote(1, kit.track_record())])
    await label_it(store, clock)
    await ingest().apply([wrote(2, kit.track_record(**fields), operation=Operation.UPDATE)])
    assert await state_of(store) == ("refused", reason)
    await assert_retracted(store, "refused", reason)


async def test_a_record_that_cannot_be_read_is_kept_with_its_reason_and_blocks_nobody(
    store: Store, ingest: Any, kit: Any
) -> None:
    await ingest().apply([wrote(1, None, rkey="bad"), wrote(2, kit.track_record())])
    assert await state_of(store, URI.replace("/a", "/bad")) == ("refused", "bad_record")
    assert await state_of(store) == ("queued", None)


async def test_P155_a_delete_withdraws(store: Store, ingest: Any, kit: Any, clock: Any) -> None:
    await ingest().apply([wrote(1, kit.track_record())])
    await label_it(store, clock)
    await ingest().apply([deleted(2)])
    assert await state_of(store) == ("withdrawn", "withdrawn")
    await assert_retracted(store, "withdrawn", "withdrawn")


async def test_P155_a_delete_that_comes_first_wins_over_the_create(store: Store, ingest: Any, kit: Any) -> None:
    await ingest().apply([deleted(2), wrote(1, kit.track_record())])
    assert (await state_of(store))[0] == "withdrawn"
    await ingest().apply([wrote(3, kit.track_record())])
    assert await state_of(store) == ("queued", None)


async def test_P151_account_states(store: Store, ingest: Any, kit: Any, clock: Any) -> None:
    await ingest().apply([wrote(1, kit.track_record())])
    await label_it(store, clock)
    for number, status in enumerate(("takendown", "suspended", "deactivated", "mystery"), start=2):
        await ingest().apply([AccountEvent(DID, False, status, number)])
        async with store.read() as reader:
            stored = await tracks.get(reader, URI)
        assert (stored.account_active, stored.state) == (False, TrackState.READY)
    await ingest().apply([AccountEvent(DID, True, "throttled", 7)])  # P152
    async with store.read() as reader:
        assert (await tracks.get(reader, URI)).account_active
    await ingest().apply([AccountEvent(DID, False, "deleted", 8)])
    assert (await state_of(store))[0] == "withdrawn"
    await assert_retracted(store, "withdrawn", "withdrawn")


async def test_P151_a_replayed_deletion_leaves_what_was_written_since(store: Store, ingest: Any, kit: Any) -> None:
    time_us = 1_700_000_000_000_002
    gone, back = AccountEvent(DID, False, "deleted", 2, time_us), AccountEvent(DID, True, None, 3, time_us + 1)
    await ingest().apply([wrote(1, kit.track_record(), rkey="b"), gone, back, wrote(4, kit.track_record())])
    await ingest().apply([gone, back])
    assert await state_of(store) == ("queued", None)
    assert (await state_of(store, URI.replace("/a", "/b")))[0] == "withdrawn"


async def test_a_held_track_waits_for_its_release(artists: Any, kit: Any, clock: Any) -> None:
    """Also one that was released before: what was said of it is taken back until then."""

    def comet(number: int, released: str | None) -> RecordEvent:
        record = {"title": "C", "audio": to_json_form(kit.audio_blob(b"x")), "releasedAt": released}
        return RecordEvent(
            DID, "sh.comet.v0.feed.track", "a", rev(number), Operation.UPDATE, CID[number], record, number
        )

    uri = f"at://{DID}/sh.comet.v0.feed.track/a"
    await artists.apply(comet(1, None))
    async with artists.store.write() as tx:
        await labels.put_verdict(tx, uri, Verdict(VerdictStatus.OK, labels=("techno",)), now_us=1)
    await artists.apply(comet(2, "2099-01-01T00:00:00Z"))
    assert await state_of(artists.store, uri) == ("queued", "held")
    async with artists.store.read() as reader:
        job = await jobs.latest(reader, uri)
        verdict = (await labels.get_verdict(reader, uri)).verdict
        assert await jobs.ready_count(reader, now_us=clock.now_us()) == 0
    assert (job.state, job.cid, job.run_after_us) == ("ready", CID[2], 4_070_908_800_000_000)
    assert (verdict.labels, verdict.reason) == ((), "held")
    await artists.apply(comet(3, "soon"))
    assert await state_of(artists.store, uri) == ("refused", "held")
    async with artists.store.read() as reader:
        job = await jobs.latest(reader, uri)
    assert (job.state, job.reason) == ("dead", "held")


async def test_the_account_of_a_track_is_followed_and_its_unknown_fields_are_noted_once(
    store: Store, ingest: Any, kit: Any
) -> None:
    event = wrote(1, kit.track_record(mood="calm", loud={"a": 1}))
    await ingest().apply([event, event, deleted(2, "b")])
    await ingest().apply([wrote(3, kit.track_record(mood="calm"), operation=Operation.UPDATE)])
    async with store.read() as reader:
        assert await repos.followed(reader) == [DID]
        noted = [(found.path, found.kind, found.seen) for found in await unmapped.report(reader)]
    assert noted == [("mood", "string", 2), ("loud", "object", 1)]


async def test_an_artist_is_followed_before_its_first_track_is_committed(artists: Any, log: Any) -> None:
    """Or a profile that changes right after it would be passed over."""
    following = Following()
    async with artists.store.write() as tx:
        await Listings(MAPPING, log=log, following=following).apply(tx, artists.wrote(1), now_us=1)
        assert DID in following
    await following.refresh(artists.store)
    assert DID in following


async def test_what_was_heard_of_audio_that_is_gone_is_forgotten(artists: Any, kit: Any) -> None:
    await artists.apply(artists.wrote(1))
    key = await artists.heard()
    await artists.apply(wrote(2, kit.track_record(title="Another title"), operation=Operation.UPDATE))
    async with artists.store.read() as reader:
        assert await analyses.get(reader, key, artists.generation) is not None
    await artists.apply(wrote(3, kit.track_record(b"new"), operation=Operation.UPDATE))
    async with artists.store.read() as reader:
        assert await analyses.get(reader, key, artists.generation) is None
    key = await artists.heard()
    await artists.apply(deleted(4))
    async with artists.store.read() as reader:
        assert await analyses.get(reader, key, artists.generation) is None


async def test_what_the_stream_proved_is_known_to_be_proven(artists: Any) -> None:
    await artists.apply(artists.wrote(1))
    assert not (await artists.stored()).track.verified
    await artists.apply(replace(artists.wrote(2), verified=True))
    assert (await artists.stored()).track.verified


async def test_the_same_record_again_and_again_changes_nothing(artists: Any) -> None:
    """37 times in real data (LEXICONS section 2); also with a revision that goes backwards."""
    await artists.apply(artists.wrote(5))
    before = await artists.stored()
    await artists.apply(*[artists.wrote(5)] * 37, artists.wrote(4))
    async with artists.store.read() as reader:
        counted = await jobs.counts(reader)
    assert (await artists.stored(), counted["ready"], counted["done"]) == (before, 1, 0)


async def test_a_post_that_no_longer_links_loses_its_links(store: Store, ingest: Any, kit: Any) -> None:
    await ingest().apply([wrote(1, kit.track_record()), posted(2, "p", URI)])
    await ingest().apply([posted(3, "p", None, Operation.UPDATE)])
    async with store.read() as reader:
        assert await links.of_track(reader, URI) == []


async def test_P154_identity_events_empty_the_cache(store: Store, ingest: Any, kit: Any, clock: Any, log: Any) -> None:
    directory = kit.KnownIdentities()
    applier = Applier((), directory=directory, log=log, pulse=Pulse(clock))
    await Ingest(store, Scripted(), applier, clock=clock, log=log).apply([IdentityEvent(DID, 1)])
    assert directory.forgotten == [DID]


async def test_posts_link_and_unlink(store: Store, ingest: Any, kit: Any) -> None:
    await ingest().apply([wrote(1, kit.track_record()), posted(2, "p", URI), posted(3, "q", URI), posted(4, "r", None)])
    async with store.read() as reader:
        assert [link.post_uri[-1] for link in await links.of_track(reader, URI)] == ["p", "q"]
    other = URI.replace("/a", "/b")
    gone = posted(5, "p", None, Operation.DELETE)
    await ingest().apply([gone, posted(6, "q", other, Operation.UPDATE), posted(7, "unknown", None, Operation.DELETE)])
    async with store.read() as reader:
        assert await links.of_track(reader, URI) == []


async def test_a_gap_does_not_move_the_cursor(store: Store, ingest: Any) -> None:
    await ingest().apply([GapEvent(0, "OutdatedCursor")])
    async with store.read() as reader:
        assert await cursors.get(reader, "relay:test/xrpc") is None


def history(kit: Any) -> list[Event]:
    record = kit.track_record
    return [
        wrote(1, record()),
        posted(2, "p", URI),
        wrote(3, record(), rkey="b"),
        wrote(4, record(supportGate={"type": "any"}), rkey="c"),
        wrote(5, record(b"new"), operation=Operation.UPDATE),
        AccountEvent(FAN, False, "suspended", 6),
        deleted(7, "b"),
        wrote(8, record(None), rkey="d"),
        posted(9, "q", URI),
        posted(10, "p", None, Operation.DELETE),
        AccountEvent(FAN, True, None, 11),
        SeenEvent(12),
    ]


async def run_until(reading: Ingest, store: Store, position: int) -> None:
    task = asyncio.create_task(reading.run())
    async with asyncio.timeout(10):
        while True:
            async with store.read() as reader:
                cursor = await cursors.get(reader, reading.source.name)
            if task.done() or (cursor is not None and cursor.value >= position):
                break
            await asyncio.sleep(0.01)
    if task.done():
        task.result()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("batch", [1, 3, 200])
async def test_P157_replaying_everything_changes_nothing(
    store: Store, ingest: Any, kit: Any, tmp_path: Any, batch: int
) -> None:
    events = history(kit)
    await run_until(ingest(Scripted(events), batch_events=batch), store, 12)
    first = dump(tmp_path / "earmark.db")
    assert first["track"]
    assert first["link"]
    replay = ingest()
    for start in range(0, len(events), 2):
        await replay.apply(events[start : start + 2])
    assert dump(tmp_path / "earmark.db") == first


class Killed(Exception):
    pass


class BreakingEngine:
    """An engine whose next writing transaction dies at its n-th statement (0: never)."""

    def __init__(self, engine: SqliteEngine) -> None:
        self._engine = engine
        self.break_at = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Any]:
        async with self._engine.write() as session:
            self._session, self._left = session, self.break_at
            yield self

    async def fetch(self, sql: str, parameters: Any) -> Any:
        self._count()
        return await self._session.fetch(sql, parameters)

    async def run_many(self, sql: str, rows: Any) -> None:
        self._count()
        await self._session.run_many(sql, rows)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed


async def test_P157_killed_at_any_statement_and_restarted_the_state_is_the_same(
    applier: Applier, kit: Any, clock: Any, log: Any, tmp_path: Any
) -> None:
    """Each run reads from the stored cursor; one that dies leaves nothing of its batch, the cursor neither."""
    events, states, kills = history(kit), [], 0
    for name in ("calm", "killed"):
        path = tmp_path / f"{name}.db"
        await (await Store.open(path, clock=clock)).close()
        engine = BreakingEngine(await SqliteEngine.open(path, readers=1))
        store = Store(engine)
        while True:
            source = Scripted(events)
            reading = Ingest(store, source, applier, clock=clock, log=log)
            async with store.read() as reader:
                stored = await cursors.get(reader, source.name)
            batch = [event for event in events if stored is None or event.position > stored.value][:4]
            if not batch:
                break
            before = dump(path)
            try:
                await reading.apply(batch)
                engine.break_at = 0
            except Killed:
                kills += 1
                assert dump(path) == before
            engine.break_at += name == "killed"
        states.append(dump(path))
        await store.close()
    assert kills >= 25
    assert states[0] == states[1]


async def test_above_the_high_water_mark_nothing_is_read(store: Store, ingest: Any, kit: Any, clock: Any) -> None:
    events = [wrote(number, kit.track_record(), rkey=f"r{number}") for number in range(1, 31)]
    source = Scripted(events)
    reading = ingest(source, batch_events=2, high_water=3)
    task = asyncio.create_task(reading.run())
    async with asyncio.timeout(10):
        while not reading.paused:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    taken = source.taken
    assert taken < 12  # what is waiting, one queue and the event in hand: bounded
    async with store.write() as tx:
        for event in events:
            await jobs.supersede(tx, str(event.uri), keep_cid="", now_us=clock.now_us())
    async with asyncio.timeout(10):
        while source.taken == taken:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_stopping_while_nothing_is_taken_hangs_up_first(ingest: Any) -> None:
    source = Scripted([SeenEvent(number) for number in range(1, 31)])
    reading = ingest(source, batch_events=2, high_water=-1)
    task = asyncio.create_task(reading.run())
    async with asyncio.timeout(10):
        while source.taken < 3:  # two wait, and one more waits to
            await asyncio.sleep(0.01)
    assert source.open
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not source.open


async def test_without_a_high_water_mark_waiting_jobs_stop_nobody(store: Store, ingest: Any, kit: Any) -> None:
    source = Scripted([wrote(number, kit.track_record(), rkey=f"r{number}") for number in range(1, 31)])
    task = asyncio.create_task(ingest(source, batch_events=2, high_water=None).run())
    async with asyncio.timeout(10):
        while source.taken < 30:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_busy_store_delays_the_batch_and_a_broken_one_ends_the_run(
    applier: Applier, clock: Any, log: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await Store.open(tmp_path / "x.db", clock=clock)).close()
    engine = BreakingEngine(await SqliteEngine.open(tmp_path / "x.db", readers=1))
    store, busy, source = Store(engine), 2, Scripted([SeenEvent(9)])

    def count() -> None:
        nonlocal busy
        busy -= 1
        if busy >= 0:
            raise StoreBusy("locked")

    monkeypatch.setattr(engine, "_count", count)
    monkeypatch.setattr("firehose.ingest.backoff_seconds", lambda *_, **__: 0.01)
    reading = Ingest(store, source, applier, clock=clock, log=log)
    await run_until(reading, store, 9)
    monkeypatch.undo()
    engine.break_at, source.events = 1, [SeenEvent(10)]
    with pytest.raises(ExceptionGroup) as caught:
        await reading.run()
    assert caught.group_contains(Killed)
    await store.close()


async def test_a_relays_frames_end_as_tracks(store: Store, ingest: Any, kit: Any) -> None:
    """The whole road but the socket: signed commit, frame, event, transaction."""
    repo, events = kit.Repo(), []
    for seq, operation in enumerate(
        [
            ("create", "fm.plyr.track/3kaaaaaaaaaa2", kit.track_record()),
            ("create", "app.bsky.feed.like/3kaaaaaaaaaa2", {"x": 1}),
            ("update", "fm.plyr.track/3kaaaaaaaaaa2", kit.track_record(title="Second")),
        ],
        start=1,
    ):
        decoded = decode_repo_frame(repo.frame(seq, operation), Interest(frozenset((*MAPPING, POSTS))))
        events += [SeenEvent(decoded)] if isinstance(decoded, int) else decoded.events
    await ingest().apply(events)
    async with store.read() as reader:
        stored = await tracks.get(reader, f"at://{repo.did}/fm.plyr.track/3kaaaaaaaaaa2")
    assert (stored.track.title, stored.track.rev, stored.track.blob.size) == ("Second", repo.rev, 5)
