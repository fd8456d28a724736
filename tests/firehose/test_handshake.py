"""Opening a websocket: what is asked, who is trusted, and what is heard when a server refuses or talks nonsense."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from core.frames import ErrorFrame
from firehose.handshake import open_line
from firehose.line import Dropped, Line
from firehose.socket import stream_origin


def new_line() -> Line:
    return Line(lambda frame, caught_up: None, lambda first, last: None, limit=100_000)


def saying(answer: bytes, *, late: bytes = b"") -> Any:
    """A server that answers so, the end of it later, and waits for the client to leave."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if late:
            await asyncio.sleep(0.05)
            writer.write(late)
        await reader.read()

    return talk


def refusal(status: str, kind: str, body: bytes, *, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode() + body


async def test_it_asks_one_host_directly_and_offers_no_extension(
    kit: Any, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    line, port = new_line(), await raw.start(saying(kit.ws_frame(2, b"hello")))
    headers = {"User-Agent": "earmark (+https://example.com)", "Authorization": "Basic eA=="}
    await open_line(f"ws://127.0.0.1:{port}/xrpc/a.b?cursor=7&x=%20", line, headers=headers, protocols=("v2", "v1"))
    assert await line.receive() == b"hello"
    await line.close()
    (request,) = raw.requests
    first, *rest = request.rstrip("\r\n").split("\r\n")
    assert first == "GET /xrpc/a.b?cursor=7&x=%20 HTTP/1.1"
    asked = dict(each.split(": ", 1) for each in rest)
    assert len(base64.b64decode(asked.pop("Sec-WebSocket-Key"))) == 16
    assert asked == headers | {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "v2, v1",
    }


async def test_IPv6(kit: Any, raw: Any) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    line, port = new_line(), await raw.start(saying(kit.ws_frame(2, b"hello")), host="::1")
    origin = stream_origin(f"http://[::1]:{port}", allow_loopback=True)
    await open_line(f"{origin}/", line, headers={})
    assert await line.receive() == b"hello"
    assert f"\r\nHost: [::1]:{port}\r\n" in raw.requests[0]
    await line.close()


@pytest.mark.parametrize("named", ["localhost", "relay.example.com", "nobody that we know"])
async def test_a_certificate_has_to_be_trusted_and_name_the_host(
    kit: Any, raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    tls = kit.trusted_server(tmp_path, monkeypatch, named if "." in named else "localhost")
    if named == "nobody that we know":
        monkeypatch.delenv("SSL_CERT_FILE")
    big = kit.ws_frame(2, bytes(90_000))
    line, port = new_line(), await raw.start(saying(kit.ws_frame(2, b"hello") + big * 20), tls=tls)
    opening = open_line(f"wss://localhost:{port}/", line, headers={})
    if named == "localhost":
        await opening
        assert [len(await line.receive()) for _ in range(21)] == [5, *[90_000] * 20]
        await line.close()
    else:
        with pytest.raises((Dropped, OSError), match="certificate verify failed"):
            await opening
        assert raw.requests == []


WORDS = b'{"error": "CursorTooOld", "message": "the floor is 500"}'
JSON = "application/json; charset=utf-8"
CHUNKED = b"HTTP/1.1 400 No\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
AGREED = b"HTTP/1.1 101 Hello\r\n"

ANSWERS: dict[str, tuple[bytes, bytes, str]] = {  # what is said, what comes a moment later, and what it means
    "words": (refusal("400 No", JSON, WORDS), b"", "CursorTooOld: the floor is 500"),
    "late": (refusal("400 No", JSON, WORDS[:9], length=len(WORDS)), WORDS[9:], "CursorTooOld: the floor is 500"),
    "chunked": (CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(WORDS), WORDS), b"", "CursorTooOld: the floor is 500"),
    "chunked badly": (CHUNKED + b"zzz\r\n", b"", "the host answers 400"),
    "a long name": (refusal("400 No", JSON, b'{"error":"' + b"e" * 1000 + b'"}'), b"", "e" * 100),
    "deep": (refusal("400 No", JSON, b'{"x":' + b"[" * 4000), b"", "the host answers 400"),
    "endless": (refusal("400 No", JSON, b"", length=10**9), b"{" + b" " * 100_000, "the host answers 400"),
    "a page": (refusal("502 Bad Gateway", "text/html", b"<html>" + b"x" * 400_000), b"", "the host answers 502"),
    "redirect": (refusal("307 Elsewhere", "text/html", b""), b"", "Redirect: the host answers 307"),
    "no refusal": (refusal("200 OK", JSON, WORDS), b"", ".* received 200"),
    "odd status": (refusal("599 Odd", JSON, WORDS), b"", ".* invalid HTTP status line.*"),
    "old HTTP": (b"HTTP/1.0 503 No\r\n\r\n", b"", ".* unknown protocol.*"),
    "no key": (AGREED + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + WORDS, b"", ".*-accept.*"),
    "no header": (AGREED + b"x" * 12_000 + b"\r\n\r\n", b"", ".* malformed header .*"),
    "many headers": (AGREED + b"x: y\r\n" * 200 + b"\r\n", b"", ".* more than 128 headers"),
    "long headers": (AGREED + b"x" * 300_000, b"", ".* exceed .*"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", b"", ".* unknown protocol.*"),
    "no text": (b"\xff\x00\r\n\r\n", b"", ".* invalid HTTP status line.*"),
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_refusal_is_heard_and_nonsense_is_not_kept(
    kit: Any,
    raw: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: str,
    tls: bool,
) -> None:
    """Refused in XRPC's words, it is like an error in the stream; else the connection failed. Nothing is logged."""
    said, late, meaning = ANSWERS[answer]
    context = kit.trusted_server(tmp_path, monkeypatch) if tls else None
    port = await raw.start(saying(said, late=late), opens=False, tls=context)
    with caplog.at_level(logging.INFO), pytest.raises((Dropped, ErrorFrame)) as caught:
        await asyncio.wait_for(open_line(f"ws{'s' if tls else ''}://localhost:{port}/", new_line(), headers={}), 20)
    assert re.fullmatch(meaning, str(caught.value), re.DOTALL)
    assert len(str(caught.value)) <= 300
    assert isinstance(caught.value, ErrorFrame) is meaning.startswith(("CursorTooOld", "Redirect", "eee"))
    await asyncio.sleep(0.05)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_server_that_hangs_up_without_a_word(raw: Any) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    with pytest.raises((Dropped, OSError)):
        await open_line(f"ws://127.0.0.1:{await raw.start(talk, opens=False)}/", new_line(), headers={})
