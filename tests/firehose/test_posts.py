"""Posts into the store: links that come and go with their post, pages that wait for an answer, crossposts, likes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.dagcbor import encode
from core.types import AtUri, make_tid
from firehose.events import Interest, Operation, RecordEvent
from firehose.frames import decode_repo_frame
from firehose.links import LinkRules
from firehose.posts import Crossposts, LinkedPosts, PostLinks
from store import Store, links, pages, posters, questions, signals
from store.signals import Signal, SignalKind

NOW_US = 1_750_000_000_000_000
FAN = "did:plc:fan222222222222222222222"
ARTIST = "did:plc:artist222222222222222222"
TRACK = f"at://{ARTIST}/fm.plyr.track/3kbbbbbbbbbb2"
SOUND = f"at://{ARTIST}/so.sprk.sound.audio/3kbbbbbbbbbb2"
SONG = "https://music.example/song"
RULES = LinkRules(frozenset({"fm.plyr.track", "so.sprk.sound.audio"}), frozenset(), frozenset({"music.example"}))


def event(
    record: Any, operation: Operation = Operation.CREATE, *, uri: str = f"at://{FAN}/app.bsky.feed.post/3kaaaaaaaaaa2"
) -> RecordEvent:
    at = AtUri.parse(uri)
    return RecordEvent(at.did, at.collection, at.rkey, make_tid(NOW_US), operation, None, record, 1)


def quote(uri: str, **fields: Any) -> dict[str, Any]:
    return {"embed": {"record": {"uri": uri}}, "createdAt": "2025-01-01T00:00:00Z"} | fields


def naming(*urls: str) -> dict[str, Any]:
    kind = "app.bsky.richtext.facet#link"
    return {"facets": [{"features": [{"$type": kind, "uri": url}]} for url in urls]}


@pytest.fixture
def apply(store: Store) -> Any:
    async def run(reader: Any, *events: RecordEvent) -> None:
        async with store.write() as tx:
            for one in events:
                await reader.apply(tx, one, now_us=NOW_US)

    return run


@pytest.fixture
def targets(tmp_path: Path, store: Store) -> Callable[[], list[tuple[str, int]]]:
    """(target, targets_in_post) of every link in the store."""

    def read() -> list[tuple[str, int]]:
        connection = sqlite3.connect(tmp_path / "earmark.db")
        rows = connection.execute("SELECT target, targets_in_post FROM link ORDER BY target").fetchall()
        connection.close()
        return rows

    return read


@pytest.mark.parametrize(
    ("operation", "record", "left"),
    [
        (Operation.DELETE, None, []),
        (Operation.UPDATE, None, []),  # it holds no needle any more
        (Operation.UPDATE, quote(SOUND), [(SOUND, 1)]),
        (Operation.CREATE, quote(TRACK), [(TRACK, 1)]),  # a replay
    ],
)
async def test_links_live_and_die_with_their_post(
    apply: Any, targets: Any, operation: Operation, record: Any, left: list[Any]
) -> None:
    reader = PostLinks(RULES)
    await apply(reader, event(quote(TRACK)))
    assert targets() == [(TRACK, 1)]
    await apply(reader, event(record, operation))
    assert targets() == left


async def test_likes_of_a_deleted_post_go_with_it(store: Store, apply: Any) -> None:
    reader, post = PostLinks(RULES), event(quote(TRACK))
    await apply(reader, post)
    like = Signal(AtUri.parse(f"at://{ARTIST}/app.bsky.feed.like/a"), str(post.uri), SignalKind.LIKE, NOW_US)
    async with store.write() as tx:
        await signals.put(tx, [like])
    await apply(reader, event(None, Operation.DELETE))
    async with store.read() as r:
        assert await signals.counts(r, [str(post.uri)]) == {str(post.uri): {}}


async def test_r7_pages_are_asked_once_and_what_shows_no_track_is_no_link(
    store: Store, apply: Any, targets: Any
) -> None:
    reader = PostLinks(RULES)
    post = event(naming(SONG, SONG + "2"))
    await apply(reader, post, post)
    assert targets() == [(SONG, 2), (SONG + "2", 2)]
    async with store.write() as tx:
        assert sorted(await pages.due(tx, now_us=NOW_US, limit=9)) == [(SONG, 0), (SONG + "2", 0)]
        await pages.settle(tx, SONG, None, now_us=NOW_US)
    assert targets() == [(SONG + "2", 1)]
    await apply(reader, post)  # a replay brings nothing back
    assert targets() == [(SONG + "2", 1)]


def spark(**fields: Any) -> dict[str, Any]:
    crossposts = [{"uri": f"at://{ARTIST}/app.bsky.feed.post/3kdddddddddd2", "cid": "x"}]
    return {"sound": {"uri": SOUND, "cid": "x"}, "crossposts": crossposts, "createdAt": "2025-01-01T00:00:00Z"} | fields


@pytest.mark.parametrize(
    ("did", "record", "named"),
    [
        (ARTIST, spark(), True),
        (FAN, spark(), False),  # somebody else's clip of that sound
        (ARTIST, spark(crossposts=[{"uri": f"at://{FAN}/app.bsky.feed.post/3kdddddddddd2"}]), False),
        (ARTIST, spark(crossposts=[{"uri": f"at://{ARTIST}/fm.plyr.track/3kdddddddddd2"}]), False),
        (ARTIST, spark(crossposts=["x", {"uri": 7}, None]), False),
        (ARTIST, spark(sound={"uri": "x"}), False),
        (ARTIST, spark(sound={"uri": SOUND.replace("so.sprk.sound.audio", "so.sprk.sound.other")}), False),
        (ARTIST, None, False),
    ],
)
async def test_r3_a_crosspost_by_the_sounds_own_artist_is_looked_at(
    store: Store, apply: Any, did: str, record: Any, named: bool
) -> None:
    """A record may name a post that is gone, a reply, or about many tracks: naming it makes no link yet."""
    post = f"at://{ARTIST}/app.bsky.feed.post/3kdddddddddd2"
    await apply(Crossposts(RULES), event(record, uri=f"at://{did}/so.sprk.feed.post/3kcccccccccc2"))
    async with store.write() as tx:
        assert await questions.named_posts(tx, SOUND, limit=9) == [post] * named
        assert await questions.due(tx, now_us=NOW_US, limit=9) == [(SOUND, 0)] * named
        assert not await links.is_linked(tx, post)
        await questions.settle(tx, SOUND, asked=1, now_us=NOW_US)
    await apply(Crossposts(RULES), event(record, uri=f"at://{did}/so.sprk.feed.post/3kcccccccccc2"))
    async with store.write() as tx:
        assert await questions.due(tx, now_us=NOW_US, limit=9) == []  # a replay asks nothing anew
        await questions.forget(tx, SOUND)
        assert await questions.named_posts(tx, SOUND, limit=9) == []


def test_linked_posts_are_found_in_json_and_in_blocks(kit: Any) -> None:
    """The prefilter of likes: a substring and a set, on what the wire brings, before anything is decoded."""
    linked = LinkedPosts()
    linked.add([f"at://{FAN}/app.bsky.feed.post/3kaaaaaaaaaa2"])
    wanted = {"subject": {"cid": "x", "uri": f"at://{FAN}/app.bsky.feed.post/3kaaaaaaaaaa2"}, "createdAt": "2025"}
    other = {"subject": {"cid": "x", "uri": f"at://{FAN}/app.bsky.feed.post/3kaaaaaaaaab2"}, "createdAt": "2025"}
    assert [linked.are_in(encode(record)) for record in (wanted, other)] == [True, False]
    interest = Interest(frozenset({"app.bsky.feed.like"}), prefilters={"app.bsky.feed.like": linked.are_in})
    repo, path = kit.Repo(), "app.bsky.feed.like/3kcccccccccc2"
    repo.body(1, ("create", "app.bsky.feed.post/3keeeeeeeeee2", {"$type": "app.bsky.feed.post"}))
    assert decode_repo_frame(repo.frame(2, ("create", path, other)), interest) == 2
    frame = decode_repo_frame(repo.frame(3, ("update", path, wanted)), interest)
    assert not isinstance(frame, int)
    assert frame is not None
    assert frame.events[0].record == wanted  # type: ignore[union-attr]


@pytest.mark.parametrize(("did", "met"), [(FAN, True), (ARTIST, False)])
async def test_only_the_age_of_other_people_is_of_interest(store: Store, apply: Any, did: str, met: bool) -> None:
    await apply(PostLinks(RULES), event(quote(TRACK), uri=f"at://{did}/app.bsky.feed.post/3kaaaaaaaaaa2"))
    async with store.read() as r:
        assert await posters.due(r, now_us=NOW_US, limit=5) == ([(did, NOW_US, 0)] if met else [])


def test_linked_posts_are_bounded() -> None:
    linked = LinkedPosts(limit=1)
    linked.add([f"at://{FAN}/app.bsky.feed.post/3kaaaaaaaaaa2", f"at://{FAN}/app.bsky.feed.post/3kbbbbbbbbbb2"])
    assert linked.are_in(b'"app.bsky.feed.post/3kaaaaaaaaaa2"')
    assert not linked.are_in(b'"app.bsky.feed.post/3kbbbbbbbbbb2" app.bsky.feed.post/')
