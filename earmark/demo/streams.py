"""The two live streams of the network: `subscribeRepos` and a stand-in for Jetstream v1."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from core.errors import XrpcError
from core.types import parse_did, parse_nsid
from core.xrpc import Param, decode_params, error_frame, message_frame
from earmark.demo.log import EventLog, JetstreamEvent

_CURSOR = Param("cursor", "integer", minimum=0)
_WANTED = (
    Param("wantedCollections", array=True),
    Param("wantedDids", array=True),
    Param("cursor", "integer"),
    Param("compress", "boolean"),
    Param("requireHello", "boolean"),
)
_NSID_PREFIX = re.compile(r"^[a-zA-Z0-9.-]+\.\*$")
Feed = Callable[[web.WebSocketResponse], Coroutine[Any, Any, None]]


class Streams:
    """Serves both streams from one log and knows who is listening."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._sockets: set[web.WebSocketResponse] = set()

    @property
    def listeners(self) -> int:
        return len(self._sockets)

    async def drop_all(self) -> None:
        """Close every socket, as a server that restarts does."""
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"restarting")

    async def subscribe_repos(self, request: web.Request) -> web.WebSocketResponse:
        """`com.atproto.sync.subscribeRepos`: no cursor is live only, n is all above n and then live."""
        cursor: int | None = decode_params((_CURSOR,), request.query.items())["cursor"]

        async def feed(socket: web.WebSocketResponse) -> None:
            log = self._log
            live_from = log.end
            position = live_from if cursor is None else log.start
            if cursor is not None and cursor > log.newest_seq:
                await socket.send_bytes(error_frame("FutureCursor", "Cursor in the future."))
                await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"FutureCursor")
                return
            if cursor is not None and log.start > 0 and _oldest_seq(log) > cursor + 1:
                info = {"name": "OutdatedCursor", "message": "Requested cursor exceeded limit. Possibly missing events"}
                await socket.send_bytes(message_frame("#info", info))
            while True:
                await log.wait_beyond(position)
                try:
                    event = log.at(position)
                except IndexError:
                    await socket.send_bytes(error_frame("ConsumerTooSlow", "Stream consumer too slow"))
                    await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"ConsumerTooSlow")
                    return
                position += 1
                if event is None:
                    continue
                wanted = position > live_from if event.seq is None else cursor is None or event.seq > cursor
                if wanted:
                    await socket.send_bytes(event.frame)

        return await self._serve(request, feed)

    async def jetstream(self, request: web.Request) -> web.WebSocketResponse:
        """`/subscribe` of Jetstream v1 (P166-P168): a cursor is inclusive unix microseconds, a future one is live."""
        query = decode_params(_WANTED, request.query.items())
        if query["compress"] or query["requireHello"]:
            raise XrpcError("InvalidRequest", "this test network offers neither compress nor requireHello")
        collections, dids = _check_wanted(query["wantedCollections"], query["wantedDids"])
        cursor: int | None = query["cursor"]

        def wants(did: str | None, event: JetstreamEvent) -> bool:
            if dids and did not in dids:
                return False
            if event.collection is None or not collections:
                return True
            return any(_covers(wanted, event.collection) for wanted in collections)

        async def feed(socket: web.WebSocketResponse) -> None:
            log = self._log
            position = log.end if cursor is None else log.start
            while True:
                await log.wait_beyond(position)
                position = max(position, log.start)  # v1 drops what a slow reader missed, silently
                event = log.at(position)
                position += 1
                for line in event.jetstream if event is not None else ():
                    if (cursor is None or line.time_us >= cursor) and event and wants(event.did, line):
                        await socket.send_str(line.text)

        return await self._serve(request, feed)

    async def _serve(self, request: web.Request, feed: Feed) -> web.WebSocketResponse:
        """Run a feed until it ends or the other side goes away."""
        socket = web.WebSocketResponse(heartbeat=30.0, max_msg_size=64 * 1024)
        await socket.prepare(request)
        self._sockets.add(socket)
        sending = asyncio.ensure_future(feed(socket))
        receiving = asyncio.ensure_future(_drain(socket))
        try:
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._sockets.discard(socket)
            for task in (sending, receiving):
                task.cancel()
            for outcome in await asyncio.gather(sending, receiving, return_exceptions=True):
                # A reader that went away while we were sending is nothing to report.
                if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
                    raise outcome
        return socket


async def _drain(socket: web.WebSocketResponse) -> None:
    """Read until the other side closes: the streams take no messages, and closes must be seen."""
    while (await socket.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
        pass


def _oldest_seq(log: EventLog) -> int:
    """Sequence number of the oldest event that can be replayed."""
    for position in range(log.start, log.end):
        event = log.at(position)
        if event is not None and event.seq is not None:
            return event.seq
    return log.newest_seq + 1


def _check_wanted(collections: list[str], dids: list[str]) -> tuple[list[str], frozenset[str]]:
    """The filters if they are well formed (P166). Raises XrpcError."""
    if len(collections) > 100 or len(dids) > 10_000:
        raise XrpcError("InvalidRequest", "too many wantedCollections or wantedDids")
    try:
        for wanted in collections:
            if not _NSID_PREFIX.match(wanted):
                parse_nsid(wanted)
        return collections, frozenset(parse_did(did) for did in dids)
    except ValueError as error:
        raise XrpcError("InvalidRequest", str(error)) from None


def _covers(wanted: str, collection: str) -> bool:
    return collection.startswith(wanted[:-1]) if wanted.endswith(".*") else collection == wanted
