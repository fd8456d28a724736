"""Similar tracks, search, playlists, feeds of tracks and why, over real sockets: every answer fits its lexicon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import numpy as np
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from core import sections
from core.analysis import Analysis, Space, Vector, Verdict, VerdictStatus
from core.clock import SystemClock
from core.config import Settings
from core.errors import Misconfigured, UnknownDid, Unreachable, XrpcError
from core.feed import Feed, FeedKind, FeedQuery, Questions, Reason
from core.keys import PublicKey, SigningKey
from core.link import Link, LinkRule
from core.log import Log
from core.metrics import Metrics
from core.ports import HttpAnswer, Identity
from core.serviceauth import mint
from core.types import AtUri, BlobRef, Cid, Did, Track, TrackState, Visibility, make_tid
from earmark.finding import Finding
from earmark.lexicon import load_lexicons
from earmark.limits import Limits
from earmark.turns import Turns
from earmark.web import Web
from earmark.why_pages import ASIDE, PARTS, REASONS
from feedgen.context import Contexts
from feedgen.live import LiveFeeds
from feedgen.publish import feed_uri
from feedgen.ranking import Why
from feedgen.rules import Rules
from feedgen.taste import Anchor, AnchorKind, Reading
from feedgen.viewing import Viewing
from models.moods import build_query
from store import Store, analyses, labels, links, tracks, wishes
from store.index import VectorIndex
from store.wishes import Scope, Wish, WishKind
from tests.feedgen.conftest import Records, artist_did
from tests.lexicons import check_value, find

LOG = Log(logging.getLogger("earmark.test"))
AUTHORITY = "com.example.music"
SERVICE, PUBLISHER = "did:web:music.example.com", "did:plc:pppppppppppppppppppppppp"
SECRET = b"s" * 32
FIRST, REV = make_tid(1_600_000_000_000_000), make_tid(1_700_000_000_000_000)
KEY = SigningKey(bytes(range(1, 33)))
READER = Did("did:plc:" + "y" * 24)
CALM_FEED = Feed("calm", "Calm & <Quiet>", "Soft music.", tags={"mtt:quiet": 1.0, "msd:metal": -1.0})
FEEDS = (CALM_FEED, Feed("fresh", "Fresh", "New.", FeedKind.FRESH), Feed("for-you", "You", "Yours.", FeedKind.FOR_YOU))
CALM, FRESH, FOR_YOU = (feed_uri(PUBLISHER, feed.rkey) for feed in FEEDS)
QUESTIONS = Questions({"calm": FeedQuery(tags=build_query(CALM_FEED.tags))})
STEADY = Rules(decay=1e-9, decay_share=0.0, exploration=0.0)  # the best first, in every slot
LIST = AtUri.parse(f"at://{READER}/fm.plyr.list/mine")
COUNT = 30


def uri(number: int) -> str:
    return f"at://{artist_did(number)}/fm.plyr.track/t{number}"


def post(number: int) -> str:
    return f"at://{artist_did(number)}/app.bsky.feed.post/p{number}"


def sound(number: int) -> Vector:
    """On a circle: neighbours by number are neighbours by sound."""
    vector = np.zeros(400, np.float32)
    vector[:2] = np.cos(number / 10), np.sin(number / 10)
    return vector


class Outside:
    """The accounts' hosts and the directory of them."""

    def __init__(self) -> None:
        self.lists: dict[str, Any] = {}
        self.asked: list[str] = []
        self.away = False
        self.error = "RecordNotFound"

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        if did == artist_did(3):
            raise UnknownDid(did)
        return Identity(Did(did), pds="https://pds.example.com")

    def forget(self, did: str) -> None: ...

    async def get(self, url: str, **options: Any) -> HttpAnswer:
        self.asked.append(url)
        if self.away:
            raise Unreachable("it is away")
        params = options["params"]
        record = self.lists.get(f"at://{params['repo']}/{params['collection']}/{params['rkey']}")
        if record is None:
            return HttpAnswer(400, {}, orjson.dumps({"error": self.error}), url)
        return HttpAnswer(200, {}, orjson.dumps({"value": record}), url)


