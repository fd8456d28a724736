"""Walks through repositories of the test network: what changed, what is gone, and hosts that lie or falter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from core.clock import SystemClock
from core.errors import RateLimited, UnknownDid, Unreachable
from core.ports import Directory, HttpAnswer, Identity
from core.types import AtUri, make_tid
from earmark.demo import DemoAccount, Network
from earmark.demo.repo import Write
from firehose.events import AccountEvent, Operation, RecordEvent
from firehose.guard import Guard
from firehose.identity import DidDirectory
from firehose.proof import RecordProver
from firehose.safehttp import GuardedHttp
from firehose.walk import RepoWalker, Walk

TRACKS = "fm.plyr.track"
OTHERS = ("com.example.one", "com.example.two", "com.example.three")
Edit = Callable[[HttpAnswer], HttpAnswer]


class Wire:
    """The real client, with a tap: what was asked is noted, and a test may change answers or fail them."""

    def __init__(self, http: GuardedHttp) -> None:
        self._http = http
        self.asked: list[str] = []
        self.edits: dict[str, Edit] = {}

    async def get(self, url: str, **options: Any) -> HttpAnswer:
        method = url.rpartition(".")[2]
        self.asked.append(method)
        answer = await self._http.get(url, **options)
        edit = self.edits.get(method)
        return answer if edit is None else edit(answer)


class World:
    """A network with one account, and a walker of its repository."""

    def __init__(self, network: Network, wire: Wire, directory: Directory, clock: SystemClock) -> None:
        self.network = network
        self.wire = wire
        self.account: DemoAccount = network.create_account("ada.test")
        self.directory = directory
        self.max_events = 5_000
        self._clock = clock

    def add(self, *numbers: int, collection: str = TRACKS, **fields: Any) -> list[str]:
        writes = [Write(collection, f"n{n:04}", {"$type": collection, "n": n, **fields}) for n in numbers]  # type: ignore[arg-type]
        self.network.apply_writes(self.account, writes)
        return [f"at://{self.account.did}/{write.path}" for write in writes]

    def held(self) -> dict[str, str]:
        """What somebody knows who saw everything."""
        return {f"at://{self.account.did}/{path}": one.cid_text for path, one in self.account.repo.records.items()}

    async def walk(self, known: Mapping[str, str] | None = None, *collections: str, **options: Any) -> Walk:
        prover = RecordProver(self.wire, self.directory, clock=self._clock)
        walker = RepoWalker(self.wire, self.directory, prover, clock=self._clock, max_events=self.max_events)
        return await walker.walk(self.account.did, collections or (TRACKS,), known or {}, **options)


@pytest.fixture
async def world(clock: SystemClock) -> AsyncIterator[World]:
    http = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test")
    async with Network() as network:
        wire = Wire(http)
        yield World(network, wire, DidDirectory(wire, clock=clock, plc_url=network.url, allow_loopback=True), clock)
    await http.close()


def records(walk: Walk) -> dict[str, RecordEvent]:
    return {str(event.uri): event for event in walk.events if isinstance(event, RecordEvent)}


def edited(answer: HttpAnswer, **fields: Any) -> HttpAnswer:
    return replace(answer, body=orjson.dumps(orjson.loads(answer.body) | fields))


async def test_P175_everything_is_found_over_pages_at_the_revision_before_the_listing(world: World) -> None:
    uris = world.add(*range(150)) + world.add(*range(150, 250))
    world.add(1, collection="app.bsky.feed.like")
    walk = await world.walk()
    assert walk.complete
    assert (walk.listed, walk.rev) == ({TRACKS: 250}, world.account.repo.head.rev)
    found = records(walk)
    assert set(found) == set(uris)
    assert {(event.operation, event.rev, event.verified) for event in found.values()} == {
        (Operation.CREATE, walk.rev, False)
    }
    assert all(event.cid == world.held()[uri] for uri, event in found.items())
    assert found[uris[7]].record == {"$type": TRACKS, "n": 7}


async def test_P164_only_what_differs_from_what_is_known_makes_an_event(world: World) -> None:
    same, changed, gone = world.add(1, 2, 3)
    known = world.held()
    world.network.update_record(world.account, TRACKS, "n0002", {"n": 22})
    world.network.delete_record(world.account, TRACKS, "n0003")
    (new,) = world.add(4)
    found = records(await world.walk(known))
    assert same not in found
    assert {uri: event.operation for uri, event in found.items()} == {
        changed: Operation.CREATE,
        new: Operation.CREATE,
        gone: Operation.DELETE,
    }
    assert found[changed].record == {"$type": TRACKS, "n": 22}
    assert found[gone].verified
    assert found[gone].rev == world.account.repo.head.rev


@pytest.mark.parametrize("lie", [{"records": []}, {"records": [], "cursor": "more"}])
async def test_a_host_that_hides_records_withdraws_none(world: World, lie: dict[str, Any]) -> None:
    world.add(1, 2)
    world.wire.edits["listRecords"] = lambda answer: edited(answer, **lie)
    walk = await world.walk(world.held())
    assert walk.events == ()
    assert world.wire.asked.count("getRecord") == 2


async def test_a_hidden_record_that_changed_enters_with_its_proof(world: World) -> None:
    (uri,) = world.add(1)
    known = world.held()
    world.network.update_record(world.account, TRACKS, "n0001", {"n": 11})
    world.wire.edits["listRecords"] = lambda answer: edited(answer, records=[])
    event = records(await world.walk(known))[uri]
    assert (event.operation, event.verified, event.record) == (Operation.UPDATE, True, {"$type": TRACKS, "n": 11})


async def test_a_host_that_proves_nothing_withdraws_nothing(world: World) -> None:
    world.add(1, 2)
    known = world.held()
    world.network.delete_record(world.account, TRACKS, "n0001")
    world.wire.edits["getRecord"] = lambda answer: replace(answer, body=b"no archive")
    assert (await world.walk(known)).events == ()


async def test_known_records_of_other_collections_are_left_alone(world: World) -> None:
    known = {f"at://{world.account.did}/com.example.one/self": "bafkqaaa"}
    assert (await world.walk(known)).events == ()
    assert "getRecord" not in world.wire.asked


@pytest.mark.parametrize(
    ("status", "said"),
    [("takendown",) * 2, ("suspended",) * 2, ("deactivated",) * 2, ("deleted", "not_found")],
)
async def test_P177_an_account_that_is_away_becomes_its_event(world: World, status: Any, said: str) -> None:
    world.add(1)
    known = world.held()
    before_us = SystemClock().now_us()
    world.network.set_account_status(world.account, False, status)
    walk = await world.walk(known)
    (event,) = walk.events
    assert isinstance(event, AccountEvent)
    assert (event.did, event.active, event.status, walk.rev) == (world.account.did, False, said, None)
    assert event.time_us is not None
    assert event.time_us >= before_us  # what is written later is spared


async def test_P153_a_host_in_trouble_says_nothing_of_the_account(world: World) -> None:
    world.add(1)
    world.network.switches.pds_down = True
    with pytest.raises((RateLimited, Unreachable)):
        await world.walk(world.held())


async def test_an_account_that_moved_is_read_at_its_new_host(world: World) -> None:
    (uri,) = world.add(1)
    real, former = world.directory, Network(seed="elsewhere")

    class Stale:
        """Knows the former host until asked afresh."""

        fresh = False

        async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
            self.fresh |= refresh
            identity = await real.resolve(did)
            return identity if self.fresh else replace(identity, pds=former.url)

        def forget(self, did: str) -> None: ...

    world.directory = Stale()
    async with former:
        assert set(records(await world.walk())) == {uri}


async def test_an_account_that_no_directory_knows_is_an_error(world: World) -> None:
    world.account = replace(world.account, did="did:plc:" + "a" * 24)  # type: ignore[arg-type]
    with pytest.raises(UnknownDid):
        await world.walk()


async def test_an_account_without_a_host_is_an_error(world: World) -> None:
    class Bare:
        async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
            return Identity(did)  # type: ignore[arg-type]

        def forget(self, did: str) -> None: ...

    world.directory = Bare()
    with pytest.raises(UnknownDid):
        await world.walk()


async def test_P176_a_host_that_wants_a_pause_gets_it_in_the_middle_of_a_listing(world: World) -> None:
    world.add(*range(150))
    pages = 0

    def hurried(answer: HttpAnswer) -> HttpAnswer:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise RateLimited("slower", retry_after_seconds=0.01)
        return answer

    world.wire.edits["listRecords"] = hurried
    walk = await world.walk()
    assert (walk.listed[TRACKS], pages) == (150, 3)


async def test_a_long_pause_ends_the_walk(world: World) -> None:
    def paused(answer: HttpAnswer) -> HttpAnswer:
        raise RateLimited("later", retry_after_seconds=600.0)

    world.wire.edits["listRecords"] = paused
    with pytest.raises(RateLimited):
        await world.walk()
    assert world.wire.asked.count("listRecords") == 1


async def test_more_changes_than_one_walk_brings_come_with_the_next_walk(world: World) -> None:
    uris = world.add(1, 2, 3)
    world.max_events = 2
    first = await world.walk()
    assert (len(first.events), first.complete) == (2, False)
    known = {uri: str(event.cid) for uri, event in records(first).items()}
    second = await world.walk(known)
    assert second.complete
    assert set(records(first)) | set(records(second)) == set(uris)


async def test_large_records_do_not_pile_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firehose.walk.MAX_EVENT_BYTES", 250_000)
    world.add(1, 2, 3, text="x" * 100_000)
    walk = await world.walk()
    assert (len(walk.events), walk.complete) == (2, False)


async def test_a_bound_holds_also_for_what_is_proven_gone(world: World) -> None:
    world.add(1, 2, 3)
    known = world.held()
    for rkey in ("n0001", "n0002", "n0003"):
        world.network.delete_record(world.account, TRACKS, rkey)
    world.max_events = 2
    walk = await world.walk(known)
    assert (len(walk.events), walk.complete) == (2, False)


async def test_a_host_that_lists_without_end_is_heard_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that it says is kept beyond that; what is known and was not listed is there, for it can be proven."""
    monkeypatch.setattr("firehose.walk.MAX_LISTED", 5)
    world.add(*range(10))
    stranger = {"uri": "at://did:plc:stranger222222222222222/x/y", "cid": "x", "value": {}}
    world.wire.edits["listRecords"] = lambda answer: edited(
        answer, records=[stranger, *orjson.loads(answer.body)["records"]], cursor="more"
    )
    walk = await world.walk(world.held())
    assert (walk.listed, walk.events, walk.complete) == ({TRACKS: 5}, (), True)
    assert world.wire.asked.count("listRecords") == 2


