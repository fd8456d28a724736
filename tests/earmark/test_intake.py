"""Which sources the settings make, and what a restart asks of them (P158, P173)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import zstandard
from aiohttp import web

from core.clock import SystemClock
from core.config import Settings
from core.errors import Misconfigured
from core.log import Log
from core.metrics import Metrics
from earmark.demo import Network
from earmark.intake import Intake
from earmark.roles import Roles
from firehose.guard import Guard
from firehose.identity import DidDirectory
from firehose.ingest import Ingest
from firehose.jetstream import Jetstream
from firehose.jsonrecord import cid_of_record
from firehose.relay import Relay
from firehose.safehttp import GuardedHttp
from firehose.tap import Tap
from store import Store, cursors, tracks

TRACKS = "fm.plyr.track"


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[Any]:
    log, clock = Log(logging.getLogger("earmark.test")), SystemClock()
    http = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test")

    def build(**source: Any) -> Intake:
        settings = Settings(home=tmp_path, source=source, development={"allow_loopback": True})
        directory = DidDirectory(http, plc_url="http://127.0.0.1:1", clock=clock)
        return Intake(
            settings,
            http=http,
            directory=directory,
            user_agent="test",
            clock=clock,
            log=log,
            metrics=Metrics(),
        )

    yield build
    await http.close()


def test_music_and_posts_have_cursors_of_their_own(intake: Any) -> None:
    music, posts = intake().sources
    assert isinstance(music, Jetstream)
    assert posts.name == f"{music.name}#posts"
    assert [source._interest.identities for source in (music, posts)] == [True, False]  # one walk for each
    assert [isinstance(source, Relay) for source in intake(kind="relay").sources] == [True, True]
    assert len(intake(posts=False).sources) == 1


async def test_deletions_of_posts_do_not_wait_for_audio_to_be_heard(intake: Any, tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    built, roles = intake(), Roles(Log(logging.getLogger("earmark.test")))
    built.start(roles, store)
    await roles.stop("ingest")
    await store.close()
    assert [ingest._limits.high_water for ingest in built._ingests] == [5_000, None]


def test_P158_the_two_wires_of_jetstream_never_share_a_cursor(intake: Any) -> None:
    names = {intake(wire=wire, urls=("http://127.0.0.1:9",)).music.name for wire in ("v1", "v2")}
    assert len(names) == 2
    assert "jetstream.us-east" in intake(wire="v2").music.name


def test_P173_a_tap_has_one_reader_for_everything_or_it_would_share_the_events_out(intake: Any) -> None:
    (tap,) = intake(kind="tap", urls=("ws://tap:2480",)).sources
    assert isinstance(tap, Tap)
    both = intake()
    wanted = [source._interest.collections for source in both.sources]
    assert tap._interest.collections == wanted[0] | wanted[1]
    for collection in wanted[1] - wanted[0]:
        assert tap._interest.sifts(collection) == both.posts._interest.sifts(collection)
    with pytest.raises(Misconfigured):
        intake(kind="tap")


def test_P166_a_dictionary_is_loaded_at_the_start(intake: Any, tmp_path: Path) -> None:
    path = tmp_path / "dictionary"
    with pytest.raises(Misconfigured):
        intake(zstd_dictionary=path)
    samples = [f'{{"did":"did:plc:{n * 7919}","kind":"commit"}}'.encode() for n in range(1000)]
    path.write_bytes(zstandard.train_dictionary(2048, samples, dict_id=5).as_bytes())
    assert intake(zstd_dictionary=path).music._wire.inflater.dictionary_id == 5


@pytest.mark.parametrize("wire", ["v1", "v2"])
async def test_P157_a_reader_that_starts_again_misses_nothing(intake: Any, tmp_path: Path, wire: str) -> None:
    """Two runs over one network: what happened between them is read, what came before is read again harmlessly."""
    clock, log = SystemClock(), Log(logging.getLogger("earmark.test"))
    async with AsyncExitStack() as closing, Network() as network:
        account = network.create_account("ada.test")
        blob = network.upload_blob(account, b"sound", "audio/mpeg")

        def publish(title: str) -> str:
            record = {"title": title, "artist": "Ada", "fileType": "mp3", "createdAt": "2026-01-01T00:00:00Z"}
            return str(network.create_record(account, TRACKS, None, record | {"audioBlob": blob}))

        store = await Store.open(tmp_path / "earmark.db", clock=clock)
        closing.push_async_callback(store.close)

        async def run(*uris: str) -> int:
            reading = intake(wire=wire, urls=(network.url,))
            source = reading.music
            ingest = Ingest(store, source, reading.applier, clock=clock, log=log, begin=0)
            running = asyncio.create_task(ingest.run())
            async with asyncio.timeout(20):
                while not running.done():
                    async with store.read() as reader:
                        known = [await tracks.get(reader, uri) for uri in uris]
                        cursor = await cursors.get(reader, source.name)
                    if None not in known:
                        break
                    await asyncio.sleep(0.02)
            running.cancel()
            await asyncio.wait((running,))
            assert cursor is not None
            return cursor.value

        first = await run(publish("One"))
        second = await run(publish("Two"), publish("Three"))
        async with store.read() as reader:
            counted = await tracks.count_by_state(reader)
    assert second > first > 10**15  # a time, on both wires
    assert sum(counted.values()) == 3


async def test_P173_a_tap_is_told_only_of_what_the_store_holds(intake: Any, tmp_path: Path) -> None:
    did = "did:plc:artist222222222222222222"
    record = {"$type": TRACKS, "title": "One", "artist": "Ada", "fileType": "mp3", "createdAt": "2026-01-01T00:00:00Z"}
    told = {"did": did, "rev": "3kaaaaaaaaaa2", "collection": TRACKS, "action": "create", "record": record}
    held: list[bool] = []
    done = asyncio.Event()
    clock, log = SystemClock(), Log(logging.getLogger("earmark.test"))

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for number in range(5):
            message = told | {"rkey": f"r{number}", "cid": cid_of_record(record)}
            await socket.send_json({"id": number, "type": "record", "record": message})
        async for ack in socket:
            async with store.read() as reader:
                uri = f"at://{did}/{TRACKS}/r{ack.json()['id']}"
                held.append(await tracks.get(reader, uri) is not None)
            if len(held) == 5:
                done.set()
        return socket

    app = web.Application()
    app.router.add_get("/channel", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    store = await Store.open(tmp_path / "earmark.db", clock=clock)
    try:
        reading = intake(kind="tap", urls=(f"ws://127.0.0.1:{runner.addresses[0][1]}",))
        running = asyncio.create_task(Ingest(store, reading.music, reading.applier, clock=clock, log=log).run())
        async with asyncio.timeout(20):
            await done.wait()
        running.cancel()
        await asyncio.wait((running,))
    finally:
        await runner.cleanup()
        await store.close()
    assert held == [True] * 5
