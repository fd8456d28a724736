"""The announcer at a real PDS: who asked, what is posted, what is taken back (POSTS.md section 5)."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from core.analysis import Genre, Verdict, VerdictStatus
from core.clock import SystemClock, format_datetime
from core.config import Settings
from core.errors import RateLimited, Unreachable
from core.log import set_up
from core.taxonomy import Taxonomy
from core.types import Account, AtUri, BlobRef, Cid, Track, TrackState, Visibility, make_tid
from earmark.announcement import POSTS, post_uri
from earmark.announcing import PROFILE, Announcer
from earmark.consenting import Consents
from earmark.demo.show import free_port
from earmark.session import Refused, Session
from firehose.constellation import Constellation
from firehose.guard import Guard
from firehose.handles import Handles
from firehose.identity import DidDirectory
from firehose.proof import RecordProver
from firehose.safehttp import GuardedHttp
from store import Store, accounts, announcements, labels, tracks, wishes
from store.announcements import AnnouncementState, Said
from store.wishes import Scope, Wish, WishKind
from tests.earmark.test_pictures import png
from tests.network.artist import TRACK, Artist
from tests.network.following import running
from tests.network.pds import PASSWORD
from tests.network.world import World

PAGE = "https://plyr.fm/track/7"


class Clock(SystemClock):
    """Ahead by so much."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_us / 1e6

    def wait(self, *, minutes: float) -> None:
        self.ahead_us += int(minutes * 60e6)


class Index:
    """Answers what a Constellation would: records by (subject, source)."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], list[AtUri]] = {}

    def note(self, subject: str, path: str, record: AtUri) -> None:
        self.known.setdefault((subject, f"{record.collection}:{path}"), []).append(record)

    async def answer(self, request: web.Request) -> web.Response:
        found = self.known.get((request.query["subject"], request.query["source"]), [])
        by = request.query.get("did")
        rows = [
            {"did": uri.did, "collection": uri.collection, "rkey": uri.rkey} for uri in found if by in (None, uri.did)
        ]
        return web.json_response({"total": len(rows), "records": rows, "cursor": None})


class Stage:
    """An announcer with a store of its own, its account's pinned post, and artists at a real PDS."""

    def __init__(self, world: World, bot: Artist, pinned: AtUri, pinned_cid: str, folder: Path) -> None:
        self.world, self.bot, self.pinned, self.pinned_cid = world, bot, pinned, pinned_cid
        self.password = folder / "password"
        self.password.write_text(PASSWORD)
        self.clock, self.index = Clock(), Index()

    async def open(self, store: Store, http: GuardedHttp, url: str) -> None:
        self.store, self._http, self._url = store, http, url
        self.announcer = self.make()

    def make(self, **chosen: Any) -> Announcer:
        world, clock, log = self.world, self.clock, set_up(level="critical")
        announcer = {"did": self.bot.account.did, "opt_in_post": str(self.pinned)} | chosen
        settings = Settings.load(None, announcer=announcer)
        directory = DidDirectory(self._http, clock=clock, plc_url=world.plc_url, allow_loopback=True)
        prover = RecordProver(self._http, directory, clock=clock)
        index = Constellation(self._http, self._url, pause=0.0)
        return Announcer(
            self.store,
            settings,
            Consents(self.store, settings, prover=prover, constellation=index, clock=clock, log=log),
            http=self._http,
            directory=directory,
            prover=prover,
            handles=Handles(self._http, directory, clock=clock),
            guard=Guard(allow_loopback=True),
            user_agent="test",
            taxonomy=Taxonomy.load(),
            clock=clock,
            log=log,
        )

    async def look(self) -> None:
        await self.announcer.look(self.password)

    async def likes(self, artist: Artist) -> AtUri:
        like = await artist.like(self.pinned, self.pinned_cid)
        self.index.note(str(self.pinned), "subject.uri", like)
        return like

    async def replies(self, artist: Artist, text: str) -> AtUri:
        ref = {"uri": str(self.pinned), "cid": self.pinned_cid}
        now = format_datetime(self.clock.now_us())
        reply = {"text": text, "createdAt": now, "reply": {"root": ref, "parent": ref}}
        uri = await artist.pds.create(artist.account, POSTS, reply)
        self.index.note(str(self.pinned), "reply.parent.uri", uri)
        return uri

    async def follows(self, artist: Artist) -> None:
        record = {"subject": self.bot.account.did, "createdAt": format_datetime(self.clock.now_us())}
        uri = await artist.pds.create(artist.account, "app.bsky.graph.follow", record)
        self.index.note(self.bot.account.did, "subject", uri)

    async def publishes(
        self, artist: Artist, title: str = "Stairwell", *, rkey: str = "", cover: Any = None, **changes: Any
    ) -> AtUri:
        """A track that is in the artist's repository, public, and was heard to be techno."""
        now_us = self.clock.now_us()
        record = {"title": title, "artist": "Artist", "createdAt": format_datetime(now_us)}
        record |= {"image": cover} if cover else {}
        uri = await artist.pds.create(artist.account, TRACK, record, rkey=rkey)
        cid = Cid((await artist.pds.get(uri))["cid"])
        track = Track(uri, cid, make_tid(now_us), title, now_us, artist="Artist", page_url=PAGE)
        track = replace(track, visibility_check="plyr", **changes)
        techno = (Genre("electronic", "Electronic", 0.9), Genre("electronic-techno", "Techno", 0.6))
        verdict = Verdict(VerdictStatus.OK, ("electronic",), genres=techno, rankable=True)
        async with self.store.write() as tx:
            await wishes.put(tx, self.profile(artist), now_us=now_us)
            await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=now_us)
            await tracks.set_visibility(tx, str(uri), Visibility.PUBLIC, page_url=None, now_us=now_us)
            await labels.put_verdict(tx, str(uri), verdict, now_us=now_us)
        return uri

    def profile(self, artist: Artist, *, logged_in_only: bool = False) -> Wish:
        """What the artist's profile says now."""
        did = artist.account.did
        rev = make_tid(self.clock.now_us())
        uri = f"at://{did}/app.bsky.actor.profile/self"
        return Wish(uri, did, WishKind.PROFILE, rev, logged_in_only=logged_in_only)

    async def posts(self) -> dict[str, dict[str, Any]]:
        """Track -> the post that is in the bot's repository for it: never two."""
        listed = await self.world.pds.ask(
            "com.atproto.repo.listRecords", repo=self.bot.account.did, collection=POSTS, limit="100"
        )
        values = [row["value"] for row in listed["records"] if "embed" in row["value"]]
        found = {value["embed"]["external"]["associatedRefs"][0]["uri"]: value for value in values}
        assert len(found) == len(values)
        return found