async def test_since_passes_over_older_records_but_not_over_changes_of_known_ones(world: World) -> None:
    noon_us = 1_700_000_000_000_000
    (old,) = world.add(1, createdAt="2020-01-01T00:00:00Z")
    (new,) = world.add(2, createdAt="2024-01-01T00:00:00Z")
    (silent,) = world.add(3)
    world.network.create_record(world.account, TRACKS, make_tid(noon_us - 1), {"n": 4})
    late = world.network.create_record(world.account, TRACKS, make_tid(noon_us), {"n": 5})
    assert set(records(await world.walk(since_us=noon_us))) == {new, silent, str(late)}
    assert old in records(await world.walk({old: "another"}, since_us=noon_us))


async def test_P146_a_revision_of_the_future_is_refused(world: World) -> None:
    world.add(1)
    far = make_tid(SystemClock().now_us() + 3_600_000_000)
    world.wire.edits["getLatestCommit"] = lambda answer: edited(answer, rev=far)
    with pytest.raises(Unreachable, match="cannot be"):
        await world.walk()


async def test_a_listing_that_goes_round_in_circles_ends(world: World) -> None:
    uris = world.add(1, 2)
    world.wire.edits["listRecords"] = lambda answer: edited(answer, cursor="again")
    walk = await world.walk()
    assert set(records(walk)) == set(uris)
    assert world.wire.asked.count("listRecords") == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"records": 1}', b'{"records": [{"uri": 1}]}', b"[" * 100_000])
