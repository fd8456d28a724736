"""A signed repository, servers on loopback, and a quiet log: what the tests of this room share."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.analysis import Analysis, Space, Verdict, VerdictStatus, generation_of
from core.clock import SystemClock
from core.dagcbor import RAW, SEAL, cid_bytes, cid_of, cid_text, encode, encode_signed
from core.datamodel import to_json_form
from core.errors import UnknownDid
from core.keys import SigningKey
from core.log import Log
from core.ports import Identity
from core.types import Did, Nsid, TrackState, Visibility, make_tid
from core.xrpc import message_frame
from firehose.apply import Applier
from firehose.car import Car
from firehose.events import Event, Operation, RecordEvent, SeenEvent
from firehose.listings import Listings
from firehose.mapping import load_mapping
from firehose.mst import Tree
from firehose.pulse import Pulse
from firehose.source import Source
from store import Store, analyses, labels, tracks, wishes

START_US = 1_700_000_000_000_000
TRACK = "fm.plyr.track"
POST = "app.bsky.feed.post"
ARTIST = "did:plc:artist222222222222222222"


def write_car(root: bytes, blocks: Mapping[bytes, bytes]) -> bytes:
    """A CAR v1, the root last, as some hosts write it."""

    def section(body: bytes) -> bytes:
        length, prefix = len(body), bytearray()
        while length >= 128:
            prefix.append(length & 127 | 128)
            length >>= 7
        return bytes((*prefix, length)) + body

    ordered = sorted(blocks.items(), key=lambda pair: pair[0] == root)
    return section(encode({"roots": [root], "version": 1})) + b"".join(section(cid + block) for cid, block in ordered)


class Repo:
    """One account's repository with real signed commits. `frame` makes the next `#commit`."""

    def __init__(self, name: str = "artist", seed: int = 1, start_us: int = START_US) -> None:
        self.did = Did("did:plc:" + (name + "2" * 24)[:24])
        self.key = SigningKey(bytes([seed]) * 32)
        empty = encode({"l": None, "e": []})
        self._tree = Tree(Car(b"", {cid_bytes(empty): memoryview(empty)}), cid_bytes(empty))
        self._records: dict[str, bytes] = {}
        self._blocks: dict[bytes, bytes] = {}  # of all records that ever were
        self._commits, self._start_us = 0, start_us
        self.rev = ""

    def identity(self, pds: str | None = None) -> Identity:
        return Identity(self.did, pds=pds, signing_key=self.key.public)

    def body(self, seq: int, *operations: tuple[str, str, Any]) -> dict[str, Any]:
        """A `#commit` body for (action, path, record) operations."""
        since, before, blocks, ops = self.rev or None, self._tree.root_cid(), {}, []
        for action, path, record in operations:
            old = self._records.get(path)
            block = b"" if record is None else encode(record)
            cid = None if record is None else cid_bytes(block)
            if action == "create":
                self._tree.insert(path.encode(), cid)
            elif action == "update":
                self._tree.replace(path.encode(), old, cid)
            else:
                self._tree.remove(path.encode(), old)
            if cid is None:
                del self._records[path]
            else:
                self._records[path], blocks[cid] = cid, block
                self._blocks[cid] = block
            ops.append({"action": action, "path": path, "cid": cid} | ({} if old is None else {"prev": old}))
        root = self._commit(blocks)
        return {
            "seq": seq,
            "repo": self.did,
            "commit": root,
            "rev": self.rev,
            "since": since,
            "prevData": before,
            "blocks": write_car(root, blocks),
            "ops": ops,
            "blobs": [],
            "rebase": False,
            "tooBig": False,
            "time": "2026-01-02T03:04:05.000Z",
        }

    def _commit(self, blocks: dict[bytes, bytes]) -> bytes:
        """Sign the tree as it is; `blocks` receives it. The CID of the commit."""
        self._commits += 1
        self.rev = make_tid(self._start_us + self._commits)
        self.data = self._tree.root_cid(blocks)
        unsigned = {"did": self.did, "version": 3, "data": self.data, "rev": self.rev, "prev": None}
        self._head = encode_signed(unsigned | {"sig": SEAL}, [self.key.sign(encode(unsigned))])
        root = cid_bytes(self._head)
        blocks[root] = self._head
        return root

    def sync(self, seq: int) -> dict[str, Any]:
        """A `#sync` body after a commit that nobody is told of otherwise."""
        blocks: dict[bytes, bytes] = {}
        root = self._commit(blocks)
        archive = write_car(root, {root: self._head})
        return {"seq": seq, "did": self.did, "rev": self.rev, "blocks": archive, "time": "2026-01-02T03:04:05.000Z"}

    def proof(self, path: str) -> bytes:
        """The archive that com.atproto.sync.getRecord answers with: commit, tree, and the record if there is one."""
        blocks = {cid_bytes(self._head): self._head}
        self._tree.root_cid(blocks)
        if path in self._records:
            blocks[self._records[path]] = self._blocks[self._records[path]]
        return write_car(cid_bytes(self._head), blocks)

    def frame(self, seq: int, *operations: tuple[str, str, Any]) -> bytes:
        return message_frame("#commit", self.body(seq, *operations))


