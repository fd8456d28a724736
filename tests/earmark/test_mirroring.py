"""Labels of tracks on posts: whose posts, when they come and when they go (POSTS.md section 6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.analysis import Verdict, VerdictStatus
from core.clock import SystemClock
from core.config import Settings
from core.link import Link, LinkRule
from core.types import Account, AtUri, BlobRef, Cid, Did, Track, TrackState, make_tid
from earmark.demo import Network
from earmark.mirroring import Mirroring, differ
from firehose import withdrawal
from store import Store, Tx, accounts, labels, links, mirrors, pages, tracks
from store.mirrors import Reflection
from tests.earmark.test_service import Live, joined, running, techno, wav

__all__ = ["techno"]
NOW = 1_800_000_000_000_000
SRC, BOT, FAN = (Did(f"did:plc:{name:a<24}") for name in ("labeler", "announcer", "fan"))
PAGE = "https://plyr.fm/track/7"


def artist(number: int = 0) -> Did:
    return Did("did:plc:" + "artist".ljust(23, "a") + "abc"[number])


def track_uri(number: int = 0, by: int = 0) -> str:
    return f"at://{artist(by)}/fm.plyr.track/t{number}"


def post_of(author: Did, name: str = "p1", target: str | None = None, **changes: Any) -> Link:
    fields: dict[str, Any] = {
        "post_uri": f"at://{author}/app.bsky.feed.post/{name}",
        "post_did": author,
        "target": target or track_uri(),
        "rule": LinkRule.EMBED_RECORD,
        "created_us": NOW,
    }
    return Link(**(fields | changes))


async def put_track(tx: Tx, *values: str, number: int = 0, by: int = 0, page: str | None = None) -> None:
    """A track that is heard; its verdict asks for these labels."""
    uri = AtUri.parse(track_uri(number, by))
    blob = BlobRef(Cid(f"audio-{by}-{number}"), "audio/mpeg", 1000)
    track = Track(uri, Cid("record"), make_tid(NOW), "Song", NOW, blob=blob, page_url=page)
    assert await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=NOW)
    await labels.put_verdict(tx, str(uri), Verdict(VerdictStatus.OK, values, rankable=True), now_us=NOW)


async def wished(store: Store) -> dict[str, tuple[str, ...]]:
    """What every post that ever carried something ought to carry now."""
    async with store.read() as reader:
        rows = await labels.pending(reader, 1000)
        return {row.uri: row.labels for row in rows if "/app.bsky.feed.post/" in row.uri}


def mirroring(store: Store, mode: str = "own", announcer: str = BOT, src: Did = SRC) -> Mirroring:
    settings = Settings(labeler={"mirror_to_posts": mode}, announcer={"did": announcer})
    return Mirroring(store, settings, src=src, clock=SystemClock())


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    yield opened
    await opened.close()


@pytest.mark.parametrize(("mode", "authors"), [("none", ()), ("announcer", (BOT,)), ("own", (BOT, artist()))], ids=str)
async def test_whose_posts_carry_labels(store: Store, mode: str, authors: tuple[Did, ...]) -> None:
    """Never those of other people, credited ones included."""
    everybody = (BOT, artist(), FAN, artist(1))
    async with store.write() as tx:
        await put_track(tx, "jazz", "blues")
        await links.put(tx, [post_of(author) for author in everybody], now_us=NOW)
    assert await mirroring(store, mode).look() == len(authors)
    assert await wished(store) == {post_of(author).post_uri: ("jazz", "blues") for author in authors}
    assert await mirroring(store, mode).look() == 0


async def test_p27_posts_of_the_labeler_itself_are_left_out(store: Store) -> None:
    async with store.write() as tx:
        await put_track(tx, "jazz")
        await links.put(tx, [post_of(BOT), post_of(artist())], now_us=NOW)
    assert await mirroring(store, src=BOT).look() == 1
    assert set(await wished(store)) == {post_of(artist()).post_uri}


@pytest.mark.parametrize(
    "link",
    [
        post_of(artist(), targets_in_post=2),
        post_of(artist(), target=track_uri(1, by=1)),  # another artist's track
        post_of(artist(), post_uri=f"at://{artist()}/so.sprk.feed.post/p1"),
        post_of(artist(), post_uri=str(artist())),  # never an account
    ],
    ids=["two-tracks", "of-another", "no-bluesky-post", "account"],
)
async def test_posts_that_do_not_stand_for_one_track_of_their_author(store: Store, link: Link) -> None:
    async with store.write() as tx:
        await put_track(tx, "jazz")
        await put_track(tx, "rock", number=1, by=1)
        await links.put(tx, [link], now_us=NOW)
    assert await mirroring(store).look() == 0


async def test_a_page_that_several_tracks_claim(store: Store) -> None:
    """Names none for the announcer; a stranger's claim takes nothing away from an artist, a second one of his does."""
    own, announced = post_of(artist(), target=PAGE), post_of(BOT, target=PAGE)
    async with store.write() as tx:
        await put_track(tx, "jazz", page=PAGE)
        await links.put(tx, [own, announced], now_us=NOW)
    mirror = mirroring(store)
    await mirror.look()
    assert await wished(store) == {own.post_uri: ("jazz",), announced.post_uri: ("jazz",)}
    async with store.write() as tx:
        await put_track(tx, "rock", number=1, by=1, page=PAGE)
    await mirror.look()
    assert await wished(store) == {own.post_uri: ("jazz",), announced.post_uri: ()}
    async with store.write() as tx:
        await put_track(tx, "folk", number=2, page=PAGE)
    await mirror.look()
    assert await wished(store) == {own.post_uri: (), announced.post_uri: ()}
    assert await mirror.look() == 0