async def test_nonsense_is_no_answer(world: World, body: bytes) -> None:
    world.add(1)
    world.wire.edits["listRecords"] = lambda answer: replace(answer, body=body)
    with pytest.raises(Unreachable):
        await world.walk()


async def test_entries_that_break_the_rules_are_passed_over(world: World) -> None:
    uris = world.add(1, 2)
    cid = world.held()[uris[0]]
    stranger = f"at://did:plc:{'a' * 24}/{TRACKS}/n0001"
    deep: Any = {"n": 1}
    for _ in range(40):
        deep = {"n": deep}
    entries = [
        {"uri": stranger, "cid": cid, "value": {}},
        {"uri": f"at://{world.account.did}/com.example.one/self", "cid": cid, "value": {}},
        {"uri": f"at://{world.account.did}/{TRACKS}/a/b", "cid": cid, "value": {}},
        {"uri": uris[0], "cid": "no cid", "value": {}},
        {"uri": uris[1], "cid": world.held()[uris[1]], "value": deep},
    ]
    world.wire.edits["listRecords"] = lambda answer: edited(answer, records=entries, cursor=None)
    found = records(await world.walk())
    assert list(found) == [uris[1]]
    assert found[uris[1]].record is None  # its reader says what is wrong with it


async def test_of_many_collections_only_those_that_are_there_are_listed(world: World) -> None:
    uris = world.add(1) + world.add(2, collection=OTHERS[0])
    assert set(records(await world.walk(None, TRACKS, *OTHERS))) == set(uris)
    assert world.wire.asked.count("listRecords") == 2
    assert world.wire.asked.count("describeRepo") == 1


async def test_a_host_that_cannot_describe_is_asked_for_every_collection(world: World) -> None:
    uris = world.add(1) + world.add(2, collection=OTHERS[0])
    world.wire.edits["describeRepo"] = lambda answer: replace(answer, status=501, body=b"")
    assert set(records(await world.walk(None, TRACKS, *OTHERS))) == set(uris)
    assert world.wire.asked.count("listRecords") == 4


async def test_a_collection_that_emptied_is_withdrawn_though_nobody_lists_it(world: World) -> None:
    (uri,) = world.add(1)
    known = world.held()
    world.network.delete_record(world.account, TRACKS, "n0001")
    found = records(await world.walk(known, TRACKS, *OTHERS))
    assert {str(AtUri.parse(one)): event.operation for one, event in found.items()} == {uri: Operation.DELETE}
