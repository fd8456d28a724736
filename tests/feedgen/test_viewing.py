"""Personal feeds as they are asked for: whose they are, what they show, and what viewers may say of them."""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.analysis import Space, Verdict, VerdictStatus
from core.clock import SystemClock
from core.errors import UnknownDid, Unreachable, XrpcError
from core.feed import Feed, FeedEntry, FeedKind, Questions
from core.keys import PublicKey, SigningKey
from core.link import Link, LinkRule
from core.log import Log
from core.metrics import Metrics
from core.serviceauth import mint
from core.types import AtUri, Cid, Did, Track, TrackState, make_tid
from core.xrpc import Call, decode_params
from earmark.lexicon import load_lexicons
from feedgen.context import Contexts
from feedgen.interactions import MAX_INTERACTIONS, SEND_INTERACTIONS, Interactions, read_interactions
from feedgen.live import LiveFeeds
from feedgen.methods import GET_FEED_SKELETON, PIN, FeedMethods
from feedgen.rules import SLOT_US
from feedgen.taste import Anchor, AnchorKind, Prefs, Reading
from feedgen.viewing import FRESH_SECONDS, PARTIAL_SECONDS, TOO_OFTEN, Viewing
from store import Store, analyses, feedback, labels, links, tracks, used_tokens
from store.feedback import viewer_key
from store.index import VectorIndex
from tests.feedgen.conftest import Records, artist_did
from tests.lexicons import check_value, find

VECTORS = orjson.loads((Path(__file__).parents[1] / "vectors" / "service-auth-jwts.json").read_bytes())
LOG = Log(logging.getLogger("earmark.test"))
SERVICE = "did:web:music.example.com"
PUBLISHER = "did:plc:pppppppppppppppppppppppp"
AUTHORITY = "com.example.music"
SECRET = b"s" * 32
EXPLAINER = f"at://{PUBLISHER}/app.bsky.feed.post/explainer"
FEEDS = (Feed("for-you", "You", "Yours.", FeedKind.FOR_YOU), Feed("more-like", "More", "More.", FeedKind.MORE_LIKE))
FOR_YOU, MORE_LIKE = (f"at://{PUBLISHER}/app.bsky.feed.generator/{feed.rkey}" for feed in FEEDS)
ANN, BOB = Did("did:plc:" + "y" * 24), Did("did:plc:" + "z" * 24)
KEYS = {ANN: SigningKey(bytes(range(1, 33))), BOB: SigningKey(bytes(range(2, 34)))}
NOW_US = 1_800_000_000_000_000 // SLOT_US * SLOT_US
COUNT = 40
SIZE = 400


class Clock(SystemClock):
    """The beginning of a slot, so many seconds later."""

    ahead = 0.0

    def now_us(self) -> int:
        return NOW_US + round(self.ahead * 1_000_000)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def uri(number: int) -> str:
    """Two tracks an artist."""
    return f"at://{artist_did(number // 2)}/fm.plyr.track/t{number}"


def post(number: int) -> str:
    return f"at://{artist_did(number // 2)}/app.bsky.feed.post/p{number}"


