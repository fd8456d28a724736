"""Stand-ins for both wires of Jetstream (P166-P168), with what each says of cursors, filters and compression."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import orjson
import zstandard
from aiohttp import web

from core.errors import XrpcError
from core.types import parse_did, parse_nsid
from core.xrpc import Param, decode_params
from earmark.demo.log import EventLog, JetstreamEvent

_V1 = (
    Param("wantedCollections", array=True),
    Param("wantedDids", array=True),
    Param("cursor", "integer"),
    Param("compress", "boolean"),
    Param("requireHello", "boolean"),
)
_V2 = (
    Param("collections", array=True),
    Param("dids", array=True),
    Param("kinds", array=True),
    Param("cursor", "integer", minimum=0),
    Param("zstdDictionary", "integer", minimum=1),
)
_NSID_PREFIX = re.compile(r"^[a-zA-Z0-9.-]+\.\*$")
_TIMES_FROM = 10**15  # larger cursors are times
Feed = Callable[[web.WebSocketResponse], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class _Filter:
    collections: tuple[str, ...]
    dids: frozenset[str]
    kinds: frozenset[str] = frozenset()

    def wants(self, did: str | None, line: JetstreamEvent) -> bool:
        if (self.dids and did not in self.dids) or (self.kinds and line.kind not in self.kinds):
            return False
        if line.collection is None or not self.collections:
            return True
        return any(_covers(wanted, line.collection) for wanted in self.collections)


class Jetstreams:
    """Makes the feed that answers a request. `dictionary`: what both sides compress with; None: never."""

    def __init__(self, log: EventLog, dictionary: bytes | None) -> None:
        self._log = log
        loaded = None if dictionary is None else zstandard.ZstdCompressionDict(dictionary)
        self._dictionary_id = 0 if loaded is None else loaded.dict_id()
        self._compressor = None if loaded is None else zstandard.ZstdCompressor(dict_data=loaded)

    def v1(self, request: web.Request) -> Feed:
        """A cursor is inclusive unix microseconds; one too old is moved up without a word, a future one is live."""
        query = decode_params(_V1, request.query.items())
        if query["requireHello"]:
            raise XrpcError("InvalidRequest", "this test network takes no options")
        if query["compress"] and self._compressor is None:
            raise XrpcError("InvalidRequest", "this test network has no dictionary")
        chosen = _Filter(*_checked(query["wantedCollections"], query["wantedDids"]))
        cursor: int | None = query["cursor"]

        async def feed(socket: web.WebSocketResponse) -> None:
            def take(line: JetstreamEvent) -> str | None:
                return line.v1 if cursor is None or line.time_us >= cursor else None

            await self._follow(socket, take, chosen, live=cursor is None, compress=bool(query["compress"]))

        return feed

    def v2(self, request: web.Request) -> Feed:
        """A cursor is an inclusive number, or a time; `#info` tells when the stream begins elsewhere."""
        if request.query.keys() & {"wantedCollections", "wantedDids"}:
            raise XrpcError("InvalidRequest", "use collections and dids")
        query = decode_params(_V2, request.query.items())
        cursor: int | None = query["cursor"]
        lines = self._kept()
        oldest = lines[0] if lines else None
        if query["zstdDictionary"] not in (None, self._dictionary_id):
            raise XrpcError("UnknownZstdDictionary", f"the dictionary is {self._dictionary_id}")
        if cursor is not None and cursor < _TIMES_FROM and oldest is not None and cursor < oldest.seq:
            raise XrpcError("CursorTooOld", f"the oldest is {oldest.seq}")
        chosen = _Filter(*_checked(query["collections"], query["dids"]), frozenset(query["kinds"]))
        outdated = cursor is not None and cursor >= _TIMES_FROM and self._log.start > 0
        outdated = outdated and oldest is not None and cursor is not None and cursor < oldest.time_us
        future = cursor is not None and self._log.newest_jetstream_seq + 1 < cursor < _TIMES_FROM
        compress = query["zstdDictionary"] is not None

        async def feed(socket: web.WebSocketResponse) -> None:
            if future:
                await self._send(socket, _info("FutureCursor"), compress=compress)
            elif outdated:
                await self._send(socket, _info("OutdatedCursor"), compress=compress)

            def take(line: JetstreamEvent) -> str | None:
                if cursor is None or future:
                    return line.v2
                return line.v2 if (line.time_us if cursor >= _TIMES_FROM else line.seq) >= cursor else None

            await self._follow(socket, take, chosen, live=cursor is None or future, compress=compress)

        return feed

    async def _follow(
        self,
        socket: web.WebSocketResponse,
        take: Callable[[JetstreamEvent], str | None],
        chosen: _Filter,
        *,
        live: bool,
        compress: bool,
    ) -> None:
        log = self._log
        position = log.end if live else log.start
        while True:
            await log.wait_beyond(position)
            position = max(position, log.start)  # what a slow reader missed is dropped, silently
            event = log.at(position)
            position += 1
            for line in event.jetstream if event is not None else ():
                text = take(line) if event is not None and chosen.wants(event.did, line) else None
                if text is not None:
                    await self._send(socket, text, compress=compress)

    async def _send(self, socket: web.WebSocketResponse, text: str, *, compress: bool) -> None:
        if compress and self._compressor is not None:
            await socket.send_bytes(self._compressor.compress(text.encode()))
        else:
            await socket.send_str(text)

    def _kept(self) -> list[JetstreamEvent]:
        events = (self._log.at(position) for position in range(self._log.start, self._log.end))
        return [line for event in events if event is not None for line in event.jetstream]


def _info(name: str) -> str:
    payload = {"$type": "network.bsky.jetstream.subscribeEvents#info", "name": name}
    return orjson.dumps({"$type": "message", "payload": payload}).decode()


def _checked(collections: list[str], dids: list[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The filters if they are well formed (P166). Raises XrpcError."""
    if len(collections) > 100 or len(dids) > 10_000:
        raise XrpcError("InvalidRequest", "too many collections or DIDs")
    try:
        for wanted in collections:
            if not _NSID_PREFIX.match(wanted):
                parse_nsid(wanted)
        return tuple(collections), frozenset(parse_did(did) for did in dids)
    except ValueError as error:
        raise XrpcError("InvalidRequest", str(error)) from None


def _covers(wanted: str, collection: str) -> bool:
    return collection.startswith(wanted[:-1]) if wanted.endswith(".*") else collection == wanted
