"""The live streams of the network: `subscribeRepos`, and the stand-ins for Jetstream."""

from __future__ import annotations

import asyncio

from aiohttp import WSCloseCode, WSMsgType, web

from core.xrpc import Param, decode_params, error_frame, message_frame
from earmark.demo.jetstream import Feed, Jetstreams
from earmark.demo.log import EventLog

_CURSOR = Param("cursor", "integer", minimum=0)


class Streams:
    """Serves all streams from one log and knows who is listening."""

    def __init__(self, log: EventLog, zstd_dictionary: bytes | None = None) -> None:
        self._log = log
        self._jetstreams = Jetstreams(log, zstd_dictionary)
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

    async def jetstream_v1(self, request: web.Request) -> web.WebSocketResponse:
        """`/subscribe`."""
        return await self._serve(request, self._jetstreams.v1(request))

    async def jetstream_v2(self, request: web.Request) -> web.WebSocketResponse:
        """`network.bsky.jetstream.subscribeEvents`."""
        return await self._serve(request, self._jetstreams.v2(request), protocols=("xrpc.v1.json",))

    async def _serve(
        self, request: web.Request, feed: Feed, *, protocols: tuple[str, ...] = ()
    ) -> web.WebSocketResponse:
        """Run a feed until it ends or the other side goes away."""
        socket = web.WebSocketResponse(heartbeat=30.0, max_msg_size=64 * 1024, protocols=protocols)
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
