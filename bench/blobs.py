"""Audio from a host to a verified file: by our fetcher, and as the SDK's clients do it.

A host in a process of its own sends the same bytes to all, over TLS as every host of the network does; rounds
alternate. Ours does all that it does for a track: vets the address, waits for its turn, streams to a private file,
counts, hashes and compares with the CID. The peer asks the SDK (httpx inside) for the blob, hashes it and writes it.
`..._streamed` has a peer that would not hold the whole of it in memory: httpx alone, streaming, hashing and writing as
it goes. CPU seconds are those of the fetching process; most of ours are decryption, the hash and the file's pages.
Goal: ratio 2.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.worker import Worker, serve

SIZES = {"song": 8_000_000, "album_side": 50_000_000}  # bytes: five minutes of MP3, and as much as Bluesky's hosts take
ROUNDS = 25
_SIZE = re.compile(r"size-(\d+)")
_RAW_SHA256 = b"\x01\x55\x12\x20"  # what the CID of a blob begins with
_PIECE = bytes(range(256)) * 4096  # 1 MiB, over and over


def run(*, short: bool) -> dict[str, Any]:
    """Megabytes a CPU second by size of the blob; `mb_per_cpu_second` is a song's."""
    sizes = {"song": SIZES["song"]} if short else SIZES
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        certificate = _write_certificate(Path(folder, "host.pem"))
        command = [sys.executable, "-m", "bench.blobs", "host", str(certificate)]
        host = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert host.stdout is not None
            origin = f"https://localhost:{host.stdout.readline().strip()}"
            rates = {
                name: _compare(str(certificate), origin, size, rounds=10 if short else ROUNDS)
                for name, size in sizes.items()
            }
        finally:
            host.kill()
            host.wait()
    metrics, peer = {}, {}
    for name, rate in rates.items():
        key = "mb_per_cpu_second" + ("" if name == "song" else f"_{name}")
        metrics |= {key: rate["ours"], f"{key}_streamed": rate["ours"]}
        peer |= {key: rate["sdk"], f"{key}_streamed": rate["httpx"]}
    return {"metrics": metrics, "peer": peer, "ratio": {key: round(metrics[key] / peer[key], 2) for key in metrics}}


def _compare(certificate: str, origin: str, size: int, *, rounds: int) -> dict[str, float]:
    spent: dict[str, list[float]] = {who: [] for who in CLIENTS}
    with ExitStack() as stack:
        workers = {who: stack.enter_context(Worker("bench.blobs", who, certificate, origin)) for who in CLIENTS}
        for worker in workers.values():
            worker.ask(size=size)  # imports, connections, the file system's cache
        for _ in range(rounds):
            for who, worker in workers.items():
                spent[who].append(worker.ask(size=size))
    # The least disturbed round: on a busy machine the pieces that arrive get smaller, and each costs.
    return {who: round(size / 1e6 / min(seconds), 1) for who, seconds in spent.items()}


def _write_certificate(path: Path) -> Path:
    """Key and certificate of a host on loopback, for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem),
    )
    return path


# --- inside the processes ----------------------------------------------------------------------------------------


async def _host(certificate: str) -> None:
    """As little HTTP as will do: `size-...` somewhere in the address is the number of bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                left = int(_SIZE.findall(head)[0])
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: {left}\r\n\r\n".encode())
                while left:
                    piece = _PIECE[:left]
                    writer.write(piece)
                    left -= len(piece)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _digest(size: int) -> bytes:
    hashed = hashlib.sha256()
    while size:
        size -= len(piece := _PIECE[:size])
        hashed.update(piece)
    return hashed.digest()


Fetch = Callable[[int, bytes], Awaitable[None]]


def _serve(opened: AbstractAsyncContextManager[Fetch]) -> None:
    """What it opens gets one blob of that size, whose SHA-256 must be that."""
    digests: dict[int, bytes] = {}
    with asyncio.Runner() as runner:
        fetch = runner.run(opened.__aenter__())

        def answer(*, size: int) -> float:
            digest = digests.setdefault(size, _digest(size))
            began = time.process_time()
            runner.run(_once(fetch, size, digest))
            return time.process_time() - began

        serve(answer)
        runner.run(opened.__aexit__(None, None, None))


async def _once(fetch: Fetch, size: int, digest: bytes) -> None:
    await fetch(size, digest)


@asynccontextmanager
async def _ours(origin: str) -> AsyncIterator[Fetch]:
    from core.clock import SystemClock
    from core.dagcbor import cid_text
    from core.ports import Identity
    from core.types import AtUri, BlobRef, Did, Tid, Track
    from firehose.blob import AudioFetcher
    from firehose.guard import Guard

    class Knows:
        async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
            return Identity(Did(did), pds=origin)

        def forget(self, did: str) -> None: ...

    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        guard, clock = Guard(allow_loopback=True), SystemClock()
        async with AudioFetcher(Knows(), guard, folder=Path(folder), clock=clock, user_agent="bench") as fetcher:

            async def fetch(size: int, digest: bytes) -> None:
                uri = AtUri.parse(f"at://did:web:size-{size}/fm.plyr.track/3kaaaaaaaaaa2")
                blob = BlobRef(cid_text(_RAW_SHA256 + digest), "audio/mpeg", size)
                async with fetcher.fetch(Track(uri, blob.cid, Tid(uri.rkey), "T", 0, blob=blob)) as path:
                    assert path.stat().st_size == size

            yield fetch


@asynccontextmanager
async def _sdk(origin: str) -> AsyncIterator[Fetch]:
    from atproto import AsyncClient

    client = AsyncClient(origin)

    async def fetch(size: int, digest: bytes) -> None:
        found = await client.com.atproto.sync.get_blob({"did": f"did:web:size-{size}", "cid": "bafkrei"})
        assert hashlib.sha256(found).digest() == digest
        with tempfile.NamedTemporaryFile(prefix="earmark-bench-") as file:
            file.write(found)

    yield fetch


@asynccontextmanager
async def _httpx(origin: str) -> AsyncIterator[Fetch]:
    import httpx

    async with httpx.AsyncClient() as client:

        async def fetch(size: int, digest: bytes) -> None:
            hashed = hashlib.sha256()
            with tempfile.NamedTemporaryFile(prefix="earmark-bench-") as file:
                async with client.stream("GET", f"{origin}/size-{size}") as response:
                    response.raise_for_status()
                    async for chunk in response.aiter_bytes():
                        hashed.update(chunk)
                        file.write(chunk)
            assert hashed.digest() == digest

        yield fetch


CLIENTS = {"ours": _ours, "sdk": _sdk, "httpx": _httpx}

if __name__ == "__main__":
    if sys.argv[1] == "host":
        asyncio.run(_host(sys.argv[2]))
    else:
        os.environ["SSL_CERT_FILE"] = sys.argv[2]  # the one certificate that all of them trust
        _serve(CLIENTS[sys.argv[1]](sys.argv[3]))
