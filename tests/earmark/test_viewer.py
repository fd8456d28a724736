"""A viewer's own records, read from a host of the test network: what counts, what does not, and hosts that falter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.clock import SystemClock, format_datetime
from core.errors import StoreBusy
from core.link import Link, LinkRule
from core.nsids import FEED_PREFS
from core.ports import HttpAnswer
from core.taxonomy import Taxonomy
from core.types import AtUri, Cid, Did, Tid, Track, TrackState, make_tid
from earmark.demo import Network
from earmark.demo.repo import Write
from earmark.viewer import AT_ONCE, FRESH_SECONDS, PARTIAL_SECONDS, Viewers
from earmark.viewer_records import MAX_OF_LIST, MAX_PAGES, read_prefs
from feedgen.taste import Anchor, AnchorKind, Prefs, Reading
from firehose.guard import Guard
from firehose.identity import DidDirectory
from firehose.links import LinkRules
from firehose.safehttp import GuardedHttp
from store import Store, links, tracks

TRACK, LIKE, REPOST = "fm.plyr.track", "app.bsky.feed.like", "app.bsky.feed.repost"
ARTIST = Did("did:plc:" + "a" * 24)
START_US = 1_790_000_000_000_000


class Clock(SystemClock):
    """The machine's clock, so many seconds later."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Wire:
    """The real client, with a tap: what was asked is noted; a test may have answers changed or come late."""

    def __init__(self, http: GuardedHttp) -> None:
        self._http = http
        self.asked: list[str] = []
        self.edit: Callable[[HttpAnswer], HttpAnswer] = lambda answer: answer
        self.late: dict[str, asyncio.Event] = {}  # by a word of the address or its parameters

    async def get(self, url: str, **options: Any) -> HttpAnswer:
        told = f"{url} {options.get('params', {})}"
        if "/xrpc/" in url:
            self.asked.append(url.rpartition(".")[2])
        for word, event in self.late.items():
            if word in told:
                await event.wait()
        answer = await self._http.get(url, **options)
        return self.edit(answer) if "/xrpc/" in url else answer


class World:
    """A network where one viewer lives, and a store that knows some tracks of an artist."""

    def __init__(self, network: Network, store: Store, wire: Wire, clock: Clock) -> None:
        self.network, self.store, self.wire, self.clock = network, store, wire, clock
        self.account = network.create_account("viewer.test")
        self.did = Did(self.account.did)
        self.directory = DidDirectory(wire, clock=clock, plc_url=network.url, allow_loopback=True)
        rules = LinkRules(frozenset({TRACK}), frozenset({"plyr.fm"}))
        self.viewers = Viewers(store, wire, self.directory, rules, taxonomy=Taxonomy.load(), clock=clock)
        self._keys = 0

    def uri(self, number: int, did: str = ARTIST) -> str:
        return f"at://{did}/{TRACK}/t{number}"

    def post(self, number: int) -> str:
        return f"at://{ARTIST}/app.bsky.feed.post/p{number}"

    async def know(self, *numbers: int, did: Did = ARTIST) -> None:
        """Tracks with their pages, each linked by a post."""
        async with self.store.write() as tx:
            for number in numbers:
                uri = AtUri.parse(self.uri(number, did))
                page = f"https://plyr.fm/track/{number}"
                track = Track(uri, Cid(f"c{number}"), Tid(make_tid(START_US)), f"T{number}", START_US, page_url=page)
                await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=START_US)
                link = Link(self.post(number), did, str(uri), LinkRule.EMBED_RECORD, START_US)
                await links.put(tx, [link], now_us=START_US)

    def say(self, collection: str, *, rkey: str = "", minute: int = 0, **fields: Any) -> None:
        self._keys += 1
        record = {"$type": collection, "createdAt": format_datetime(START_US + minute * 60_000_000), **fields}
        write = Write(collection, rkey or f"k{self._keys}", record)  # type: ignore[arg-type]
        self.network.apply_writes(self.account, [write])

    def like(self, subject: str, collection: str = LIKE, **fields: Any) -> None:
        self.say(collection, subject={"uri": subject, "cid": "bafy"}, **fields)

    def anchor(self, number: int, minute: int = 0, kind: AnchorKind = AnchorKind.LIKE) -> Anchor:
        return Anchor(self.uri(number), START_US + minute * 60_000_000, kind)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = Clock()
    http = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test")
    store = await Store.open(tmp_path / "earmark.db", clock=clock)
    async with Network() as network:
        found = World(network, store, Wire(http), clock)
        yield found
        await found.viewers.close()
    await store.close()
    await http.close()