class KnownIdentities:
    """A directory of the accounts that a test names; counts look-ups."""

    def __init__(self, *identities: Identity) -> None:
        self.known = {identity.did: identity for identity in identities}
        self.asked: list[tuple[str, bool]] = []
        self.forgotten: list[str] = []

    async def resolve(self, did: str, *, refresh: bool = False) -> Identity:
        self.asked.append((did, refresh))
        if did not in self.known:
            raise UnknownDid(did)
        return self.known[Did(did)]

    def forget(self, did: str) -> None:
        self.forgotten.append(did)


def audio_blob(data: bytes, mime: str = "audio/mpeg") -> dict[str, Any]:
    """A blob reference as DAG-CBOR holds it."""
    return {"$type": "blob", "ref": cid_bytes(data, RAW), "mimeType": mime, "size": len(data)}


def track_record(audio: bytes | None = b"sound", **fields: Any) -> dict[str, Any]:
    """A plyr track as its account would sign it."""
    record: dict[str, Any] = {
        "$type": TRACK,
        "title": "A piece",
        "artist": "Somebody",
        "fileType": "mp3",
        "createdAt": "2023-11-14T22:13:20.000Z",
    }
    return record | ({} if audio is None else {"audioBlob": audio_blob(audio)}) | fields


Script = Callable[[web.WebSocketResponse, int | None, int], Awaitable[None]]


class Upstream:
    """A websocket server that plays a script: (socket, cursor asked for, number of the connection)."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.cursors: list[int | None] = []
        self.queries: list[Any] = []

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        cursor = request.query.get("cursor")
        self.cursors.append(None if cursor is None else int(cursor))
        self.queries.append(request.query)
        socket = web.WebSocketResponse(max_msg_size=0, autoping=True)
        await socket.prepare(request)
        with suppress(ConnectionError):
            await self.script(socket, self.cursors[-1], len(self.cursors))
        return socket


def identity_frame(seq: int) -> bytes:
    """A message that is an event to every reader."""
    body = {"seq": seq, "did": "did:plc:artist222222222222222222", "time": "2026-01-01T00:00:00Z"}
    return message_frame("#identity", body)


async def linger(socket: web.WebSocketResponse) -> None:
    """Stay connected until the client leaves."""
    async for message in socket:
        if message.type is WSMsgType.CLOSE:
            return


async def take(source: Source, count: int, cursor: int | None = None, seconds: float = 10.0) -> list[Event]:
    """The next events of a source but for those that only move the cursor."""
    out: list[Event] = []
    async with asyncio.timeout(seconds), aclosing(source.stream(cursor)) as stream:
        async for event in stream:
            if not isinstance(event, SeenEvent):
                out.append(event)
            if len(out) == count:
                return out
    raise AssertionError("a stream never ends by itself")


def positions(events: list[Event]) -> list[int]:
    return [event.position for event in events]


def certificate(folder: Path, host: str) -> Path:
    """Of a server that vouches for itself: key and certificate in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{host}.pem"
    path.write_bytes(plain + built.public_bytes(encoding))
    return path


def trusted_server(folder: Path, monkeypatch: pytest.MonkeyPatch, host: str = "localhost") -> ssl.SSLContext:
    """What a server of that name needs for this process to trust it."""
    pem, context = certificate(folder, host), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    return context


def ws_frame(opcode: int, data: bytes = b"", *, last: bool = True, reserved: int = 0, masked: bool = False) -> bytes:
    """One websocket frame, which may break every rule there is (RFC 6455, 5.2)."""
    length, mask = len(data), 0x80 if masked else 0
    head = bytes((last << 7 | reserved << 4 | opcode,))
    if length < 126:
        head += bytes((mask | length,))
    else:
        head += (
            bytes((mask | 126,)) + length.to_bytes(2) if length < 65_536 else bytes((mask | 127,)) + length.to_bytes(8)
        )
    return head + bytes(4 if masked else 0) + data


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServers:
    """Servers on loopback that say what a test writes, byte for byte; the requests that they were sent."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._servers: list[asyncio.Server] = []
        self._talks: set[asyncio.Task[Any] | None] = set()

    async def start(
        self, talk: Talk, *, opens: bool = True, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> int:
        """The port. `opens`: agrees to the websocket before it talks."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._talks.add(asyncio.current_task())
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                if opens:
                    writer.write(agreement(self.requests[-1]))
                await talk(reader, writer)
            writer.transport.abort()

        server = await asyncio.start_server(answer, host, 0, ssl=tls)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._talks - {None}:
            task.cancel()  # type: ignore[union-attr]
        await asyncio.gather(*self._talks, return_exceptions=True)  # type: ignore[arg-type]


