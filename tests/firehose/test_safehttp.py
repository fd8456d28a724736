"""The safe client against servers that misbehave, and what it connects to (P206)."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from core.errors import Crowded, RateLimited, Unreachable, UnsafeHost
from firehose.guard import Guard, Origin
from firehose.safehttp import GuardedHttp


@pytest.fixture
async def http(clock: Any) -> Any:
    client = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="earmark-test (+https://example.com)")
    yield client
    await client.close()


async def test_an_answer_within_the_caps(http: GuardedHttp, serve: Any) -> None:
    seen: dict[str, str] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(request.headers)
        return web.json_response({"q": request.query["q"]}, headers={"X-Note": "1"}, status=201)

    base = await serve(handler)
    answer = await http.get(f"{base}/x", params={"q": "a b"}, headers={"X-Own": "2"})
    assert (answer.status, answer.body, answer.headers["x-note"]) == (201, b'{"q": "a b"}', "1")
    assert (seen["Host"], seen["User-Agent"]) == (base[7:], "earmark-test (+https://example.com)")
    assert (seen["Accept-Encoding"], seen["X-Own"]) == ("identity", "2")


async def test_redirects_are_answers(http: GuardedHttp, serve: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest"})

    assert (await http.get(await serve(handler))).status == 302


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 10_000)


async def slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b"x")
        await asyncio.sleep(0.05)
    return response


async def zipped(request: web.Request) -> web.Response:
    return web.Response(body=gzip.compress(b"x" * 10_000_000), headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    ("handler", "words"), [(endless, "more than 50000"), (slow, "within 0.3"), (zipped, "compressed")]
)
async def test_caps(http: GuardedHttp, serve: Any, handler: Any, words: str) -> None:
    with pytest.raises(Unreachable, match=words):
        await http.get(await serve(handler), max_bytes=50_000, timeout_seconds=0.3)


@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [(429, {"Retry-After": "7"}, 7), (503, {"Retry-After": "9"}, 9), (429, {}, 10), (503, {}, 10)],
)
async def test_P176_rate_limits_are_told_apart_and_heeded(
    http: GuardedHttp, serve: Any, status: int, headers: dict[str, str], pause: float
) -> None:
    asked = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=status, headers=headers)

    base = await serve(handler)
    with pytest.raises(RateLimited) as caught:
        await http.get(base)
    assert caught.value.retry_after_seconds == pytest.approx(pause, abs=1)
    with pytest.raises(Crowded):
        await http.get(base)
    assert asked == 1


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "https://localhost.evil.local/", "http://example.com/", "https://127.0.0.2/"]
)
async def test_unsafe_urls_are_refused(http: GuardedHttp, url: str) -> None:
    with pytest.raises(UnsafeHost):
        await http.get(url)


async def test_without_permission_loopback_is_refused(clock: Any, serve: Any) -> None:
    client = GuardedHttp(Guard(), clock=clock, user_agent="x")
    with pytest.raises(UnsafeHost):
        await client.get(await serve(slow))
    await client.close()


async def test_a_closed_port_and_nonsense_are_unreachable(http: GuardedHttp) -> None:
    with pytest.raises(Unreachable):
        await http.get("http://127.0.0.1:1/")

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"this is not http\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    with pytest.raises(Unreachable):
        await http.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    server.close()


async def test_proxies_in_the_environment_are_ignored(serve: Any, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="direct")

    client = GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="x")
    assert (await client.get(await serve(handler))).body == b"direct"
    await client.close()


class Pinning(Guard):
    """Sends a public name to a port on loopback, as the vetting would pin it to a public address."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.asked = 0
        self.port = port

    def check(self, url: str) -> Origin:
        return Origin("https", "pds.example.com", self.port)

    async def addresses(self, host: str) -> list[str]:
        self.asked += 1
        return ["127.0.0.3", "127.0.0.1"]  # nobody listens on the first


@pytest.mark.parametrize("named", ["pds.example.com", "other.example.com"])
async def test_P206_tls_is_checked_against_the_name_while_connecting_to_the_vetted_address(
    kit: Any, clock: Any, serve: Any, tmp_path: Path, named: str
) -> None:
    pem = kit.certificate(tmp_path, named)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    trusting = ssl.create_default_context(cafile=pem)
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Host"])
        return web.Response(text="ok")

    port = int((await serve(handler, ssl_context=server)).rpartition(":")[2])
    guard = Pinning(port)
    client = GuardedHttp(guard, clock=clock, user_agent="x", verify=trusting)
    if named == "pds.example.com":
        answer = await client.get(f"https://pds.example.com:{port}/")
        assert (answer.body, seen, guard.asked) == (b"ok", [f"pds.example.com:{port}"], 1)
    else:
        with pytest.raises(Unreachable):
            await client.get(f"https://pds.example.com:{port}/")
        assert seen == []
    await client.close()
