"""Audio from servers that misbehave: typed outcomes, and nothing stays on disk (P181-P191)."""

from __future__ import annotations

import asyncio
import gzip
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from core.dagcbor import RAW, cid_of
from core.errors import (
    AccountAway,
    BlobGone,
    BlobMismatch,
    BlobTooLarge,
    Crowded,
    Deadline,
    DiskFull,
    NoAudio,
    RateLimited,
    UnknownDid,
    Unreachable,
    UnsafeHost,
)
from core.ports import Identity
from core.types import AtUri, BlobRef, Track
from firehose.blob import AudioFetcher, remove_stale_files
from firehose.download import Downloader, FetchLimits, Promise
from firehose.guard import Guard
from firehose.manners import Manners
from firehose.safehttp import GuardedHttp

DID = "did:plc:artist222222222222222222"
SOUND = bytes(range(256)) * 4000  # about 1 MB
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def track(data: bytes = SOUND, size: int | None = -1, **fields: Any) -> Track:
    blob = BlobRef(cid_of(data, RAW), "audio/mpeg", len(data) if size == -1 else size)
    uri = AtUri.parse(f"at://{DID}/fm.plyr.track/3kaaaaaaaaaa2")
    return Track(uri, "cid", "3kaaaaaaaaaa2", "T", 0, **({"blob": blob} | fields))


class Bench:
    """A fetcher of one account's blobs from one handler."""

    def __init__(self, kit: Any, serve: Any, folder: Path, clock: Any) -> None:
        self.kit, self.serve, self.folder, self.clock = kit, serve, folder, clock
        self.directory = kit.KnownIdentities()

    async def fetch(self, handler: Handler | None, wanted: Track, **limits: Any) -> bytes:
        if handler is not None:
            self.directory.known[DID] = Identity(DID, pds=await self.serve(handler))
        async with self.fetcher(**limits) as fetcher, fetcher.fetch(wanted) as path:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            return path.read_bytes()

    def fetcher(self, manners: Manners | None = None, **limits: Any) -> AudioFetcher:
        return AudioFetcher(
            self.directory,
            Guard(allow_loopback=True),
            folder=self.folder,
            clock=self.clock,
            user_agent="earmark-test (+https://example.com)",
            manners=manners,
            limits=FetchLimits(**limits),
        )


@pytest.fixture
def bench(kit: Any, serve: Any, tmp_path: Path, clock: Any) -> Any:
    made = Bench(kit, serve, tmp_path / "audio", clock)
    yield made
    assert list(made.folder.iterdir() if made.folder.exists() else ()) == []  # whatever happened


async def good(request: web.Request) -> web.Response:
    return web.Response(body=SOUND)


async def test_P181_P182_a_blob_is_fetched_and_verified(bench: Bench) -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(
            (request.path, dict(request.query), request.headers["Accept-Encoding"], request.headers["User-Agent"])
        )
        return await good(request)

    assert await bench.fetch(handler, track()) == SOUND
    query = {"did": DID, "cid": cid_of(SOUND, RAW)}
    agent = "earmark-test (+https://example.com)"
    assert seen == [("/xrpc/com.atproto.sync.getBlob", query, "identity", agent)]


async def test_P185_without_a_declared_size_the_cap_counts(bench: Bench) -> None:
    assert await bench.fetch(good, track(size=None)) == SOUND
    with pytest.raises(BlobTooLarge):
        await bench.fetch(good, track(size=None), max_bytes=len(SOUND) - 1)


async def test_a_disk_without_room_is_neither_the_hosts_fault_nor_the_audios(bench: Bench, serve: Any) -> None:
    """/dev/full takes no byte: it stands for the temporary file."""
    url, manners = await serve(good), Manners(bench.clock)
    downloader = Downloader(
        Guard(allow_loopback=True), manners, clock=bench.clock, user_agent="earmark-test", limits=FetchLimits()
    )
    async with downloader:
        with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(DiskFull) as caught:
            await downloader.download(url, file, Promise())
    assert caught.value.patient
    (host,) = manners.hosts()
    assert host.failures == {}
    bench.folder.mkdir()
    async with bench.fetcher() as fetcher:
        bench.folder.rmdir()
        with pytest.raises(DiskFull):
            async with fetcher.fetch(track()):
                pass


async def test_a_url_is_fetched_without_cid(bench: Bench, serve: Any) -> None:
    url = await serve(good)
    assert await bench.fetch(None, track(blob=None, audio_url=f"{url}/a.mp3")) == SOUND


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 100_000)


async def broken_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(SOUND))})
    await response.prepare(request)
    await response.write(SOUND[:1000])
    request.transport.close()
    return response