@pytest_asyncio.fixture(loop_scope="session")
async def stage(world: World, tmp_path: Path) -> AsyncIterator[Stage]:
    bot = await world.sign_up(world.pds)
    text = "Like this, and your new tracks are announced here."
    post = {"text": text, "createdAt": format_datetime(SystemClock().now_us())}
    pinned = await world.pds.create(bot.account, POSTS, post)
    stage = Stage(world, bot, pinned, (await world.pds.get(pinned))["cid"], tmp_path)
    app, port = web.Application(), free_port(0)
    app.router.add_get("/xrpc/{method}", stage.index.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    store = await Store.open(tmp_path / f"{secrets.token_hex(3)}.db", clock=stage.clock)
    http = GuardedHttp(Guard(allow_loopback=True), clock=stage.clock, user_agent="test")
    await stage.open(store, http, f"http://127.0.0.1:{port}")
    yield stage
    await http.close()
    await store.close()
    await runner.cleanup()


async def test_who_likes_the_pinned_post_is_announced_until_the_like_goes(world: World, stage: Stage) -> None:
    """Only tracks newer than that, ten minutes later, once; an unlike takes the posts back."""
    artist, stranger = await world.sign_up(world.pds), await world.sign_up(world.pds)
    old = await stage.publishes(artist, "Before")
    like = await stage.likes(artist)
    await stage.look()
    track, unasked = await stage.publishes(artist), await stage.publishes(stranger)
    await stage.look()
    assert await stage.posts() == {}, "too early: edits and deletions come first"

    stage.clock.wait(minutes=11)
    await stage.look()
    posts = await stage.posts()
    assert set(posts) == {str(track)}
    assert str(old) not in posts
    assert str(unasked) not in posts
    post = posts[str(track)]
    assert (post["text"], post["tags"], post["langs"]) == ("New: Stairwell", ["Electronic", "Techno"], ["en"])
    external = post["embed"]["external"]
    assert (external["uri"], external["title"], external["description"]) == (PAGE, "Stairwell", "Artist")
    assert external["associatedRefs"] == [{"uri": str(track), "cid": (await world.pds.get(track))["cid"]}]
    assert "facets" not in post
    await stage.look()
    assert len(await stage.posts()) == 1

    await artist.pds.delete(artist.account, like)
    stage.clock.wait(minutes=61)
    await stage.look()
    assert await stage.posts() == {}
    await stage.likes(artist)
    stage.clock.wait(minutes=61)
    await stage.look()
    assert await stage.posts() == {}, "what was taken back is not announced again"


async def test_a_reply_counts_of_those_who_follow_and_stop_ends_it(world: World, stage: Stage) -> None:
    follower, passer_by = await world.sign_up(world.pds), await world.sign_up(world.pds)
    for artist in (follower, passer_by):
        await stage.replies(artist, "Announce  me, please!")
    await stage.follows(follower)
    await stage.look()
    wanted, unwanted = await stage.publishes(follower), await stage.publishes(passer_by)
    stage.clock.wait(minutes=11)
    await stage.look()
    assert set(await stage.posts()) == {str(wanted)}
    assert str(unwanted) not in await stage.posts()
    stage.clock.wait(minutes=1)
    await stage.replies(follower, "Stop.")
    await stage.look()
    assert await stage.posts() == {}


async def test_what_does_not_plainly_ask_is_no_wish(world: World, stage: Stage) -> None:
    artists = [await world.sign_up(world.pds) for _ in range(3)]
    texts = ("Please don't announce me", "announce me? no thanks", "who would announce me")
    for artist, text in zip(artists, texts, strict=True):
        await stage.follows(artist)
        await stage.replies(artist, text)
    await stage.look()
    for artist in artists:
        await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    await stage.look()
    assert await stage.posts() == {}


async def test_who_follows_after_asking_is_announced_within_the_hour(world: World, stage: Stage) -> None:
    artist = await world.sign_up(world.pds)
    await stage.replies(artist, "announce me")
    await stage.look()
    await stage.follows(artist)
    stage.clock.wait(minutes=61)
    await stage.look()
    uri = await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    await stage.look()
    assert set(await stage.posts()) == {str(uri)}


async def test_a_stop_that_is_deleted_was_said_all_the_same(world: World, stage: Stage) -> None:
    """Only what is said after it counts: the like from before does not come to life again."""
    artist = await world.sign_up(world.pds)
    await stage.likes(artist)
    stage.clock.wait(minutes=1)
    stop = await stage.replies(artist, "stop")
    await stage.look()
    await artist.pds.delete(artist.account, stop)
    for _ in range(3):
        stage.clock.wait(minutes=61)
        await stage.look()
    await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    await stage.look()
    assert await stage.posts() == {}


async def test_an_edited_wish_says_what_it_says_now(world: World, stage: Stage) -> None:
    artist = await world.sign_up(world.pds)
    await stage.follows(artist)
    reply = await stage.replies(artist, "announce me")
    await stage.look()
    await stage.publishes(artist)
    await artist.change(reply, text="better not")
    stage.clock.wait(minutes=11)
    await stage.look()
    assert await stage.posts() == {}


async def test_a_like_of_the_pinned_post_of_before_counts_when_another_is_pinned(world: World, stage: Stage) -> None:
    """And an index that has forgotten who follows takes nothing back."""
    liker, replier = await world.sign_up(world.pds), await world.sign_up(world.pds)
    await stage.likes(liker)
    await stage.follows(replier)
    await stage.replies(replier, "announce me")
    await stage.look()
    tracks_made = {str(await stage.publishes(artist)) for artist in (liker, replier)}
    stage.index.known.clear()
    post = {"text": "Like this one now.", "createdAt": format_datetime(stage.clock.now_us())}
    stage.announcer = stage.make(opt_in_post=str(await world.pds.create(stage.bot.account, POSTS, post)))
    stage.clock.wait(minutes=62)
    await stage.look()
    assert set(await stage.posts()) == tracks_made


async def test_a_like_from_before_a_stop_does_not_stand_for_the_one_that_goes(world: World, stage: Stage) -> None:
    """The second like is taken back in the very hour in which nobody looks at it again but before a post."""
    artist = await world.sign_up(world.pds)
    await stage.likes(artist)
    stage.clock.wait(minutes=1)
    await stage.replies(artist, "stop")
    stage.clock.wait(minutes=1)
    again = await stage.replies(artist, "announce me")
    await stage.follows(artist)
    await stage.look()
    await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    await artist.pds.delete(artist.account, again)
    await stage.look()
    assert await stage.posts() == {}


async def test_nothing_is_announced_before_its_artists_profile_was_read(world: World, stage: Stage) -> None:
    """It may say that they opted out, or are not to be shown to who is logged out."""
    artist = await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did])
    await stage.look()
    uri = await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    async with stage.store.write() as tx:
        assert await wishes.put(tx, stage.profile(artist, logged_in_only=True), now_us=stage.clock.now_us())
    await stage.look()
    assert await stage.posts() == {}
    stage.clock.wait(minutes=1)
    async with stage.store.write() as tx:
        assert await wishes.put(tx, stage.profile(artist), now_us=stage.clock.now_us())
    await stage.look()
    assert set(await stage.posts()) == {str(uri)}