async def test_a_page_that_was_read_names_its_track(store: Store) -> None:
    page = "https://music.example/song"
    own = post_of(artist(), target=page, rule=LinkRule.PAGE_SAYS)
    async with store.write() as tx:
        await put_track(tx, "jazz")
        await pages.ask(tx, page, now_us=NOW)
        await links.put(tx, [own], now_us=NOW)
    assert await mirroring(store).look() == 0
    async with store.write() as tx:
        await pages.settle(tx, page, track_uri(), now_us=NOW)
    assert await mirroring(store).look() == 1
    assert await wished(store) == {own.post_uri: ("jazz",)}


async def test_a_post_follows_its_track_in_the_same_transaction(store: Store) -> None:
    async with store.write() as tx:
        await put_track(tx)
        await links.put(tx, [post_of(artist())], now_us=NOW)
    await mirroring(store).look()
    for values in (("jazz",), ("jazz", "blues"), ("rock",), ()):
        async with store.write() as tx:
            verdict = Verdict(VerdictStatus.OK, values, rankable=True)
            await labels.put_verdict(tx, track_uri(), verdict, now_us=NOW)
        assert await wished(store) == {post_of(artist()).post_uri: values}
    assert await mirroring(store).look() == 0


async def test_deleted_records_opt_outs_lost_links_and_settings_take_labels_back(store: Store) -> None:
    posts = [post_of(artist(), f"p{number}", track_uri(number)) for number in range(4)]
    async with store.write() as tx:
        for number in range(4):
            await put_track(tx, "jazz", number=number)
        await links.put(tx, posts, now_us=NOW)
    mirror = mirroring(store)
    assert await mirror.look() == 4
    async with store.write() as tx:
        await withdrawal.withdraw(tx, track_uri(0), make_tid(NOW + 1), now_us=NOW)
        await links.drop_post(tx, posts[1].post_uri)
        await links.put(tx, [post_of(artist(), "p2", track_uri(3), targets_in_post=2)], now_us=NOW)
        await links.put(tx, [post_of(artist(), "p2", track_uri(2), targets_in_post=2)], now_us=NOW)
    await mirror.look()
    assert [await carried(store, post) for post in posts] == [(), (), (), ("jazz",)]
    async with store.write() as tx:
        await withdrawal.opt_out(tx, artist(), now_us=NOW)
    assert await carried(store, posts[3]) == ()
    async with store.write() as tx:
        await put_track(tx, "jazz", number=5)
        await links.put(tx, [post_of(artist(), "p5", track_uri(5))], now_us=NOW)
    assert await mirror.look() == 1
    assert await mirroring(store, "announcer").look() >= 1
    assert await carried(store, post_of(artist(), "p5")) == ()
    assert await mirroring(store, "announcer").look() == 0


async def carried(store: Store, post: Link) -> tuple[str, ...]:
    return (await wished(store))[post.post_uri]