class Deaf:
    """Without the pack that reads texts."""

    async def embed(self, texts: object, *, keep: bool = False) -> Vector:
        raise Misconfigured("listening.packs", "no clap")


class Reads:
    """Places "rain" and every other text on axes of their own."""

    async def embed(self, texts: Sequence[str], *, keep: bool = False) -> Vector:
        return np.stack([joint(0 if "rain" in text else 29) for text in texts])


def joint(number: int) -> Vector:
    """In the space of sound and text: from rain to what is none."""
    vector = np.zeros(512, np.float32)
    vector[:2] = np.cos(number / 20), np.sin(number / 20)
    return vector


class Site:
    """The part of the service that finds music, on a real store."""

    def __init__(self, store: Store, index: VectorIndex, analyst: Any = None) -> None:
        self.store, self.outside, self.records = store, Outside(), Records()
        clock, unused = SystemClock(), Metrics()
        self.contexts = Contexts(SECRET)
        self.feeds = LiveFeeds(
            store,
            index,
            FEEDS,
            QUESTIONS,
            clock=clock,
            log=LOG,
            rules=STEADY,
            min_posts=1,
            min_tracks=1,
            contexts=self.contexts,
        )
        self.viewing = Viewing(self.feeds, store, self.records, secret=SECRET, clock=clock, log=LOG)
        settings = Settings(
            service=sections.Service(public_url="https://music.example.com", authority=AUTHORITY),
            feeds=sections.Feeds(publisher_did=PUBLISHER),
        )
        outside: Any = self.outside
        self.finding = Finding(
            store,
            self.feeds,
            self.viewing,
            settings,
            http=outside,
            directory=outside,
            analyst=analyst or Deaf(),
            secret=SECRET,
            clock=clock,
            log=LOG,
        )
        rkeys = {feed_uri(PUBLISHER, feed.rkey): feed.rkey for feed in FEEDS}
        methods = self.finding.methods(rkeys, audiences=[SERVICE], resolve_key=self._key_of)

        async def healthy() -> None: ...

        self.web = Web(
            methods=methods,
            pages=self.finding.pages(),
            healthy=healthy,
            version="1",
            limits=Limits(sections.Limits(), clock),
            metrics=unused,
            log=LOG,
        )
        self.client: TestClient[Any, Any] = TestClient(TestServer(self.web.app))
        self.lexicons = load_lexicons(AUTHORITY)

    async def _key_of(self, did: str, refresh: bool) -> PublicKey:
        return KEY.public

    async def try_(self, method: str, *, token: str | None = None, **params: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = await self.client.get(f"/xrpc/{AUTHORITY}.{method}", params=params, headers=headers)
        return answer.status, await answer.json()

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """An answer that fits the method's lexicon."""
        status, told = await self.try_(method, **params)
        assert status == 200, told
        schema, home = find(f"{AUTHORITY}.{method}", "", self.lexicons)
        check_value(told, schema["output"]["schema"], home, self.lexicons)
        return told

    async def refused(self, method: str, **params: Any) -> str:
        status, told = await self.try_(method, **params)
        assert status in (400, 401, 502), told
        name: str = told["error"]
        return name

    async def publish(self, number: int, *, posted: bool = True, seconds: float = 180.0, **changes: Any) -> None:
        """A track that was heard: the lower its number, the calmer."""
        now_us = SystemClock().now_us()
        blob = BlobRef(Cid(f"bafkrei{number}"), "audio/mpeg", 1_000 + number)
        fields = {
            "blob": blob,
            "visibility_check": "plyr",
            "duration_ms": 180_000,
            "artist": f"Artist {number}",
        } | changes
        title = fields.pop("title", f"Song {number}")
        track = Track(AtUri.parse(uri(number)), Cid("bafy"), REV, title, now_us, **fields)
        vectors = {
            Space.MUSICNN_SOUND: sound(number),
            Space.CLAP: joint(number),
            Space.MUSICNN_TAGS: build_query(CALM_FEED.tags).positive[0] * (3.0 - number / 10),
        }
        async with self.store.write() as tx:
            await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=now_us)
            profile = Wish(f"at://{track.did}/app.bsky.actor.profile/self", track.did, WishKind.PROFILE, FIRST)
            await wishes.put(tx, profile, now_us=1)
            await tracks.set_visibility(tx, uri(number), Visibility.PUBLIC, page_url=None, now_us=now_us)
            stored = await tracks.get(tx, uri(number))
            assert stored is not None
            await analyses.put(tx, blob.cid, Analysis({"musicnn": "ab"}, seconds, -14.0, (), {}), now_us=now_us)
            await analyses.put_vectors(tx, stored.track_id, "pack", vectors)
            await labels.put_verdict(tx, uri(number), Verdict(VerdictStatus.OK, ("ambient",), rankable=True), now_us=1)
            if posted:
                link = Link(post(number), artist_did(number), uri(number), LinkRule.EMBED_RECORD, now_us, card=True)
                await links.put(tx, [link], now_us=now_us)

    async def keep_back(self, number: int, way: str) -> None:
        """Its artist or its app does not want it to be seen by strangers."""
        did = artist_did(number)
        record = f"at://{did}/app.bsky.actor.profile/self"
        async with self.store.write() as tx:
            if way == "hidden":
                await tracks.set_visibility(tx, uri(number), Visibility.HIDDEN, page_url=None, now_us=1)
            elif way == "gone":
                await tracks.withdraw(tx, uri(number), make_tid(1_700_000_000_000_001), now_us=1)
            else:
                scope = Scope.FEEDS if way == "opted-out" else Scope.NONE
                wish = Wish(record, did, WishKind.PROFILE, REV, scope, way == "logged-in-only")
                await wishes.put(tx, wish, now_us=1)

    def token(self, method: str = "getFeedExplain") -> str:
        lxm = f"{AUTHORITY}.{method}"
        return mint(KEY, iss=READER, aud=SERVICE, lxm=lxm, now_us=SystemClock().now_us())


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    spaces = {Space.MUSICNN_TAGS: 100, Space.MUSICNN_SOUND: 400}
    index = await VectorIndex.open(store, tmp_path / "index", spaces=spaces, generation="pack")
    site = Site(store, index)
    for number in range(COUNT):
        await site.publish(number, posted=number != 1)
    await site.feeds.refresh()
    async with site.client:
        yield site
    await store.close()


