"""Posts that were written before we listened: named by the track's record (R3), or known to a Constellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from core.errors import Permanent, RateLimited, Transient, Unreachable
from core.link import LinkRule
from core.types import AtUri, Track, TrackState, make_tid
from firehose.constellation import MAX_PAGES, PAGE_PATHS, RECORD_PATHS, Constellation
from firehose.finding import PostFinder
from firehose.guard import Guard
from firehose.links import LinkRules
from firehose.posts import PostLinks
from firehose.proof import RecordProver
from firehose.safehttp import GuardedHttp
from store import Store, links, questions, tracks

NOW_US = 1_750_000_000_000_000
PAGE = "https://plyr.fm/track/42"
RULES = LinkRules(frozenset({"fm.plyr.track"}), frozenset({"plyr.fm"}))
POST = "app.bsky.feed.post"
KEYS = [f"3kaaaaaaaaaa{last}" for last in "234567"]


@pytest.fixture
async def http(clock: Any) -> AsyncIterator[GuardedHttp]:
    client = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test")
    yield client
    await client.close()


class Index:
    """A Constellation that knows the links it is given: (subject, path) -> records, `size` to a page of answers."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], list[Any]] = {}
        self.size = 100
        self.asked: list[tuple[str, str]] = []
        self.failing: web.Response | None = None
        self.failing_for: str | None = None  # only this subject

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.path == "/xrpc/blue.microcosm.links.getBacklinks"
        assert request.headers["Accept"] == "application/json"
        if self.failing is not None and self.failing_for in (None, request.query["subject"]):
            return self.failing
        collection, _, path = request.query["source"].partition(":")
        assert collection == POST
        asked = (request.query["subject"], path)
        self.asked.append(asked)
        records, start = self.known.get(asked, []), int(request.query.get("cursor", "0"), 16)
        following = start + self.size
        cursor = f"{following:x}" if following < len(records) else None
        return web.json_response({"total": len(records), "records": records[start:following], "cursor": cursor})


@pytest.fixture
def index() -> Index:
    return Index()


def record(did: str, rkey: str, collection: str = POST) -> dict[str, Any]:
    return {"did": did, "collection": collection, "rkey": rkey}


async def test_all_paths_are_asked_and_each_post_comes_once(http: GuardedHttp, index: Index, serve: Any) -> None:
    did, track = "did:plc:fan222222222222222222222", "at://did:plc:artist222222222222222222/fm.plyr.track/a"
    index.size = 2
    index.known[(track, RECORD_PATHS[0])] = [record(did, key) for key in KEYS[:3]]
    odd = ["x", {}, record(did, "a b"), record("handle.example", "a"), record(did, "a", "fm.plyr.like")]
    index.known[(PAGE, PAGE_PATHS[2])] = [record(did, KEYS[2]), *odd, record(did, KEYS[3])]
    asking = Constellation(http, await serve(index.handle), pause=0.0)
    assert [post.rkey for post in await asking.posts(track, PAGE)] == KEYS[:4]
    assert set(index.asked) == {(track, path) for path in RECORD_PATHS} | {(PAGE, path) for path in PAGE_PATHS}
    index.asked.clear()
    assert len(await asking.posts(track, None)) == 3
    assert {subject for subject, _ in index.asked} == {track}


async def test_answers_are_bounded(http: GuardedHttp, index: Index, serve: Any) -> None:
    index.size = 1
    index.known[("x", RECORD_PATHS[0])] = [record("did:plc:fan222222222222222222222", f"k{n}") for n in range(50)]
    found = await Constellation(http, await serve(index.handle), pause=0.0).posts("x", None)
    assert len(found) == MAX_PAGES


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: web.Response(status=500), Unreachable),
        (lambda: web.Response(status=429, headers={"Retry-After": "7"}), RateLimited),
        (lambda: web.Response(status=414), Permanent),
        (lambda: web.Response(text="<html>"), Unreachable),
        (lambda: web.json_response([]), Unreachable),
        (lambda: web.json_response({"records": {}}), Unreachable),
        (lambda: web.Response(body=b" " * 300_000), Unreachable),
    ],
)
async def test_trouble(http: GuardedHttp, index: Index, serve: Any, answer: Any, error: type[Exception]) -> None:
    index.failing = answer()
    with pytest.raises(error):
        await Constellation(http, await serve(index.handle), pause=0.0).posts("x", None)