def sound(number: int) -> Any:
    """Even tracks lie together, and odd ones."""
    vector = np.random.default_rng(number).standard_normal(SIZE) * 0.01
    vector[number % 2] += 1.0
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class Service:
    """Both personal feeds on a real store, asked as the web module asks."""

    def __init__(self, store: Store, index: VectorIndex, explainer: str = EXPLAINER) -> None:
        self.store = store
        self.clock, self.metrics, self.records = Clock(), Metrics(), Records()
        self.looked_up: list[str] = []
        self.feeds = LiveFeeds(store, index, FEEDS, Questions({}), clock=self.clock, log=LOG, min_posts=1, min_tracks=1)
        self.viewing = Viewing(self.feeds, store, self.records, secret=SECRET, clock=self.clock, log=LOG)
        self.methods = FeedMethods(
            self.feeds,
            service_did=SERVICE,
            publisher_did=PUBLISHER,
            key=SECRET,
            clock=self.clock,
            metrics=self.metrics,
            viewing=self.viewing,
            resolve_key=self._key_of,
            known_key=lambda did: None,
            explainer=explainer,
        )
        self.interactions = Interactions(
            store,
            self.viewing,
            feeds=self.methods.rkeys,
            audiences=self.methods.audiences,
            authority=AUTHORITY,
            secret=SECRET,
            resolve_key=self._key_of,
            clock=self.clock,
            metrics=self.metrics,
            log=LOG,
        )

    async def _key_of(self, did: str, refresh: bool) -> PublicKey:
        self.looked_up.append(did)
        if did not in KEYS:
            raise UnknownDid(did)
        return KEYS[Did(did)].public

    def token(self, did: Did, method: str = GET_FEED_SKELETON, **changes: Any) -> str:
        self.clock.ahead += 0.001  # another jti
        claims: dict[str, Any] = {"iss": did, "aud": SERVICE, "lxm": method, "now_us": self.clock.now_us()}
        return mint(KEYS[did], **(claims | changes))

    async def page(
        self, feed: str = FOR_YOU, by: Did | None = None, *, token: str = "", **pairs: Any
    ) -> dict[str, Any]:
        token = token or (self.token(by) if by else "")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        query = next(query for query in self.methods.queries() if query.nsid == GET_FEED_SKELETON)
        params = decode_params(query.params, [("feed", feed), *((name, str(value)) for name, value in pairs.items())])
        answer = await query.answer(Call(params, headers))
        assert isinstance(answer, bytes)
        body: dict[str, Any] = orjson.loads(answer)
        assert len(body["feed"]) <= int(pairs.get("limit", 50)), "P106"
        return body

    async def shown(self, feed: str = FOR_YOU, by: Did | None = None, limit: int = 100, **pairs: Any) -> list[int]:
        """All that a reader finds who goes on to the end."""
        found: list[int] = []
        while True:
            body = await self.page(feed, by, limit=limit, **pairs)
            found += [int(entry["post"].rpartition("/p")[2]) for entry in body["feed"] if "reason" not in entry]
            if "cursor" not in body:
                return found
            assert body["feed"], "P107"
            pairs["cursor"] = body["cursor"]

    async def tell(self, by: Did, *events: tuple[str, int], feed: str = FOR_YOU, **changes: Any) -> Any:
        body = {
            "feed": feed,
            "interactions": [
                {"item": post(number), "event": f"app.bsky.feed.defs#{event}", "feedContext": "x", "reqId": "y"}
                for event, number in events
            ],
        }
        return await self.send(SEND_INTERACTIONS, self.token(by, SEND_INTERACTIONS, **changes), body)

    async def send(self, nsid: str, token: str, body: Any) -> Any:
        procedure = next(one for one in self.interactions.procedures() if one.nsid == nsid)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await procedure.answer(Call({}, headers, body))

    def likes(self, did: str, *numbers: int, **changes: Any) -> None:
        now_us = self.clock.now_us()
        anchors = tuple(Anchor(uri(one), now_us - place, AnchorKind.LIKE) for place, one in enumerate(numbers))
        self.records.said[did] = Reading(anchors, **changes)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    now = NOW_US
    async with opened.write() as tx:
        for number in range(COUNT):
            address = AtUri.parse(uri(number))
            track = Track(address, Cid(f"c{number}"), make_tid(now), f"Song {number}", now, duration_ms=180_000)
            await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=now)
            stored = await tracks.get(tx, uri(number))
            assert stored is not None
            await analyses.put_vectors(tx, stored.track_id, "pack", {Space.MUSICNN_SOUND: sound(number)})
            verdict = Verdict(VerdictStatus.OK, ("electronic",), rankable=True)
            await labels.put_verdict(tx, uri(number), verdict, now_us=now)
            link = Link(post(number), address.did, uri(number), LinkRule.EMBED_RECORD, now, card=True)
            await links.put(tx, [link], now_us=now)
    yield opened
    await opened.close()


@pytest.fixture
async def service(store: Store, tmp_path: Path) -> Service:
    spaces = {Space.MUSICNN_SOUND: SIZE}
    return Service(store, await VectorIndex.open(store, tmp_path / "index", spaces=spaces, generation="pack"))


