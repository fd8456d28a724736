"""Feeds on a real store and a real index: open and dark, the methods, and what leaves pages when it must."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import numpy as np
import orjson
import pytest

from core.analysis import Space, Vector, Verdict, VerdictStatus
from core.clock import SystemClock
from core.errors import UnknownDid, XrpcError
from core.feed import Feed, FeedEntry, FeedKind, FeedQuery, MoodQuery, Questions, TagRule, Veto
from core.keys import PublicKey, SigningKey
from core.link import Link, LinkRule
from core.log import Log
from core.metrics import Metrics
from core.serviceauth import mint
from core.types import Account, AtUri, Cid, Did, Track, TrackState, Visibility, make_tid
from core.xrpc import Call, decode_params
from feedgen import FeedMethods, LiveFeeds, Rules
from feedgen.methods import DESCRIBE_FEED_GENERATOR, GET_FEED_SKELETON
from feedgen.ranking import Why
from feedgen.rules import SLOT_US
from feedgen.viewing import Viewing
from store import Store, accounts, analyses, labels, links, posters, tracks
from store.index import VectorIndex
from tests.feedgen.conftest import Records

SERVICE = "did:web:music.example.com"
PUBLISHER = "did:plc:pppppppppppppppppppppppp"
READER = "did:plc:xbtmt2zjwlrfegqvch7fboei"
KEY = SigningKey(bytes(range(1, 33)))
FEEDS = (
    Feed("calm", "Calm", "Quiet.", tags={"mtt:quiet": 1.0}, vetoes=(Veto(("rock",), TagRule({"mtt:rock": 1.0}, 2.0)),)),
    Feed("heavy", "Heavy", "Loud.", tags={"mtt:loud": 1.0}),
)
CALM, HEAVY = (f"at://{PUBLISHER}/app.bsky.feed.generator/{feed.rkey}" for feed in FEEDS)


class Clock(SystemClock):
    """The machine's clock, so many microseconds later."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


def axis(place: int) -> Vector:
    vector = np.zeros(100, dtype=np.float32)
    vector[place] = 1.0
    return vector


LOG = Log(logging.getLogger("earmark.test"))


def ask_tags(place: int) -> MoodQuery:
    return MoodQuery(Space.MUSICNN_TAGS, axis(place)[np.newaxis], np.empty((0, 100), np.float32))


QUESTIONS = Questions({"calm": FeedQuery(tags=ask_tags(0)), "heavy": FeedQuery(tags=ask_tags(1))})
STEADY = Rules(decay=1e-9, decay_share=0.0, exploration=0.0)  # the best first, in every slot


class Network:
    """Writes what ingest, worker and post reader would."""

    def __init__(self, store: Store, did: Callable[[int], Did]) -> None:
        self.store = store
        self.did = did
        self.rev = 1_700_000_000_000_000

    def uri(self, number: int) -> str:
        return f"at://{self.did(number)}/fm.plyr.track/t{number}"

    def post_uri(self, number: int) -> str:
        return f"at://{self.did(number)}/app.bsky.feed.post/p{number}"

    async def publish(
        self,
        number: int,
        *,
        calm: float = 2.0,
        heavy: float = 0.0,
        posted: bool = True,
        joint: Vector | None = None,
        state: TrackState = TrackState.READY,
    ) -> None:
        self.rev += 1
        uri, now = self.uri(number), SystemClock().now_us()
        track = Track(
            AtUri.parse(uri), Cid(f"bafy{number}"), make_tid(self.rev), f"Song {number}", now, duration_ms=180_000
        )
        scores = axis(0) * calm + axis(1) * heavy
        async with self.store.write() as tx:
            await tracks.put(tx, track, state=state, reason=None, now_us=now)
            stored = await tracks.get(tx, uri)
            assert stored is not None
            await analyses.put_vectors(tx, stored.track_id, "pack", {Space.MUSICNN_TAGS: scores})
            if joint is not None:
                await analyses.put_vectors(tx, stored.track_id, "new", {Space.CLAP: joint})
            await labels.put_verdict(tx, uri, Verdict(VerdictStatus.OK, ("electronic",), rankable=True), now_us=now)
            if posted:
                link = Link(self.post_uri(number), self.did(number), uri, LinkRule.EMBED_RECORD, now, card=True)
                await links.put(tx, [link], now_us=now)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    yield opened
    await opened.close()


