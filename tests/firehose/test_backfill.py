"""Backfills of a test network: everything is found, live events win, what was begun goes on, limits hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.clock import SystemClock
from core.errors import Crowded, RateLimited, Unreachable
from core.log import Log
from core.ports import HttpAnswer
from core.types import TrackState
from earmark.demo import DemoAccount, Network
from earmark.demo.repo import Write
from firehose.apply import Applier
from firehose.backfill import Backfill, Wanted
from firehose.guard import Guard
from firehose.identity import DidDirectory
from firehose.listings import Listings
from firehose.mapping import load_mapping
from firehose.proof import RecordProver
from firehose.pulse import Pulse
from firehose.safehttp import GuardedHttp
from firehose.walk import RepoWalker
from store import Store, accounts, backfills, jobs, tracks

TRACKS = "fm.plyr.track"
WANTED = Wanted((TRACKS,))


class Wire:
    """The real client; a test may fail requests by method or by what they ask."""

    def __init__(self, http: GuardedHttp) -> None:
        self._http = http
        self.asked: list[tuple[str, str]] = []
        self.before: Any = None
        self.after: Any = None

    async def get(self, url: str, **options: Any) -> HttpAnswer:
        params = options.get("params") or {}
        method, who = url.rpartition(".")[2], params.get("repo") or params.get("did") or params.get("cursor") or ""
        self.asked.append((method, who))
        if self.before is not None:
            await self.before(method, who)
        answer = await self._http.get(url, **options)
        return answer if self.after is None else self.after(method, answer)

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.asked)


class World:
    def __init__(self, network: Network, wire: Wire, store: Store, clock: SystemClock, log: Log) -> None:
        self.network, self.wire, self.store, self.clock, self.log = network, wire, store, clock, log
        self.directory = DidDirectory(wire, clock=clock, plc_url=network.url, allow_loopback=True)
        mapping = load_mapping(None, only=frozenset((TRACKS,)))
        self.applier = Applier(
            [Listings(mapping, log=log)], directory=self.directory, log=log, pulse=Pulse(clock), metrics=None
        )

    def artist(self, name: str, *numbers: int) -> DemoAccount:
        account = self.network.create_account(f"{name}.test")
        self.add(account, *numbers)
        return account

    def add(self, account: DemoAccount, *numbers: int) -> None:
        writes = []
        for number in numbers:
            blob = self.network.upload_blob(account, f"{account.did} {number}".encode(), "audio/mpeg")
            record = {"$type": TRACKS, "title": f"{number}", "artist": "a", "fileType": "mp3", "audioBlob": blob}
            record["createdAt"] = "2024-01-01T00:00:00Z"
            writes.append(Write(TRACKS, f"n{number:03}", record))  # type: ignore[arg-type]
        for start in range(0, len(writes), 200):
            self.network.apply_writes(account, writes[start : start + 200])

    def backfill(
        self,
        wanted: Wanted = WANTED,
        *,
        dry: bool = False,
        relay_url: str | None = None,
        dids: tuple[str, ...] = (),
        max_events: int = 5_000,
        **options: Any,
    ) -> Backfill:
        prover = RecordProver(self.wire, self.directory, clock=self.clock)
        return Backfill(
            self.store,
            RepoWalker(self.wire, self.directory, prover, clock=self.clock, max_events=max_events),
            None if dry else self.applier,
            wanted=wanted,
            http=self.wire,
            relay_url=self.network.url if relay_url is None else relay_url,
            dids=dids,
            clock=self.clock,
            log=self.log,
            **options,
        )

    async def run(self, wanted: Wanted = WANTED, **options: Any) -> dict[str, Any]:
        backfill = self.backfill(wanted, **options)
        async with asyncio.timeout(60):
            await backfill.run()
        return await backfill.progress()

    async def state(self, account: DemoAccount, number: int) -> TrackState | None:
        async with self.store.read() as reader:
            stored = await tracks.get(reader, f"at://{account.did}/{TRACKS}/n{number:03}")
        return None if stored is None else stored.state

    async def queued(self) -> int:
        async with self.store.read() as reader:
            return await jobs.ready_count(reader, now_us=self.clock.now_us())


@pytest.fixture
async def world(clock: SystemClock, log: Log, store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("firehose.backfill.LOOK_SECONDS", 0.01)
    http = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test")
    async with Network() as network:
        yield World(network, Wire(http), store, clock, log)
    await http.close()


async def test_P175_everybody_whom_the_relay_lists_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firehose.census.PAGE_REPOS", 2)
    artists = [world.artist(f"artist{number}", 1, 2) for number in range(5)]
    world.network.create_account("listener.test")
    said = await world.run()
    assert {key: said[key] for key in ("stage", "repositories", "done", "found", "changed", "withdrawn", "failed")} == {
        "stage": "ended",
        "repositories": 5,
        "done": 5,
        "found": 10,
        "changed": 10,
        "withdrawn": 0,
        "failed": 0,
    }
    assert world.wire.count("listReposByCollection") == 3
    assert await world.queued() == 10
    assert {await world.state(artist, 2) for artist in artists} == {TrackState.QUEUED}
    again = await world.run()  # a new one: the first has ended
    assert (again["done"], again["found"], again["changed"]) == (5, 10, 0)


async def test_tracks_deleted_while_nobody_listened_are_withdrawn(world: World) -> None:
    keeps, empties = world.artist("keeps", 1, 2), world.artist("empties", 1)
    await world.run()
    world.network.delete_record(keeps, TRACKS, "n001")
    world.network.delete_record(empties, TRACKS, "n001")  # is on no relay's list now
    said = await world.run()
    assert (said["repositories"], said["withdrawn"], said["changed"]) == (2, 2, 0)
    assert await world.state(keeps, 1) is TrackState.WITHDRAWN
    assert await world.state(empties, 1) is TrackState.WITHDRAWN
    assert await world.state(keeps, 2) is TrackState.QUEUED
    assert await world.queued() == 1


async def test_P177_accounts_that_are_away_hide_and_come_back(world: World) -> None:
    artist = world.artist("artist", 1)
    await world.run()
    world.network.set_account_status(artist, False, "deactivated")
    said = await world.run()
    assert (said["done"], said["withdrawn"]) == (1, 0)
    async with world.store.read() as reader:
        assert not (await accounts.get(reader, artist.did)).active
    world.network.set_account_status(artist, True)
    await world.run()
    async with world.store.read() as reader:
        assert (await accounts.get(reader, artist.did)).active


async def test_P153_a_takedown_elsewhere_stands_though_the_host_serves_on(world: World) -> None:
    artist = world.artist("artist", 1)
    await world.run()
    async with world.store.write() as tx:
        away = replace(await accounts.get(tx, artist.did), active=False, status="takendown")
        await accounts.put(tx, away, now_us=world.clock.now_us())
    await world.run()
    async with world.store.read() as reader:
        assert await accounts.get(reader, artist.did) == away


async def test_a_live_event_during_the_walk_wins_by_its_revision(world: World) -> None:
    """A record is listed, then changed; the change arrives first."""
    artist = world.artist("artist", 1)
    uri, live = f"at://{artist.did}/{TRACKS}/n001", list[HttpAnswer]()

    def overtaken(method: str, answer: HttpAnswer) -> HttpAnswer:
        if method == "listRecords" and not live:
            blob = world.network.upload_blob(artist, b"newer", "audio/mpeg")
            value = artist.repo.records[f"{TRACKS}/n001"].value
            world.network.update_record(artist, TRACKS, "n001", value | {"title": "newer", "audioBlob": blob})
            live.append(answer)
        return answer

    world.wire.after = overtaken
    backfill = world.backfill()
    await backfill.run()
    async with world.store.read() as reader:
        old = await tracks.get(reader, uri)
    assert old is not None
    assert old.track.rev < artist.repo.head.rev  # so the live event, with the later revision, is the one that stays
    world.wire.after = None
    await world.run()
    async with world.store.read() as reader:
        new = await tracks.get(reader, uri)
    assert new is not None
    assert (new.track.title, new.track.rev) == ("newer", artist.repo.head.rev)
    world.wire.after = lambda method, answer: live[0] if method == "listRecords" else answer
    stale = await world.run()  # an old listing cannot bring the old version back
    async with world.store.read() as reader:
        kept = await tracks.get(reader, uri)
    assert stale["done"] == 1
    assert kept is not None
    assert kept.track.title == "newer"


async def test_what_was_stopped_goes_on_where_it_was(world: World) -> None:
    for number in range(6):
        world.artist(f"artist{number}", 1)
    reached, seen = asyncio.Event(), 0

    async def stop_at_the_fourth(method: str, who: str) -> None:
        nonlocal seen
        seen += method == "listRecords"
        if seen == 4:
            reached.set()
            await asyncio.sleep(60)

    world.wire.before = stop_at_the_fourth
    first = asyncio.create_task(world.backfill(concurrency=1).run())
    await asyncio.wait_for(reached.wait(), 60)
    first.cancel()
    await asyncio.wait([first])
    assert await world.queued() == 3
    world.wire.before, world.wire.asked = None, []
    said = await world.run()
    assert (said["done"], said["changed"]) == (6, 6)  # counted over both runs
    assert len({who for method, who in world.wire.asked if method == "listRecords"}) == 3  # a busy host is asked twice
    assert world.wire.count("listReposByCollection") == 0
    assert await world.queued() == 6


async def test_a_listing_that_was_stopped_goes_on_at_its_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firehose.census.PAGE_REPOS", 2)
    artists = sorted(world.artist(f"artist{number}", 1).did for number in range(5))

    async def fail_at_the_last_page(method: str, who: str) -> None:
        if who == artists[3]:
            raise asyncio.CancelledError

    world.wire.before = fail_at_the_last_page
    with pytest.raises(asyncio.CancelledError):
        await world.backfill().run()
    world.wire.before, world.wire.asked = None, []
    assert (await world.run())["done"] == 5
    assert [who for method, who in world.wire.asked if method == "listReposByCollection"] == [artists[3]]


async def test_another_wish_is_another_backfill(world: World) -> None:
    one, two = world.artist("one", 1), world.artist("two", 1)
    said = await world.run(Wanted((TRACKS,), dids=(one.did,)))
    assert said["repositories"] == 1
    assert await world.state(two, 1) is None
    assert world.wire.count("listReposByCollection") == 0


async def test_no_more_tracks_than_the_limit(world: World) -> None:
    for number in range(3):
        world.artist(f"artist{number}", 1, 2, 3)
    said = await world.run(Wanted((TRACKS,), limit=4))
    assert (said["limited"], said["changed"], said["stage"]) == (True, 4, "ended")
    assert await world.queued() == 4
    rest = await world.run()
    assert (rest["limited"], rest["changed"]) == (False, 5)
    assert await world.queued() == 9


async def test_since_brings_only_what_says_it_is_newer(world: World) -> None:
    world.artist("artist", 1, 2)
    said = await world.run(Wanted((TRACKS,), since_us=world.clock.now_us()))
    assert (said["found"], said["changed"]) == (2, 0)


async def test_nobody_is_read_twice_by_one_who_saw_him_waiting(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose turn it is may be known late: then somebody else has read him already."""
    for number in range(4):
        world.artist(f"artist{number}", 1)
    due = backfills.due

    async def late(*args: Any, **options: Any) -> Any:
        found = await due(*args, **options)
        await asyncio.sleep(0.2)
        return found

    monkeypatch.setattr(backfills, "due", late)
    book = await Store.open(tmp_path / "book.db", clock=world.clock)
    said = await world.run(dry=True, book=book, concurrency=2)
    await book.close()
    assert (said["done"], said["found"], said["changed"]) == (4, 4, 4)
    assert world.wire.count("listRecords") == 4