def numbers(told: dict[str, Any]) -> list[int]:
    return [int(track["uri"].rpartition("/t")[2]) for track in told["tracks"]]


# --- getSimilarTracks ---------------------------------------------------------------------------------------


async def test_what_sounds_alike(site: Site) -> None:
    told = await site.ask("getSimilarTracks", uri=uri(10), limit=4)
    assert told["seeds"] == [uri(10)]
    assert set(numbers(told)) == {8, 9, 11, 12}
    first = told["tracks"][0]
    assert first["reason"] == "similar"
    assert abs(first["score"] / 1e6 - np.cos(0.1)) < 1e-5
    assert (first["post"], first["artist"]) == (post(numbers(told)[0]), f"Artist {numbers(told)[0]}")


async def test_what_lies_on_the_other_side_is_not_similar(site: Site) -> None:
    """A small corpus is not listed whole: from 16 on the sounds are more than a right angle away."""
    assert sorted(numbers(await site.ask("getSimilarTracks", uri=uri(0), limit=100))) == list(range(1, 16))


async def test_of_several_the_middle_counts(site: Site) -> None:
    told = await site.ask("getSimilarTracks", uri=[uri(4), uri(12)], limit=3)
    assert set(numbers(told)) == {7, 8, 9}
    assert await site.refused("getSimilarTracks", uri=[uri(number) for number in range(6)]) == "InvalidRequest"


@pytest.mark.parametrize("way", ["hidden", "gone", "logged-in-only", "opted-out"])
async def test_what_is_kept_back_is_neither_a_seed_nor_listed_from_that_moment(site: Site, way: str) -> None:
    site_calls = {"getSimilarTracks": {"uri": uri(10)}, "getTrackFeed": {"feed": CALM}, "searchTracks": {"q": "song"}}
    for method, params in site_calls.items():
        assert 11 in numbers(await site.ask(method, limit=100, **params))
    await site.keep_back(11, way)  # nothing is ranked anew
    for method, params in site_calls.items():
        assert 11 not in numbers(await site.ask(method, limit=100, **params)), method
    for form in ("json", "rss", "m3u"):
        answer = await site.client.get(f"/feeds/calm.{form}")
        assert "bafkrei11" not in await answer.text()
    assert await site.refused("getSimilarTracks", uri=uri(11)) == "UnknownTrack"
    assert await site.refused("getFeedExplain", feed=CALM, uri=uri(11)) == "UnknownTrack"


