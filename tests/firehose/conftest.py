"""A signed repository, servers on loopback, and a quiet log: what the tests of this room share."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from core.clock import SystemClock
from core.dagcbor import RAW, cid_bytes, cid_of, cid_text, encode
from core.errors import UnknownDid
from core.keys import SigningKey
from core.log import Log
from core.ports import Identity
from core.types import Did, make_tid
from core.xrpc import message_frame
from firehose.car import Car
from firehose.mst import Tree
from store import Store

START_US = 1_700_000_000_000_000
TRACK = "fm.plyr.track"
POST = "app.bsky.feed.post"


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

    def __init__(self, name: str = "artist", seed: int = 1) -> None:
        self.did = Did("did:plc:" + (name + "2" * 24)[:24])
        self.key = SigningKey(bytes([seed]) * 32)
        empty = encode({"l": None, "e": []})
        self._tree = Tree(Car(b"", {cid_bytes(empty): memoryview(empty)}), cid_bytes(empty))
        self._records: dict[str, bytes] = {}
        self._commits = 0
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
            ops.append({"action": action, "path": path, "cid": cid} | ({} if old is None else {"prev": old}))
        self._commits += 1
        self.rev = make_tid(START_US + self._commits)
        data = self._tree.root_cid(blocks)
        unsigned = {"did": self.did, "version": 3, "data": data, "rev": self.rev, "prev": None}
        commit = encode(unsigned | {"sig": self.key.sign(encode(unsigned))})
        root = cid_bytes(commit)
        blocks[root] = commit
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


class Kit:
    """Builders, as one fixture (test modules cannot import each other)."""

    TRACK, POST, START_US = TRACK, POST, START_US
    Repo, KnownIdentities = Repo, KnownIdentities
    write_car, audio_blob, track_record = staticmethod(write_car), staticmethod(audio_blob), staticmethod(track_record)
    cid_of, cid_text = staticmethod(cid_of), staticmethod(cid_text)


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
def shared_data() -> Path:
    folder = Path(os.environ.get("EARMARK_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    if not folder.exists():
        pytest.skip(f"shared data is not at {folder}")
    return folder