async def test_a_wish_that_only_the_index_claims_is_none(world: World, stage: Stage) -> None:
    """It names a like that the artist's repository does not have, and one of another post."""
    artist = await world.sign_up(world.pds)
    other = await artist.like(AtUri(artist.account.did, POSTS, make_tid(1)), stage.pinned_cid)
    for uri in (AtUri(artist.account.did, other.collection, make_tid(2)), other):
        stage.index.note(str(stage.pinned), "subject.uri", uri)
    await stage.look()
    await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    await stage.look()
    assert await stage.posts() == {}


@pytest.mark.parametrize(
    "why", ["withdrawn", "hidden", "self-labelled", "opted out", "not logged out", "no music", "taken down"]
)
async def test_what_its_artist_takes_away_is_taken_back(world: World, stage: Stage, why: str) -> None:
    artist = await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did])
    await stage.look()
    uri = await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    await stage.look()
    assert set(await stage.posts()) == {str(uri)}
    now_us = stage.clock.now_us()
    async with stage.store.write() as tx:
        known = await tracks.get(tx, str(uri))
        assert known is not None
        newer = replace(known.track, rev=make_tid(now_us), self_labels=("sexual",))
        match why:
            case "withdrawn":
                await tracks.withdraw(tx, str(uri), make_tid(now_us), now_us=now_us)
            case "hidden":
                await tracks.set_visibility(tx, str(uri), Visibility.HIDDEN, page_url=None, now_us=now_us)
            case "opted out":
                await wishes.put(tx, wishes.in_report(uri.did, Scope.FEEDS, now_us=now_us), now_us=now_us)
            case "no music":
                await labels.put_verdict(tx, str(uri), Verdict(VerdictStatus.OK, ("podcast",)), now_us=now_us)
            case "taken down":
                assert await accounts.put(tx, Account(uri.did, False, "takendown"), now_us=now_us)
            case "not logged out":
                assert await wishes.put(tx, stage.profile(artist, logged_in_only=True), now_us=now_us)
            case _:
                assert await tracks.put(tx, newer, state=TrackState.REFUSED, reason="self_label", now_us=now_us)
    await stage.look()
    assert await stage.posts() == {}


