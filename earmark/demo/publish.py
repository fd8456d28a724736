"""Puts music on the test network as artists do: accounts, blobs, track records, and posts that link them somehow."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.clock import Clock, SystemClock, format_datetime
from core.keys import SigningKey
from core.types import AtUri, Cid, parse_nsid
from earmark.demo import music
from earmark.demo.account import DemoAccount
from earmark.demo.network import Network, Record
from earmark.demo.synth import RATE
from earmark.demo.world import TRACK_COLLECTION

POST_COLLECTION = "app.bsky.feed.post"
MIME_TYPES = {
    ".aac": "audio/aac",
    ".aif": "audio/aiff",
    ".aiff": "audio/aiff",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".mp4": "audio/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "audio/webm",
}


@dataclass(frozen=True, slots=True)
class Recording:
    """A file to publish: `artist` is a handle without its domain, `duration_seconds` what the record will claim."""

    title: str
    artist: str
    path: Path
    mime: str
    duration_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A track that is out: its record, the post that links it, and when the record was committed (unix µs)."""

    title: str
    uri: AtUri
    cid: Cid
    blob: Cid
    post: AtUri
    committed_us: int
    hidden: bool = False  # unlisted or gated: has to appear nowhere


@dataclass(frozen=True, slots=True)
class Labeler:
    """An account that may label, and the secret that only the process with the label role gets."""

    account: DemoAccount
    secret_hex: str = field(repr=False)


def create_labeler(network: Network, *, handle: str = "earmark.test", endpoint: str | None = None) -> Labeler:
    """A labeler and feed generator account with a new k256 label key; `endpoint` is the service's origin.

    When the origin is known only later, call `Network.set_services` then.
    """
    secret = secrets.token_hex(32)
    account = network.create_account(handle)
    public = SigningKey.from_hex(secret).public
    network.set_services(account, label_key=public, labeler=endpoint, feeds=endpoint)
    return Labeler(account, secret)


async def record_pieces(folder: Path) -> list[Recording]:
    """Compose the demo's own pieces into WAV files in this folder: some ten CPU seconds, one thread a piece."""
    recordings = []
    for piece in music.PIECES:
        recording = asyncio.create_task(asyncio.to_thread(_record, piece, folder))
        try:
            recordings.append(await asyncio.shield(recording))
        except asyncio.CancelledError:
            await recording  # a thread cannot be stopped, and its folder is about to go
            raise
    return recordings


def _record(piece: music.Piece, folder: Path) -> Recording:
    samples = music.compose(piece)
    path = folder / f"{piece.title.lower().replace(' ', '-')}.wav"
    music.encode(samples, path)
    return Recording(piece.title, piece.artist, path, "audio/wav", len(samples) // RATE)


def find_recordings(folder: Path) -> list[Recording]:
    """A person's audio files in this folder and below, in order of their paths. Hidden files are left alone.

    Each file gets an account of its own: feeds show one track of an artist among ten.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MIME_TYPES and path.is_file())
    return [
        Recording(_readable(path.stem), f"you{number}", path, MIME_TYPES[path.suffix.lower()])
        for number, path in enumerate(paths, 1)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _readable(name: str) -> str:
    """A file's name as text: bytes that are none become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


async def publish(
    network: Network, recordings: Sequence[Recording], *, hidden: bool = True, clock: Clock | None = None
) -> list[Published]:
    """Publish each recording with a post; with `hidden` the first also as an unlisted and as a gated track.

    Files stay where they are and are read whenever somebody fetches the blob. Raises OSError.
    """
    stage = _Stage(network, clock or SystemClock())
    published = [await stage.publish(recording, way) for way, recording in enumerate(recordings)]
    for recording in recordings[:1] if hidden else ():
        # The audio is music that would get labels: whoever shows these tracks has not asked.
        published.append(await stage.publish(replace(recording, title="Not Listed"), 0, unlisted=True))
        published.append(await stage.publish(replace(recording, title="Supporters Only"), 1, gated=True))
    return published


def link_in_post(title: str, uri: AtUri, cid: Cid, way: int, *, page: str) -> Record:
    """A post that points at a track, but for its date; four ways in turn (POSTS section 2)."""
    text = f"New: {title}"
    post: Record = {"text": text, "langs": ["en"]}
    card: Record = {"uri": page, "title": title, "description": "Listen on plyr.fm"}
    ref = {"uri": str(uri), "cid": cid}
    match way % 4:
        case 0:
            return post | {"embed": {"$type": "app.bsky.embed.record", "record": ref}}
        case 1:
            card |= {"uri": "https://artist.example/music", "associatedRefs": [ref]}
            return post | {"embed": {"$type": "app.bsky.embed.external", "external": card}}
        case 2:
            return post | {"embed": {"$type": "app.bsky.embed.external", "external": card}}
        case _:
            page = f"https://plyr.fm/{uri}"
            start = len(f"{text} ".encode())
            facet = {
                "index": {"byteStart": start, "byteEnd": start + len(page.encode())},
                "features": [{"$type": "app.bsky.richtext.facet#link", "uri": page}],
            }
            return post | {"text": f"{text} {page}", "facets": [facet]}


class _Stage:
    """The artists so far, and how a recording becomes records."""

    def __init__(self, network: Network, clock: Clock) -> None:
        self._network = network
        self._clock = clock
        self._artists: dict[str, DemoAccount] = {}

    async def publish(
        self, recording: Recording, way: int, *, unlisted: bool = False, gated: bool = False
    ) -> Published:
        """Blob, track record, post. `way` chooses how the post links the track."""
        network = self._network
        artist = self._artist(recording.artist)
        blob = await asyncio.to_thread(network.upload_blob, artist, recording.path, recording.mime)
        now = format_datetime(self._clock.now_us())
        title = recording.title[:256]
        track: Record = {
            "title": title,
            "artist": recording.artist.capitalize(),
            "fileType": recording.path.suffix.lstrip(".").lower(),
            "audioBlob": blob,
            "createdAt": now,
        }
        if recording.duration_seconds is not None:
            track["duration"] = recording.duration_seconds
        if gated:
            track["supportGate"] = {"$type": "fm.plyr.track#supportGate", "type": "any"}
        # plyr knows that a track is unlisted before the network has the record: so must its stand-in.
        uri = AtUri(artist.did, parse_nsid(TRACK_COLLECTION), network.new_rkey())
        if unlisted:
            network.set_visibility(uri, "unlisted")
        network.create_record(artist, TRACK_COLLECTION, uri.rkey, track)
        committed_us = self._clock.now_us()
        cid = artist.repo.records[f"{uri.collection}/{uri.rkey}"].cid_text
        link = link_in_post(title, uri, cid, way, page=network.page_url(uri) or "")
        post = network.create_record(artist, POST_COLLECTION, None, link | {"createdAt": now})
        return Published(title, uri, cid, Cid(blob["ref"]["$link"]), post, committed_us, unlisted or gated)

    def _artist(self, name: str) -> DemoAccount:
        handle = f"{name}.test"
        if name not in self._artists:
            known = next((account for account in self._network.accounts if account.handle == handle), None)
            self._artists[name] = known or self._network.create_account(handle)
        return self._artists[name]
