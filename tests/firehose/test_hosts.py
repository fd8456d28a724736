"""Several Jetstream hosts: whose turn it is, from when on the next one is asked, and hosts that went blind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from core.clock import SystemClock
from firehose.events import GapEvent, Interest, RecordEvent
from firehose.jetstream import Jetstream
from firehose.source import Health
from firehose.watch import ALIVE, LEAST_SILENCE_US, LIMIT_US, SKEW_US, Watch

MUSIC = Interest(frozenset({"fm.plyr.track"}))
DID = "did:plc:artist222222222222222222"
MINUTE = 60_000_000
T0 = SystemClock().now_us() - 600 * MINUTE


def ours(time_us: int, rkey: str) -> str:
    commit = {"rev": "3kaaaaaaaaaa2", "operation": "delete", "collection": "fm.plyr.track", "rkey": rkey}
    return json.dumps({"did": DID, "time_us": time_us, "kind": "commit", "commit": commit})


def other(time_us: int) -> str:
    return json.dumps({"did": "did:plc:somebody22222222222222222", "time_us": time_us, "kind": "identity"})


@pytest.fixture
async def jetstream(kit: Any, serve: Any, clock: Any, log: Any) -> AsyncIterator[Any]:
    async def connect(*scripts: Any) -> tuple[Jetstream, list[Any], list[Any]]:
        upstreams = [kit.Upstream(script) for script in scripts]
        urls = [await serve(upstream.handle) for upstream in upstreams]
        source = Jetstream(urls, MUSIC, clock=clock, log=log, allow_loopback=True, retry_base_seconds=0.01)
        return source, upstreams, list(source.health.hosts.values())

    return connect


async def records(source: Jetstream, count: int, cursor: int | None = None) -> list[Any]:
    out: list[Any] = []
    async with asyncio.timeout(15), aclosing(source.stream(cursor)) as stream:
        async for event in stream:
            if isinstance(event, RecordEvent | GapEvent):
                out.append(event)
            if len(out) == count:
                return out
    raise AssertionError("a stream never ends by itself")


async def test_hosts_take_turns_on_failure_and_the_next_is_asked_from_what_we_are_sure_of(
    kit: Any, jetstream: Any
) -> None:
    async def first(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(ours(T0, "a"))
        await socket.send_str(other(T0 + 5 * MINUTE))
        await socket.close()

    async def second(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(ours(T0, "a"))
        await socket.send_str(ours(T0 + 7, "b"))
        await kit.linger(socket)

    source, (one, two), _ = await jetstream(first, second)
    assert [event.rkey for event in await records(source, 2)] == ["a", "b"]
    assert (one.cursors, two.cursors) == ([None], [T0 - SKEW_US])


async def test_a_host_that_is_not_there_is_passed_over(kit: Any, serve: Any, clock: Any, log: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(ours(T0, "a"))
        await kit.linger(socket)

    there = await serve(kit.Upstream(script).handle)
    urls = ["http://127.0.0.1:1", there]
    source = Jetstream(urls, MUSIC, clock=clock, log=log, allow_loopback=True, retry_base_seconds=0.01)
    assert [event.rkey for event in await records(source, 1)] == ["a"]
    dead, alive = source.health.hosts.values()
    assert (dead.connections, dead.failures, alive.connections, alive.failures) == (0, 1, 1, 0)
    assert dead.last_error


async def test_a_blind_host_is_left_and_the_next_one_is_asked_for_the_whole_silence(kit: Any, jetstream: Any) -> None:
    """It still tells of everybody else: nothing that it kept from us is lost, and nothing comes twice."""
    hour = 60 * MINUTE

    async def blind(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(ours(T0, "a"))
        for n in range(ALIVE + 50):
            await socket.send_str(other(T0 + n * hour // ALIVE))
        await kit.linger(socket)

    async def seeing(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for time_us, rkey in ((T0, "a"), (T0 + 5 * MINUTE, "b"), (T0 + 20 * MINUTE, "c"), (T0 + 3 * hour, "d")):
            await socket.send_str(ours(time_us, rkey))
        await kit.linger(socket)

    source, (one, two), (first, second) = await jetstream(blind, seeing)
    events = await records(source, 4, cursor=T0 - 1)
    assert [event.rkey for event in events] == ["a", "b", "c", "d"]
    assert (len(one.cursors), two.cursors) == (1, [T0 - SKEW_US])
    assert (first.blind, second.blind) == (1, 0)
    assert "nothing about our collections" in first.last_error
    assert not source.health.blind  # the new host has told of all that time


async def test_the_stored_cursor_waits_while_a_host_may_be_blind(kit: Any, jetstream: Any) -> None:
    """After a crash the doubtful time is asked for again, whichever host it is then."""

    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(ours(T0, "a"))
        await socket.send_str(other(T0 + 8 * MINUTE))
        await socket.send_str(ours(T0 + 9 * MINUTE, "b"))
        await kit.linger(socket)

    source, _, _ = await jetstream(script)
    first, foreign, last = await kit.take(source, 3)
    assert (first.position, foreign.position, last.position) == (T0, T0, T0 + 9 * MINUTE)


async def test_a_quiet_network_does_not_make_hosts_change_for_ever(kit: Any, jetstream: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        began = cursor or T0
        for n in range(700):  # ten hours, in which nobody publishes anything
            if T0 + n * MINUTE >= began:
                await socket.send_str(other(T0 + n * MINUTE))
        await socket.send_str(ours(T0 + 599 * MINUTE, "last"))
        await kit.linger(socket)

    source, (one, two), hosts = await jetstream(script, script)
    await records(source, 1)
    changes = len(one.cursors) + len(two.cursors) - 1
    assert 1 <= changes <= 6
    assert [host.blind for host in hosts] == [0, 0]


async def test_P160_P163_a_cursor_older_than_the_window_is_a_gap_that_v1_does_not_tell(
    kit: Any, jetstream: Any
) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(ours(T0, "a"))
        await kit.linger(socket)

    source, _, _ = await jetstream(script)
    days = 3 * 24 * 60 * MINUTE
    gap, event = await records(source, 2, cursor=T0 - days)
    assert isinstance(gap, GapEvent)
    assert (gap.reason, gap.position, event.position) == ("OutdatedCursor", T0 - days, T0)


async def test_a_flood_that_we_sift_does_not_hide_that_a_host_is_blind(
    kit: Any, serve: Any, clock: Any, log: Any
) -> None:
    """Everybody's profile comes although only artists' profiles matter: it is no sign of music."""
    profile = "app.bsky.actor.profile"
    body = {"rev": "3kaaaaaaaaaa2", "operation": "delete", "collection": profile, "rkey": "self"}

    async def blind(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for n in range(ALIVE + 50):
            told = {"did": "did:plc:somebody22222222222222222", "time_us": T0 + n * MINUTE, "kind": "commit"}
            await socket.send_str(json.dumps(told | {"commit": body}))
        await kit.linger(socket)

    async def seeing(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_str(ours(T0 + MINUTE, "a"))
        await kit.linger(socket)

    urls = [await serve(kit.Upstream(script).handle) for script in (blind, seeing)]
    interest = Interest(frozenset({"fm.plyr.track", profile}), own=frozenset({profile}))
    source = Jetstream(urls, interest, clock=clock, log=log, allow_loopback=True, retry_base_seconds=0.01)
    (event,) = await records(source, 1)
    assert event.rkey == "a"
    assert [host.blind for host in source.health.hosts.values()] == [1, 0]
    assert source.health.blind  # until the new host has told of the whole time


def test_P163_late_is_more_than_a_quarter_of_the_window() -> None:
    health = Health(window_us=24 * 60 * MINUTE)
    assert (health.lag_us(T0), health.is_late(T0)) == (None, False)
    health.heard_us = T0
    assert (health.lag_us(T0 + MINUTE), health.lag_us(T0 - MINUTE)) == (MINUTE, 0)
    assert not health.is_late(T0 + 6 * 60 * MINUTE)
    assert health.is_late(T0 + 6 * 60 * MINUTE + 1)
    health.connected, health.last_frame_us = True, T0 + MINUTE  # and nothing since then: the upstream is quiet
    assert health.lag_us(T0 + 10**15) == MINUTE
    assert health.is_late(T0 + 10**15, paused=True)
    health.window_us = None
    assert not health.is_late(T0 + 10**15, paused=True)


def test_the_limit_follows_the_longest_usual_silence_and_forgets_it_slowly() -> None:
    watch = Watch(T0)
    assert watch.limit_us == 3 * LEAST_SILENCE_US
    watch.hear_ours(T0 + 30 * MINUTE, repeated=False)
    assert watch.limit_us == 90 * MINUTE
    watch.hear_ours(T0 + 31 * MINUTE, repeated=False)
    assert 89 * MINUTE < watch.limit_us < 90 * MINUTE
    watch.hear_ours(T0 + 1000 * MINUTE, repeated=False)
    assert watch.limit_us == LIMIT_US
    for n in range(10_000):
        watch.hear_ours(T0 + (1000 + n) * MINUTE, repeated=False)
    assert watch.limit_us == 3 * LEAST_SILENCE_US


def test_silence_of_everybody_is_not_blindness() -> None:
    watch = Watch(T0)
    assert not any(watch.hear_other(T0 + n * 60 * MINUTE) for n in range(ALIVE - 1))
    assert watch.hear_other(T0 + ALIVE * 60 * MINUTE)


def test_an_old_event_after_a_newer_one_changes_nothing() -> None:
    watch = Watch(T0)
    watch.hear_ours(T0 + MINUTE, repeated=False)
    assert not watch.hear_ours(T0 - MINUTE, repeated=False)
    assert watch.sure_us == T0 + MINUTE
