"""What the posts consumer reads, and which roles look further, by setting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.clock import SystemClock
from core.config import Settings
from core.log import Log
from core.types import AtUri, Did, make_tid
from earmark.linking import Linking
from earmark.roles import Roles
from firehose.events import Interest, Operation, RecordEvent
from firehose.guard import Guard
from firehose.mapping import load_mapping
from firehose.proof import RecordProver
from firehose.safehttp import GuardedHttp
from store import Store, signals
from store.signals import SignalKind

LOG = Log(logging.getLogger("earmark.test"))
ARTIST, FAN = Did("did:plc:artist222222222222222222"), Did("did:plc:fan222222222222222222222")
TRACK = f"at://{ARTIST}/fm.plyr.track/3kaaaaaaaaaa2"
POST = f"at://{FAN}/app.bsky.feed.post/3kbbbbbbbbbb2"
LIKES = {"app.bsky.feed.like", "app.bsky.feed.repost"}


class Nobody:
    async def resolve(self, did: str, *, refresh: bool = False) -> Any:
        raise AssertionError("nobody is asked")

    def forget(self, did: str) -> None:
        pass


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    yield opened
    await opened.close()


@pytest.fixture
async def build() -> AsyncIterator[Any]:
    clock = SystemClock()
    http = GuardedHttp(Guard(), clock=clock, user_agent="test")
    prover = RecordProver(http, Nobody(), clock=clock)

    def make(**sections: Any) -> Linking:
        return Linking(Settings(**sections), load_mapping(), http=http, prover=prover, clock=clock, log=LOG)

    yield make
    await http.close()


def interest(linking: Linking) -> Interest:
    return Interest(linking.collections, linking.needles(), linking.prefilters())


def test_only_what_may_name_a_track_is_decoded(build: Any) -> None:
    wanted = interest(build())
    assert not LIKES & wanted.collections
    for collection in wanted.collections:
        assert not wanted.admits(collection, b'{"text":"nothing of interest"}', FAN), collection
        named = b"so.sprk.sound.audio" if collection == "so.sprk.feed.post" else b"fm.plyr.track"
        assert wanted.admits(collection, b'{"uri":"at://x/' + named + b'/a"}', FAN), collection


async def test_likes_are_read_if_wanted_also_of_posts_from_before_this_start(build: Any, store: Store) -> None:
    def event(uri: str, record: Any) -> RecordEvent:
        at = AtUri.parse(uri)
        return RecordEvent(at.did, at.collection, at.rkey, make_tid(1), Operation.CREATE, None, record, 1)

    settings = {"source": {"likes": True}}
    like = f'{{"subject":{{"uri":"{POST}"}}}}'.encode()
    first = build(**settings)
    assert first.collections >= LIKES
    assert not interest(first).admits("app.bsky.feed.like", like, ARTIST)
    readers = {name: reader for reader in first.readers for name in reader.collections}
    async with store.write() as tx:
        post = event(POST, {"embed": {"record": {"uri": TRACK}}})
        await readers["app.bsky.feed.post"].apply(tx, post, now_us=1)
    assert interest(first).admits("app.bsky.feed.like", like, ARTIST)
    async with store.write() as tx:
        liked = event(f"at://{ARTIST}/app.bsky.feed.like/a", {"subject": {"uri": POST}})
        await readers["app.bsky.feed.like"].apply(tx, liked, now_us=1)
        assert await signals.counts(tx, [POST]) == {POST: {SignalKind.LIKE: 1}}
    again = build(**settings)
    await again.prepare(store)
    assert interest(again).admits("app.bsky.feed.like", like, ARTIST)


@pytest.mark.parametrize(
    ("linking", "names"),
    [
        ({}, {"ingest-finder", "ingest-posters"}),
        ({"others": False, "page_hosts": ("music.example",)}, {"ingest-finder", "ingest-pages"}),
    ],
)
async def test_roles(build: Any, store: Store, linking: dict[str, Any], names: set[str]) -> None:
    roles = Roles(LOG)
    build(linking=linking).start(roles, store)
    running = {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("ingest-")}
    await roles.stop("ingest")
    assert running == names