async def test_an_artist_has_three_posts_a_day_and_an_album_is_one(world: World, stage: Stage) -> None:
    """The rest of an album continues its first post; what is over the limit waits for its turn."""
    artist = await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did], per_day=2)
    await stage.look()
    album = [await stage.publishes(artist, f"Side {number}", album="Moth") for number in (1, 2, 3)]
    singles = [await stage.publishes(artist, title) for title in ("Quince", "Heron")]
    stage.clock.wait(minutes=11)
    await stage.look()
    posts = await stage.posts()
    assert set(posts) == {str(uri) for uri in (*album, singles[0])}
    root = str(post_uri(stage.bot.account.did, str(album[0])))
    assert "reply" not in posts[str(album[0])]
    assert "reply" not in posts[str(singles[0])]
    assert [posts[str(uri)]["reply"]["root"]["uri"] for uri in album[1:]] == [root, root]
    assert posts[str(album[2])]["reply"]["parent"]["uri"] == str(post_uri(stage.bot.account.did, str(album[1])))
    stage.clock.wait(minutes=24 * 60)
    await stage.look()
    assert str(singles[1]) in await stage.posts()


async def test_the_keys_of_an_albums_tracks_do_not_order_its_thread(world: World, stage: Stage) -> None:
    """Apps show no reply whose root is not its parent's; the one whose first post is gone begins another thread."""
    artist = await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did], per_day=2)
    await stage.look()
    album = [await stage.publishes(artist, key, rkey=key, album="Moth") for key in ("zz", "aa", "mm", "bb")]
    stage.clock.wait(minutes=11)
    await stage.look()
    posts = await stage.posts()
    places = [str(post_uri(stage.bot.account.did, str(uri))) for uri in album]
    assert "reply" not in posts[str(album[0])]
    replies = [posts[str(uri)]["reply"] for uri in album[1:]]
    assert [reply["root"]["uri"] for reply in replies] == [places[0]] * 3
    assert [reply["parent"]["uri"] for reply in replies] == places[:3]

    async with stage.store.write() as tx:
        rev = make_tid(stage.clock.now_us())
        await tracks.withdraw(tx, str(album[0]), rev, now_us=stage.clock.now_us())
    further = await stage.publishes(artist, "later", album="Moth")
    stage.clock.wait(minutes=11)
    await stage.look()
    posts = await stage.posts()
    assert str(album[0]) not in posts
    assert "reply" not in posts[str(further)]