async def test_p39_p151_nothing_changes_while_an_account_is_away_but_what_is_taken_back(store: Store) -> None:
    own, announced = post_of(artist()), post_of(BOT)

    async def stand(did: Did, *, active: bool) -> None:
        async with store.write() as tx:
            await accounts.put(tx, Account(did, active=active), now_us=NOW)

    async def judge(*values: str) -> None:
        async with store.write() as tx:
            verdict = Verdict(VerdictStatus.OK, values, rankable=True)
            await labels.put_verdict(tx, track_uri(), verdict, now_us=NOW)

    async with store.write() as tx:
        await put_track(tx, "jazz")
        await links.put(tx, [own, announced], now_us=NOW)
    mirror = mirroring(store)
    await mirror.look()
    await stand(artist(), active=False)
    await judge("rock")
    assert await mirror.look() == 0
    assert await wished(store) == {}
    await stand(artist(), active=True)
    assert await mirror.look() == 0
    assert await wished(store) == {own.post_uri: ("rock",), announced.post_uri: ("rock",)}
    await stand(artist(), active=False)
    await judge()
    assert await wished(store) == {own.post_uri: (), announced.post_uri: ()}


async def test_a_flood_of_posts_is_bounded_and_many_tracks_are_looked_at_in_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.mirroring.TRACKS", 2)
    monkeypatch.setattr("earmark.mirroring.WRITES", 3)
    async with store.write() as tx:
        for number in range(5):
            await put_track(tx, "jazz", number=number)
            flood = [post_of(artist(), f"p{number}-{n}", track_uri(number), created_us=NOW + n) for n in range(30)]
            await links.put(tx, flood, now_us=NOW)
    assert await mirroring(store).look() == 5 * mirrors.MAX_POSTS
    first = {f"at://{artist()}/app.bsky.feed.post/p{number}-{n}" for number in range(5) for n in range(10)}
    assert set(await wished(store)) == first
    async with store.read() as reader:
        assert await mirrors.posts_of(reader, track_uri(3)) == sorted(uri for uri in first if "/p3-" in uri)
        assert await mirrors.track_of(reader, post_of(artist(), "p3-9").post_uri) == track_uri(3)
        assert await mirrors.track_of(reader, post_of(artist(), "p3-10").post_uri) is None


def test_a_post_that_turns_to_another_track_follows_that_one() -> None:
    old, new = Reflection("at://a", ("jazz",)), Reflection("at://b", ("jazz",))
    assert differ({"at://x/app.bsky.feed.post/1": old}, {}) == {}, "not an at-uri"
    post = post_of(artist()).post_uri
    assert differ({post: new}, {post: old}) == {post: "at://b"}
    assert differ({post: new}, {post: new}) == {}
    assert differ({}, {post: old}) == {post: None}


# --- the whole service -----------------------------------------------------------------------------------------


async def carries(live: Live, post: AtUri, labels: dict[str, bool]) -> None:
    async def there() -> bool:
        return await live.labels(post) == labels

    await live.until(there)


async def test_own_and_announcer_from_publication_to_deletion(tmp_path: Path, techno: np.ndarray[Any, Any]) -> None:
    """`own` and `announcer` end to end, the announcement made by a second account; then another setting."""
    async with joined(tmp_path) as (network, joining):
        assert isinstance(network, Network)
        bot, fan = network.create_account("announcer.test"), network.create_account("fan.test")
        labeler = joining.labeler.model_copy(update={"mirror_to_posts": "own"})
        announcer = joining.announcer.model_copy(update={"did": bot.did})
        settings = joining.model_copy(update={"labeler": labeler, "announcer": announcer})
        async with running(network, settings) as live:
            uri = live.track(wav(techno))
            own, announced, others = (live.post(uri, way, author) for way, author in ((0, None), (1, bot), (3, fan)))
            await live.ended(uri)
            await carries(live, own, {"electronic": False})
            await carries(live, announced, {"electronic": False})
            assert await live.labels(others) == {}
            network.delete_record(live.artist, own.collection, own.rkey)
            await carries(live, own, {"electronic": True})
            second = live.post(uri, 3)
            await carries(live, second, {"electronic": False})
            report = await live.report(uri)
            assert report["verdict"]["labels"] == ["electronic"]
            assert set(report["posts"]) == {str(announced), str(others), str(second)}
            known = live.artist
        modest = settings.labeler.model_copy(update={"mirror_to_posts": "announcer"})
        async with running(network, settings.model_copy(update={"labeler": modest}), known) as live:
            await carries(live, second, {"electronic": True})
            assert await live.labels(announced) == {"electronic": False}
            network.delete_record(live.artist, uri.collection, uri.rkey)
            await carries(live, announced, {"electronic": True})
            assert await live.labels(uri) == {"electronic": True}
            assert await live.labels(others) == {}
