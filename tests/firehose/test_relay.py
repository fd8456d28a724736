"""The relay client against stand-ins that close, garble, repeat, refuse, stall (P142-P148, P157-P165, P240-P244)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import WSCloseCode, web

from core.clock import format_datetime
from core.errors import Unreachable
from core.keys import SigningKey
from core.ports import Identity
from core.xrpc import error_frame, message_frame
from firehose.events import (
    AccountEvent,
    CommitEvent,
    DoubtEvent,
    Event,
    GapEvent,
    IdentityEvent,
    Interest,
    RecordEvent,
    SeenEvent,
    SyncEvent,
)
from firehose.relay import Relay

MUSIC = Interest(frozenset({"fm.plyr.track"}))
DID = "did:plc:artist222222222222222222"
PATH = "fm.plyr.track/3kaaaaaaaaaa2"


@pytest.fixture
async def relay(kit: Any, serve: Any, clock: Any, log: Any) -> AsyncIterator[Any]:
    async def connect(script: Any, **options: Any) -> tuple[Relay, Any]:
        upstream = kit.Upstream(script)
        options = {"interest": MUSIC, "retry_base_seconds": 0.01, **options}
        url = await serve(upstream.handle)
        return Relay(url, clock=clock, log=log, allow_loopback=True, **options), upstream

    return connect


async def test_P240_P243_a_clean_close_reconnects_with_the_newest_cursor(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        start = cursor or 0
        for seq in (start + 1, start + 2):
            await socket.send_bytes(kit.identity_frame(seq))
        await socket.close(code=WSCloseCode.OK if connection % 2 else WSCloseCode.GOING_AWAY)

    source, upstream = await relay(script)
    assert kit.positions(await kit.take(source, 5)) == [1, 2, 3, 4, 5]
    assert upstream.cursors == [None, 2, 4]
    assert source.health.connections == 3
    assert "closed" in source.health.last_error


async def test_a_reset_connection_reconnects(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(kit.identity_frame((cursor or 0) + 1))
        await asyncio.sleep(0.02)
        socket._req.transport.abort()

    source, _ = await relay(script)
    assert kit.positions(await kit.take(source, 3, cursor=10)) == [11, 12, 13]


async def test_P135_P241_garbage_drops_the_connection_and_the_stream_goes_on(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if connection == 1:
            await socket.send_bytes(kit.identity_frame(1))
            await socket.send_bytes(b"\xff\xff")
            await socket.send_bytes(kit.identity_frame(99))
        elif connection == 2:
            await socket.send_str("a text message")
        else:
            await socket.send_bytes(kit.identity_frame(2))
        await kit.linger(socket)

    source, upstream = await relay(script)
    assert kit.positions(await kit.take(source, 2)) == [1, 2]
    assert upstream.cursors == [None, 1, 1]


@pytest.mark.parametrize("poison", [b"\xff\xff", message_frame("#sync", {"seq": 6, "blocks": b"x" * 5_100_000})])
async def test_P244_a_frame_that_poisons_the_same_cursor_three_times_is_skipped_with_a_gap(
    kit: Any, relay: Any, poison: bytes
) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if (cursor or 0) < 6:
            await socket.send_bytes(poison)
        await socket.send_bytes(kit.identity_frame(7))
        await kit.linger(socket)

    source, upstream = await relay(script)
    gap, after = await kit.take(source, 2, cursor=5)
    assert isinstance(gap, GapEvent)
    assert (gap.position, after.position) == (5, 7)
    assert upstream.cursors == [5, 5, 5, 5]
    assert source.health.gaps == 1


async def test_P162_a_sequence_number_that_does_not_rise_drops_the_connection(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        numbers = {1: (1, 2, 2), 2: (3, 2, 9)}.get(connection, (4,))
        for seq in numbers:
            await socket.send_bytes(kit.identity_frame(seq))
        await kit.linger(socket)

    source, upstream = await relay(script)
    assert kit.positions(await kit.take(source, 4)) == [1, 2, 3, 4]
    assert upstream.cursors == [None, 2, 3]


async def test_P162_events_up_to_the_cursor_are_not_processed_again(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for seq in (3, 4, 5, 6):
            await socket.send_bytes(kit.identity_frame(seq))
        await kit.linger(socket)

    source, _ = await relay(script)
    assert kit.positions(await kit.take(source, 1, cursor=5)) == [6]
    assert source.health.refused["stale"] == 3


async def test_P161_a_future_cursor_waits_with_the_stored_one(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if connection < 3:
            await socket.send_bytes(error_frame("FutureCursor", "in the future"))
            await socket.close(code=1008)
        else:
            await socket.send_bytes(kit.identity_frame(1001))
            await kit.linger(socket)

    source, upstream = await relay(script)
    assert kit.positions(await kit.take(source, 1, cursor=1000)) == [1001]
    assert upstream.cursors == [1000, 1000, 1000]


async def test_P161_a_future_cursor_goes_live_when_the_operator_says_so(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if cursor is not None:
            await socket.send_bytes(error_frame("FutureCursor"))
            await socket.close(code=1008)
        else:
            await socket.send_bytes(kit.identity_frame(7))
            await kit.linger(socket)

    source, _ = await relay(script, on_future_cursor="live")
    gap, event = await kit.take(source, 2, cursor=1000)
    assert isinstance(gap, GapEvent)
    assert (gap.reason, gap.starts_over, event.position) == ("FutureCursor", True, 7)


async def test_P157_only_the_last_event_of_a_frame_moves_the_cursor_past_it(kit: Any, relay: Any) -> None:
    repo = kit.Repo()
    album = [("create", f"fm.plyr.track/3kaaaaaaaaaa{number}", kit.track_record()) for number in (2, 3, 4)]

    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if cursor is None:
            await socket.send_bytes(kit.identity_frame(6))
        await socket.send_bytes(repo.frame(7, *album))
        await kit.linger(socket)

    source, _ = await relay(script)
    assert kit.positions(await kit.take(source, 4)) == [6, 6, 6, 7]


async def test_P160_an_outdated_cursor_is_a_recorded_gap(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(message_frame("#info", {"name": "OutdatedCursor", "message": "gone"}))
        await socket.send_bytes(message_frame("#info", {"name": "Hello"}))
        await socket.send_bytes(kit.identity_frame(500))
        await kit.linger(socket)

    source, _ = await relay(script)
    gap, event = await kit.take(source, 2, cursor=3)
    assert gap == GapEvent(3, "OutdatedCursor", "gone")
    assert event.position == 500


async def test_P159_silence_is_pinged_and_then_dropped(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(kit.identity_frame(connection))
        if connection == 1:
            await asyncio.sleep(2)  # reads nothing: no pong
        else:
            await kit.linger(socket)

    source, _ = await relay(script, pong_timeout_seconds=0.1, frame_timeout_seconds=None)
    assert kit.positions(await kit.take(source, 2)) == [1, 2]
    assert source.health.last_error == "no pong"


async def test_P159_an_upstream_that_only_pongs_is_dropped_after_the_frame_timeout(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(kit.identity_frame(connection))
        await kit.linger(socket)

    source, _ = await relay(script, pong_timeout_seconds=0.05, frame_timeout_seconds=0.3)
    assert kit.positions(await kit.take(source, 2)) == [1, 2]
    assert "no frame" in source.health.last_error


async def test_an_upstream_that_is_not_there_is_retried(kit: Any, clock: Any, log: Any, serve: Any) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=502)

    for url in ("http://127.0.0.1:1", await serve(refuse)):
        source = Relay(url, MUSIC, clock=clock, log=log, allow_loopback=True, retry_base_seconds=0.01)
        with pytest.raises(TimeoutError):
            await kit.take(source, 1, seconds=0.3)
        assert source.health.last_error
        assert not source.health.connected


async def test_frames_of_no_interest_move_the_cursor(kit: Any, relay: Any) -> None:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        await socket.send_bytes(message_frame("#sync", {"seq": 41, "did": DID}))
        await kit.linger(socket)

    source, _ = await relay(script)
    async with asyncio.timeout(5), aclosing(source.stream(None)) as stream:
        assert await anext(stream) == SeenEvent(41)
        assert source.health.connected
        assert source.health.last_frame_us is not None


async def verified(
    kit: Any, relay: Any, directory: Any, *bodies: dict[str, Any], interest: Interest = MUSIC
) -> tuple[list[Event], Any]:
    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for body in bodies:
            await socket.send_bytes(message_frame("#commit" if "repo" in body else "#sync", body))
        await socket.send_bytes(kit.identity_frame(99))
        await kit.linger(socket)

    source, _ = await relay(script, directory=directory, interest=interest)
    events: list[Event] = []
    async with asyncio.timeout(10), aclosing(source.stream(None)) as stream:
        async for event in stream:
            if isinstance(event, IdentityEvent):
                return events, source
            if not isinstance(event, SeenEvent):
                events.append(event)
    raise AssertionError("a stream never ends by itself")


async def test_P142_P143_commits_are_verified(kit: Any, relay: Any) -> None:
    repo = kit.Repo()
    bodies = [
        repo.body(1, ("create", PATH, kit.track_record())),
        repo.body(2, ("update", PATH, kit.track_record(b"new"))),
        repo.body(3, ("delete", PATH, None), ("create", "fm.plyr.track/3kbbbbbbbbbb2", kit.track_record())),
    ]
    events, source = await verified(kit, relay, kit.KnownIdentities(repo.identity()), *bodies)
    assert [(event.position, event.operation.value, event.verified) for event in events] == [
        (1, "create", True),
        (2, "update", True),
        (2, "delete", True),
        (3, "create", True),
    ]
    assert not source.health.refused


async def test_P142_commits_that_fail_their_proof_are_dropped_and_counted(kit: Any, relay: Any) -> None:
    repo = kit.Repo()
    good = repo.body(1, ("create", PATH, kit.track_record()))
    forged = good | {"seq": 2, "ops": [dict(good["ops"][0], path="fm.plyr.track/3kcccccccccc2")]}
    renamed = good | {"seq": 3, "rev": "3kaaaaaaaaaa2"}
    events, source = await verified(
        kit, relay, kit.KnownIdentities(repo.identity()), forged, renamed, good | {"seq": 4}
    )
    assert kit.positions(events) == [4]
    assert source.health.refused == {"tree": 1, "rev": 1}


async def test_P142_a_key_that_changed_is_looked_up_once_more(kit: Any, relay: Any) -> None:
    repo = kit.Repo()
    body = repo.body(1, ("create", PATH, kit.track_record()))

    class Rotating:
        def __init__(self) -> None:
            self.asked: list[bool] = []

        async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
            self.asked.append(refresh)
            return repo.identity() if refresh else Identity(did, signing_key=SigningKey(b"\x09" * 32).public)

        def forget(self, did: str) -> None: ...

    directory = Rotating()
    events, _ = await verified(kit, relay, directory, body)
    assert [event.verified for event in events] == [True]
    assert directory.asked == [False, True]


async def test_P147_without_identity_nothing_passes_and_without_an_answer_it_passes_unverified(
    kit: Any, relay: Any
) -> None:
    repo = kit.Repo()
    body = repo.body(1, ("create", PATH, kit.track_record()))
    events, source = await verified(kit, relay, kit.KnownIdentities(), body)
    assert (events, source.health.refused) == ([], {"unknown_did": 1})
    events, source = await verified(kit, relay, kit.KnownIdentities(Identity(repo.did)), body)
    assert (events, source.health.refused) == ([], {"sig": 1})

    class Down:
        async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
            raise Unreachable("down")

        def forget(self, did: str) -> None: ...

    (event,), _ = await verified(kit, relay, Down(), body)
    assert isinstance(event, RecordEvent)
    assert not event.verified
    events, _ = await verified(kit, relay, Down(), body, repo.sync(2), interest=following(repo.did))
    assert events == [DoubtEvent(repo.did, "unverified", 0), event, DoubtEvent(repo.did, "unverified", 2)]


def following(*dids: str) -> Interest:
    return Interest(MUSIC.collections, followed=frozenset(dids))


async def test_P145_every_commit_of_a_followed_account_is_checked_and_told(kit: Any, relay: Any) -> None:
    repo, stranger = kit.Repo(), kit.Repo("stranger", seed=2)
    like = ("create", "app.bsky.feed.like/3kaaaaaaaaaa2", {"$type": "app.bsky.feed.like"})
    bodies = [repo.body(1, ("create", PATH, kit.track_record())), repo.body(2, like), stranger.body(3, like)]
    bodies.append(repo.body(4))
    events, _ = await verified(kit, relay, kit.KnownIdentities(repo.identity()), *bodies, interest=following(repo.did))
    assert [type(event) for event in events] == [CommitEvent, RecordEvent, CommitEvent, CommitEvent]
    first, record, second, empty = events
    assert (first.since, second.since, empty.since) == (None, first.rev, second.rev)
    assert (first.data, second.data) == (second.prev_data, empty.prev_data)
    assert (record.rev, record.verified, empty.rev, empty.data) == (first.rev, True, repo.rev, second.data)


async def test_P164_a_sync_of_a_followed_account_is_checked_and_told(kit: Any, relay: Any) -> None:
    repo, stranger = kit.Repo(), kit.Repo("stranger", seed=2)
    repo.body(0, ("create", PATH, kit.track_record()))
    bodies = [repo.sync(1), stranger.sync(2)]
    forged = stranger.sync(3) | {"did": repo.did}
    renamed = repo.sync(4) | {"rev": "3kaaaaaaaaaa2"}
    endless = repo.sync(5) | {"blocks": b"x" * 10_001}
    events, source = await verified(
        kit,
        relay,
        kit.KnownIdentities(repo.identity()),
        *bodies,
        forged,
        renamed,
        endless,
        interest=following(repo.did),
    )
    (sync, *doubts) = events
    assert isinstance(sync, SyncEvent)
    assert (sync.did, sync.data, sync.position) == (repo.did, kit.cid_text(repo.data), 1)
    assert doubts == [
        DoubtEvent(repo.did, "repo", 3),
        DoubtEvent(repo.did, "rev", 4),
        DoubtEvent(repo.did, "unusable", 5),
    ]
    assert source.health.refused == {"repo": 1, "rev": 1, "unusable": 1}


async def test_P137_P164_a_followed_commit_that_is_over_the_limits_or_unproven_is_doubt(kit: Any, relay: Any) -> None:
    repo = kit.Repo()
    good = repo.body(1, ("create", PATH, kit.track_record()))
    huge = good | {"seq": 2, "blocks": b"x" * 2_000_001}
    many = good | {"seq": 3, "ops": good["ops"] * 201}
    forged = good | {"seq": 4, "ops": []}
    tampered = good | {"seq": 5, "blocks": good["blocks"].replace(b"A piece", b"B piece")}
    for interest, expected in (
        (following(repo.did), [(2, "unusable"), (3, "unusable"), (4, "tree"), (5, "unusable")]),
        (MUSIC, []),
    ):
        events, _ = await verified(
            kit, relay, kit.KnownIdentities(repo.identity()), huge, many, forged, tampered, interest=interest
        )
        assert [(event.position, event.reason) for event in events] == expected


async def test_P147_a_followed_account_without_identity_is_doubt(kit: Any, relay: Any) -> None:
    repo = kit.Repo()
    events, _ = await verified(kit, relay, kit.KnownIdentities(), repo.body(1), interest=following(repo.did))
    assert events == [DoubtEvent(repo.did, "unknown_did", 1)]


async def test_records_of_own_collections_matter_of_followed_accounts_only(kit: Any, relay: Any) -> None:
    repo, stranger = kit.Repo(), kit.Repo("stranger", seed=2)
    profile = ("app.bsky.actor.profile/self", {"$type": "app.bsky.actor.profile"})
    bodies = []
    for seq, owner in enumerate((repo, stranger)):
        bodies.append(owner.body(10 * seq + 1, ("create", *profile)))
        bodies.append(owner.body(10 * seq + 2, ("update", profile[0], profile[1] | {"displayName": "x"})))
        bodies.append(owner.body(10 * seq + 3, ("delete", profile[0], None)))
    name = "app.bsky.actor.profile"
    interest = Interest(frozenset({name}), own=frozenset({name}), followed=frozenset({repo.did}))
    directory = kit.KnownIdentities(repo.identity())
    events, source = await verified(kit, relay, directory, *bodies, interest=interest)
    assert [event.position for event in events if isinstance(event, RecordEvent)] == [1, 2, 3]
    assert {did for did, _ in directory.asked} == {repo.did}
    assert not source.health.refused


DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    ("heard_days_ago", "first_days_ago", "told", "gaps"),
    [(5.0, 3.0, False, 1), (5.0, 3.0, True, 1), (5.0, 5.0, False, 0), (2.0, 0.0, False, 0), (5.0, None, False, 1)],
    ids=["jumped silently", "told", "kept all the same", "within the window", "no time told"],
)
async def test_P160_a_pause_longer_than_the_upstreams_memory_is_a_gap_told_or_not(
    kit: Any, relay: Any, clock: Any, heard_days_ago: float, first_days_ago: float | None, told: bool, gaps: int
) -> None:
    now_us = clock.now_us()

    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        if told:
            await socket.send_bytes(message_frame("#info", {"name": "OutdatedCursor"}))
        body: dict[str, Any] = {"seq": 900, "did": DID}
        if first_days_ago is not None:
            body["time"] = format_datetime(now_us - int(first_days_ago * DAY_US))
        await socket.send_bytes(message_frame("#identity", body))
        await socket.send_bytes(message_frame("#identity", body | {"seq": 901, "time": format_datetime(now_us)}))
        await kit.linger(socket)

    source, _ = await relay(script)
    source.health.heard_us = now_us - int(heard_days_ago * DAY_US)  # as ingest says when it starts
    events = await kit.take(source, gaps + 2, cursor=5)
    assert [event.position for event in events] == [5] * gaps + [900, 901]
    assert source.health.gaps == gaps


async def test_P163_the_lag_is_known_from_the_events_time(kit: Any, relay: Any, clock: Any) -> None:
    now_us = clock.now_us()

    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        body = {"seq": 1, "did": DID, "time": format_datetime(now_us - DAY_US)}
        await socket.send_bytes(message_frame("#identity", body))
        await kit.linger(socket)

    source, _ = await relay(script)
    await kit.take(source, 1)
    assert DAY_US - 1_000 <= now_us - source.health.heard_us <= DAY_US + 1_000
    assert source.health.is_late(now_us)


@pytest.mark.parametrize("lives", ["here", "elsewhere", "here since a moment ago"])
async def test_P148_a_pds_speaks_only_for_accounts_that_live_there(kit: Any, relay: Any, lives: str) -> None:
    repo = kit.Repo()
    commit = message_frame("#commit", repo.body(1, ("create", PATH, kit.track_record())))
    away = message_frame("#account", {"seq": 2, "did": repo.did, "active": False, "status": "deactivated"})

    async def script(socket: web.WebSocketResponse, cursor: int | None, connection: int) -> None:
        for frame in (commit, away, kit.identity_frame(3)):
            await socket.send_bytes(frame)
        await kit.linger(socket)

    class Directory:
        async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
            there = lives == "here" or (refresh and lives == "here since a moment ago")
            return repo.identity(pds=home if there else "https://pds.example.com")

        def forget(self, did: str) -> None: ...

    source, _ = await relay(script, directory=Directory(), direct=True, interest=following(repo.did))
    home = source._endpoint.replace("ws://", "http://").partition("/xrpc")[0]
    events = await kit.take(source, 1 if lives == "elsewhere" else 4)
    expected = [] if lives == "elsewhere" else [CommitEvent, RecordEvent, AccountEvent]
    assert [type(event) for event in events] == [*expected, IdentityEvent]
    assert source.health.refused == ({"pds": 2} if lives == "elsewhere" else {})


async def test_P206_a_redirect_leads_to_no_other_host(kit: Any, serve: Any, clock: Any, log: Any) -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if len(asked) == 1:
            raise web.HTTPFound("/elsewhere")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_bytes(kit.identity_frame(1))
        await kit.linger(socket)
        return socket

    source = Relay(await serve(handle), MUSIC, clock=clock, log=log, allow_loopback=True, retry_base_seconds=0.01)
    assert kit.positions(await kit.take(source, 1)) == [1]
    assert asked == ["/xrpc/com.atproto.sync.subscribeRepos"] * 2
    assert "Redirect" in source.health.last_error