async def test_one_audio_under_two_records_is_announced_once(world: World, stage: Stage) -> None:
    """Also when the second comes days later; and somebody else's record of it is theirs."""
    artist, other = await world.sign_up(world.pds), await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did, other.account.did])
    await stage.look()
    blob = BlobRef(Cid("bafkreiaudio"), "audio/mpeg", 1)
    both = {str(await stage.publishes(artist, title, blob=blob)) for title in ("Quince", "Quince again")}
    theirs = str(await stage.publishes(other, blob=blob))
    stage.clock.wait(minutes=11)
    await stage.look()
    posts = set(await stage.posts())
    assert theirs in posts
    assert len(posts & both) == 1
    await stage.publishes(artist, "Quince once more", blob=blob)
    stage.clock.wait(minutes=24 * 60)
    await stage.look()
    assert set(await stage.posts()) == posts


async def test_one_artists_album_is_not_all_that_is_said_in_a_day(world: World, stage: Stage, monkeypatch: Any) -> None:
    """What was seen first comes first, whatever its artist is called."""
    monkeypatch.setattr("earmark.announcement_round.MAX_A_DAY", 5)
    monkeypatch.setattr("earmark.announcement_round.MAX_IN_THREADS", 2)
    artists = sorted([await world.sign_up(world.pds) for _ in range(3)], key=lambda artist: artist.account.did)
    stage.announcer = stage.make(artists=[artist.account.did for artist in artists], per_day=1)
    await stage.look()
    last = await stage.publishes(artists[2])
    for number in range(4):
        await stage.publishes(artists[0], f"Side {number}", album="Flood")
    middle = await stage.publishes(artists[1])
    stage.clock.wait(minutes=11)
    await stage.look()
    posts = await stage.posts()
    assert len(posts) == 5
    assert {str(last), str(middle)} <= set(posts)


async def test_quiet_hours_hold_posts_back(world: World, stage: Stage) -> None:
    artist = await world.sign_up(world.pds)
    hour = (stage.clock.now_us() + 11 * 60_000_000) // 3_600_000_000 % 24
    stage.announcer = stage.make(artists=[artist.account.did], quiet_hours=f"{hour}-{(hour + 2) % 24}")
    await stage.look()
    uri = await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    await stage.look()
    assert await stage.posts() == {}
    stage.clock.wait(minutes=120)
    await stage.look()
    assert set(await stage.posts()) == {str(uri)}