async def test_a_dry_run_says_what_would_be_done_and_changes_nothing(world: World, tmp_path: Path) -> None:
    artist = world.artist("artist", 1, 2, 3)
    await world.run(Wanted((TRACKS,), limit=2))
    world.network.delete_record(artist, TRACKS, "n003")
    world.add(artist, 4)
    book = await Store.open(tmp_path / "book.db", clock=world.clock)
    said = await world.run(dry=True, book=book)
    await book.close()
    assert (said["done"], said["changed"], said["withdrawn"]) == (1, 2, 1)
    assert await world.queued() == 2
    assert await world.state(artist, 3) is TrackState.QUEUED
    async with world.store.read() as reader:
        latest = await backfills.latest(reader)
    assert latest is not None
    assert latest.state == "limited"  # of the real run


async def test_configured_accounts_are_read_when_no_relay_lists(world: World) -> None:
    one, _ = world.artist("one", 1), world.artist("two", 1)
    assert (await world.run(relay_url="", dids=(one.did,)))["done"] == 1
    assert world.wire.count("listReposByCollection") == 0


async def test_a_relay_that_cannot_list_leaves_the_rest_and_is_asked_again(world: World) -> None:
    one, two = world.artist("one", 1), world.artist("two", 1)

    def without(method: str, answer: HttpAnswer) -> HttpAnswer:
        refusal = orjson.dumps({"error": "MethodNotImplemented", "message": "no"})
        return replace(answer, status=501, body=refusal) if method == "listReposByCollection" else answer

    world.wire.after = without
    said = await world.run(dids=(one.did,))
    assert "501" in said["trouble"]
    assert (said["done"], said["changed"]) == (1, 1)
    world.wire.after = None
    said = await world.run(dids=(one.did,))
    assert (said["trouble"], said["done"], said["changed"]) == (None, 2, 2)
    assert await world.state(two, 1) is TrackState.QUEUED


