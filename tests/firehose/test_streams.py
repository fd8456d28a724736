"""Jetstream's v1 wire, and what all stream clients share, against stand-ins that misbehave (P157-P170, P240-P244)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from core.clock import SystemClock
from core.errors import Misconfigured
from firehose.events import AccountEvent, GapEvent, IdentityEvent, Interest, RecordEvent
from firehose.jetstream import Jetstream
from firehose.relay import Relay

MUSIC = Interest(frozenset({"fm.plyr.track"}))
DID = "did:plc:artist222222222222222222"
T0 = SystemClock().now_us() - 600_000_000


@pytest.mark.parametrize(
    "url", ["ws://relay.example.com", "http://relay.example.com", "ftp://x.com", "wss://", "wss://a:b", "wss://a..b"]
)
def test_an_upstream_beyond_loopback_is_wss(url: str, clock: Any, log: Any) -> None:
    with pytest.raises(Misconfigured):
        Relay(url, MUSIC, clock=clock, log=log, allow_loopback=True)


def test_P158_the_name_of_a_cursor_is_kind_host_and_path(clock: Any, log: Any) -> None:
    relay = Relay("https://relay.example.com", MUSIC, clock=clock, log=log)
    assert relay.name == "relay:relay.example.com/xrpc/com.atproto.sync.subscribeRepos"
    hosts = ["jet1.example.com", "wss://jet2.example.com:8443"]
    assert Jetstream(hosts, MUSIC, clock=clock, log=log).name == "jetstream:jet1.example.com/subscribe"
    second = Jetstream(hosts, MUSIC, clock=clock, log=log, wire="v2", purpose="posts")
    assert second.name == "jetstream:jet1.example.com/xrpc/network.bsky.jetstream.subscribeEvents#posts"
    assert Relay("müsic.example.com", MUSIC, clock=clock, log=log)._endpoint.startswith(
        "wss://xn--msic-0ra.example.com/"
    )
    with pytest.raises(Misconfigured):
        Jetstream([], MUSIC, clock=clock, log=log)


def jet(time_us: int, rkey: str, collection: str = "fm.plyr.track", rev: str = "3kaaaaaaaaaa2") -> str:
    commit = {"rev": rev, "operation": "delete", "collection": collection, "rkey": rkey}
    return json.dumps({"did": DID, "time_us": time_us, "kind": "commit", "commit": commit})


@pytest.fixture
async def jetstream(kit: Any, serve: Any, clock: Any, log: Any) -> AsyncIterator[Any]:
    async def connect(*scripts: Any) -> tuple[Jetstream, list[Any]]:
        upstreams = [kit.Upstream(script) for script in scripts]
        urls = [await serve(upstream.handle) for upstream in upstreams]
        return Jetstream(urls, MUSIC, clock=clock, log=log, allow_loopback=True, retry_base_seconds=0.01), upstreams

    return connect


async def test_P166_P170_a_reconnect_goes_back_five_seconds_and_repeats_are_dropped(kit: Any, jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for n in range(connection + 1):
            await socket.send_str(jet(T0 + n, f"r{n}"))
        await socket.close()

    source, (upstream,) = await jetstream(script)
    events = await kit.take(source, 4, cursor=T0 - 1)
    assert [event.rkey for event in events] == ["r0", "r1", "r2", "r3"]
    assert upstream.cursors[:3] == [T0 - 1 - 5_000_000, T0 + 1 - 5_000_000, T0 + 2 - 5_000_000]
    assert upstream.queries[0].getall("wantedCollections") == ["fm.plyr.track"]
    assert source.health.refused["repeated"] == 2 + 3
    assert source.health.frames == sum(host.frames for host in source.health.hosts.values()) == 2 + 3 + 4


async def test_P170_the_oldest_of_all_is_asked_for_with_a_time(kit: Any, jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(jet(T0, "r"))
        await kit.linger(socket)

    source, (upstream,) = await jetstream(script)
    (event,) = await kit.take(source, 1, cursor=0)
    assert event.rkey == "r"
    assert upstream.cursors == [10**15]  # a smaller one would be a sequence number to newer servers


async def test_a_new_reader_gets_what_an_earlier_one_may_not_have_kept(kit: Any, jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(jet(T0, "r"))
        await kit.linger(socket)

    source, _ = await jetstream(script)
    assert len(await kit.take(source, 1)) == len(await kit.take(source, 1)) == 1


async def test_garbage_messages_drop_the_connection_and_are_skipped_in_the_end(kit: Any, jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str("{")
        await socket.send_str(jet(-1, "before-time"))
        await socket.send_bytes(jet(T0, "a").encode())
        await kit.linger(socket)

    source, (upstream,) = await jetstream(script)
    events = await kit.take(source, 3)
    assert [type(event) for event in events] == [GapEvent, GapEvent, RecordEvent]
    assert len(upstream.cursors) == 4


async def test_a_time_in_the_future_is_no_cursor(kit: Any, jetstream: Any, clock: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if connection == 1:
            await socket.send_str(jet(2**61, "a"))
            await socket.close()
        await socket.send_str(jet(T0, "b"))
        await kit.linger(socket)

    source, (upstream,) = await jetstream(script)
    events = await kit.take(source, 2)
    assert [event.rkey for event in events] == ["a", "b"]
    assert max(event.position for event in events) <= clock.now_us()
    assert upstream.cursors[1] <= clock.now_us()


async def test_other_collections_of_a_careless_host_are_not_events(kit: Any, jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(jet(T0, "x", collection="fm.plyr.dev.track"))
        await socket.send_str(json.dumps({"did": DID, "time_us": T0 + 1, "kind": "identity"}))
        account = {"did": DID, "time_us": T0 + 2, "kind": "account", "account": {"active": False, "status": "deleted"}}
        await socket.send_str(json.dumps(account))
        await kit.linger(socket)

    source, _ = await jetstream(script)
    identity, account = await kit.take(source, 2)
    assert (type(identity), identity.did) == (IdentityEvent, DID)
    assert isinstance(account, AccountEvent)
    assert (account.active, account.status, account.time_us) == (False, "deleted", T0 + 2)
    assert source.health.heard_us == T0 + 2