async def test_a_crash_between_posting_and_taking_note_posts_nothing_twice(world: World, stage: Stage) -> None:
    """What was planned is made under the same key; what is there under it stays as it is."""
    artist = await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did])
    await stage.look()
    uri = await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    stage.password.write_text("wrong")
    with pytest.raises(Refused):
        await stage.look()
    assert await stage.posts() == {}
    made = post_uri(stage.bot.account.did, str(uri))
    refs = [{"uri": str(uri), "cid": (await world.pds.get(uri))["cid"]}]
    external = {"uri": PAGE, "title": "Stairwell", "description": "", "associatedRefs": refs}
    post = {
        "text": "from before the crash",
        "createdAt": format_datetime(stage.clock.now_us()),
        "embed": {"$type": "app.bsky.embed.external", "external": external},
    }
    await world.pds.create(stage.bot.account, POSTS, post, rkey=made.rkey)
    stage.password.write_text(PASSWORD)
    await stage.look()
    assert [post["text"] for post in (await stage.posts()).values()] == ["from before the crash"]
    async with stage.store.read() as reader:
        (row,) = await announcements.of_artist(reader, artist.account.did)
    assert (row.state, row.post_cid) == (AnnouncementState.POSTED, (await world.pds.get(made))["cid"])


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("step", range(1, 10))
async def test_a_process_that_is_killed_at_any_step_has_posted_nothing_twice(
    world: World, stage: Stage, monkeypatch: Any, step: int
) -> None:
    """Before a request to the host or after it; the next process does what is left, also what is to be taken back."""
    artist, leaver = await world.sign_up(world.pds), await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did, leaver.account.did])
    await stage.look()
    left = await stage.publishes(leaver)
    stage.clock.wait(minutes=11)
    await stage.look()
    assert set(await stage.posts()) == {str(left)}
    made = [str(await stage.publishes(artist, title, album="Moth")) for title in ("One", "Two")]
    stage.clock.wait(minutes=11)
    async with stage.store.write() as tx:
        await tracks.withdraw(tx, str(left), make_tid(stage.clock.now_us()), now_us=stage.clock.now_us())
    steps, call = count(1), Session.call

    async def dying(session: Session, nsid: str, body: Any = None) -> Any:
        if next(steps) >= step:
            raise Killed
        answer = await call(session, nsid, body)
        if next(steps) >= step:
            raise Killed
        return answer

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(Session, "call", dying)
        await stage.look()
    stage.announcer = stage.make(artists=[artist.account.did])
    before = await stage.posts()
    await stage.look()
    after = await stage.posts()
    assert set(after) == set(made)
    assert {uri: post for uri, post in before.items() if uri != str(left)}.items() <= after.items()


async def test_a_host_of_ours_that_wants_a_rest_is_asked_no_more_in_this_round(
    world: World, stage: Stage, monkeypatch: Any
) -> None:
    """And nothing is lost: the next round goes on. An artist's host that is away keeps nobody else waiting."""
    away, artist = await world.sign_up(world.pds), await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[away.account.did, artist.account.did])
    await stage.look()
    nowhere = await stage.publishes(away)
    made = {str(await stage.publishes(artist, title)) for title in ("One", "Two", "Three")}
    stage.clock.wait(minutes=11)
    await away.pds.act("com.atproto.server.deactivateAccount", {}, by=away.account)
    call, asked = Session.call, list[str]()

    async def tired(session: Session, nsid: str, body: Any = None) -> Any:
        if nsid == "com.atproto.repo.putRecord" and body["collection"] == POSTS:
            asked.append(body["rkey"])
            raise RateLimited("later")
        return await call(session, nsid, body)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "call", tired)
        with pytest.raises(RateLimited):
            await stage.look()
    assert len(asked) == 1
    await stage.look()
    assert set(await stage.posts()) == made
    assert str(nowhere) not in made


async def test_slow_artists_hosts_hold_nobody_else_up_for_long(world: World, stage: Stage, monkeypatch: Any) -> None:
    """After three minutes the round is over, and the next one begins with those whose turn did not come."""
    slow, artist = await world.sign_up(world.pds), await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[slow.account.did, artist.account.did], per_day=5)
    await stage.look()
    for number in range(5):
        await stage.publishes(slow, f"Slow {number}")
    uri = await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    prove = RecordProver.prove

    async def dragging(prover: RecordProver, asked: AtUri) -> Any:
        if asked.did == slow.account.did:
            stage.clock.wait(minutes=1)
            raise Unreachable("did not answer within a minute")
        return await prove(prover, asked)

    with monkeypatch.context() as patch:
        patch.setattr(RecordProver, "prove", dragging)
        await stage.look()
        assert await stage.posts() == {}
        await stage.look()
        assert set(await stage.posts()) == {str(uri)}
    await stage.look()
    assert len(await stage.posts()) == 6