async def test_likes_playlists_and_reposts_of_known_tracks_are_anchors(world: World) -> None:
    await world.know(1, 2, 3, 4)
    await world.know(9, did=world.did)
    world.like(world.post(1), minute=5)  # a post that links one
    world.like(world.uri(2), "fm.plyr.like", minute=4)
    world.like(world.uri(9, world.did), "fm.plyr.like", minute=4)  # their own
    world.like(world.uri(77), "fm.plyr.like")  # a track that nobody knows
    world.like("at://did:plc:bbbbbbbbbbbbbbbbbbbbbbbb/app.bsky.feed.post/cats", minute=6)
    for kind, number in (("playlist", 3), ("album", 4)):
        subjects = [{"subject": {"uri": world.uri(number), "cid": "bafy"}}]
        world.say("fm.plyr.list", listType=kind, items=subjects, minute=3)
    assert await world.viewers.read(world.did) == Reading(
        (world.anchor(1, 5), world.anchor(2, 4), world.anchor(3, 3, AnchorKind.PLAYLIST))
    )


async def test_plays_and_reposts_count_where_there_is_nothing_better(world: World) -> None:
    await world.know(1, 2)
    world.like(world.post(1), REPOST, minute=2)
    played = format_datetime(START_US + 60_000_000)
    world.say("fm.teal.feed.play", originUri="https://plyr.fm/track/2?ref=abc", playedTime=played, trackName="T2")
    world.say("fm.teal.feed.play", originUri="https://elsewhere.example/track/1", trackName="T1")
    reading = await world.viewers.read(world.did)
    assert reading.anchors == (world.anchor(1, 2, AnchorKind.REPOST), world.anchor(2, 1, AnchorKind.PLAY))


async def test_a_viewer_costs_their_host_five_requests_and_then_none_for_ten_minutes(world: World) -> None:
    await world.know(1)
    for collection in (LIKE, REPOST, "fm.plyr.like", "app.musicsky.temp.like"):
        for minute in range(120 if collection == LIKE else 1):
            world.like(world.post(1), collection, minute=minute)
    world.say("fm.plyr.list", listType="playlist", items=[])
    world.say(FEED_PREFS, rkey="self", breadth=100)
    reading = await world.viewers.read(world.did)
    assert sorted(world.wire.asked) == ["describeRepo", "getRecord", *["listRecords"] * MAX_PAGES]
    world.like(world.post(1))
    world.clock.ahead = FRESH_SECONDS - 5
    assert await world.viewers.read(world.did) == reading
    assert len(world.wire.asked) == MAX_PAGES + 2
    world.clock.ahead = FRESH_SECONDS + 5
    assert len((await world.viewers.read(world.did)).anchors) == len(reading.anchors)
    assert len(world.wire.asked) == 2 * (MAX_PAGES + 2)


async def test_pages_that_are_left_go_to_the_likes_of_posts(world: World) -> None:
    """Most people have these alone, and most of them are of other things than music."""
    await world.know(1, 2)
    world.like(world.post(1), minute=1)
    for minute in range(2, 252):
        world.like(f"at://{ARTIST}/app.bsky.feed.post/cats{minute}", minute=minute)
    world.like(world.post(2), minute=300)
    assert await world.viewers.read(world.did) == Reading((world.anchor(2, 300), world.anchor(1, 1)))
    assert world.wire.asked == ["describeRepo", *["listRecords"] * MAX_PAGES]


async def test_a_long_playlist_is_not_all_that_is_known(world: World) -> None:
    await world.know(*range(1, 2 * MAX_OF_LIST))
    listed = [{"subject": {"uri": world.uri(number), "cid": "bafy"}} for number in range(2, 2 * MAX_OF_LIST)]
    world.say("fm.plyr.list", listType="playlist", items=listed, minute=9)
    world.like(world.post(1), minute=1)
    world.like(world.post(2), minute=1)
    anchors = {one.track_uri: one for one in (await world.viewers.read(world.did)).anchors}
    assert len(anchors) == MAX_OF_LIST + 1
    assert anchors[world.uri(1)] == world.anchor(1, 1)
    assert anchors[world.uri(2)] == world.anchor(2, 9), "a like, whatever list it is on"