async def dripping(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for byte in SOUND:
        await response.write(bytes([byte]))
        await asyncio.sleep(0.02)
    return response


async def stalled(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"x")
    await asyncio.sleep(5)
    return response


def answering(status: int = 200, body: bytes = b"", **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(
            status=status, body=body, headers={name.replace("_", "-"): v for name, v in headers.items()}
        )

    return handler


@pytest.mark.parametrize(
    ("handler", "error", "limits"),
    [
        (endless, BlobTooLarge, {}),
        (good, BlobTooLarge, {"max_bytes": 1000}),
        (answering(body=SOUND[:-1]), BlobMismatch, {}),
        (answering(body=b"y" + SOUND[1:]), BlobMismatch, {}),
        (answering(body=b""), BlobMismatch, {}),
        (answering(body=gzip.compress(SOUND), Content_Encoding="gzip"), BlobMismatch, {}),
        (answering(400, b'{"error":"InvalidRequest","message":"Blob not found"}'), BlobGone, {}),
        (answering(404), BlobGone, {}),
        (answering(401), BlobGone, {}),
        (answering(429), RateLimited, {}),
        (answering(503), RateLimited, {}),
        (answering(500), Unreachable, {}),
        (answering(206, SOUND), Unreachable, {}),
        (broken_off, Unreachable, {}),
        (stalled, Unreachable, {"stall_seconds": 0.2}),
        (dripping, Deadline, {"deadline_seconds": 0.4}),
        (answering(302, Location="http://10.0.0.1/latest"), UnsafeHost, {}),
        (answering(302, Location="https://169.254.169.254/latest"), UnsafeHost, {}),
        (answering(307, Location="file:///etc/passwd"), UnsafeHost, {}),
        (answering(302, Location="https://[x"), UnsafeHost, {}),
        (answering(302, Location="/again"), Unreachable, {}),
        (answering(302), Unreachable, {}),
    ],
)
async def test_P183_P184_P186_P187_misbehaviour_is_typed(
    bench: Bench, handler: Handler, error: Any, limits: Any
) -> None:
    with pytest.raises(error):
        await bench.fetch(handler, track(), **limits)


async def test_P187_three_redirects_are_followed_and_the_cid_still_counts(bench: Bench) -> None:
    def stairs(steps: int, body: bytes) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            done = int(request.query.get("step", 0))
            if done == steps:
                return web.Response(body=body)
            return web.Response(status=302, headers={"Location": f"/step?step={done + 1}"})

        return handler

    assert await bench.fetch(stairs(3, SOUND), track()) == SOUND
    with pytest.raises(Unreachable, match="redirects"):
        await bench.fetch(stairs(4, SOUND), track())
    with pytest.raises(BlobMismatch):
        await bench.fetch(stairs(1, SOUND[::-1]), track())


async def test_P206_a_name_that_resolves_to_a_private_address_is_refused(bench: Bench) -> None:
    class Rebinding:
        async def addresses(self, host: str) -> list[str]:
            return ["127.0.0.1"]

    fetcher = AudioFetcher(
        bench.directory, Guard(resolver=Rebinding()), folder=bench.folder, clock=bench.clock, user_agent="x"
    )
    bench.directory.known[DID] = Identity(DID, pds="https://pds.example.com")
    async with fetcher:
        with pytest.raises(UnsafeHost, match=r"127\.0\.0\.1"):
            async with fetcher.fetch(track()):
                pass


async def test_P206_without_permission_loopback_is_refused(bench: Bench, serve: Any) -> None:
    bench.directory.known[DID] = Identity(DID, pds=await serve(good))
    fetcher = AudioFetcher(bench.directory, Guard(), folder=bench.folder, clock=bench.clock, user_agent="x")
    async with fetcher:
        with pytest.raises(UnsafeHost):
            async with fetcher.fetch(track()):
                pass


async def test_what_has_no_audio_or_no_pds_is_not_asked_for(bench: Bench) -> None:
    with pytest.raises(NoAudio):
        await bench.fetch(None, track(blob=None))
    with pytest.raises(NoAudio):
        await bench.fetch(None, track(gated=True))
    with pytest.raises(NoAudio):
        await bench.fetch(None, track(blob=BlobRef(cid_of(SOUND), "audio/mpeg", 5)))
    with pytest.raises(UnknownDid):
        await bench.fetch(None, track())
    bench.directory.known[DID] = Identity(DID)
    with pytest.raises(UnknownDid, match="no PDS"):
        await bench.fetch(None, track())


@pytest.mark.parametrize("body", [b"", b'{"error":"RepoDeactivated"}'])
async def test_P181_an_account_that_moved_is_found_at_its_new_pds(bench: Bench, serve: Any, body: bytes) -> None:
    old, new = await serve(answering(400, body)), await serve(good)

    class Moving:
        async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
            return Identity(DID, pds=new if refresh else old)

        def forget(self, did: str) -> None: ...

    bench.directory = Moving()
    assert await bench.fetch(None, track()) == SOUND


async def test_cancellation_removes_the_file(bench: Bench, serve: Any) -> None:
    bench.directory.known[DID] = Identity(DID, pds=await serve(stalled))
    async with bench.fetcher() as fetcher:

        async def fetch() -> None:
            async with fetcher.fetch(track()):
                raise AssertionError("never gets this far")

        task = asyncio.create_task(fetch())
        while not list(bench.folder.glob("*")):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(bench.folder.iterdir()) == []


async def test_an_error_of_the_listener_removes_the_file(bench: Bench, serve: Any) -> None:
    bench.directory.known[DID] = Identity(DID, pds=await serve(good))
    async with bench.fetcher() as fetcher:
        with pytest.raises(ZeroDivisionError):
            async with fetcher.fetch(track()):
                raise ZeroDivisionError


async def test_P190_at_most_two_downloads_from_a_host_at_once(bench: Bench, serve: Any) -> None:
    now, most = 0, 0

    async def counting(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        return web.Response(body=SOUND)

    url = await serve(counting)
    async with bench.fetcher(manners=Manners(bench.clock, own=frozenset())) as fetcher:

        async def fetch(number: int) -> None:
            async with fetcher.fetch(track(blob=None, audio_url=f"{url}/{number}")):
                pass

        await asyncio.gather(*(fetch(number) for number in range(5)))
    assert most == 2


async def test_P190_one_accounts_audio_is_in_one_hand_at_a_time(bench: Bench, serve: Any) -> None:
    bench.directory.known[DID] = Identity(DID, pds=await serve(good))
    async with bench.fetcher() as fetcher:
        async with fetcher.fetch(track()):
            with pytest.raises(Crowded):
                async with fetcher.fetch(track()):
                    pass
            async with fetcher.fetch(track(size=None, blob=None, audio_url=await serve(good))):
                pass
        async with fetcher.fetch(track()) as path:
            assert path.exists()


async def test_P176_a_host_that_asked_for_a_pause_is_not_asked_meanwhile(bench: Bench, serve: Any) -> None:
    asked = 0

    async def busy(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=429, headers={"Retry-After": "60"})

    bench.directory.known[DID] = Identity(DID, pds=await serve(busy))
    async with bench.fetcher() as fetcher:
        for error in (RateLimited, Crowded, Crowded):
            with pytest.raises(error) as caught:
                async with fetcher.fetch(track()):
                    pass
            assert caught.value.retry_after_seconds > 50
    assert asked == 1


async def test_P176_documents_and_audio_from_one_host_share_its_pauses(bench: Bench, serve: Any) -> None:
    url = await serve(answering(429, Retry_After="60"))
    manners = Manners(bench.clock)
    http = GuardedHttp(Guard(allow_loopback=True), clock=bench.clock, user_agent="x", manners=manners)
    with pytest.raises(RateLimited):
        await http.get(url)
    await http.close()
    async with bench.fetcher(manners=manners) as fetcher:
        with pytest.raises(Crowded):
            async with fetcher.fetch(track(blob=None, audio_url=f"{url}/a.mp3")):
                pass
    assert [(host.host, host.requests, host.failures) for host in manners.hosts()] == [
        (url.removeprefix("http://"), 1, {"rate_limited": 1})
    ]


@pytest.mark.parametrize(
    ("name", "status"),
    [("RepoTakendown", "takendown"), ("RepoSuspended", "suspended"), ("RepoDeactivated", "deactivated")],
)
async def test_P177_a_host_says_what_became_of_the_account(bench: Bench, name: str, status: str) -> None:
    body = b'{"error":"%s","message":"gone fishing"}' % name.encode()
    with pytest.raises(AccountAway) as caught:
        await bench.fetch(answering(400, body), track())
    assert caught.value.status == status


@pytest.mark.parametrize(
    "body", [b'{"error":"RepoNotFound"}', b'{"error":["RepoTakendown"]}', b"[]", b"{" * 5000, b"x" * 100_000, b"\xff"]
)
async def test_P153_P186_other_refusals_say_nothing_of_the_account(bench: Bench, body: bytes) -> None:
    with pytest.raises(BlobGone):
        await bench.fetch(answering(400, body), track())


async def test_files_that_dead_processes_left_are_removed_at_start(bench: Bench) -> None:
    bench.folder.mkdir()
    for name in (f"earmark-audio-{os.getpid()}-a", "earmark-audio-4194303999-b", "earmark-audio-x"):
        (bench.folder / name).write_bytes(b"left")
    # A number that the system gave to another process meanwhile says nothing: the store's lock makes the folder ours.
    (bench.folder / f"earmark-audio-{os.getppid()}-c").write_bytes(b"left")
    async with bench.fetcher():
        assert list(bench.folder.iterdir()) == []
    assert remove_stale_files(bench.folder) == 0