async def test_posts_of_an_account_that_was_the_announcer_once_are_left_alone(world: World, stage: Stage) -> None:
    """Nothing can be done about them, and they keep nothing else from being done."""
    artist = await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did])
    await stage.look()
    old = await stage.publishes(artist)
    stage.clock.wait(minutes=11)
    await stage.look()
    stage.bot = await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did], opt_in_post="")
    new = await stage.publishes(artist, "Another")
    async with stage.store.write() as tx:
        await tracks.withdraw(tx, str(old), make_tid(stage.clock.now_us()), now_us=stage.clock.now_us())
    stage.clock.wait(minutes=11)
    await stage.look()
    assert set(await stage.posts()) == {str(new)}


async def test_a_post_has_its_tracks_cover_and_goes_without_one_that_is_none(world: World, stage: Stage) -> None:
    artist = await world.sign_up(world.pds)
    stage.announcer = stage.make(artists=[artist.account.did])
    await stage.look()
    covers = [await artist.pds.upload(artist.account, body) for body in (png(300, 300), png(99_999, 99_999), b"<svg/>")]
    good, huge, text = [await stage.publishes(artist, f"Cover {cover['size']}", cover=cover) for cover in covers]
    stage.clock.wait(minutes=11)
    await stage.look()
    posts = await stage.posts()
    thumb = posts[str(good)]["embed"]["external"]["thumb"]
    assert (thumb["mimeType"], thumb["ref"]) == ("image/png", covers[0]["ref"])
    for uri in (huge, text):
        assert "thumb" not in posts[str(uri)]["embed"]["external"]


async def test_its_profile_says_that_it_is_a_bot_before_it_posts(world: World, stage: Stage) -> None:
    """Whatever else it says stays: its name, its picture, other labels."""
    bot, artist = stage.bot, await world.sign_up(world.pds)
    profile = {
        "displayName": "New tracks",
        "avatar": await bot.pds.upload(bot.account, png(10, 10), "image/png"),
        "labels": {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "!no-unauthenticated"}]},
    }
    uri = await bot.pds.create(bot.account, PROFILE, profile, rkey="self")
    before = (await world.pds.get(uri))["value"]
    stage.announcer = stage.make(artists=[artist.account.did])
    await stage.look()
    assert (await world.pds.get(uri))["value"] == before, "not before there is something to post"
    for title in ("One", "Two"):
        await stage.publishes(artist, title)
        stage.clock.wait(minutes=11)
        await stage.look()
        values = [{"val": "!no-unauthenticated"}, {"val": "bot"}]
        assert (await world.pds.get(uri))["value"] == before | {"labels": before["labels"] | {"values": values}}
    assert len(await stage.posts()) == 2


async def test_the_service_announces_where_it_is_configured(world: World, tmp_path: Path) -> None:
    """It is a role of the service: it has taken note of whom the operator lists, and of a `stop` that comes by."""
    bot, artist = await world.sign_up(world.pds), await world.sign_up(world.pds)
    settings = await world.join(world.pds, f"announcing-{secrets.token_hex(3)}", begin="live")
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    chosen = {"did": bot.account.did, "password_file": password, "artists": (artist.account.did,)}
    announcer = settings.announcer.model_copy(update=chosen)
    async with running(settings.model_copy(update={"announcer": announcer})) as service:

        async def said() -> set[Said]:
            store = await Store.open_to_read(settings.database)
            try:
                async with store.read() as reader:
                    return {wish.said for wish in (await announcements.wishes(reader)).get(artist.account.did, ())}
            finally:
                await store.close()

        async def listed() -> bool:
            return await said() == {Said.YES}

        async def stopped() -> bool:
            return await said() == {Said.YES, Said.STOP}

        await service.until(listed)
        now = format_datetime(SystemClock().now_us())
        post = await world.pds.create(bot.account, POSTS, {"text": "New: Stairwell", "createdAt": now})
        ref = {"uri": str(post), "cid": (await world.pds.get(post))["cid"]}
        reply = {"text": "Stop!", "createdAt": now, "reply": {"root": ref, "parent": ref}}
        await artist.pds.create(artist.account, POSTS, reply)
        await service.until(stopped)