async def test_P115_who_says_nothing_of_themselves_gets_the_mix_with_the_pinned_explainer(service: Service) -> None:
    body = await service.page(limit=10)
    assert body["feed"][0] == {"post": EXPLAINER, "reason": {"$type": PIN}}
    assert len(body["feed"]) == 10
    following = await service.page(limit=10, cursor=body["cursor"])
    assert all("reason" not in entry for entry in following["feed"])
    assert "reason" not in (await service.page(limit=1))["feed"][0], "P113: a poll sees the head"
    order = [entry.track_uri for entry in (await service.feeds.ranking("for-you")).entries]
    assert [uri(number) for number in await service.shown(limit=7)] == order, "the pin takes nobody's place"
    assert len(order) > COUNT - 5
    assert service.looked_up == []
    assert service.records.asked == []


async def test_a_stranger_gets_what_everybody_gets_and_a_viewer_their_own(service: Service) -> None:
    everybody = await service.page(limit=20)
    assert await service.page(by=BOB, limit=20) == everybody
    service.likes(ANN, 0, 2, 4)
    body = await service.page(by=ANN, limit=20)
    assert all("reason" not in entry for entry in body["feed"]), "who is known needs no explanation"
    own = await service.shown(by=ANN)
    assert not {0, 2, 4} & set(own)
    assert sum(number % 2 == 0 for number in own[:10]) >= 7
    assert await service.shown(by=ANN, limit=3) == own
    assert await service.shown() == await service.shown(by=BOB)


@pytest.mark.parametrize("genuine", [True, False])
async def test_p130_our_own_context_says_which_track_a_post_was_shown_for(service: Service, genuine: bool) -> None:
    """A post that names a page stands for every track that claims it; a forged context changes nothing."""
    page, shared = "https://plyr.fm/track/1", f"at://{artist_did(0)}/app.bsky.feed.post/shared"
    async with service.store.write() as tx:
        for number in (0, 1):
            rev, where = make_tid(NOW_US + 1), AtUri.parse(uri(number))
            track = Track(where, Cid(f"n{number}"), rev, f"Song {number}", NOW_US, page_url=page)
            await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=NOW_US)
        link = Link(shared, artist_did(0), page, LinkRule.PAGE_IN_EMBED, NOW_US, card=True)
        await links.put(tx, [link], now_us=NOW_US)
    written_by = Contexts(SECRET) if genuine else Contexts(b"t" * 32)
    context = written_by.write("for-you", FeedEntry(uri(1), shared, 0.5))
    body = {
        "feed": FOR_YOU,
        "interactions": [{"item": shared, "event": "app.bsky.feed.defs#requestLess", "feedContext": context}],
    }
    await service.send(SEND_INTERACTIONS, service.token(ANN, SEND_INTERACTIONS), body)
    viewer = await service.viewing.describe("for-you", ANN)
    assert viewer.disliked == ({uri(1)} if genuine else {uri(0), uri(1)})


async def test_without_an_explainer_nothing_is_pinned(store: Store, service: Service) -> None:
    plain = Service(store, service.feeds.index, explainer="")
    assert all("reason" not in entry for entry in (await plain.page(limit=5))["feed"])


