"""A network that really listens, and a reader of its streams that owes nothing to our own consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from core.dagcbor import decode_multi
from earmark.demo import Network


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Listener:
    """One open stream."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def frame(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Header and body of the next message."""
        message = await asyncio.wait_for(self.socket.receive(), 5)
        assert message.type is aiohttp.WSMsgType.BINARY, message
        header, body = decode_multi(message.data)
        return header, body

    async def frames(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        return [(header["t"], body) for header, body in [await self.frame() for _ in range(count)]]

    async def is_silent(self) -> bool:
        try:
            await asyncio.wait_for(self.socket.receive(), 0.2)
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def listen(network: Network, http: aiohttp.ClientSession) -> AsyncIterator[Any]:
    """`await listen(path)` opens a stream of the network."""
    opened = []

    async def open_stream(path: str) -> Listener:
        before = network.listeners
        socket = await http.ws_connect(network.stream_url + path, max_msg_size=0)
        opened.append(socket)
        while network.listeners == before and not socket.closed:
            await asyncio.sleep(0)
        return Listener(socket)

    yield open_stream
    for socket in opened:
        await socket.close()