def agreement(request: str) -> bytes:
    """The answer to a handshake (RFC 6455, 4.2.2)."""
    key = next(line.split()[1] for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key:"))
    accepted = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n"


class Kit:
    """Builders, as one fixture (test modules cannot import each other)."""

    TRACK, POST, START_US = TRACK, POST, START_US
    Repo, KnownIdentities = Repo, KnownIdentities
    write_car, audio_blob, track_record = staticmethod(write_car), staticmethod(audio_blob), staticmethod(track_record)
    cid_of, cid_text = staticmethod(cid_of), staticmethod(cid_text)
    Upstream, linger, take = Upstream, staticmethod(linger), staticmethod(take)
    identity_frame, positions = staticmethod(identity_frame), staticmethod(positions)
    certificate, trusted_server, ws_frame = map(staticmethod, (certificate, trusted_server, ws_frame))


@pytest.fixture
def kit() -> type[Kit]:
    return Kit


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def log() -> Log:
    return Log(logging.getLogger("earmark.test"))


@pytest.fixture
async def store(tmp_path: Path, clock: SystemClock) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "earmark.db", clock=clock)
    yield opened
    await opened.close()


class Artists:
    """A store that reads the tracks of artists, and whatever else it is told to read."""

    generation = generation_of({"musicnn": "pack"})

    def __init__(self, store: Store, clock: SystemClock, log: Log) -> None:
        self.store, self.clock, self.log = store, clock, log
        self.control: Any = None
        self.read_with()

    def read_with(self, *readers: Any) -> None:
        mine = (Listings(load_mapping(), log=self.log), *readers)
        self.applier = Applier(mine, directory=KnownIdentities(), log=self.log, pulse=Pulse(self.clock))

    async def apply(self, *events: Event) -> None:
        async with self.store.write() as tx:
            await self.applier.apply(tx, events, now_us=self.clock.now_us())

    def wrote(self, number: int, rkey: str = "a", audio: bytes = b"sound", did: str = ARTIST) -> RecordEvent:
        """A plyr track, in the commit of that number."""
        rev, cid = make_tid(START_US + number), cid_of(audio)
        record = to_json_form(track_record(audio))
        return RecordEvent(Did(did), Nsid(TRACK), rkey, rev, Operation.CREATE, cid, record, number)

    async def heard(self, did: str = ARTIST, rkey: str = "a") -> str:
        """As the worker leaves a track that feeds may show; its audio's key."""
        uri, now_us = f"at://{did}/{TRACK}/{rkey}", self.clock.now_us()
        async with self.store.write() as tx:
            stored = await tracks.get(tx, uri)
            assert stored is not None
            key = stored.track.audio_key
            assert key is not None
            await tracks.set_state(tx, uri, TrackState.READY, None, now_us=now_us)
            await tracks.set_visibility(tx, uri, Visibility.PUBLIC, page_url=None, now_us=now_us)
            verdict = Verdict(VerdictStatus.OK, labels=("techno",), rankable=True)
            grounds = {"audio_key": key, "generation": self.generation}
            await labels.put_verdict(tx, uri, verdict, now_us=now_us, **grounds)
            vectors = {Space.MUSICNN_TAGS: np.ones(100, np.float32)}
            await analyses.put_vectors(tx, stored.track_id, self.generation, vectors)
            await analyses.put(tx, key, Analysis({"musicnn": "pack"}, 200.0, -14.0, (), vectors), now_us=now_us)
        return key

    async def stands(self, did: str = ARTIST) -> wishes.Standing:
        async with self.store.read() as reader:
            return await wishes.of(reader, did)

    async def stored(self, rkey: str = "a", did: str = ARTIST) -> Any:
        async with self.store.read() as reader:
            return await tracks.get(reader, f"at://{did}/{TRACK}/{rkey}")

    async def rankable(self) -> list[str]:
        async with self.store.read() as reader:
            return [track.uri for track in await tracks.rankable(reader)]


@pytest.fixture
def artists(store: Store, clock: SystemClock, log: Log) -> Artists:
    return Artists(store, clock, log)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Starts a server on loopback that answers everything with one handler; its `http://127.0.0.1:port`."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler, **site: Any) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        listening = web.TCPSite(runner, "127.0.0.1", 0, **site)
        await listening.start()
        return f"{'https' if site.get('ssl_context') else 'http'}://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def raw() -> AsyncIterator[RawServers]:
    servers = RawServers()
    yield servers
    await servers.stop()


@pytest.fixture
def shared_data() -> Path:
    folder = Path(os.environ.get("EARMARK_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    if not folder.exists():
        pytest.skip(f"shared data is not at {folder}")
    return folder