async def test_more_like_begins_with_the_newest_like(service: Service) -> None:
    service.likes(ANN, 8, 1, 3)
    own = await service.shown(MORE_LIKE, ANN)
    assert all(number % 2 == 0 for number in own[:8])
    assert not {8, 1, 3} & set(own)
    service.likes(BOB, 1)
    assert all(number % 2 == 1 for number in (await service.shown(MORE_LIKE, BOB))[:8]), "one like is enough"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"aud": "did:web:other.example.com"}, "BadJwtAudience"),
        ({"aud": SERVICE + "#atproto_labeler"}, "BadJwtAudience"),
        ({"lxm": SEND_INTERACTIONS}, "BadJwtLexiconMethod"),
        ({"lifetime_seconds": -10}, "JwtExpired"),
        ({"iss": "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"}, "BadJwtIss"),
        ({"iss": "did:plc:" + "x" * 24}, "BadJwtIss"),  # nobody knows this account
        ({"iss": BOB}, "BadJwtSignature"),
    ],
)
async def test_P116_P126_a_token_that_cannot_be_believed_is_refused(
    service: Service, changes: dict[str, Any], name: str
) -> None:
    with pytest.raises(XrpcError) as refused:
        await service.page(token=service.token(ANN, **changes))
    assert (refused.value.name, refused.value.status) == (name, 401)
    assert service.records.asked == []
    counted = service.metrics.registry.get_sample_value("earmark_feed_tokens_total", {"token": name})
    assert counted == 1.0
    changes |= {"lxm": GET_FEED_SKELETON} if "lxm" in changes else {}
    with pytest.raises(XrpcError) as refused:
        await service.send(SEND_INTERACTIONS, service.token(ANN, SEND_INTERACTIONS, **changes), {"interactions": []})
    assert (refused.value.name, refused.value.status) == (name, 401)


@pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda vector: str(vector["name"]))
async def test_P115_P116_the_shared_vectors_at_a_personal_feed(
    service: Service, vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = VECTORS["signingKeyFor"]
    issuer = Did(next(iter(named)))
    key = PublicKey.from_did_key(named.get(vector["name"], named[issuer]))

    async def key_of(did: str, refresh: bool) -> PublicKey:
        service.looked_up.append(did)
        return key

    monkeypatch.setattr(service.methods, "_resolve_key", key_of)
    service.clock.ahead = VECTORS["now"] - NOW_US / 1_000_000
    policy = {"no-jti": ("accept", None), "high-s": ("reject", "BadJwtSignature"), "empty": ("accept", None)}
    expect, error = policy.get(vector["name"], (vector["expect"], vector.get("error")))
    if expect == "accept":
        assert (await service.page(token=vector["jwt"]))["feed"]
        assert service.records.asked == ([issuer] if vector["jwt"] else [])
        return
    with pytest.raises(XrpcError) as refused:
        await service.page(token=vector["jwt"])
    assert (refused.value.name, refused.value.status) == (error, 401)
    assert service.records.asked == [], "nobody's records are read for a forged token"
    assert error == "BadJwtSignature" or service.looked_up == []


async def test_P117_P122_both_audiences_are_ours_and_a_page_may_be_asked_for_twice_with_one_token(
    service: Service,
) -> None:
    token = service.token(ANN, aud=SERVICE + "#bsky_fg")
    assert await service.page(token=token) == await service.page(token=token)


async def test_an_order_holds_for_ten_minutes_and_a_reader_in_it_goes_on_in_it(service: Service) -> None:
    service.likes(ANN, 0, 2, 4)
    whole, first = await service.shown(by=ANN), await service.page(by=ANN, limit=5)
    service.likes(ANN, 1, 3, 5)
    assert (await service.page(by=ANN, limit=5))["feed"] == first["feed"]
    service.clock.ahead += FRESH_SECONDS
    turned = await service.page(by=ANN, limit=20)
    assert turned["feed"][0]["post"] == first["feed"][0]["post"], "P113: who stood first stays there in this slot"
    numbers = [int(entry["post"].rpartition("/p")[2]) for entry in turned["feed"]]
    assert sum(number % 2 for number in numbers) >= 12
    rest = await service.shown(by=ANN, cursor=first["cursor"])
    seen = [int(entry["post"].rpartition("/p")[2]) for entry in first["feed"]]
    assert seen + rest == whole, "still the order they began in"


async def test_whose_records_could_not_be_read_is_looked_at_again_within_minutes(service: Service) -> None:
    service.records.said[ANN] = Reading(complete=False)
    everybody = await service.page(limit=20)
    assert await service.page(by=ANN, limit=20) == everybody
    service.likes(ANN, 0, 2, 4)
    assert await service.page(by=ANN, limit=20) == everybody
    service.clock.ahead += PARTIAL_SECONDS
    assert await service.page(by=ANN, limit=20) != everybody


@pytest.mark.parametrize("seed", range(8))
async def test_P110_whatever_happens_between_pages_nothing_comes_twice(service: Service, seed: int) -> None:
    chance = random.Random(seed)
    seen: list[int] = []
    less: set[int] = set()
    cursor: dict[str, str] = {}
    while True:
        match chance.randrange(6):
            case 0:
                service.likes(ANN, *chance.sample(range(COUNT), chance.randrange(8)))
            case 1:
                service.viewing.forget(ANN)
            case 2:
                less.add(chance.randrange(COUNT))
                await service.tell(ANN, *(("requestLess", number) for number in less))
            case 3:
                service.clock.ahead += chance.choice([60, FRESH_SECONDS, 7 * 3600])
            case 4:
                await service.feeds.refresh()
        body = await service.page(by=ANN, limit=chance.randrange(1, 7), **cursor)
        numbers = [int(entry["post"].rpartition("/p")[2]) for entry in body["feed"] if "reason" not in entry]
        assert not less & set(numbers)
        seen += numbers
        if "cursor" not in body:
            break
        cursor = {"cursor": body["cursor"]}
    assert len(set(seen)) == len(seen)


async def test_a_reader_whose_order_is_gone_meets_nothing_twice(service: Service) -> None:
    service.likes(ANN, 0, 2, 4)
    first = await service.page(by=ANN, limit=10)
    seen = [int(entry["post"].rpartition("/p")[2]) for entry in first["feed"]]
    service.viewing.forget(ANN)
    service.likes(ANN, 1, 3, 5)
    rest = await service.shown(by=ANN, cursor=first["cursor"], limit=4)
    assert len(set(rest)) == len(rest)
    assert not set(seen) & set(rest)
    assert len(set(seen + rest) - {1, 3, 5}) >= 36
    # The mix and an order of their own are one feed to its reader: a cursor of either goes on in the other.
    mixed = await service.page(limit=10)
    before = {int(entry["post"].rpartition("/p")[2]) for entry in mixed["feed"] if "reason" not in entry}
    assert not before & set(await service.shown(by=ANN, cursor=mixed["cursor"]))


async def test_an_order_goes_when_its_time_is_over_also_if_nobody_asks_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedgen.viewing.HELD_SECONDS", 0.05)
    service.likes(ANN, 0, 2, 4)
    first = await service.page(by=ANN, limit=5)
    async with asyncio.timeout(30):
        while service.viewing.held:
            await asyncio.sleep(0.01)
    seen = [int(entry["post"].rpartition("/p")[2]) for entry in first["feed"]]
    assert not set(seen) & set(await service.shown(by=ANN, cursor=first["cursor"])), "the reader goes on"


@pytest.mark.parametrize("feed", [FOR_YOU, MORE_LIKE])
async def test_what_is_explained_is_the_order_that_is_seen(service: Service, feed: str) -> None:
    """Also after the order was made anew with its head kept (P113)."""
    rkey = service.methods.rkeys[feed]
    service.likes(ANN, 0, 2, 4)
    await service.page(feed, by=ANN)
    for numbers in ((0, 2, 4), (0, 1, 3, 5, 7)):
        service.likes(ANN, *numbers)
        service.clock.ahead += FRESH_SECONDS
        seen = await service.shown(feed, ANN)
        ranking = await service.viewing.ranking(rkey, await service.viewing.describe(rkey, ANN))
        assert ranking is not None
        assert [entry.track_uri for entry in ranking.entries] == [uri(number) for number in seen]
    assert await service.viewing.ranking(rkey, await service.viewing.describe(rkey, BOB)) is None


async def test_the_order_is_made_once_for_readers_at_once(service: Service) -> None:
    service.likes(ANN, 0, 2, 4)
    pages = await asyncio.gather(*(service.page(by=ANN, limit=20) for _ in range(8)))
    assert all(page == pages[0] for page in pages)
    assert service.records.asked == [ANN]


async def test_what_is_said_while_an_order_is_made_counts_from_the_next_page(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.likes(ANN, 0, 2, 4)
    entered, go_on = asyncio.Event(), asyncio.Event()
    rank_for = service.feeds.rank_for

    async def slowly(*args: Any, **options: Any) -> Any:
        ranking = await rank_for(*args, **options)
        entered.set()
        await go_on.wait()
        return ranking

    monkeypatch.setattr(service.feeds, "rank_for", slowly)
    asked = asyncio.create_task(service.page(by=ANN, limit=10))
    await entered.wait()
    await service.tell(ANN, ("requestLess", 6))
    go_on.set()
    await asked
    assert 6 not in await service.shown(by=ANN)


async def test_requestLess_takes_the_track_away_at_once_and_requestMore_brings_its_like(service: Service) -> None:
    service.likes(ANN, 0, 2, 4)
    first = await service.page(by=ANN, limit=10)
    victim = int(first["feed"][3]["post"].rpartition("/p")[2])
    waiting = (set(range(COUNT)) - {0, 2, 4}) - {int(e["post"].rpartition("/p")[2]) for e in first["feed"]}
    unseen = min(waiting)
    assert await service.tell(ANN, ("requestLess", victim), ("requestLess", unseen)) == {}
    assert victim not in await service.shown(by=ANN)
    assert unseen not in await service.shown(by=ANN, cursor=first["cursor"]), "on the next page already"
    assert {victim, unseen} <= set(await service.shown(by=BOB)), "only for her"
    assert victim not in await service.shown(MORE_LIKE, ANN), "in no feed of hers"
    await service.tell(ANN, ("requestMore", victim))
    assert victim not in await service.shown(by=ANN), "she knows it; now it is an anchor"
    assert uri(victim) in {one.track_uri for one in (await service.viewing.describe("for-you", ANN)).anchors}
    # With the last word on `unseen` turned too, nothing is left out but what she knows.
    await service.tell(ANN, ("requestMore", unseen))
    assert (await service.viewing.describe("for-you", ANN)).disliked == frozenset()


async def test_of_one_call_the_last_word_on_a_track_counts(store: Store, service: Service) -> None:
    async with store.write() as tx:
        other = f"at://{artist_did(0)}/app.bsky.feed.post/another"
        link = Link(other, artist_did(0), uri(1), LinkRule.EMBED_RECORD, NOW_US)
        await links.put(tx, [link], now_us=NOW_US)
    posts = (post(1), other, post(1))
    events = ("requestLess", "requestMore", "requestLess")
    told = [{"item": item, "event": event} for item, event in zip(posts, events, strict=True)]
    body = {"feed": FOR_YOU, "interactions": told}
    await service.send(SEND_INTERACTIONS, service.token(ANN, SEND_INTERACTIONS), body)
    assert (await service.viewing.describe("for-you", ANN)).disliked == frozenset({uri(1)})


async def test_three_times_less_of_an_artist_and_the_artist_leaves_that_feed(store: Store, service: Service) -> None:
    artist = artist_did(99)
    now = NOW_US
    async with store.write() as tx:
        for number in range(100, 105):
            address = AtUri.parse(f"at://{artist}/fm.plyr.track/t{number}")
            track = Track(address, Cid(f"c{number}"), make_tid(now), f"Song {number}", now, duration_ms=180_000)
            await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=now)
            post_uri = f"at://{artist}/app.bsky.feed.post/p{number}"
            await links.put(tx, [Link(post_uri, artist, str(address), LinkRule.EMBED_RECORD, now)], now_us=now)
    told = [{"item": f"at://{artist}/app.bsky.feed.post/p{n}", "event": "requestLess"} for n in range(100, 104)]
    for sent in (told[: TOO_OFTEN - 1], told[TOO_OFTEN - 1 : TOO_OFTEN]):
        assert artist not in (await service.viewing.describe("for-you", ANN)).left_out
        body = {"feed": FOR_YOU, "interactions": sent}
        await service.send(SEND_INTERACTIONS, service.token(ANN, SEND_INTERACTIONS), body)
    assert (await service.viewing.describe("for-you", ANN)).left_out == frozenset({artist})
    other = await service.viewing.describe("more-like", ANN)
    assert (other.left_out, len(other.disliked)) == (frozenset(), TOO_OFTEN)
    body = {"feed": MORE_LIKE, "interactions": told[:1]}  # of one of them in the other feed as well
    await service.send(SEND_INTERACTIONS, service.token(ANN, SEND_INTERACTIONS), body)
    assert (await service.viewing.describe("for-you", ANN)).left_out == frozenset({artist}), "said there all the same"
    assert (await service.viewing.describe("more-like", ANN)).left_out == frozenset()


async def test_P128_everything_is_counted_and_what_nobody_knows_is_no_mistake(service: Service) -> None:
    await service.tell(ANN, ("interactionSeen", 1), ("interactionSeen", 2), ("interactionLike", 1), ("wiggle", 3))
    await service.tell(ANN, ("interactionSeen", 1), feed="at://did:plc:elsewhere/app.bsky.feed.generator/x")

    def counted(feed: str, event: str) -> float | None:
        names = {"feed": feed, "event": event}
        return service.metrics.registry.get_sample_value("earmark_feed_interactions_total", names)

    assert [counted("for-you", event) for event in ("interactionSeen", "interactionLike", "other")] == [2, 1, 1]
    assert counted("other", "interactionSeen") == 1
    async with service.store.read() as reader:
        assert await feedback.of_viewer(reader, viewer_key(ANN, SECRET)) == [], "who saw what is not kept"


async def test_P122_a_token_tells_once(service: Service) -> None:
    token = service.token(ANN, SEND_INTERACTIONS)
    body = {"interactions": [{"item": post(3), "event": "app.bsky.feed.defs#requestLess"}]}
    assert await service.send(SEND_INTERACTIONS, token, body) == {}
    body["interactions"][0]["item"] = post(4)
    with pytest.raises(XrpcError) as refused:
        await service.send(SEND_INTERACTIONS, token, body)
    assert (refused.value.name, refused.value.status) == ("BadJwt", 401)
    assert (await service.viewing.describe("for-you", ANN)).disliked == {uri(3)}


async def test_P122_a_token_without_jti_is_taken_counted_and_known_by_its_text(service: Service) -> None:
    now = service.clock.now_us() // 1_000_000
    claims = {"iss": ANN, "aud": SERVICE, "lxm": SEND_INTERACTIONS, "exp": now + 60}
    parts = [
        base64.urlsafe_b64encode(orjson.dumps(one)).rstrip(b"=").decode()
        for one in ({"typ": "JWT", "alg": "ES256K"}, claims)
    ]
    signature = KEYS[ANN].sign(".".join(parts).encode())
    token = ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])
    assert await service.send(SEND_INTERACTIONS, token, {"interactions": []}) == {}
    counted = service.metrics.registry.get_sample_value("earmark_feed_tokens_total", {"token": "without_jti"})
    assert counted == 1.0
    with pytest.raises(XrpcError) as refused:
        await service.send(SEND_INTERACTIONS, token, {"interactions": []})
    assert refused.value.name == "BadJwt"