@pytest.fixture
def network(store: Store, did: Callable[[int], Did]) -> Network:
    return Network(store, did)


@pytest.fixture
async def index(store: Store, tmp_path: Path) -> VectorIndex:
    return await VectorIndex.open(store, tmp_path / "index", spaces={Space.MUSICNN_TAGS: 100}, generation="pack")


async def _nobodys_key(did: str, refresh: bool) -> PublicKey:
    raise UnknownDid(did)


class Service:
    """The feeds with their methods, asked as the web module asks."""

    def __init__(self, store: Store, index: VectorIndex, **options: Any) -> None:
        self.metrics = Metrics()
        self.clock = Clock()
        known: Mapping[str, PublicKey] = options.pop("known", {})
        settings: dict[str, Any] = {"min_posts": 1, "min_tracks": 1, "rules": STEADY} | options
        self.feeds = LiveFeeds(store, index, FEEDS, QUESTIONS, clock=self.clock, log=LOG, **settings)
        self.methods = FeedMethods(
            self.feeds,
            service_did=SERVICE,
            publisher_did=PUBLISHER,
            key=b"s" * 32,
            clock=self.clock,
            metrics=self.metrics,
            viewing=Viewing(self.feeds, store, Records(), secret=b"s" * 32, clock=self.clock, log=LOG),
            resolve_key=_nobodys_key,
            known_key=known.get,
        )

    async def call(self, nsid: str, headers: Mapping[str, str] | None = None, **pairs: Any) -> dict[str, Any]:
        query = next(query for query in self.methods.queries() if query.nsid == nsid)
        params = decode_params(query.params, [(name, str(value)) for name, value in pairs.items()])
        answer = await query.answer(Call(params, headers or {}))
        body = orjson.loads(answer) if isinstance(answer, bytes) else dict(answer)
        assert set(body) <= {"did", "feeds", "feed", "cursor"}, "P102: no wrapper"
        return body

    def ready(self, query: str, headers: Mapping[str, str] | None = None) -> bytes | None:
        """What lies ready for a query as it comes."""
        (skeleton,) = (one for one in self.methods.queries() if one.nsid == GET_FEED_SKELETON)
        assert skeleton.ready is not None
        return skeleton.ready(query, headers or {})

    async def ask(self, query: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The answer to it when nothing does."""
        (skeleton,) = (one for one in self.methods.queries() if one.nsid == GET_FEED_SKELETON)
        params = decode_params(skeleton.params, parse_qsl(query))
        answer = await skeleton.answer(Call(params, headers or {}, query=query))
        assert isinstance(answer, bytes)
        return answer

    async def page(self, feed: str = CALM, **pairs: Any) -> dict[str, Any]:
        body = await self.call(GET_FEED_SKELETON, feed=feed, **pairs)
        for shown in body["feed"]:
            assert AtUri.parse(shown["post"]).collection == "app.bsky.feed.post", "P105"
        return body

    def tokens(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("earmark_feed_tokens_total", {"token": outcome}) or 0.0


def posts(body: Mapping[str, Any]) -> list[int]:
    return [int(shown["post"].rpartition("/p")[2]) for shown in body["feed"]]


async def read_through(service: Service, limit: int, **pairs: Any) -> list[int]:
    found: list[int] = []
    while True:
        body = await service.page(limit=limit, **pairs)
        assert len(body["feed"]) <= limit, "P106"
        found += posts(body)
        if "cursor" not in body:
            return found
        assert body["feed"], "P107"
        assert body["cursor"] != pairs.get("cursor"), "P107"
        pairs["cursor"] = body["cursor"]


async def test_p104_p109_pages_of_a_mood_feed(store: Store, index: VectorIndex, network: Network) -> None:
    for number in range(20):
        await network.publish(number, calm=1.0 + number / 10)
    await network.publish(20, calm=0.1)
    await network.publish(21, calm=0.0, heavy=3.0)
    service = Service(store, index)
    best_first = list(range(19, -1, -1))
    assert posts(await service.page()) == best_first
    assert [await read_through(service, limit) for limit in (1, 7, 20, 100)] == [best_first] * 4
    assert posts(await service.page(HEAVY)) == [21]


async def test_p102_p103_describe(store: Store, index: VectorIndex, network: Network) -> None:
    await network.publish(1)
    service = Service(store, index)
    body = await service.call(DESCRIBE_FEED_GENERATOR)
    assert body == {"did": SERVICE, "feeds": [{"uri": CALM}]}  # heavy has no track
    assert posts(await service.page(body["feeds"][0]["uri"])) == [1]


@pytest.mark.parametrize(
    ("pairs", "name"),
    [
        ({}, "InvalidRequest"),
        ({"feed": "calm"}, "InvalidRequest"),
        ({"feed": CALM + "/"}, "InvalidRequest"),
        ({"feed": CALM.replace(PUBLISHER, "alice.example.com")}, "InvalidRequest"),
        ({"feed": CALM + "er"}, "UnknownFeed"),
        ({"feed": CALM.replace(PUBLISHER, "did:plc:" + "q" * 24)}, "UnknownFeed"),
        ({"feed": CALM.replace(".generator", ".post")}, "UnknownFeed"),
        ({"feed": CALM, "limit": 0}, "InvalidRequest"),
        ({"feed": CALM, "limit": 101}, "InvalidRequest"),
        ({"feed": CALM, "limit": "ten"}, "InvalidRequest"),
        ({"feed": CALM, "cursor": "eof"}, "InvalidRequest"),
        ({"feed": CALM, "cursor": "1" * 1201}, "InvalidRequest"),
        ({"feed": CALM, "cursor": "1.1.1.0000000000000000.AAAAAAAAAAA"}, "InvalidRequest"),
    ],
)
async def test_p104_p111_refusals(store: Store, index: VectorIndex, pairs: dict[str, Any], name: str) -> None:
    with pytest.raises(XrpcError) as refused:
        await Service(store, index).call(GET_FEED_SKELETON, **pairs)
    assert (refused.value.name, refused.value.status) == (name, 400)


async def test_a_cursor_of_one_feed_means_nothing_in_another(
    store: Store, index: VectorIndex, network: Network
) -> None:
    for number in range(3):
        await network.publish(number, calm=2.0, heavy=2.0)
    service = Service(store, index)
    cursor = (await service.page(limit=1))["cursor"]
    with pytest.raises(XrpcError, match="cursor"):
        await service.page(HEAVY, cursor=cursor)


async def test_dark_feeds_are_empty_unlisted_and_say_why(store: Store, index: VectorIndex, network: Network) -> None:
    for number in range(5):
        await network.publish(number, posted=number < 2)
    service = Service(store, index, min_posts=3, min_tracks=6)
    assert (await service.page()) == {"feed": []}
    assert (await service.call(DESCRIBE_FEED_GENERATOR))["feeds"] == []
    status = service.feeds.statuses()[0]
    assert status.dark
    assert status.reasons == ("5 analysed tracks, 6 needed", "2 tracks with a usable post, 3 needed")
    assert (status.scored, status.matching, status.with_post, status.entries) == (5, 5, 2, 2)
    assert [entry.track_uri for entry in service.feeds.entries("calm")] == [network.uri(0), network.uri(1)]

    for number in range(5, 8):  # it opens by itself when it crosses the line
        await network.publish(number)
    await service.feeds.refresh()
    assert len(posts(await service.page())) == 5
    assert (await service.call(DESCRIBE_FEED_GENERATOR))["feeds"] == [{"uri": CALM}]


async def test_tracks_whose_turn_has_not_come_count_as_well(
    store: Store, index: VectorIndex, network: Network, did: Callable[[int], Did]
) -> None:
    network.did = lambda number: did(number % 2)
    for number in range(6):
        await network.publish(number)
    service = Service(store, index, min_posts=6)
    assert len(posts(await service.page())) == 2  # one of each artist in any ten
    status = service.feeds.statuses()[0]
    assert (status.dark, status.with_post, status.entries) == (False, 6, 2)


async def test_an_artist_in_two_feeds_stands_back_in_one_of_them(
    store: Store, index: VectorIndex, network: Network
) -> None:
    """FEEDS 3, damping across feeds: in what is served, and in what explains it."""
    for number in range(4):
        await network.publish(number, calm=2.0, heavy=2.0 if number else -2.0)
    service = Service(store, index)
    parts = {
        (feed.rkey, entry.track_uri): entry.parts
        for feed in FEEDS
        for entry in (await service.feeds.ranking(feed.rkey)).entries
    }
    assert len(parts) == 7
    for number in range(1, 4):
        told = {parts[feed.rkey, network.uri(number)].damping for feed in FEEDS}
        assert told == {1.0, 0.95}
    assert parts["calm", network.uri(0)].damping == 1.0
    feeds = {feed.rkey: feed for feed in FEEDS}
    for (rkey, uri), one in parts.items():
        assert await service.feeds.measure(feeds[rkey], uri) == one
    dark = Service(store, index, min_posts=4)
    assert {entry.parts.damping for entry in (await dark.feeds.ranking("calm")).entries} == {1.0}, "heavy is dark"


async def test_a_preview_names_the_posts_that_pages_show(store: Store, index: VectorIndex, network: Network) -> None:
    """Also when a better post has come since the order was made, and when a post has gone."""
    for number in range(4):
        await network.publish(number, calm=4.0 - number / 10)
    service = Service(store, index)
    assert posts(await service.page()) == [0, 1, 2, 3]
    for number, post in ((1, 31), (2, 32)):
        uri, did, earlier_us = network.uri(number), network.did(number), SystemClock().now_us() - 10**6
        better = f"at://{did}/app.bsky.feed.post/p{post}"
        async with store.write() as tx:
            await links.put(tx, [Link(better, did, uri, LinkRule.ASSOCIATED_REF, earlier_us, card=True)], now_us=1)
    await delete_post(network, 2)
    shown = [entry.post_uri for entry in await service.feeds.preview("calm")]
    assert [one["post"] for one in (await service.page())["feed"]] == shown
    assert [str(one).rpartition("/p")[2] for one in shown] == ["0", "1", "32", "3"]


def test_issue_2_defaults_of_the_dark_rule(store: Store, index: VectorIndex) -> None:
    feeds = LiveFeeds(store, index, FEEDS, QUESTIONS, clock=SystemClock(), log=LOG)
    assert (feeds._min_posts, feeds._min_tracks) == (15, 50)


Removal = Callable[[Network, int], Any]


async def withdraw(network: Network, number: int) -> None:
    network.rev += 1
    async with network.store.write() as tx:
        await tracks.withdraw(tx, network.uri(number), make_tid(network.rev), now_us=1)


async def hide(network: Network, number: int) -> None:
    async with network.store.write() as tx:
        await tracks.set_visibility(tx, network.uri(number), Visibility.HIDDEN, page_url=None, now_us=1)


async def delete_post(network: Network, number: int) -> None:
    async with network.store.write() as tx:
        await links.drop_post(tx, network.post_uri(number))


async def deactivate(network: Network, number: int) -> None:
    async with network.store.write() as tx:
        await accounts.put(tx, Account(network.did(number), active=False), now_us=1)


async def refuse(network: Network, number: int) -> None:
    async with network.store.write() as tx:
        await labels.put_verdict(tx, network.uri(number), Verdict(VerdictStatus.REFUSED), now_us=1)


@pytest.mark.parametrize("removal", [withdraw, hide, delete_post, deactivate, refuse])
async def test_p107_what_dies_leaves_snapshots_that_readers_stand_in(
    store: Store, index: VectorIndex, network: Network, removal: Removal
) -> None:
    for number in range(10):
        await network.publish(number, calm=3.0 - number / 10)
    service = Service(store, index)
    first = await service.page(limit=3)
    assert posts(first) == [0, 1, 2]
    await removal(network, 4)
    await service.feeds.refresh()
    assert posts(await service.page(limit=3, cursor=first["cursor"])) == [3, 5, 6]  # the old snapshot, filled
    assert posts(await service.page(limit=100)) == [0, 1, 2, 3, 5, 6, 7, 8, 9]  # the new one


async def test_what_is_refused_or_hidden_leaves_the_next_page(
    store: Store, index: VectorIndex, network: Network
) -> None:
    """Whatever takes a track out of feeds ends in a verdict that does not rank: before anything is ranked anew."""
    for number in (1, 2):
        await network.publish(number, calm=3.0 - number / 10)
    service = Service(store, index)
    assert posts(await service.page()) == [1, 2]
    await refuse(network, 1)
    assert posts(await service.page()) == [2]


async def test_a_track_whose_release_was_put_off_leaves_the_next_page(
    store: Store, index: VectorIndex, network: Network
) -> None:
    """Its artist does not want it to be shown before; nor is it there for whoever lists or searches tracks."""
    for number in (1, 2):
        await network.publish(number, calm=3.0 - number / 10)
    service = Service(store, index)
    assert posts(await service.page()) == [1, 2]
    uri, now = AtUri.parse(network.uri(1)), SystemClock().now_us()
    later = Track(uri, Cid("bafynew"), make_tid(now), "Song 1", now, duration_ms=180_000, hold_until_us=now + 10**12)
    async with store.write() as tx:
        await tracks.put(tx, later, state=TrackState.READY, reason=None, now_us=now)
    await delete_post(network, 2)  # rings
    assert posts(await service.page()) == []
    assert network.uri(1) not in await service.feeds.living()


async def test_a_deleted_post_falls_back_to_the_next_best(store: Store, index: VectorIndex, network: Network) -> None:
    await network.publish(1)
    spare = Link(network.post_uri(99), network.did(99), network.uri(1), LinkRule.PAGE_IN_FACET, SystemClock().now_us())
    async with store.write() as tx:
        await links.put(tx, [spare], now_us=1)
        await posters.meet(tx, spare.post_did, now_us=1)
        await posters.settle(tx, spare.post_did, 1)
    service = Service(store, index)
    assert posts(await service.page()) == [1]
    await delete_post(network, 1)
    assert posts(await service.page()) == [99]  # at once, before anything is ranked anew
    await service.feeds.refresh()
    assert posts(await service.page()) == [99]
    await delete_post(network, 99)
    assert posts(await service.page()) == []


async def test_p110_a_page_goes_on_in_its_snapshot_while_the_feed_is_ranked_anew(
    store: Store, index: VectorIndex, network: Network
) -> None:
    for number in range(6):
        await network.publish(number, calm=3.0 - number / 10)
    service = Service(store, index)
    first = await service.page(limit=3)
    await network.publish(10, calm=9.0)  # enters at the head
    await network.publish(5, calm=8.0)  # overtakes everybody
    await service.feeds.refresh()
    assert posts(await service.page(limit=3, cursor=first["cursor"])) == [3, 4, 5]
    assert posts(await service.page(limit=3)) == [0, 10, 5], "P113: the head of these six hours stays"


async def test_p110_cursors_survive_a_restart(store: Store, index: VectorIndex, network: Network) -> None:
    for number in range(6):
        await network.publish(number, calm=3.0 - number / 10)
    first = await Service(store, index).page(limit=3)
    restarted = Service(store, index)
    restarted.clock.ahead_us = 1_000_000
    assert posts(await restarted.page(limit=3, cursor=first["cursor"])) == [3, 4, 5]


async def test_p113_the_head_is_stable(store: Store, index: VectorIndex, network: Network) -> None:
    for number in range(4):
        await network.publish(number, calm=2.0 + number / 1000)
    service = Service(store, index)
    heads = set()
    for _ in range(5):
        heads.add(orjson.dumps(await service.page(limit=1)))
        await service.feeds.refresh()
    assert len(heads) == 1
    assert posts(orjson.loads(heads.pop())) == [3]


def bearer(**changes: Any) -> dict[str, str]:
    claims: dict[str, Any] = {
        "iss": "did:plc:xbtmt2zjwlrfegqvch7fboei",
        "aud": SERVICE,
        "lxm": GET_FEED_SKELETON,
        "now_us": SystemClock().now_us(),
    }
    return {"authorization": f"Bearer {mint(KEY, **(claims | changes))}"}


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        (dict, "absent"),
        (lambda: {"authorization": "Basic eA=="}, "absent"),
        (bearer, "plausible"),
        (lambda: bearer(aud=f"{SERVICE}#bsky_fg"), "plausible"),
        (lambda: bearer(aud=f"{SERVICE}#atproto_labeler"), "BadJwtAudience"),
        (lambda: bearer(lxm="app.bsky.feed.sendInteractions"), "BadJwtLexiconMethod"),
        (lambda: bearer(iss="did:key:zQ3sht29G4vPyJgUaGE1G4xp8dFiQcbcfvqGeGVFKQES7nCNi"), "BadJwtIss"),
        (lambda: bearer(now_us=0), "JwtExpired"),
        (lambda: {"authorization": "Bearer not.a.jwt"}, "BadJwt"),
    ],
)
async def test_p115_any_reader_is_served_and_tokens_are_counted(
    store: Store, index: VectorIndex, network: Network, headers: Callable[[], dict[str, str]], outcome: str
) -> None:
    await network.publish(1)
    service = Service(store, index)
    body = await service.call(GET_FEED_SKELETON, headers(), feed=CALM)
    assert posts(body) == [1]
    assert service.tokens(outcome) == 1


async def test_the_bell_rebuilds_and_silence_is_looked_at_as_well(
    store: Store, index: VectorIndex, network: Network
) -> None:
    service = Service(store, index, settle_seconds=0.01, refresh_seconds=0.2)
    running = asyncio.create_task(service.feeds.run())

    async def shows(*wanted: int) -> None:
        async with asyncio.timeout(10):
            while posts(await service.page()) != list(wanted):
                await asyncio.sleep(0.01)

    try:
        await shows()
        await network.publish(1)  # rings "vector"
        await shows(1)
        await network.publish(2, calm=5.0)
        await shows(1, 2)
        await delete_post(network, 2)  # rings nothing
        await shows(1)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_a_track_is_shown_by_its_newest_vector(store: Store, index: VectorIndex, network: Network) -> None:
    await network.publish(1, calm=3.0)
    service = Service(store, index)
    assert posts(await service.page()) == [1]
    await network.publish(1, calm=0.0, heavy=3.0)
    await service.feeds.refresh()
    assert posts(await service.page()) == []
    assert posts(await service.page(HEAVY)) == [1]


async def test_a_large_corpus_is_scored_by_what_is_usual_in_it(
    store: Store, index: VectorIndex, network: Network
) -> None:
    """A corpus in which everything is calm: what counts is being calmer than the others."""
    calm = np.linspace(1.0, 3.0, 200)
    for number, value in enumerate(calm):
        await network.publish(number, calm=float(value), posted=number % 10 == 9)
    service = Service(store, index)
    assert posts(await service.page()) == [199, 189, 179]
    assert service.feeds.entries("calm")[0].score == pytest.approx(1 - 0.5 / 200), "no other of 200 is as calm"


async def test_prompts_are_asked_of_the_joint_space_after_a_switch_of_packs(
    store: Store, index: VectorIndex, network: Network, tmp_path: Path
) -> None:
    """60 tracks, the higher the number the nearer the prompt; the last one is as near to what is unwanted."""

    def joint(*places: int) -> Vector:
        vector = np.zeros(512, np.float32)
        vector[list(places)] = 1.0
        return vector

    for number in range(60):
        place = joint(0) * (0.01 * (number + 1)) + joint(1) * (0.5 if number == 59 else 0.0)
        await network.publish(number, calm=2.0 - number / 100, joint=place)
    await network.publish(60, calm=9.0)  # not yet heard by the new packs
    service = Service(store, index)
    assert posts(await service.page())[0] == 60

    joint_index = await VectorIndex.open(store, tmp_path / "index", spaces={Space.CLAP: 512}, generation="new")
    calm = MoodQuery(Space.CLAP, np.stack([joint(0), joint(2)]), joint(1)[np.newaxis])
    heavy = MoodQuery(Space.CLAP, joint(3)[np.newaxis], np.empty((0, 512), np.float32))
    questions = Questions({"calm": FeedQuery(prompts=calm), "heavy": FeedQuery(prompts=heavy)})
    await service.feeds.turn_to(joint_index, questions)
    await service.feeds.refresh()
    assert posts(await service.page()) == list(range(58, 49, -1)), "the 15 of 100 that are nearest"
    assert service.feeds.entries("calm")[0].score == pytest.approx(1 - 0.5 / 60)
    assert service.feeds.statuses()[0].scored == 60


async def test_labels_of_the_veto_keep_a_track_out(store: Store, index: VectorIndex, network: Network) -> None:
    await network.publish(1, calm=3.0, heavy=3.0)
    verdict = Verdict(VerdictStatus.OK, ("rock",), rankable=True)
    async with store.write() as tx:
        await labels.put_verdict(tx, network.uri(1), verdict, now_us=1)
    service = Service(store, index)
    assert posts(await service.page()) == []
    assert posts(await service.page(HEAVY)) == [1]


STRUCTURAL = (
    Feed("fresh", "Fresh", "New.", FeedKind.FRESH, min_seconds=20.0, max_seconds=1e5),
    Feed("voices", "Voices", "Said.", FeedKind.VOICES, min_seconds=20.0, max_seconds=1e5),
    Feed("deep-cuts", "Deep", "Old.", FeedKind.DEEP_CUTS),
)


async def test_fresh_shows_a_track_before_anything_was_heard_and_voices_what_is_no_music(
    store: Store, index: VectorIndex, network: Network
) -> None:
    """FEEDS 6: fresh waits for nothing, and both are open in the smallest corpus."""
    feeds = LiveFeeds(store, index, STRUCTURAL, Questions({}), clock=SystemClock(), log=LOG, min_posts=1, min_tracks=50)
    await network.publish(1, state=TrackState.QUEUED)
    await feeds.refresh()
    assert (await feeds.page("fresh", None, 10)).tracks == (network.uri(1),)
    assert [status.rkey for status in feeds.statuses() if not status.dark] == ["fresh"]

    await network.publish(1)
    async with store.write() as tx:
        verdict = Verdict(VerdictStatus.UNDECIDED, reason="speech_like")
        await labels.put_verdict(tx, network.uri(1), verdict, now_us=1)
    assert (await feeds.page("fresh", None, 10)).tracks == (), "it has turned out to be no music"
    await feeds.refresh()
    assert (await feeds.page("voices", None, 10)).tracks == (network.uri(1),)


async def test_a_ranking_says_what_was_kept_out_and_why(store: Store, index: VectorIndex, network: Network) -> None:
    await network.publish(1)
    await network.publish(2, posted=False)
    ranking = await Service(store, index).feeds.ranking("calm")
    assert [(one.track_uri, one.why) for one in ranking.aside] == [(network.uri(2), Why.NO_POST)]
    assert [entry.track_uri for entry in ranking.entries] == [network.uri(1)]


async def test_p113_a_head_is_drawn_once_a_slot(store: Store, index: VectorIndex, network: Network) -> None:
    """Tracks come in between every two looks; the first place changes with the slot, not with them."""
    for number in range(20):
        await network.publish(number)
    service = Service(store, index, rules=Rules())
    heads: dict[int, set[int]] = {}
    for look in range(12):
        await network.publish(20 + look)
        service.clock.ahead_us = look * SLOT_US // 4
        await service.feeds.refresh()
        heads.setdefault(service.clock.now_us() // SLOT_US, set()).update(posts(await service.page(limit=1)))
    assert all(len(shown) == 1 for shown in heads.values())
    assert len(heads) >= 3


async def test_durations_are_the_feeds_own(store: Store, index: VectorIndex, network: Network) -> None:
    await network.publish(1, calm=3.0)
    long_only = (replace(FEEDS[0], min_seconds=181.0), FEEDS[1])
    feeds = LiveFeeds(
        store,
        index,
        long_only,
        QUESTIONS,
        clock=SystemClock(),
        log=LOG,
        min_posts=0,
        min_tracks=0,
    )
    await feeds.refresh()
    assert feeds.entries("calm") == ()


async def test_nothing_of_a_snapshot_is_made_on_the_event_loop(
    store: Store, index: VectorIndex, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five hundred entries of seventeen feeds, each with a MAC: every reader would wait."""
    await network.publish(1)
    service = Service(store, index)
    written: list[int] = []
    write = service.feeds.contexts.write

    def note(rkey: str, entry: FeedEntry) -> str:
        written.append(threading.get_ident())
        return write(rkey, entry)

    monkeypatch.setattr(service.feeds.contexts, "write", note)
    assert posts(await service.page()) == [1]
    assert written
    assert threading.get_ident() not in written


async def test_a_page_that_was_asked_for_lies_ready_until_it_would_be_another(
    store: Store, index: VectorIndex, network: Network
) -> None:
    """P113: many readers ask the same; what any of them would get now is what all of them get."""
    for number in range(3):
        await network.publish(number, calm=3.0 - number / 10)
    service = Service(store, index)
    query = f"feed={quote(CALM, safe='')}&limit=2"
    assert service.ready(query) is None
    first = await service.ask(query)
    assert service.ready(query) == first
    assert service.ready(query + "&") is None
    assert service.tokens("absent") == 2

    await delete_post(network, 0)  # rings: nobody gets what lay ready any more
    assert service.ready(query) is None
    second = await service.ask(query)
    assert posts(orjson.loads(second)) == [1, 2]
    assert service.ready(query) == second

    await network.publish(7, calm=9.0)
    assert service.ready(query) == second, "not ranked yet"
    await service.feeds.refresh()
    assert service.ready(query) is None
    assert posts(orjson.loads(await service.ask(query))) == [1, 7], "P113: 1 took the place of 0 and keeps it"


async def test_refusals_and_further_pages(store: Store, index: VectorIndex, network: Network) -> None:
    for number in range(5):
        await network.publish(number, calm=3.0 - number / 10)
    service = Service(store, index)
    with pytest.raises(XrpcError):
        await service.ask("feed=calm")
    assert service.ready("feed=calm") is None
    cursor = (await service.page(limit=2))["cursor"]
    long = f"feed={CALM}&x={'x' * 2_000}"  # is answered, but 60 000 of these are not kept
    assert await service.ask(long)
    assert service.ready(long) is None
    query = f"feed={CALM}&limit=2&cursor={cursor}"
    assert service.ready(query) is None
    assert posts(orjson.loads(await service.ask(query))) == [2, 3]
    assert service.ready(query) is not None


@pytest.mark.parametrize(("signer", "outcome"), [(KEY, "verified"), (SigningKey(b"\x05" * 32), "BadJwtSignature")])
async def test_p124_a_token_is_verified_where_its_key_is_at_hand(
    store: Store, index: VectorIndex, network: Network, signer: SigningKey, outcome: str
) -> None:
    """Whatever comes of it, a feed that is the same for everybody is served (P115)."""
    await network.publish(1)
    service = Service(store, index, known={READER: KEY.public})
    claims = {"iss": READER, "aud": SERVICE, "lxm": GET_FEED_SKELETON, "now_us": SystemClock().now_us()}
    headers = {"authorization": f"Bearer {mint(signer, **claims)}"}
    query = f"feed={CALM}"
    assert posts(orjson.loads(await service.ask(query, headers))) == [1]
    assert service.ready(query, headers) is not None
    assert service.tokens(outcome) == 2
