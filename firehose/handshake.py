"""Opening a websocket (RFC 6455): one host is asked, and what it says when it refuses is heard."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiohappyeyeballs
import aiohttp
import msgspec
from picows import WSError, WSHandshakeError, ws_connect
from picows.url import WSParsedURL

from core.frames import ErrorFrame
from firehose.line import CLOSE_SECONDS, Dropped, Line

CONNECT_SECONDS = 20.0  # for everything until the first frame may come
EYEBALLS_SECONDS = 0.25  # RFC 8305: an address that does not answer by then has another one tried beside it
REFUSAL_BYTES = 4096
REASON_CHARS = 300  # of what a server says that is not an answer
# More than TLS holds back (asyncio's 256 KiB): what follows a refusal must not come to picows once it has hung up.
READ_BYTES = 320 * 1024


class _Refusal(msgspec.Struct):
    error: str
    message: str = ""


async def open_line(
    address: str,
    line: Line,
    *,
    headers: Mapping[str, str],
    protocols: Sequence[str] = (),
) -> None:
    """Connect the line to this very host: no redirects (P206), no proxies, no extensions.

    Raises ErrorFrame with an XRPC error that answers the handshake, like one in the stream; Dropped for any other
    refusal; OSError and TimeoutError.
    """
    if protocols:
        headers = {**headers, "Sec-WebSocket-Protocol": ", ".join(protocols)}
    sockets: list[socket.socket] = []
    tls = ssl.create_default_context() if address.startswith("wss:") else None
    goodbye: dict[str, Any] = {} if tls is None else {"ssl_shutdown_timeout": CLOSE_SECONDS}

    async def reach(url: WSParsedURL) -> socket.socket:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        sockets.append(await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=EYEBALLS_SECONDS))
        return sockets[0]

    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            try:
                _, listener = await ws_connect(
                    lambda: line,
                    address,
                    socket_factory=reach,
                    websocket_handshake_timeout=None,  # ours is for all of it
                    logger_name=logging.Logger("picows", logging.CRITICAL + 1),  # noqa: LOG001 - all that matters is raised
                    enable_auto_pong=False,  # the line bounds what waits to be sent
                    max_frame_size=line.limit,
                    read_buffer_init_size=READ_BYTES,
                    extra_headers=headers,
                    max_redirects=0,
                    use_aiofastnet=False,  # it reaches into OpenSSL behind Python's back
                    ssl_context=tls,
                    **goodbye,
                )
            except WSHandshakeError as error:
                raise await _refusal(error, address, headers, tls) from None
            except (WSError, ValueError) as error:
                raise Dropped(str(error)[:REASON_CHARS]) from None
        if listener is None:
            raise Dropped("closed by the server during the handshake")
    except BaseException:
        line.cut()
        for opened in sockets:
            with suppress(OSError):  # picows leaves it open when it is cancelled; its transport notices
                opened.shutdown(socket.SHUT_RDWR)
        raise


async def _refusal(
    error: WSHandshakeError, address: str, headers: Mapping[str, str], tls: ssl.SSLContext | None
) -> Exception:
    """What to make of an answer that is no handshake."""
    status = 0 if error.response is None else int(error.response.status)
    if 300 <= status < 400:
        return ErrorFrame("Redirect", f"the host answers {status}")
    if error.response is None or status < 400:
        return Dropped(str(error)[:REASON_CHARS])
    body, said = error.raw_body or b"", error.response.headers
    if "json" in said.get("Content-Type", "") and said.get("Content-Length") != str(len(body)):
        body = await _ask_again(address, headers, tls)
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (ValueError, RecursionError):
        return Dropped(f"the host answers {status}")
    return ErrorFrame(refusal.error[:100], refusal.message[:300])


async def _ask_again(address: str, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> bytes:
    """picows hangs up with the headers of a refusal. Where its words came later, or in another form, ask once more."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "bm8gaHVycnkgYXQgYWxsIQ==",  # any 16 bytes
    }
    try:
        async with (
            aiohttp.ClientSession(headers={**headers, **upgrade}, trust_env=False) as session,
            session.get(address, allow_redirects=False, ssl=tls or True) as response,
        ):
            return await response.content.readexactly(REFUSAL_BYTES) if response.status >= 400 else b""
    except asyncio.IncompleteReadError as short:
        return short.partial
    except aiohttp.ClientError:
        return b""
