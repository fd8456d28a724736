"""Music on trial: files of this machine in a store and an index of their own, for the real ranking to be measured."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from core.analysis import Analysis, VerdictStatus
from core.clock import SystemClock
from core.feed import Feed, FeedKind, Questions
from core.types import AtUri, BlobRef, Cid, Did, Track, TrackState, make_tid
from earmark.known_music import Said
from feedgen.corpus import gather
from feedgen.damping import share_artists
from feedgen.fits import CheckBook
from feedgen.likeness import AlbumPrecision, measure_albums
from feedgen.likes import Likes
from feedgen.month import Month, Precision, live_a_month
from feedgen.rules import DAY_US, Rules
from labeler.policy import Policy
from models.pack import PackSet
from store import Store, analyses, generations, labels, tracks
from store.index import VectorIndex

_NOW_US = 20_000 * DAY_US  # any time will do: the same folder gives the same numbers
_SEEN_US = _NOW_US - 90 * DAY_US  # old enough that nothing is new, and that deep cuts take it
_MONTHLY = frozenset({FeedKind.MOOD, FeedKind.DEEP_CUTS})  # what draws, and so owes everybody a turn
_DIGITS = 4


class Trial:
    """Put heard files in; then `measure`. Equal audio is one track, as it is in the network."""

    def __init__(self, store: Store, folder: Path, packs: PackSet, policy: Policy) -> None:
        self._store = store
        self._folder = folder
        self._packs = packs
        self._policy = policy
        self._moods: dict[str, frozenset[str]] = {}  # by track's at-uri

    async def put(self, file: Path, said: Said, analysis: Analysis) -> None:
        """As if its artist had published it 90 days ago, and the policy had judged it."""
        key = await _digest(file)
        did = _did(said.artist or str(file))  # of unnamed artists everybody is another one
        uri = AtUri.parse(f"at://{did}/fm.plyr.track/{key[:13]}")
        track = Track(
            uri,
            Cid(f"bafyrei{key}"),
            make_tid(_SEEN_US),
            said.title or os.fsencode(file.stem).decode(errors="replace"),  # any bytes may name a file
            _SEEN_US,
            artist=said.artist or None,
            album=said.album or None,
            blob=BlobRef(Cid(f"bafkrei{key}"), "audio/mpeg", 1),
            verified=True,
        )
        verdict = self._policy.judge(analysis)
        state = TrackState.UNDECIDED if verdict.status is VerdictStatus.UNDECIDED else TrackState.READY
        async with self._store.write() as tx:
            if not await tracks.put(tx, track, state=state, reason=None, now_us=_SEEN_US):
                return
            stored = await tracks.get(tx, str(uri))
            assert stored is not None
            await analyses.put(tx, track.audio_key or "", analysis, now_us=_NOW_US)
            await analyses.put_vectors(tx, stored.track_id, analysis.generation, analysis.vectors)
            grounds = {"audio_key": track.audio_key, "generation": analysis.generation}
            await labels.put_verdict(tx, str(uri), verdict, now_us=_NOW_US, **grounds)
        if said.moods:
            self._moods[str(uri)] = said.moods

    async def measure(self, feeds: tuple[Feed, ...], questions: Questions) -> dict[str, Any]:
        """Albums in the space of sound-alikes, and thirty days of each feed that draws, as JSON."""
        async with self._store.write() as tx:
            living = await generations.arrange(tx, self._packs.hashes, now_us=_NOW_US)
        index = await VectorIndex.open(
            self._store, self._folder, spaces=living.serving.spaces, generation=living.serving.name
        )
        rules = Rules()
        corpus = await gather(self._store, index, questions, CheckBook(), Likes(), now_us=_NOW_US)
        corpus = await asyncio.to_thread(share_artists, feeds, corpus, now_us=_NOW_US, rules=rules, least=1)
        live = partial(live_a_month, corpus=corpus, now_us=_NOW_US, rules=rules, known=self._moods)
        shortest = min((feed.min_seconds for feed in feeds if feed.kind in _MONTHLY), default=0.0)
        months = [await asyncio.to_thread(live, feed) for feed in feeds if feed.kind in _MONTHLY]
        return {
            "corpus": len(corpus.tracks),
            "music": sum(track.music is True for track in corpus.tracks),
            "artists": len({track.did for track in corpus.tracks}),
            "min_seconds": shortest,
            "too_short": sum((track.duration_seconds or shortest) < shortest for track in corpus.tracks),
            "space": corpus.space,
            "albums": _tell_albums(measure_albums(corpus)),
            "feeds": [_tell_month(month) for month in months],
        }


@asynccontextmanager
async def open_trial(packs: PackSet, policy: Policy) -> AsyncIterator[Trial]:
    """Nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="earmark-trial-") as name:
        folder = Path(name)
        store = await Store.open(folder / "trial.db", clock=SystemClock())
        try:
            yield Trial(store, folder / "index", packs, policy)
        finally:
            await store.close()


async def _digest(file: Path) -> str:
    """SHA-256 in base32, lower case: what a CID shows of it."""
    with file.open("rb") as stream:
        digest = (await asyncio.to_thread(hashlib.file_digest, stream, "sha256")).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower()


def _did(artist: str) -> Did:
    """Always the same for a name."""
    digest = hashlib.sha256(artist.casefold().encode("utf-8", "surrogateescape")).digest()
    return Did(f"did:plc:{base64.b32encode(digest).decode()[:24].lower()}")


def _tell_albums(found: AlbumPrecision | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "precision_at_5": round(found.share, _DIGITS),
        "by_artist": round(found.by_artist, _DIGITS),
        "chance": round(found.chance, _DIGITS),
        "tracks": found.tracks,
        "albums": found.albums,
    }


def _tell_month(month: Month) -> dict[str, Any]:
    return {
        "feed": month.rkey,
        "admitted": month.admitted,
        "shown": month.shown,
        "share_shown": _rounded(month.share),
        "entries": round(month.entries, 1),
        "artists": month.artists,
        "artist_gini": _rounded(month.gini if month.shown else None),
        "artist_gini_admitted": _rounded(month.gini_admitted if month.admitted else None),
        "distance": _rounded(month.distance),
        "distance_admitted": _rounded(month.distance_admitted),
        "precision_at_20": month.precision and _tell_precision(month.precision),
    }


def _tell_precision(found: Precision) -> dict[str, Any]:
    return {
        "share": round(found.share, _DIGITS),
        "chance": round(found.chance, _DIGITS),
        "judged": found.judged,
        "known": found.known,
        "right": found.right,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
