"""A `stop` in reply to a post of the announcer is noted as it comes by, of whom it concerns only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.types import AtUri, Did, make_tid
from firehose.events import Operation, RecordEvent
from firehose.links import LinkRules
from firehose.posts import PostLinks
from firehose.replies import StopReplies, says_stop
from store import Store, announcements, links
from store.announcements import Said

NOW_US = 1_800_000_000_000_000
BOT, ARTIST = Did("did:plc:bot222222222222222222222"), Did("did:plc:artist222222222222222222")
ANNOUNCED = f"at://{BOT}/app.bsky.feed.post/3kbbbbbbbbbb2"
TRACK = f"at://{ARTIST}/fm.plyr.track/3kbbbbbbbbbb2"
READER = StopReplies(BOT, PostLinks(LinkRules(frozenset({"fm.plyr.track"}), frozenset())))


def reply(text: Any, *, to: Any = ANNOUNCED, operation: Operation = Operation.CREATE) -> RecordEvent:
    record = {"text": text, "reply": {"parent": {"uri": to}}, "createdAt": "2020-01-01T00:00:00Z"}
    at = AtUri.parse(f"at://{ARTIST}/app.bsky.feed.post/3kaaaaaaaaaa2")
    gone = operation is Operation.DELETE
    return RecordEvent(at.did, at.collection, at.rkey, make_tid(NOW_US), operation, None, None if gone else record, 1)


async def hear(store: Store, event: RecordEvent, *, asked: bool = True) -> list[Said]:
    async with store.write() as tx:
        if asked:
            await announcements.put_wish(tx, ARTIST, ARTIST, Said.YES, said_us=NOW_US - 1, now_us=NOW_US - 1)
        await READER.apply(tx, event, now_us=NOW_US)
    async with store.read() as reader:
        return [wish.said for wish in (await announcements.wishes(reader)).get(ARTIST, [])]


@pytest.mark.parametrize("text", ["stop", "STOP!!", "@bot.example Stop.", "please stop", "Stop announcing my music"])
def test_what_says_stop(text: str) -> None:
    assert says_stop(text)


@pytest.mark.parametrize(
    "text", ["", None, 7, "Thanks!", "a non-stop mix", "don't stop", "can't stop", "nonstop", "@stop.example thanks"]
)
def test_what_does_not(text: Any) -> None:
    assert not says_stop(text)


async def test_it_was_said_when_its_host_says_whatever_the_record_does(store: Store) -> None:
    """And it stays said when the reply is deleted."""
    assert Said.STOP in await hear(store, reply("stop"))
    assert Said.STOP in await hear(store, reply("stop", operation=Operation.DELETE))
    async with store.read() as reader:
        said = (await announcements.wishes(reader))[ARTIST]
    assert [wish.said_us for wish in said if wish.said is Said.STOP] == [NOW_US]


async def test_however_often_it_is_said_one_row_is_kept(store: Store) -> None:
    for number in range(5):
        event = replace(reply("stop"), rkey=make_tid(NOW_US + number), rev=make_tid(NOW_US + number))
        assert sorted(await hear(store, event)) == [Said.STOP, Said.YES]


async def test_of_somebody_who_was_never_announced_nothing_is_kept(store: Store) -> None:
    assert await hear(store, reply("stop"), asked=False) == []


@pytest.mark.parametrize("to", [f"at://{ARTIST}/app.bsky.feed.post/3kbbbbbbbbbb2", BOT, None, {"a": 1}])
async def test_a_reply_to_somebody_else_is_none_to_us(store: Store, to: Any) -> None:
    assert await hear(store, reply("stop", to=to)) == [Said.YES]


@pytest.mark.parametrize("record", [None, {}, {"reply": None}, {"reply": {"parent": []}}, {"reply": ["parent"]}])
async def test_no_shape_of_a_record_breaks_it(store: Store, record: Any) -> None:
    assert await hear(store, replace(reply("stop"), record=record)) == [Said.YES]


async def test_links_are_read_as_ever(store: Store) -> None:
    event = reply("stop")
    record = dict(event.record or {}) | {"embed": {"record": {"uri": TRACK}}}
    await hear(store, replace(event, record=record))
    async with store.read() as reader:
        assert await links.newest_posts(reader, limit=5) == [str(event.uri)]
