"""Repositories in doubt on a network that lost events: what was missed comes, what is gone goes (P145, P164, P165)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.clock import SystemClock
from core.errors import RateLimited, UnknownDid, Unreachable
from core.types import Account
from earmark.demo import Network
from earmark.demo.repo import Write
from firehose.apply import Applier
from firehose.events import AccountEvent, Interest, Operation, RecordEvent
from firehose.following import Following
from firehose.guard import Guard
from firehose.identity import DidDirectory
from firehose.ingest import Ingest, IngestLimits
from firehose.listings import Listings
from firehose.mapping import load_mapping
from firehose.proof import RecordProver
from firehose.pulse import Pulse
from firehose.relay import Relay
from firehose.resync import Resync
from firehose.safehttp import GuardedHttp
from firehose.walk import RepoWalker, Walk
from store import Store, accounts, repos, tracks

TRACK = "fm.plyr.track"
MAPPING = load_mapping(only=frozenset({TRACK}))
Meanwhile = Callable[[], Awaitable[None]]


class Interrupted(RepoWalker):
    """The real walker, and something that happens while it walks."""

    meanwhile: Meanwhile | None = None

    async def walk(self, *args: Any, **options: Any) -> Walk:
        walk = await super().walk(*args, **options)
        if self.meanwhile is not None:
            await self.meanwhile()
        return walk


class World:
    """A network with one artist, and everything that reads it into a store."""

    def __init__(self, network: Network, store: Store, http: GuardedHttp, clock: SystemClock, log: Any) -> None:
        self.network, self.store, self.clock = network, store, clock
        self.artist = network.create_account("ada.test")
        self.following = Following()
        directory = DidDirectory(http, clock=clock, plc_url=network.url, allow_loopback=True)
        self.applier = Applier([Listings(MAPPING, log=log)], directory=directory, log=log, pulse=Pulse(clock))
        self.walker = Interrupted(http, directory, RecordProver(http, directory, clock=clock), clock=clock)
        self.resync = Resync(store, self.walker, self.applier, collections={TRACK}, clock=clock, log=log)
        interest = Interest(frozenset({TRACK}), followed=self.following)
        relay = Relay(network.stream_url, interest, clock=clock, log=log, directory=directory, allow_loopback=True)
        limits = IngestLimits(batch_seconds=0.02)
        self.ingest = Ingest(store, relay, self.applier, clock=clock, log=log, limits=limits, begin=0)

    def write(self, rkey: str, record: Any, *, unseen: bool = False) -> str:
        value = None if record is None else {"$type": TRACK, **record}
        writes = [Write(TRACK, rkey, value)]  # type: ignore[arg-type]
        if unseen:
            self.artist.repo.apply(writes)  # the stream loses it
        else:
            self.network.apply_writes(self.artist, writes)
        return f"at://{self.artist.did}/{TRACK}/{rkey}"

    async def states(self) -> dict[str, str]:
        async with self.store.read() as reader:
            return {
                stored.track.uri.rkey: stored.state.value for stored in await tracks.of_account(reader, self.artist.did)
            }

    async def account(self) -> Account:
        async with self.store.read() as reader:
            return await accounts.get(reader, self.artist.did)

    async def repo(self) -> repos.StoredRepo:
        async with self.store.read() as reader:
            repo = await repos.get(reader, self.artist.did)
        assert repo is not None
        return repo

    async def doubt(self, reason: str = "gap") -> None:
        async with self.store.write() as tx:
            await repos.follow(tx, self.artist.did, now_us=self.clock.now_us())
            await repos.doubt(tx, self.artist.did, reason=reason, now_us=self.clock.now_us())


@pytest.fixture
async def world(store: Store, clock: SystemClock, log: Any) -> Any:
    http = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test")
    async with Network() as network:
        yield World(network, store, http, clock, log)
    await http.close()


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await true():
            await asyncio.sleep(0.02)


def song(title: str, audio: str = "https://audio.plyr.fm/a.mp3") -> dict[str, Any]:
    return {
        "title": title,
        "artist": "Ada",
        "fileType": "mp3",
        "audioUrl": audio,
        "createdAt": "2026-01-01T00:00:00.000Z",
    }


async def test_P145_P164_what_the_stream_lost_is_noticed_and_fetched(world: World) -> None:
    world.write("first", song("One"))
    world.write("second", song("Two"))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(role)
            for role in (world.ingest.run(), world.following.run(world.store), world.resync.run())
        ]
        await until(lambda: _is(world.states, {"first": "queued", "second": "queued"}))
        await until(lambda: _is_true(lambda: world.artist.did in world.following))
        world.network.create_record(world.artist, "app.bsky.feed.like", None, {"subject": {}})
        await until(lambda: _rev_is(world, world.artist.repo.head.rev))
        world.write("third", song("Three"), unseen=True)
        world.write("first", None, unseen=True)
        world.network.create_record(world.artist, "app.bsky.feed.like", None, {"subject": {}})
        await until(lambda: _is(world.states, {"first": "withdrawn", "second": "queued", "third": "queued"}))
        await until(lambda: _settled(world))
        world.write("fourth", song("Four"))
        await until(lambda: _rev_is(world, world.artist.repo.head.rev))
        assert not (await world.repo()).in_doubt  # the chain goes on from there
        for task in tasks:
            task.cancel()


async def _is(ask: Callable[[], Awaitable[Any]], expected: Any) -> bool:
    return bool(await ask() == expected)


async def _is_true(ask: Callable[[], bool]) -> bool:
    return ask()


async def _rev_is(world: World, rev: str) -> bool:
    return (await world.repo()).rev == rev


async def _settled(world: World) -> bool:
    return not (await world.repo()).in_doubt


async def test_nothing_is_walked_when_nothing_is_in_doubt(world: World) -> None:
    assert not await world.resync.walk_next()


async def test_P164_a_walk_leaves_the_repository_at_the_revision_that_it_found(world: World) -> None:
    world.write("a", song("A"))
    await world.doubt()
    assert await world.resync.walk_next()
    repo = await world.repo()
    assert (repo.in_doubt, repo.rev, repo.data) == (False, world.artist.repo.head.rev, None)
    assert await world.states() == {"a": "queued"}
    assert not await world.resync.walk_next()


async def test_P165_a_host_that_is_down_is_tried_later_and_nothing_is_withdrawn(world: World) -> None:
    world.write("a", song("A"))
    await world.doubt()
    await world.resync.walk_next()
    await world.doubt()
    async with world.store.write() as tx:  # the rest after a walk is over
        await repos.put_off(tx, world.artist.did, reason="gap", attempts=0, due_us=0, now_us=0)
    world.network.switches.pds_down = True
    assert await world.resync.walk_next()
    repo = await world.repo()
    assert (repo.in_doubt, repo.reason) == (True, "gap")
    assert repo.due_us > world.clock.now_us() + 10_000_000
    assert await world.states() == {"a": "queued"}


async def test_P147_an_account_that_is_away_is_settled_as_away(world: World) -> None:
    world.write("a", song("A"))
    await world.doubt()
    await world.resync.walk_next()
    await world.doubt()
    async with world.store.write() as tx:
        await repos.put_off(tx, world.artist.did, reason="gap", attempts=0, due_us=0, now_us=0)
    world.network.set_account_status(world.artist, False, "deactivated")
    await world.resync.walk_next()
    async with world.store.read() as reader:
        stored = await tracks.get(reader, f"at://{world.artist.did}/{TRACK}/a")
    assert stored is not None
    assert (stored.account_active, stored.state.value) == (False, "queued")
    assert not (await world.repo()).in_doubt


async def test_live_events_during_a_walk_win_by_their_revision(world: World) -> None:
    uri = world.write("a", song("Old"))
    world.write("b", song("B"))
    await world.doubt()

    async def meanwhile() -> None:
        for rkey, record in (("a", song("New")), ("b", None)):
            world.write(rkey, record)
        head = world.artist.repo.head
        cid = world.artist.repo.records[f"{TRACK}/a"].cid_text
        events = [
            RecordEvent(world.artist.did, TRACK, "a", head.rev, Operation.UPDATE, cid, song("New"), 0),  # type: ignore[arg-type]
            RecordEvent(world.artist.did, TRACK, "b", head.rev, Operation.DELETE, None, None, 0),  # type: ignore[arg-type]
        ]
        async with world.store.write() as tx:
            await world.applier.apply(tx, events, now_us=world.clock.now_us())

    world.walker.meanwhile = meanwhile
    assert await world.resync.walk_next()
    async with world.store.read() as reader:
        stored = await tracks.get(reader, uri)
    assert stored is not None
    assert stored.track.title == "New"
    assert await world.states() == {"a": "queued", "b": "withdrawn"}


async def test_P164_doubt_that_comes_up_during_a_walk_means_another_one(world: World) -> None:
    await world.doubt("missed_commits")
    world.walker.meanwhile = world.doubt
    assert await world.resync.walk_next()
    repo = await world.repo()
    assert repo.in_doubt
    assert repo.due_us > world.clock.now_us()
    assert not await world.resync.walk_next()


async def test_a_repository_is_walked_by_one_at_a_time(world: World) -> None:
    await world.doubt()
    others: list[bool] = []

    async def meanwhile() -> None:
        others.append(await world.resync.walk_next())

    world.walker.meanwhile = meanwhile
    assert await world.resync.walk_next()
    assert others == [False]


async def test_a_walk_that_fails_for_good_is_tried_again_after_hours(world: World) -> None:
    await world.doubt()

    async def fail() -> None:
        raise UnknownDid("names no PDS")

    world.walker.meanwhile = fail
    assert await world.resync.walk_next()
    repo = await world.repo()
    assert repo.attempts == 1
    assert repo.due_us > world.clock.now_us() + 5 * 3600 * 1_000_000


async def test_P153_an_account_that_its_host_does_not_know_is_away_until_it_does_again(world: World) -> None:
    world.write("a", song("A"))
    await world.doubt()
    await world.resync.walk_next()
    await world.doubt()
    async with world.store.write() as tx:
        await repos.put_off(tx, world.artist.did, reason="gap", attempts=0, due_us=0, now_us=0)
    world.network.set_account_status(world.artist, False, "deleted")
    await world.resync.walk_next()
    assert await world.states() == {"a": "queued"}  # hidden, and kept: the host may have lost its disk
    assert await world.account() == Account(world.artist.did, False, "not_found")
    repo = await world.repo()
    assert (repo.in_doubt, repo.attempts) == (True, 1)
    world.network.set_account_status(world.artist, True)
    async with world.store.write() as tx:
        await repos.put_off(tx, world.artist.did, reason="gap", attempts=1, due_us=0, now_us=0)
    await world.resync.walk_next()
    assert (await world.account()).active


async def test_P151_an_account_that_was_deleted_is_not_asked_for_any_more(world: World) -> None:
    """Its host does not know it, as is right."""
    world.write("a", song("A"))
    await world.doubt()
    await world.resync.walk_next()
    world.network.set_account_status(world.artist, False, "deleted")
    async with world.store.write() as tx:
        gone = AccountEvent(world.artist.did, False, "deleted", 7, world.clock.now_us())
        await world.applier.apply(tx, [gone], now_us=world.clock.now_us())
    await world.doubt()
    async with world.store.write() as tx:
        await repos.put_off(tx, world.artist.did, reason="identity", attempts=0, due_us=0, now_us=0)
    assert await world.resync.walk_next()
    assert await world.account() == Account(world.artist.did, False, "deleted")
    assert not (await world.repo()).in_doubt


async def test_P153_an_account_that_its_host_has_again_is_active_again(world: World) -> None:
    uri = world.write("a", song("A"))
    async with world.store.write() as tx:
        away = AccountEvent(world.artist.did, False, "deactivated", 0)
        await world.applier.apply(tx, [away], now_us=world.clock.now_us())
    await world.doubt()
    await world.resync.walk_next()
    async with world.store.read() as reader:
        stored = await tracks.get(reader, uri)
    assert stored is not None
    assert stored.account_active


async def test_an_account_that_comes_back_from_deletion_is_walked(world: World) -> None:
    world.write("a", song("A"))
    await world.doubt()
    await world.resync.walk_next()
    for active, status in ((False, "deleted"), (True, None)):
        async with world.store.write() as tx:
            event = AccountEvent(world.artist.did, active, status, 0, world.clock.now_us())
            await world.applier.apply(tx, [event], now_us=world.clock.now_us())
    repo = await world.repo()
    assert repo.in_doubt
    async with world.store.write() as tx:
        await repos.put_off(tx, world.artist.did, reason="account_back", attempts=0, due_us=0, now_us=0)
    await world.resync.walk_next()
    assert await world.states() == {"a": "queued"}


@pytest.mark.parametrize(("pause", "attempts"), [(2.0, 0), (None, 1), (600.0, 1)])
async def test_P176_a_host_that_is_busy_is_asked_again_soon(world: World, pause: float | None, attempts: int) -> None:
    await world.doubt()

    async def fail() -> None:
        raise RateLimited("busy", retry_after_seconds=pause)

    world.walker.meanwhile = fail
    before_us = world.clock.now_us()
    assert await world.resync.walk_next()
    repo = await world.repo()
    assert (repo.in_doubt, repo.attempts) == (True, attempts)
    assert repo.due_us >= before_us + int((pause or 15.0) * 1_000_000)


async def test_a_walk_is_never_lost_to_an_error(world: World) -> None:
    await world.doubt()

    async def fail() -> None:
        raise Unreachable("in the middle", retry_after_seconds=90.0)

    world.walker.meanwhile = fail
    assert await world.resync.walk_next()
    assert (await world.repo()).due_us > world.clock.now_us() + 60_000_000
