"""A generated `subscribeRepos` stream: signed commits with real proofs, of which one in 2 000 is a music record.

The mix of collections is about that of the network; frames have some 4 KB, most of it tree. Commits other than music
are used again and again under new sequence numbers, which costs a reader the same as new ones.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from core.clock import SystemClock, TidClock
from core.dagcbor import cid_of
from core.keys import SigningKey
from core.types import Did, Nsid
from core.xrpc import message_frame
from earmark.demo.repo import Commit, Repo, Write

MUSIC_SHARE = 2_000  # one frame in so many: 0.05 %
TEMPLATES = 300
ACCOUNTS = 8
RECORDS = 2_000  # that each account has already: a young one; the tree is some five layers deep
TIME = "2026-11-20T10:00:00.000Z"
MUSIC = Nsid("fm.plyr.track")
WEIGHTS = {
    "app.bsky.feed.like": 46,
    "app.bsky.graph.follow": 14,
    "app.bsky.feed.post": 13,
    "app.bsky.feed.repost": 9,
    "delete": 8,
    "app.bsky.graph.listitem": 2,
    "app.bsky.graph.block": 2,
    "app.bsky.actor.profile": 1,
    "com.example.other": 2,
    "#identity": 1,
    "#account": 1,
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stream in a file: the frames in order, the URIs of its music, the did:key of each music account."""

    frames: list[bytes]
    music: list[str]
    keys: dict[str, str]


def record_stream(folder: Path, frames: int, *, music_share: int = MUSIC_SHARE) -> None:
    """Write a stream of so many frames, the last of which is an `#account` event (a reader knows it by its number)."""
    writer = _Network()
    music: list[str] = []
    templates = [writer.message() for _ in range(min(TEMPLATES, frames))]
    with (folder / "frames").open("wb") as file:
        for seq in range(1, frames + 1):
            if seq % music_share == music_share // 2:
                kind, body, uri = writer.music()
                music.append(uri)
            else:
                kind, body = writer.account() if seq == frames else templates[seq % len(templates)]
            frame = message_frame(kind, body | {"seq": seq, "time": TIME})
            file.write(struct.pack(">I", len(frame)) + frame)
    (folder / "about.json").write_text(json.dumps({"music": music, "keys": writer.keys()}))


def read_stream(folder: Path) -> Recorded:
    """What `record_stream` wrote."""
    about = json.loads((folder / "about.json").read_text())
    return Recorded(list(_frames((folder / "frames").read_bytes())), about["music"], about["keys"])


def _frames(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 4 + length]
        at += 4 + length


class _Network:
    """Some accounts with a history, and what they do next."""

    def __init__(self) -> None:
        self._random = random.Random(4)
        self._tids = TidClock(SystemClock())
        self._signers = {self._did(number): self._key(number) for number in range(ACCOUNTS)}
        self._repos = [self._repo(did, key) for did, key in self._signers.items()]
        self._kinds = list(WEIGHTS)

    def keys(self) -> dict[str, str]:
        return {did: key.public.did_key for did, key in self._signers.items()}

    def message(self) -> tuple[str, dict[str, Any]]:
        """Type and body of the next thing that happens."""
        [kind] = self._random.choices(self._kinds, list(WEIGHTS.values()))
        if kind == "#identity":
            return kind, {"did": self._random.choice(self._repos).did, "handle": "someone.example.com"}
        if kind == "#account":
            return self.account()
        repo = self._random.choice(self._repos)
        many = self._random.choice((2, 5, 10)) if self._random.random() < 0.02 else 1
        if kind == "delete":
            paths = islice(iter(list(repo.records)), many)
            writes = [Write(Nsid(path.partition("/")[0]), path.partition("/")[2], None) for path in paths]
        else:
            writes = [Write(Nsid(kind), self._tids.next(), self._record(kind)) for _ in range(many)]
        return "#commit", self._commit(repo, writes).to_wire(repo.did)

    def account(self) -> tuple[str, dict[str, Any]]:
        return "#account", {"did": self._random.choice(self._repos).did, "active": True}

    def music(self) -> tuple[str, dict[str, Any], str]:
        """A new track, and its URI."""
        repo, rkey = self._random.choice(self._repos), self._tids.next()
        commit = self._commit(repo, [Write(MUSIC, rkey, self._record(MUSIC))])
        return "#commit", commit.to_wire(repo.did), f"at://{repo.did}/{MUSIC}/{rkey}"

    def _commit(self, repo: Repo, writes: list[Write]) -> Commit:
        commit = repo.apply(writes)
        assert commit is not None
        return commit

    def _repo(self, did: Did, key: SigningKey) -> Repo:
        repo = Repo(did, key, self._tids)
        kinds = [kind for kind in WEIGHTS if "." in kind]
        weights = [WEIGHTS[kind] for kind in kinds]
        made = self._random.choices(kinds, weights, k=RECORDS)
        repo.apply([Write(Nsid(kind), self._tids.next(), self._record(kind)) for kind in made])
        return repo

    def _record(self, kind: str) -> dict[str, Any]:
        subject = {"uri": f"at://{self._did()}/app.bsky.feed.post/{self._tids.next()}", "cid": self._cid()}
        image = {"$type": "blob", "ref": {"$link": self._cid()}, "mimeType": "image/jpeg", "size": 412_345}
        fields: dict[str, Any] = {"subject": self._did()}
        match kind:
            case "app.bsky.feed.like" | "app.bsky.feed.repost":
                fields = {"subject": subject}
            case "app.bsky.feed.post":
                words = " ".join(f"word{self._random.randrange(1000)}" for _ in range(self._random.randrange(4, 40)))
                fields = {"text": words, "langs": ["en"]}
                if self._random.random() < 0.4:
                    fields["reply"] = {"root": subject, "parent": subject}
                if self._random.random() < 0.3:
                    images = [{"alt": words[:80], "image": image, "aspectRatio": {"width": 4, "height": 3}}]
                    fields["embed"] = {"$type": "app.bsky.embed.images", "images": images}
            case "app.bsky.actor.profile":
                fields = {"displayName": "Someone", "description": "words " * 20, "avatar": image}
            case "fm.plyr.track":
                audio = image | {"mimeType": "audio/mpeg", "size": 4_123_456}
                fields = {"title": "A title", "artist": "Someone", "audioBlob": audio, "fileType": "mp3"}
        return {"$type": kind, "createdAt": TIME} | fields

    def _did(self, number: int | None = None) -> Did:
        number = self._random.randrange(10**9) if number is None else number
        return Did("did:plc:" + hashlib.sha256(b"%d" % number).hexdigest().translate(_TO_BASE32)[:24])

    def _cid(self) -> str:
        return cid_of(self._random.randbytes(32))

    @staticmethod
    def _key(number: int) -> SigningKey:
        return SigningKey(hashlib.sha256(b"bench %d" % number).digest())


_TO_BASE32 = str.maketrans("0189", "abcd")  # hexadecimal has digits that did:plc does not
