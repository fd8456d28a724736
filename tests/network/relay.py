"""A relay over several PDSs: one sequence of its own, everything kept. Stands in for the public ones.

As a relay should, it passes on only what an account's present PDS says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

import aiohttp
from aiohttp import web

from core.frames import split_frame
from core.types import AtUri
from core.xrpc import message_frame

RETRY_SECONDS = 0.2


class Relay:
    """Listens to PDSs once they are named; one that goes away is called again from where it stopped."""

    def __init__(self, plc_url: str) -> None:
        self._plc_url = plc_url
        self._frames: list[bytes] = []
        self._changed: dict[AtUri, str] = {}  # what was last done to each record
        self._news = asyncio.Condition()
        self._held = self._losing = False
        self._crawls: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    @property
    def stream_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/xrpc/com.atproto.sync.subscribeRepos", self._subscribe)
        app.router.add_get("/xrpc/com.atproto.sync.listReposByCollection", self._list)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        for crawl in self._crawls:
            crawl.cancel()
        await asyncio.gather(*self._crawls, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    def crawl(self, pds_url: str) -> None:
        self._crawls.append(asyncio.create_task(self._crawl(pds_url)))

    @contextlib.asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """What comes in goes out afterwards."""
        self._held = True
        try:
            yield
        finally:
            async with self._news:
                self._held = False
                self._news.notify_all()

    @contextlib.contextmanager
    def losing(self) -> Iterator[None]:
        """What comes in never goes out."""
        self._losing = True
        try:
            yield
        finally:
            self._losing = False

    async def has_seen(self, action: str, uri: AtUri) -> None:
        """Waits until the relay knows that this was the last thing that was done to the record."""
        async with self._news, asyncio.timeout(30.0):
            await self._news.wait_for(lambda: self._changed.get(uri) == action)

    async def _crawl(self, pds_url: str) -> None:
        cursor = 0
        url = f"{pds_url.replace('http', 'ws', 1)}/xrpc/com.atproto.sync.subscribeRepos"
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.ws_connect(url, params={"cursor": str(cursor)}) as socket:
                        async for message in socket:
                            kind, body = split_frame(message.data) or ("", {})
                            if await self._lives_at(session, body.get("repo") or body["did"], pds_url):
                                await self.tell(kind, body)
                            cursor = body["seq"]
                await asyncio.sleep(RETRY_SECONDS)

    async def _lives_at(self, session: aiohttp.ClientSession, did: str, pds_url: str) -> bool:
        async with session.get(f"{self._plc_url}/{did}") as answer:
            services = (await answer.json())["service"]
        return any(one["id"] == "#atproto_pds" and one["serviceEndpoint"] == pds_url for one in services)

    async def tell(self, kind: str, body: dict[str, Any]) -> None:
        """Pass on a message, under our own sequence number."""
        async with self._news:
            for op in body.get("ops", ()):
                self._changed[AtUri.parse(f"at://{body['repo']}/{op['path']}")] = op["action"]
            if not self._losing:
                self._frames.append(message_frame(kind, body | {"seq": len(self._frames) + 1}))
            self._news.notify_all()

    async def _subscribe(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sent = int(request.query.get("cursor", len(self._frames)))
        reading = asyncio.create_task(socket.receive())  # tells when they go
        with contextlib.suppress(ConnectionError):
            while not reading.done():
                if self._held or sent == len(self._frames):
                    with contextlib.suppress(TimeoutError):
                        async with self._news, asyncio.timeout(0.5):
                            await self._news.wait()
                    continue
                await socket.send_bytes(self._frames[sent])
                sent += 1
        reading.cancel()
        return socket

    async def _list(self, request: web.Request) -> web.Response:
        """Who has records of a collection, a page at a time."""
        dids = sorted({uri.did for uri in self._changed if uri.collection == request.query["collection"]})
        begin, limit = int(request.query.get("cursor", 0)), int(request.query.get("limit", 500))
        answer: dict[str, Any] = {"repos": [{"did": did} for did in dids[begin : begin + limit]]}
        if begin + limit < len(dids):
            answer["cursor"] = str(begin + limit)
        return web.json_response(answer)
