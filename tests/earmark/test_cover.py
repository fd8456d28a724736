"""A track's picture is fetched from hosts that may be hostile: nothing but a small picture comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from core.clock import SystemClock
from core.errors import AppError, UnsafeHost
from core.ports import Identity
from core.types import Did
from earmark.cover import fetch_cover
from earmark.demo.show import free_port
from earmark.pictures import MAX_BYTES
from firehose.guard import Guard
from firehose.safehttp import GuardedHttp
from tests.earmark.test_pictures import jpeg, png

ARTIST = Did("did:plc:" + "a" * 24)
CID = "bafkreiabc"
BLOB = "/xrpc/com.atproto.sync.getBlob"


class Host:
    """An artist's PDS, and their directory."""

    def __init__(self, url: str, http: GuardedHttp) -> None:
        self.url, self.http = url, http
        self.answer: tuple[int, bytes] = (200, png(300, 300))
        self.asked: list[dict[str, str]] = []

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append({"path": request.path, **request.query})
        status, body = self.answer
        return web.Response(status=status, body=body, headers={"Location": self.url} if status == 302 else {})

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        return Identity(Did(did), pds=self.url, signing_key=None)

    def forget(self, did: str) -> None:
        raise AssertionError("a cover is no reason to forget who somebody is")

    async def cover(self, **record: Any) -> Any:
        return await fetch_cover(self.http, self, ARTIST, record)


def blob(cid: Any = CID) -> dict[str, Any]:
    return {"$type": "blob", "ref": {"$link": cid}, "mimeType": "image/png", "size": 1}


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    port, clock = free_port(0), SystemClock()
    host = Host(f"http://localhost:{port}", GuardedHttp(Guard(allow_loopback=True), clock=clock, user_agent="test"))
    app = web.Application()
    app.router.add_get("/{path:.*}", host.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield host
    await host.http.close()
    await runner.cleanup()


@pytest.mark.parametrize("field", ["coverArt", "image", "thumb"])
async def test_a_blob_of_the_artists_repository(host: Host, field: str) -> None:
    picture = await host.cover(**{field: blob()})
    assert (picture.content, picture.mime) == (png(300, 300), "image/png")
    assert host.asked == [{"path": BLOB, "did": ARTIST, "cid": CID}]


async def test_the_type_is_what_the_bytes_say(host: Host) -> None:
    host.answer = (200, jpeg(300, 300))
    assert (await host.cover(image=blob())).mime == "image/jpeg"


@pytest.mark.parametrize("body", [b"<svg onload='alert(1)'/>", b"", png(100_000, 100_000), b"\x89PNG\r\n\x1a\n"])
async def test_what_is_no_picture_is_none(host: Host, body: bytes) -> None:
    host.answer = (200, body)
    assert await host.cover(image=blob()) is None


@pytest.mark.parametrize(
    "answer", [(200, png(300, 300) + bytes(MAX_BYTES)), (302, b""), (404, b"{}"), (500, png(300, 300)), (429, b"")]
)
async def test_too_much_and_trouble_are_errors_that_a_post_goes_without(host: Host, answer: tuple[int, bytes]) -> None:
    """A redirect is not followed: it may lead anywhere."""
    host.answer = answer
    with pytest.raises(AppError):
        await host.cover(image=blob())
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/x", "https://10.0.0.1/x.png", "https://host.internal/x", "https://a.example:22/x"]
)
async def test_p206_no_address_inside_is_asked(host: Host, url: str) -> None:
    with pytest.raises(UnsafeHost):
        await host.cover(imageUrl=url)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"imageUrl": "http://a.example/x"},
        {"imageUrl": "file:///etc/passwd"},
        {"image": 7},
        {"image": ["https://a.example"]},
        {"image": {"ref": "x"}},
        {"image": {"ref": {"$link": ["x"]}}},
        {"image": blob(None)},
    ],
)
async def test_a_record_that_names_none(host: Host, record: dict[str, Any]) -> None:
    assert await host.cover(**record) is None
    assert host.asked == []


async def test_what_stands_for_a_cid_leads_nowhere_else(host: Host) -> None:
    host.answer = (400, b"{}")
    with pytest.raises(AppError):
        await host.cover(image=blob("../../x?did=y&cid=z#"))
    assert host.asked == [{"path": BLOB, "did": ARTIST, "cid": "../../x?did=y&cid=z#"}]