async def test_P129_nobody_tells_anything_without_a_token(service: Service) -> None:
    for nsid in (SEND_INTERACTIONS, f"{AUTHORITY}.forgetMe"):
        with pytest.raises(XrpcError) as refused:
            await service.send(nsid, "", {"interactions": []})
        assert (refused.value.name, refused.value.status) == ("MissingJwt", 401)


async def test_P131_an_account_tells_so_much_and_no_more(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(used_tokens, "MAX_HELD_OF_ISSUER", 3)
    for _ in range(3):
        await service.tell(ANN, ("interactionSeen", 1))
    with pytest.raises(XrpcError) as refused:
        await service.tell(ANN, ("requestLess", 1))
    assert (refused.value.name, refused.value.status) == ("RateLimitExceeded", 429)
    assert await service.tell(BOB, ("requestLess", 1)) == {}
    assert (await service.viewing.describe("for-you", ANN)).disliked == frozenset()


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"interactions": {}},
        {"interactions": [5]},
        {"interactions": [{"item": 5}]},
        {"interactions": [{"item": post(1), "event": None}]},
        {"interactions": [], "feed": 5},
        {"interactions": [{"item": post(1), "feedContext": "x" * 2_001}]},
        {"interactions": [{"item": post(1), "reqId": "x" * 101}]},
        {"interactions": [{}] * (MAX_INTERACTIONS + 1)},
    ],
)
def test_P128_P131_what_the_lexicon_excludes_is_refused(body: Any) -> None:
    with pytest.raises(XrpcError) as refused:
        read_interactions(body)
    assert (refused.value.name, refused.value.status) == ("InvalidRequest", 400)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["item", "event", "interactions"]), inner),
        max_leaves=20,
    )
)
def test_no_body_breaks_the_reading(body: Any) -> None:
    with suppress(XrpcError):
        feed, read = read_interactions(body)
        assert len(read) <= MAX_INTERACTIONS
        assert isinstance(feed, str)