class World:
    """An artist and a fan with real signed repositories on one host, and a finder that looks for their posts."""

    def __init__(self, kit: Any, store: Store, clock: Any) -> None:
        self.artist, self.fan = kit.Repo("artist", 1), kit.Repo("fan", 2)
        self.store, self.clock = store, clock
        self.track = f"at://{self.artist.did}/fm.plyr.track/3kbbbbbbbbbb2"
        self.proofs: list[str] = []

    def post(self, repo: Any, rkey: str, **fields: Any) -> str:
        content = {"$type": POST, "text": "x", "createdAt": "2025-01-01T00:00:00Z"} | fields
        repo.body(1, ("create", f"{POST}/{rkey}", content))
        return f"at://{repo.did}/{POST}/{rkey}"

    async def host(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        path = f"{query['collection']}/{query['rkey']}"
        self.proofs.append(path)
        repo = self.artist if query["did"] == self.artist.did else self.fan
        return web.Response(body=repo.proof(path), content_type="application/vnd.ipld.car")

    async def publish(self, *post_refs: str, page_url: str | None = None, state: TrackState = TrackState.READY) -> None:
        track = Track(
            AtUri.parse(self.track), "cid", make_tid(NOW_US), "Song", NOW_US, page_url=page_url, post_refs=post_refs
        )
        async with self.store.write() as tx:
            await tracks.put(tx, track, state=state, reason=None, now_us=NOW_US)
            await questions.ask(tx, self.track, now_us=self.clock.now_us())

    async def found(self) -> dict[str, tuple[LinkRule, int]]:
        async with self.store.read() as reader:
            return {
                link.post_uri: (link.rule, link.targets_in_post) for link in await links.of_track(reader, self.track)
            }

    async def waiting(self) -> list[tuple[str, int]]:
        async with self.store.read() as reader:
            return await questions.due(reader, now_us=2**61, limit=9)


@pytest.fixture
def world(kit: Any, store: Store, clock: Any) -> World:
    return World(kit, store, clock)


@pytest.fixture
def finder(
    world: World, kit: Any, store: Store, clock: Any, log: Any, http: GuardedHttp, serve: Any
) -> Callable[..., Any]:
    async def build(index: Index | None = None) -> PostFinder:
        pds = await serve(world.host)
        directory = kit.KnownIdentities(world.artist.identity(pds=pds), world.fan.identity(pds=pds))
        return PostFinder(
            store,
            RecordProver(http, directory, clock=clock),
            RULES,
            PostLinks(RULES),
            constellation=Constellation(http, await serve(index.handle), pause=0.0) if index else None,
            clock=clock,
            log=log,
        )

    return build


async def test_r3_posts_that_the_record_names_count_if_they_are_its_artists(world: World, finder: Any) -> None:
    own = world.post(world.artist, KEYS[0])
    fans = world.post(world.fan, KEYS[1])
    gone = f"at://{world.artist.did}/{POST}/{KEYS[2]}"
    await world.publish(own, fans, gone, "nonsense", world.track)
    assert await (await finder()).answer_due() == 1
    assert await world.found() == {own: (LinkRule.RECORD_TO_POST, 1)}
    assert world.proofs == [f"{POST}/{KEYS[0]}", f"{POST}/{KEYS[2]}"]
    assert await world.waiting() == [(world.track, 1)]  # again in an hour: a post may come after its record


async def test_a_post_that_its_host_proves_absent_is_no_link_any_more(world: World, finder: Any) -> None:
    own = world.post(world.artist, KEYS[0])
    await world.publish(own)
    asking = await finder()
    await asking.answer_due()
    assert list(await world.found()) == [own]
    world.artist.body(2, ("delete", f"{POST}/{KEYS[0]}", None))  # while we did not listen
    async with world.store.write() as tx:
        await questions.ask(tx, world.track, now_us=world.clock.now_us())
    await asking.answer_due()
    assert await world.found() == {}


async def test_r3_a_post_is_judged_by_what_it_holds(world: World, finder: Any) -> None:
    other = world.track.replace("3kbbbbbbbbbb2", "3kcccccccccc2")
    page = {"embed": {"external": {"uri": PAGE}}}
    mixed = {"embed": {"record": {"uri": other}}}
    posts = [world.post(world.artist, key, **fields) for key, fields in zip(KEYS, (page, mixed), strict=False)]
    reply = world.post(world.artist, KEYS[2], reply={"root": {}, "parent": {}})
    await world.publish(*posts, reply, page_url=PAGE)
    await (await finder()).answer_due()
    named = LinkRule.RECORD_TO_POST
    assert await world.found() == {posts[0]: (named, 1), posts[1]: (named, 2), reply: (named, 1)}
    async with world.store.read() as reader:
        marked = {link.post_uri for link in await links.of_track(reader, world.track) if link.reply}
    assert marked == {reply}


async def test_r3_posts_that_another_record_of_the_artist_names_count_once_they_are_seen(
    world: World, finder: Any
) -> None:
    own, gone = world.post(world.artist, KEYS[0]), f"at://{world.artist.did}/{POST}/{KEYS[1]}"
    fans = world.post(world.fan, KEYS[2])
    asking = await finder()
    async with world.store.write() as tx:
        for post in (own, gone, fans):
            await questions.name_post(tx, world.track, post, now_us=world.clock.now_us())
    await asking.answer_due()  # before its track is known
    assert (await world.found(), await world.waiting()) == ({}, [])
    await world.publish()
    await asking.answer_due()
    assert await world.found() == {own: (LinkRule.RECORD_TO_POST, 1)}


async def test_posts_that_a_constellation_knows_count_once_they_are_seen(
    world: World, finder: Any, index: Index
) -> None:
    by_page = world.post(world.fan, KEYS[0], embed={"external": {"uri": PAGE}})
    by_ref = world.post(world.artist, KEYS[1], embed={"record": {"uri": world.track}})
    invented = world.post(world.fan, KEYS[2])
    index.known[(PAGE, "embed.external.uri")] = [record(world.fan.did, KEYS[0]), record(world.fan.did, KEYS[2])]
    index.known[(world.track, "embed.record.uri")] = [record(world.artist.did, KEYS[1]), record(world.fan.did, KEYS[3])]
    await world.publish(page_url=PAGE)
    asking = await finder(index)
    assert await asking.answer_due() == 1
    assert await world.found() == {by_page: (LinkRule.PAGE_IN_EMBED, 1), by_ref: (LinkRule.EMBED_RECORD, 1)}
    assert invented not in await world.found()
    world.proofs.clear()
    async with world.store.write() as tx:
        await questions.ask(tx, world.track, now_us=world.clock.now_us())
    await asking.answer_due()
    assert sorted(world.proofs) == [f"{POST}/{KEYS[2]}", f"{POST}/{KEYS[3]}"]  # what is known is not fetched again


async def test_without_anybody_to_ask_questions_wait_for_a_constellation(
    world: World, finder: Any, index: Index
) -> None:
    await world.publish()
    assert await (await finder()).answer_due() == 1
    assert await world.waiting() == []
    asking = asyncio.create_task((await finder(index)).run())
    try:
        async with asyncio.timeout(10):
            while await world.waiting() != [(world.track, 1)]:
                await asyncio.sleep(0.01)
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
    assert index.asked


@pytest.mark.parametrize("state", [TrackState.REFUSED, TrackState.WITHDRAWN])
async def test_nobody_looks_for_posts_of_tracks_that_are_out(world: World, finder: Any, state: TrackState) -> None:
    await world.publish(world.post(world.artist, KEYS[0]), state=state)
    await (await finder()).answer_due()
    assert (await world.waiting(), world.proofs) == ([], [])


async def test_a_question_that_a_constellation_refuses_does_not_stop_the_others(
    world: World, finder: Any, index: Index
) -> None:
    await world.publish(world.post(world.artist, KEYS[0]))
    index.failing = web.Response(status=400)
    await (await finder(index)).answer_due()
    assert list(await world.found()) == [f"at://{world.artist.did}/{POST}/{KEYS[0]}"]
    assert await world.waiting() == [(world.track, 1)]


async def test_a_question_that_hurts_a_constellation_comes_after_the_others(
    world: World, finder: Any, index: Index
) -> None:
    await world.publish()
    other = world.track + "x"
    async with world.store.write() as tx:
        track = Track(AtUri.parse(other), "cid", make_tid(NOW_US), "Song", NOW_US)
        await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=NOW_US)
        await questions.put_off(tx, world.track, asked=0, due_us=1)  # the first one
        await questions.ask(tx, other, now_us=world.clock.now_us())
    index.failing, index.failing_for = web.Response(status=500), world.track
    asking = await finder(index)
    with pytest.raises(Transient):
        await asking.answer_due()
    with pytest.raises(Transient):
        await asking.answer_due()
    assert [uri for uri, asked in await world.waiting() if asked] == [other]


async def test_a_constellation_in_trouble_leaves_the_question_open(world: World, finder: Any, index: Index) -> None:
    await world.publish()
    asking = await finder(index)
    index.failing = web.Response(status=500)
    with pytest.raises(Transient):
        await asking.answer_due()
    assert await world.waiting() == [(world.track, 0)]