# --- getRecommendations -------------------------------------------------------------------------------------


async def test_a_playlist_of_several_tastes(site: Site) -> None:
    members = [{"subject": {"uri": uri(number)}} for number in (2, 3, 4, 24, 25, 26)]
    site.outside.lists[str(LIST)] = {"items": [*members, {"subject": {"uri": "at://x"}}, 7]}
    told = await site.ask("getRecommendations", list=str(LIST), limit=8)
    assert sorted(told["seeds"]) == sorted(uri(number) for number in (2, 3, 4, 24, 25, 26))
    found = numbers(told)
    assert not {2, 3, 4, 24, 25, 26} & set(found)
    assert min(found) < 10
    assert max(found) > 20
    await site.ask("getRecommendations", list=str(LIST))
    assert len(site.outside.asked) == 2, "the list and its owner's profile are remembered for a while"


async def test_of_a_long_playlist_nothing_comes_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what is beyond the tracks that count."""
    monkeypatch.setattr("earmark.similar_methods.MAX_LISTED", 4)
    site.outside.lists[str(LIST)] = {"items": [{"subject": {"uri": uri(number)}} for number in range(8, 16)]}
    told = await site.ask("getRecommendations", list=str(LIST), limit=100)
    assert sorted(told["seeds"]) == sorted(uri(number) for number in range(8, 12))
    assert not set(range(8, 16)) & set(numbers(told))


async def test_a_playlist_of_one_track_is_its_neighbours(site: Site) -> None:
    site.outside.lists[str(LIST)] = {"items": [{"subject": {"uri": uri(10)}}]}
    assert set(numbers(await site.ask("getRecommendations", list=str(LIST), limit=2))) == {9, 11}


async def test_lists_that_are_none(site: Site) -> None:
    assert await site.refused("getRecommendations", list="x") == "InvalidRequest"
    assert await site.refused("getRecommendations", list=uri(1)) == "InvalidRequest"
    assert site.outside.asked == []
    assert await site.refused("getRecommendations", list=str(LIST)) == "UnknownList"
    site.outside.lists[str(LIST)] = {"items": "nonsense"}
    assert await site.refused("getRecommendations", list=str(LIST)) == "NotHeard"
    site.outside.away = True
    assert await site.refused("getRecommendations", list=str(LIST) + "2") == "UpstreamFailure"


async def test_a_list_of_who_is_seen_by_nobody_logged_out_is_not_read_to_them(site: Site) -> None:
    site.outside.lists[str(LIST)] = {"items": [{"subject": {"uri": uri(10)}}]}
    labels = {"values": [{"val": "!no-unauthenticated"}]}
    site.outside.lists[f"at://{READER}/app.bsky.actor.profile/self"] = {"labels": labels}
    assert await site.refused("getRecommendations", list=str(LIST)) == "UnknownList"


async def test_a_list_of_an_account_that_is_away_is_none(site: Site) -> None:
    site.outside.error = "RepoTakendown"
    assert await site.refused("getRecommendations", list=str(LIST)) == "UnknownList"


# --- searchTracks -------------------------------------------------------------------------------------------


async def test_words_and_sound_in_one_answer(site: Site) -> None:
    await site.publish(50, title="Quiet Storm")
    await site.feeds.refresh()
    told = await site.ask("searchTracks", q="quiet frobnication, no metal", limit=100)
    assert told["available"] == ["tags", "keyword"]
    assert told["understood"] == ["quiet", "metal"]
    assert told["unknown"] == ["frobnication"]
    assert numbers(told)[0] == 0
    assert [why["by"] for why in told["tracks"][0]["why"]] == ["tags"]
    assert told["tracks"][0]["why"][0]["score"] > 750_000
    told = await site.ask("searchTracks", q="QUIET stor")
    assert numbers(told)[0] == 50
    assert {"by": "keyword", "field": "title"} in told["tracks"][0]["why"]


async def test_where_texts_are_read_every_word_counts(site: Site, tmp_path: Path) -> None:
    index = await VectorIndex.open(site.store, tmp_path / "clap", spaces={Space.CLAP: 512}, generation="pack")
    reading, deaf = (Site(site.store, index, analyst) for analyst in (Reads(), Deaf()))
    async with reading.client, deaf.client:
        told = await reading.ask("searchTracks", q="rain on a frobnicated roof", limit=3)
        assert (told["available"], told["unknown"]) == (["text", "keyword"], [])
        assert told["understood"] == ["rain on a frobnicated roof"]
        assert numbers(told) == [0, 1, 2]
        assert told["tracks"][0]["why"][0]["by"] == "text"
        told = await deaf.ask("searchTracks", q="rain, song 7")  # the pack does not answer: words are left
        assert (told["available"], told["tracks"]) == (["keyword"], [])


async def test_when_nothing_is_understood_nothing_is_made_up(site: Site) -> None:
    told = await site.ask("searchTracks", q="frobnication")
    assert (told["understood"], told["unknown"], told["tracks"]) == ([], ["frobnication"], [])
    told = await site.ask("searchTracks", q="artist 7")
    assert numbers(told)[0] == 7
    assert told["tracks"][0]["why"] == [{"by": "keyword", "field": "title"}, {"by": "keyword", "field": "artist"}]
    assert await site.refused("searchTracks", q="x" * 301) == "InvalidRequest"


# --- getTrackFeed -------------------------------------------------------------------------------------------


async def test_a_feed_of_tracks_has_those_without_a_post(site: Site) -> None:
    told = await site.ask("getTrackFeed", feed=CALM, limit=5)
    assert numbers(told) == [0, 1, 2, 3, 4]
    assert "post" not in told["tracks"][1]
    assert all(track["score"] > 500_000 for track in told["tracks"])
    found, cursor = numbers(told), told["cursor"]
    while cursor is not None:
        told = await site.ask("getTrackFeed", feed=CALM, limit=7, cursor=cursor)
        found, cursor = found + numbers(told), told.get("cursor")
    everything = await site.ask("getTrackFeed", feed=CALM, limit=100)
    assert found == numbers(everything)
    assert len(set(found)) == len(found) > 10
    assert "cursor" not in everything


async def test_its_cursor_is_good_for_nothing_else(site: Site) -> None:
    cursor = (await site.ask("getTrackFeed", feed=CALM, limit=5))["cursor"]
    assert await site.refused("getTrackFeed", feed=FRESH, cursor=cursor) == "InvalidRequest"
    assert await site.refused("getTrackFeed", feed=CALM + "er") == "UnknownFeed"
    assert await site.refused("getTrackFeed", feed="calm") == "InvalidRequest"


# --- getFeedExplain -----------------------------------------------------------------------------------------


async def test_the_score_is_reproduced(site: Site) -> None:
    ranking = await site.feeds.ranking("calm")
    for place, entry in enumerate(ranking.entries):
        told = await site.ask("getFeedExplain", feed=CALM, uri=entry.track_uri)
        assert (told["place"], told["tracks"]) == (place, len(ranking.entries))
        assert abs(told["score"] / 1e6 - entry.score) <= 1e-6
        parts = {name: value / 1e6 for name, value in told["parts"].items()}
        weight = parts["mood"] * parts["freshness"] * parts["popularity"] * parts["damping"]
        assert abs(weight - entry.parts.weight) <= 3e-6
        again = await site.feeds.measure(CALM_FEED, entry.track_uri)
        assert again is not None
        assert abs(again.mood - entry.score) <= 1e-6
        assert abs(again.weight - entry.parts.weight) <= 1e-6


async def test_why_a_track_is_not_there(site: Site) -> None:
    told = await site.ask("getFeedExplain", feed=CALM, uri=uri(29))
    assert "place" not in told
    assert told["score"] < told["threshold"]
    told = await site.ask("getFeedExplain", feed=CALM, uri=uri(1))
    assert "place" not in told
    assert [one["why"] for one in told["aside"]] == ["no-post"]
    assert await site.refused("getFeedExplain", feed=CALM, uri="at://did:plc:x/a.b.c/d") == "UnknownTrack"


async def test_who_would_be_kept_out_whatever_the_score_is_told_so(site: Site) -> None:
    """Not only the few of each kind that a ranking remembers."""
    await site.publish(28, seconds=12.0)
    await site.feeds.refresh()
    told = await site.ask("getFeedExplain", feed=CALM, uri=uri(28))
    assert told["score"] < told["threshold"]
    assert told["aside"] == [{"why": "duration", "detail": "12 s"}]


async def test_a_duplicate_names_the_other_track_only_if_everybody_may_know_it(site: Site) -> None:
    await site.publish(40, isrc="QZABC2600001")
    await site.publish(41, isrc="QZABC2600001")
    await site.feeds.refresh()
    told = await site.ask("getFeedExplain", feed=FRESH, uri=uri(41))
    assert {"why": "duplicate", "detail": uri(40)} in told["aside"]
    await site.keep_back(40, "logged-in-only")
    told = await site.ask("getFeedExplain", feed=FRESH, uri=uri(41))
    assert {"why": "duplicate", "detail": ""} in told["aside"]


async def test_who_asks_when_too_many_wait_is_told_to_come_back() -> None:
    turns = Turns(at_once=1, most_waiting=1)
    async with turns.take():
        waiting = asyncio.create_task(_take(turns))
        await asyncio.sleep(0)
        with pytest.raises(XrpcError) as refused:
            await _take(turns)
    assert (refused.value.name, refused.value.status) == ("RateLimitExceeded", 429)
    await waiting
    await _take(turns)


async def _take(turns: Turns) -> None:
    async with turns.take():
        pass


async def test_a_post_and_its_context_are_explained(site: Site) -> None:
    page = await site.feeds.page("calm", None, 1)
    context = orjson.loads(page.rendered[0])["feedContext"]
    told = await site.ask("getFeedExplain", feed=CALM, uri=post(0), feedContext=context)
    assert told["uri"] == uri(0)
    assert told["said"] == {"feed": "calm", "reason": "mood", "tenths": round(told["score"] / 1e5)}
    assert await site.refused("getFeedExplain", feed=CALM, uri=uri(2), feedContext=context) == "InvalidRequest"
    forged = context.replace("|mood|", "|deep|")
    assert await site.refused("getFeedExplain", feed=CALM, uri=uri(0), feedContext=forged) == "InvalidRequest"


async def test_a_personal_feed_is_explained_to_its_reader(site: Site) -> None:
    liked = tuple(Anchor(uri(number), SystemClock().now_us(), AnchorKind.LIKE) for number in (10, 12, 14))
    site.records.said[READER] = Reading(liked)
    mine = await site.ask("getFeedExplain", feed=FOR_YOU, uri=uri(11), token=site.token())
    assert mine["reason"] == "liked-similar"
    everybodys = await site.ask("getFeedExplain", feed=FOR_YOU, uri=uri(11))
    assert everybodys["reason"] == "popular"
    ranking = await site.feeds.rank_for(FEEDS[2], await site.viewing.describe("for-you", READER))
    entry = next(entry for entry in ranking.entries if entry.track_uri == uri(11))
    assert abs(mine["score"] / 1e6 - entry.score) <= 1e-6
    assert await site.refused("getFeedExplain", feed=FOR_YOU, uri=uri(11), token=site.token("getTrackFeed")) == (
        "BadJwtLexiconMethod"
    )


# --- documents ----------------------------------------------------------------------------------------------


async def test_documents_lead_to_the_artists_own_audio(site: Site) -> None:
    answer = await site.client.get("/feeds/calm.json")
    assert answer.headers["Content-Type"].startswith("application/feed+json")
    told = await answer.json(content_type=None)
    assert (told["title"], told["feed_url"]) == (CALM_FEED.display_name, "https://music.example.com/feeds/calm.json")
    first, fourth = told["items"][0], told["items"][3]
    assert first["id"] == uri(0)
    (enclosure,) = first["attachments"]
    assert enclosure["url"].startswith("https://pds.example.com/xrpc/com.atproto.sync.getBlob?did=did%3Aplc%3A")
    assert (enclosure["mime_type"], enclosure["size_in_bytes"]) == ("audio/mpeg", 1_000)
    assert "attachments" not in fourth, "nobody knows where this artist is"

    answer = await site.client.get("/feeds/calm.rss")
    channel = ET.fromstring(await answer.read())[0]
    assert channel.findtext("title") == CALM_FEED.display_name
    found = channel.findall("item")
    assert [item.findtext("guid") for item in found] == [item["id"] for item in told["items"]]
    rss = found[0].find("enclosure")
    assert rss is not None
    assert rss.attrib == {"url": enclosure["url"], "length": "1000", "type": "audio/mpeg"}

    text = await (await site.client.get("/feeds/calm.m3u")).text()
    assert text.splitlines()[:4] == [
        "#EXTM3U", f"#PLAYLIST:{CALM_FEED.display_name}", "#EXTINF:180,Artist 0 - Song 0", enclosure["url"],
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["nothing.json", "calm.exe", "nothing", ".rss", "nothing/why", "calm.rss/why"])
async def test_no_such_document(site: Site, path: str) -> None:
    assert (await site.client.get(f"/feeds/{path}", params={"uri": uri(1)})).status == 404


# --- pages for people ---------------------------------------------------------------------------------------


async def test_a_page_shows_a_feed_and_leads_to_why(site: Site) -> None:
    await site.publish(60, title="<b>Bold</b> & \x00$name", artist="</td><script>alert(1)</script>")
    await site.feeds.refresh()
    answer = await site.client.get("/feeds/fresh")
    text = await answer.text()
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert "<bdi>&lt;b&gt;Bold&lt;/b&gt; &amp;  $name</bdi>" in text
    assert "<script" not in text.lower()
    href = f"/feeds/fresh/why?uri={quote(uri(60), safe='')}"
    assert f"<a href='{href}' rel='nofollow'>new</a>" in text
    told = await (await site.client.get(href)).text()
    assert "<bdi>&lt;b&gt;Bold&lt;/b&gt; &amp;  $name</bdi>" in told
    assert "<script" not in told.lower()
    assert " of 30 on Bluesky now, new." in told
    document = await (await site.client.get("/feeds/fresh.json")).json(content_type=None)
    assert document["home_page_url"] == "https://music.example.com/feeds/fresh"


async def test_the_page_why_says_what_get_feed_explain_says(site: Site) -> None:
    for number in (0, 1, 29):
        told = await site.ask("getFeedExplain", feed=CALM, uri=uri(number))
        text = await (await site.client.get("/feeds/calm/why", params={"uri": uri(number)})).text()
        assert f"<td>{told['parts']['tags'] / 1e6:.3f}</td>" in text
        assert f"<td>{told['threshold'] / 1e6:.3f}</td>" in text
        assert (f"place {told['place'] + 1} of" in text) if "place" in told else ("not among the" in text)
        assert [ASIDE[Why(one["why"])] in text for one in told["aside"]] == [True] * len(told["aside"])


@pytest.mark.parametrize("way", ["hidden", "gone", "logged-in-only", "opted-out"])
async def test_no_page_shows_what_is_kept_back(site: Site, way: str) -> None:
    assert "Song 3" in await (await site.client.get("/feeds/calm")).text()
    await site.keep_back(3, way)  # nothing is ranked anew
    assert "Song 3" not in await (await site.client.get("/feeds/calm")).text()
    answer = await site.client.get("/feeds/calm/why", params={"uri": uri(3)})
    assert (answer.status, "Song 3" in await answer.text()) == (400, False)


def test_every_reason_has_words() -> None:
    assert set(REASONS) == set(Reason)
    assert set(ASIDE) == set(Why)
    parts = load_lexicons(AUTHORITY)[f"{AUTHORITY}.getFeedExplain"]["defs"]["parts"]["properties"]
    assert list(PARTS) == list(parts)