async def test_what_is_no_post_of_a_track_changes_nothing(service: Service) -> None:
    strange = [uri(1), "at://did:plc:nobody/app.bsky.feed.post/x", "nonsense", ""]
    body = {"interactions": [{"item": item, "event": "app.bsky.feed.defs#requestLess"} for item in strange]}
    assert await service.send(SEND_INTERACTIONS, service.token(ANN, SEND_INTERACTIONS), body) == {}
    assert (await service.viewing.describe("for-you", ANN)).disliked == frozenset()


async def test_forget_me_takes_everything_back(service: Service, tmp_path: Path) -> None:
    service.likes(ANN, 0, 2, 4)
    await service.tell(ANN, ("requestLess", 10), ("requestMore", 12))
    await service.tell(BOB, ("requestLess", 10))
    await service.page(by=ANN)
    service.records.said.clear()  # as if she had deleted her likes
    nsid = f"{AUTHORITY}.forgetMe"
    told = await service.send(nsid, service.token(ANN, nsid), {})
    assert told == {"forgotten": 2}
    lexicons = load_lexicons(AUTHORITY)
    schema, home = find(nsid, "", lexicons)
    check_value(told, schema["output"]["schema"], home, lexicons)
    assert service.records.forgotten == [ANN]
    assert await service.page(by=ANN, limit=20) == await service.page(limit=20)
    async with service.store.read() as reader:
        assert await feedback.of_viewer(reader, viewer_key(ANN, SECRET)) == []
        assert len(await feedback.of_viewer(reader, viewer_key(BOB, SECRET))) == 1
    assert await service.send(nsid, service.token(ANN, nsid), {}) == {"forgotten": 0}
    assert service.viewing.held == 0
    with closing(sqlite3.connect(tmp_path / "earmark.db")) as database:
        dump = "\n".join(database.iterdump())
    assert post(3) in dump, "all that there is"
    assert ANN not in dump, "no table names her, not even that of the tokens"