async def test_P176_a_busy_host_is_asked_later_and_that_is_no_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firehose.backfill.MAX_ATTEMPTS", 1)
    artist, tried = world.artist("artist", 1), 0

    async def crowd(method: str, who: str) -> None:
        nonlocal tried
        if method == "getLatestCommit":
            tried += 1
            if tried <= 3:
                raise Crowded("later", retry_after_seconds=0.02)

    world.wire.before = crowd
    said = await world.run()
    assert (said["done"], said["failed"], tried) == (1, 0, 4)
    assert await world.state(artist, 1) is TrackState.QUEUED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unreachable("away", retry_after_seconds=0.01), "unreachable"),
        (RateLimited("later", retry_after_seconds=100.0), "rate_limited"),
    ],
)
async def test_a_repository_that_cannot_be_read_is_given_up_and_the_others_are_not(
    world: World, error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firehose.backfill.MAX_ATTEMPTS", 1 if reason == "rate_limited" else 3)
    monkeypatch.setattr("firehose.backfill.RETRY_SECONDS", 0.01)
    dead, alive = world.artist("dead", 1), world.artist("alive", 1)

    async def fail(method: str, who: str) -> None:
        if who == dead.did and method.startswith("get"):
            raise error

    world.wire.before = fail
    said = await world.run()
    assert (said["done"], said["failed"], said["failures"]) == (1, 1, {reason: 1})
    assert await world.state(alive, 1) is TrackState.QUEUED


async def test_an_account_that_nobody_knows_is_passed_over(world: World) -> None:
    said = await world.run(Wanted((TRACKS,), dids=("did:plc:" + "a" * 24,)))
    assert (said["failed"], said["failures"]) == (1, {"unknown_did": 1})


async def test_no_repository_is_begun_while_too_many_jobs_wait(world: World) -> None:
    for number in range(3):
        world.artist(f"artist{number}", 1, 2)
    backfill = world.backfill(concurrency=1, high_water=1)
    running = asyncio.create_task(backfill.run())
    async with asyncio.timeout(60):
        while backfill.stage != "paused":
            await asyncio.sleep(0.01)
        assert await world.queued() == 2
        async with world.store.write() as tx:  # they are worked on
            while (lease := await jobs.claim(tx, "w", now_us=world.clock.now_us(), lease_seconds=600)) is not None:
                assert lease.uri
        while await world.queued() != 2:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])


async def test_a_repository_with_more_changes_than_one_walk_brings_is_walked_on(world: World) -> None:
    artist = world.artist("artist", *range(25))
    said = await world.run(max_events=10)
    assert (said["done"], said["found"], said["changed"]) == (1, 25, 25)
    assert await world.state(artist, 0) is TrackState.QUEUED
    assert world.wire.count("getLatestCommit") == 3
