"""The demo's streams over real sockets: frames, cursors, filters, garbage."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from core.clock import SystemClock
from core.dagcbor import BadCbor, decode_multi
from core.types import Did
from earmark.demo import Network
from earmark.demo.log import EventLog
from firehose.car import read_car
from firehose.verify import verify_commit

REPOS = "/xrpc/com.atproto.sync.subscribeRepos"
TRACKS = "fm.plyr.track"


async def test_p135_a_new_account_and_a_record_arrive_signed_and_provable(network: Network, listen: Any) -> None:
    stream = await listen(f"{REPOS}?cursor=0")
    account = network.create_account("ada.test")
    uri = network.create_record(account, TRACKS, None, {"title": "One"})
    network.update_record(account, TRACKS, uri.rkey, {"title": "Two"})
    network.delete_record(account, TRACKS, uri.rkey)
    frames = await stream.frames(7)
    assert [kind for kind, _ in frames] == [
        "#identity",
        "#account",
        "#commit",
        "#sync",
        "#commit",
        "#commit",
        "#commit",
    ]
    assert [body["seq"] for _, body in frames] == list(range(1, 8))
    assert frames[0][1]["handle"] == "ada.test"
    assert frames[1][1]["active"] is True
    data, rev = None, None
    for kind, body in frames:
        if kind != "#commit":
            continue
        car = read_car(body["blocks"])
        verify_commit(body, car, account.key.public)
        assert body["repo"] == account.did
        assert (body["since"], body.get("prevData")) == (rev, data)
        rev, data = body["rev"], car.value(car.root)["data"]
    assert [op["action"] for _, body in frames[4:] for op in body["ops"]] == ["create", "update", "delete"]


async def test_no_cursor_is_live_only_and_a_cursor_is_exclusive(network: Network, listen: Any) -> None:
    account = network.create_account("ada.test")
    live = await listen(REPOS)
    assert await live.is_silent()
    after = await listen(f"{REPOS}?cursor=2")
    assert [body["seq"] for _, body in await after.frames(2)] == [3, 4]
    live = await listen(REPOS)
    network.create_record(account, TRACKS, None, {"title": "One"})
    for stream in (live, after):
        ((kind, body),) = await stream.frames(1)
        assert (kind, body["seq"]) == ("#commit", 5)


async def test_p161_a_future_cursor_is_an_error_frame_and_a_close(network: Network, listen: Any) -> None:
    stream = await listen(f"{REPOS}?cursor=99")
    header, body = await stream.frame()
    assert header == {"op": -1}
    assert body["error"] == "FutureCursor"
    message = await asyncio.wait_for(stream.socket.receive(), 5)
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert message.data == 1008


async def test_a_cursor_that_is_no_number_is_refused(network: Network, listen: Any) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await listen(f"{REPOS}?cursor=soon")
    assert refused.value.status == 400


async def test_garbage_reaches_who_listens_and_is_never_replayed(network: Network, listen: Any) -> None:
    live = await listen(REPOS)
    network.emit_raw_frame(b"\xff not cbor")
    network.create_account("ada.test")
    message = await asyncio.wait_for(live.socket.receive(), 5)
    with pytest.raises(BadCbor):
        decode_multi(message.data)
    assert [body["seq"] for _, body in await live.frames(4)] == [1, 2, 3, 4]
    replay = await listen(f"{REPOS}?cursor=0")
    assert [body["seq"] for _, body in await replay.frames(4)] == [1, 2, 3, 4]


async def test_p151_account_status_and_return(network: Network, listen: Any) -> None:
    account = network.create_account("ada.test")
    other = network.create_account("bob.test")
    stream = await listen(REPOS)
    network.set_account_status(account, False, "takendown")
    network.set_account_status(account, True)
    frames = await stream.frames(4)
    assert [kind for kind, _ in frames] == ["#account", "#account", "#identity", "#sync"]
    assert (frames[0][1]["active"], frames[0][1]["status"]) == (False, "takendown")
    network.set_account_status(account, False, "deleted")
    await stream.frames(1)
    replay = await listen(f"{REPOS}?cursor=0")
    bodies = [body for _, body in await replay.frames(5)]
    assert [body.get("did", body.get("repo")) for body in bodies] == [other.did] * 4 + [account.did]
    assert bodies[-1]["status"] == "deleted"


async def test_a_restart_drops_listeners_who_can_resume(network: Network, listen: Any) -> None:
    stream = await listen(REPOS)
    await network.drop_listeners()
    assert (await asyncio.wait_for(stream.socket.receive(), 5)).type is aiohttp.WSMsgType.CLOSE
    network.create_account("ada.test")
    again = await listen(f"{REPOS}?cursor=0")
    assert len(await again.frames(4)) == 4


async def test_p160_an_outdated_cursor_is_told_and_a_reader_off_the_end_is_cut(network: Network, listen: Any) -> None:
    log = network._log  # the limit is not a setting: 20 000 events are more than a test wants to make
    log._limit = 4
    account = network.create_account("ada.test")
    for number in range(8):
        network.create_record(account, TRACKS, None, {"title": f"{number}"})
    assert log.start > 0
    stream = await listen(f"{REPOS}?cursor=1")
    (kind, body), (_, first) = await stream.frames(2)
    assert (kind, body["name"]) == ("#info", "OutdatedCursor")
    assert first["seq"] == log.start + 1


async def test_the_log_is_bounded() -> None:
    log = EventLog(SystemClock(), limit=10)
    for _ in range(1000):
        log.add("#identity", Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz"), {})
    assert 10 <= log.end - log.start <= 20
    with pytest.raises(IndexError):
        log.at(0)


async def lines(stream: Any, count: int) -> list[dict[str, Any]]:
    out = []
    for _ in range(count):
        message = await asyncio.wait_for(stream.socket.receive(), 5)
        assert message.type is aiohttp.WSMsgType.TEXT
        out.append(orjson.loads(message.data))
    return out


async def test_p167_p168_jetstream_filters_commits_and_nothing_else(network: Network, listen: Any) -> None:
    stream = await listen("/subscribe?wantedCollections=fm.plyr.*")
    account = network.create_account("ada.test")
    network.create_record(account, "app.bsky.feed.post", None, {"text": "hello"})
    uri = network.create_record(account, TRACKS, None, {"title": "One"})
    network.delete_record(account, TRACKS, uri.rkey)
    got = await lines(stream, 4)
    assert [event["kind"] for event in got] == ["identity", "account", "commit", "commit"]
    assert got[1]["account"]["active"] is True
    created, deleted = got[2]["commit"], got[3]["commit"]
    assert created["record"] == {"$type": TRACKS, "title": "One"}
    assert (created["operation"], created["rkey"]) == ("create", uri.rkey)
    assert deleted["operation"] == "delete"
    assert "record" not in deleted
    assert deleted["rev"] > created["rev"]
    times = [event["time_us"] for event in got]
    assert times == sorted(set(times))


async def test_p170_jetstream_cursor_is_time_and_inclusive(network: Network, listen: Any) -> None:
    account = network.create_account("ada.test")
    network.create_record(account, TRACKS, None, {"title": "One"})
    network.create_record(account, TRACKS, None, {"title": "Two"})
    everything = await lines(await listen("/subscribe?cursor=0"), 4)
    later = await lines(await listen(f"/subscribe?cursor={everything[2]['time_us']}"), 2)
    assert later == everything[2:]
    future = await listen(f"/subscribe?cursor={everything[-1]['time_us'] + 1}")
    assert await future.is_silent()


async def test_p166_wanted_dids_and_bad_filters(network: Network, listen: Any) -> None:
    ada = network.create_account("ada.test")
    network.create_account("bob.test")
    got = await lines(await listen(f"/subscribe?cursor=0&wantedDids={ada.did}"), 2)
    assert {event["did"] for event in got} == {ada.did}
    for query in ("wantedCollections=nothing", "wantedDids=ada.test", "compress=true"):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await listen(f"/subscribe?{query}")


V2 = "/xrpc/network.bsky.jetstream.subscribeEvents"


def payloads(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert {message["$type"] for message in messages} == {"message"}
    return [message["payload"] for message in messages]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["$type"].partition("#")[2] for event in events]


async def test_p167_p168_v2_tells_every_kind_in_numbered_frames(network: Network, listen: Any) -> None:
    stream = await listen(f"{V2}?collections=fm.plyr.*")
    account = network.create_account("ada.test")
    network.create_record(account, "app.bsky.feed.post", None, {"text": "hello"})
    network.create_record(account, TRACKS, None, {"title": "One"})
    got = payloads(await lines(stream, 4))
    assert kinds(got) == ["identity", "account", "sync", "commit"]
    assert got[1]["account"]["active"] is True
    assert got[3]["record"] == {"$type": TRACKS, "title": "One"}
    assert [event["seq"] for event in got] == [1, 2, 3, 5]
    assert got[3]["time"] == got[3]["witnessedAt"] > got[2]["time"]
    only = payloads(await lines(await listen(f"{V2}?cursor=1&kinds=commit"), 2))
    assert kinds(only) == ["commit", "commit"]


async def test_p166_v2_cursors_are_numbers_or_times_and_inclusive(network: Network, listen: Any) -> None:
    network.create_account("ada.test")
    everything = payloads(await lines(await listen(f"{V2}?cursor=1"), 3))
    assert payloads(await lines(await listen(f"{V2}?cursor=3"), 1)) == everything[2:]
    assert payloads(await lines(await listen(f"{V2}?cursor={10**15}"), 3)) == everything
    assert await (await listen(f"{V2}?cursor=4")).is_silent()  # the next number
    future = await listen(f"{V2}?cursor=9")
    (notice,) = payloads(await lines(future, 1))
    assert (kinds([notice]), notice["name"]) == (["info"], "FutureCursor")


async def test_p168_v2_refuses_a_number_that_is_too_old_and_moves_a_time_up(network: Network, listen: Any) -> None:
    network._log._limit = 4  # the limit is not a setting: 20 000 events are more than a test wants to make
    account = network.create_account("ada.test")
    for number in range(8):
        network.create_record(account, TRACKS, None, {"title": f"{number}"})
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await listen(f"{V2}?cursor=1")
    assert refused.value.status == 400
    notice, _ = payloads(await lines(await listen(f"{V2}?cursor={10**15}"), 2))
    assert notice["name"] == "OutdatedCursor"


async def test_p166_v2_refuses_the_names_of_v1_and_unknown_dictionaries(network: Network, listen: Any) -> None:
    for query in ("wantedCollections=fm.plyr.track", "zstdDictionary=7", "collections=nothing"):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await listen(f"{V2}?{query}")