async def test_knobs_alone_make_a_feed_of_ones_own(service: Service) -> None:
    service.records.said[ANN] = Reading((), Prefs(min_seconds=1_000))
    body = await service.page(by=ANN, limit=20)
    assert body == {"feed": []}, "nothing is so long, and an explanation is no music"


async def test_P112_when_the_viewer_cannot_be_known_in_time_everybodys_mix_is_served(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedgen.viewing.DEADLINE_SECONDS", 0.05)
    never = asyncio.Event()

    async def hang(did: Did) -> Reading:
        await never.wait()
        return Reading()

    monkeypatch.setattr(service.records, "read", hang)
    assert await service.page(by=ANN, limit=20) == await service.page(limit=20)


async def test_P125_a_directory_in_trouble_is_told_as_such(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(did: str, refresh: bool) -> PublicKey:
        raise Unreachable("no answer")

    monkeypatch.setattr(service.methods, "_resolve_key", away)
    with pytest.raises(XrpcError) as refused:
        await service.page(by=ANN)
    assert (refused.value.name, refused.value.status) == ("UpstreamFailure", 502)


async def test_a_track_that_goes_leaves_personal_orders_too(service: Service) -> None:
    service.likes(ANN, 0, 2, 4)
    first = (await service.shown(by=ANN))[0]
    async with service.store.write() as tx:
        await links.drop_post(tx, post(first))
    assert first not in await service.shown(by=ANN)