async def test_what_was_read_is_dropped_when_its_time_is_over_also_if_nobody_asks_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.viewer.FRESH_SECONDS", 0.05)
    await world.know(1)
    world.like(world.post(1))
    assert (await world.viewers.read(world.did)).anchors
    async with asyncio.timeout(30):
        while world.viewers.remembered:
            await asyncio.sleep(0.01)


PAGE = orjson.dumps(
    {
        "collections": [LIKE, FEED_PREFS],
        "records": [{"uri": "at://x/y/z", "value": {"subject": {"uri": "at://x/y/z"}}}] * 100,
        "cursor": "again",
        "value": {"breadth": 100},
    }
)
HEADS = {
    "page": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE,
    "huge": b"HTTP/1.1 200 OK\r\n\r\n{" + b" " * 10_000_000,
    "compressed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz",
    "redirect": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n",
    "drip": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
    "stall": b"",
}


@pytest.mark.parametrize("behaviour", HEADS)
async def test_what_a_viewers_own_host_may_do(world: World, behaviour: str) -> None:
    """Endless cursors, ten megabytes, what is compressed, a way to another host, a byte at a time, nothing at all."""
    requests: list[bytes] = []
    secrets: list[bytes] = []
    over = asyncio.Event()
    answering: set[asyncio.Task[None]] = set()

    async def keep_secret(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secrets.append(await reader.readline())
        writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.add(task)
        requests.append(await reader.readline())
        with suppress(ConnectionError):
            writer.write(HEADS[behaviour].replace(b"%s", inner.encode()))
            await writer.drain()
            while behaviour in ("drip", "stall") and not over.is_set():
                writer.write(b" " if behaviour == "drip" else b"")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    hidden = await asyncio.start_server(keep_secret, "127.0.0.1", 0)
    inner = f"http://127.0.0.1:{hidden.sockets[0].getsockname()[1]}/"
    async with hidden, await asyncio.start_server(answer, "127.0.0.1", 0) as host:
        url = f"http://localhost:{host.sockets[0].getsockname()[1]}"
        world.account.services = {"atproto_pds": ("AtprotoPersonalDataServer", url)}
        async with asyncio.timeout(30):
            reading = await world.viewers.read(world.did)
            over.set()
            await asyncio.gather(*answering)
    fine = behaviour == "page"
    assert reading == Reading((), Prefs(breadth=1.0) if fine else Prefs(), complete=fine)
    assert len(requests) == (MAX_PAGES + 2 if fine else 1)
    assert secrets == []


async def test_readers_at_once_share_one_look_and_forgetting_ends_it(world: World) -> None:
    world.like(world.post(1))
    await asyncio.gather(*(world.viewers.read(world.did) for _ in range(10)))
    assert world.wire.asked.count("describeRepo") == 1
    world.viewers.forget(world.did)
    gate = world.wire.late["describeRepo"] = asyncio.Event()
    flight = asyncio.create_task(world.viewers.read(world.did))
    while len(world.wire.asked) < 3:
        await asyncio.sleep(0.01)
    world.viewers.forget(world.did)
    gate.set()
    await flight
    asked = len(world.wire.asked)
    await world.viewers.read(world.did)
    assert len(world.wire.asked) > asked, "what was read meanwhile was not kept"


async def test_what_a_slow_host_does_not_tell_in_time_is_left_out(world: World) -> None:
    await world.know(1, 2)
    world.like(world.post(1))
    world.like(world.uri(2), "fm.plyr.like")
    gate = world.wire.late["fm.plyr.like"] = asyncio.Event()
    async with asyncio.timeout(30):
        assert await world.viewers.read(world.did) == Reading((world.anchor(1),), complete=False)
    gate.set()
    world.clock.ahead = PARTIAL_SECONDS + 5
    assert {one.track_uri for one in (await world.viewers.read(world.did)).anchors} == {world.uri(1), world.uri(2)}


async def test_hosts_that_stall_take_few_of_the_questions_that_are_asked_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.viewer.PATIENCE_SECONDS", 60.0)
    gate = world.wire.late["describeRepo"] = asyncio.Event()
    accounts = [Did(world.network.create_account(f"viewer{number}.test").did) for number in range(AT_ONCE + 1)]
    waiting = [asyncio.create_task(world.viewers.read(did)) for did in accounts[:AT_ONCE]]
    while world.wire.asked.count("describeRepo") < AT_ONCE:
        await asyncio.sleep(0.01)
    assert await world.viewers.read(accounts[AT_ONCE]) == Reading(complete=False), "a stranger until the next visit"
    assert world.wire.asked.count("describeRepo") == AT_ONCE
    gate.set()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b'{"collections": 5, "records": 5}',
        b'{"collections": ["app.bsky.feed.like", 7, null], "records": [5, null, {"value": 5}, {"value": {}}]}',
        b'{"collections": ["app.bsky.feed.like", "fm.plyr.list"], "records": [{"uri": 5, "value": {"subject": [], '
        b'"items": [[], {"subject": "x"}], "createdAt": "9999-99-99", "listType": {}}}]}',
        b'{"collections": ["fm.teal.feed.play"], "records": [{"uri": "k", "value": {"originUri": "https://[", '
        b'"playedTime": {}}}]}',
        b'{"collections": ["example.earmark.feedPrefs"], "value": {"breadth": "wide", "mutedStyles": [[]]}}',
    ],
)
async def test_a_host_that_answers_nonsense_has_a_viewer_of_whom_nothing_is_known(world: World, body: bytes) -> None:
    world.wire.edit = lambda answer: replace(answer, status=200, body=body)
    assert await world.viewers.read(world.did) == Reading()


