"""A store full of tracks that feeds may show, with their vectors and posts, and the feeds over it.

Ten tracks an artist, three of four with a post of the artist's. Every artist plays to one of the catalogue's moods: by
tags as the feed weighs them, in the space of clap around one middle, where the feed's prompts lie too. Sounds are
clustered otherwise. No model runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.embeddings import clustered
from core.analysis import Analysis, Genre, Space, Vector, Verdict, VerdictStatus, generation_of
from core.clock import SystemClock
from core.feed import Feed, FeedKind
from core.link import Link, LinkRule
from core.log import set_up
from core.taxonomy import Taxonomy
from core.types import AtUri, BlobRef, Cid, Did, Track, TrackState, make_tid
from feedgen import LiveFeeds, load_catalogue
from models.moods import build_query, tag_positions
from models.prompts import feed_queries
from store import Store, Tx, analyses, labels, links, tracks
from store.index import VectorIndex

PACKS = {"musicnn": "bench", "clap": "bench"}
GENERATION = generation_of(PACKS)
SPACES = {Space.MUSICNN_SOUND: 400, Space.MUSICNN_TAGS: 100, Space.CLAP: 512}
FEEDS = 20
TRACKS_OF_ARTIST = 10
_BATCH = 1_000
_DAY_US = 86_400_000_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def artist(number: int) -> Did:
    """The number-th."""
    letters = "".join(_LETTERS[number >> 5 * place & 31] for place in range(4))
    return Did("did:plc:" + "a" * 20 + letters)


async def fill(path: Path, count: int) -> None:
    """A store with `count` tracks that all were heard, in a year's order."""
    vectors = _place(count)
    styles = sorted(Taxonomy.load().styles)
    store = await Store.open(path, clock=SystemClock())
    now_us = SystemClock().now_us()
    for start in range(0, count, _BATCH):
        verdicts, posts = {}, []
        async with store.write() as tx:
            for number in range(start, min(start + _BATCH, count)):
                first_us = now_us - 365 * _DAY_US * (count - number) // count
                uri = await _publish(tx, number, {space: rows[number] for space, rows in vectors.items()}, first_us)
                genres = (Genre(styles[number // 7 % len(styles)], 0, 0.5),)
                verdicts[str(uri)] = Verdict(VerdictStatus.OK, ("electronic",), genres=genres, rankable=True)
                if number % 4:
                    post = f"at://{uri.did}/app.bsky.feed.post/{uri.rkey}"
                    posts.append(Link(post, Did(uri.did), str(uri), LinkRule.EMBED_RECORD, first_us, card=True))
            await labels.put_verdicts(tx, verdicts, now_us=now_us)
            await links.put(tx, posts, now_us=now_us)
    await store.close()


async def _publish(tx: Tx, number: int, vectors: dict[Space, Vector], first_us: int) -> AtUri:
    did = artist(number // TRACKS_OF_ARTIST)
    uri = AtUri.parse(f"at://{did}/fm.plyr.track/3l{number:011d}")
    blob = BlobRef(Cid(f"bafkrei{number}"), "audio/mpeg", 1_000_000)
    track = Track(
        uri,
        Cid(f"bafyrei{number}"),
        make_tid(first_us),
        f"Song {number}",
        first_us,
        album=f"Album {number // 5}",
        duration_ms=180_000,
        blob=blob,
    )
    await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=first_us)
    heard = Analysis(packs=PACKS, duration_seconds=180.0, rms_dbfs=-14.0, tags=(), vectors={}, container="mp3")
    await analyses.put(tx, blob.cid, heard, now_us=first_us)
    await analyses.put_vectors(tx, number + 1, GENERATION, vectors)  # they are numbered as they come
    return uri


async def open_feeds(store: Store, folder: Path) -> LiveFeeds:
    """Twenty feeds over the store: the catalogue's, and its moods once more until they are so many."""
    index = await VectorIndex.open(store, folder / "index", spaces=SPACES, generation=GENERATION)
    feeds = _multiply(_catalogue(), FEEDS)
    packs: Any = SimpleNamespace(spaces=tuple(SPACES), hashes=PACKS)
    analyst: Any = SimpleNamespace(embed=_embed)
    questions = await feed_queries(analyst, feeds, packs)
    return LiveFeeds(
        store, index, feeds, questions, clock=SystemClock(), log=set_up(level="error"), min_posts=1, min_tracks=1
    )


def _multiply(catalogue: Sequence[Feed], count: int) -> list[Feed]:
    moods = [feed for feed in catalogue if feed.kind is FeedKind.MOOD]
    more = [replace(moods[n % len(moods)], rkey=f"more-{n}") for n in range(count - len(catalogue))]
    return [*catalogue, *more]


def _place(count: int) -> dict[Space, Vector]:
    """The vectors of all tracks."""
    random = np.random.default_rng(7)
    moods = _moods()
    mood = np.arange(count) // TRACKS_OF_ARTIST % len(moods)
    tags = np.stack([build_query(feed.tags).positive[0] for feed in moods])[mood] * 3.0
    joint = _middles(len(moods))[mood] + random.standard_normal((count, SPACES[Space.CLAP]), np.float32) / 10
    return {
        Space.MUSICNN_SOUND: clustered(count, SPACES[Space.MUSICNN_SOUND]),
        Space.MUSICNN_TAGS: tags + random.standard_normal(tags.shape, np.float32),
        Space.CLAP: joint / np.linalg.norm(joint, axis=1, keepdims=True),
    }


def _middles(count: int) -> Vector:
    middles = np.random.default_rng(11).standard_normal((count, SPACES[Space.CLAP]), np.float32)
    return middles / np.linalg.norm(middles, axis=1, keepdims=True)


def _catalogue() -> tuple[Feed, ...]:
    return load_catalogue(taxonomy=Taxonomy.load(), known_tags=tag_positions(), include_disabled=True)


def _moods() -> list[Feed]:
    return [feed for feed in _catalogue() if feed.kind is FeedKind.MOOD]


async def _embed(texts: Sequence[str], *, keep: bool = False) -> Vector:
    """Near the middle of the mood that asks so; what no mood asks lies anywhere."""
    del keep
    random = np.random.default_rng(13)
    moods = _moods()
    middles = _middles(len(moods))
    rows = random.standard_normal((len(texts), SPACES[Space.CLAP]), np.float32) / 25
    for place, text in enumerate(texts):
        rows[place] += next((one for one, feed in zip(middles, moods, strict=True) if _asks(feed, text)), 0.0)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _asks(feed: Feed, text: str) -> bool:
    return any(prompt in text for prompt in feed.prompts)