async def test_hosts_that_refuse_and_people_whom_nobody_knows(world: World) -> None:
    assert await world.viewers.read(Did("did:plc:" + "z" * 24)) == Reading(complete=False)
    world.wire.edit = lambda answer: replace(answer, status=500)
    assert await world.viewers.read(world.did) == Reading(complete=False)


async def test_what_several_tracks_claim_is_no_taste(world: World) -> None:
    await world.know(1)
    async with world.store.write() as tx:
        other = AtUri.parse(world.uri(2))
        page = "https://plyr.fm/track/1"
        track = Track(other, Cid("c2"), Tid(make_tid(START_US)), "T2", START_US, page_url=page)
        await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=START_US)
    world.say("fm.teal.feed.play", originUri=page, trackName="T1")
    assert (await world.viewers.read(world.did)).anchors == ()


async def test_what_a_busy_store_did_not_tell_is_asked_again_within_minutes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.know(1)
    world.like(world.post(1))

    async def busy(*_: object) -> list[str]:
        raise StoreBusy("the disk is slow")

    with monkeypatch.context() as patched:
        patched.setattr(links, "tracks_behind", busy)
        assert await world.viewers.read(world.did) == Reading(complete=False)
    world.clock.ahead = PARTIAL_SECONDS + 5
    assert (await world.viewers.read(world.did)).anchors == (world.anchor(1),)


def test_the_knobs_of_a_record() -> None:
    told = {"breadth": 100, "explore": 0, "hideAi": True, "instrumentalOnly": True, "minSeconds": 90}
    taxonomy = Taxonomy.load()
    expected = Prefs(1.0, 0.0, True, True, 90, frozenset({"rock-punk"}), frozenset({"pt", "ja"}))
    told |= {"langs": ["pt-BR", "ja", "a stranger's text", 7]}
    assert read_prefs(told | {"mutedStyles": ["rock-punk", 7]}, taxonomy) == expected
    muted = read_prefs({"mutedStyles": ["rock", "x" * 100_000]}, taxonomy).muted_styles
    assert muted <= set(taxonomy.identifiers), "a stranger's text is not kept"
    assert "rock" in muted
    assert {style for style in taxonomy.styles if taxonomy.styles[style].parent == "rock"} <= muted
    for nonsense in (
        {},
        {"breadth": 101, "explore": -1, "minSeconds": True, "mutedStyles": "rock"},
        {"breadth": 0.5, "langs": "pt"},
    ):
        assert read_prefs(nonsense, taxonomy) == Prefs()
