"""Likes, reposts and playlists: how many people, never who.

The record and its author are kept as hashes of 16 bytes, enough to find them again when either is
deleted. They hide nobody from someone who has a list of all accounts; the records are public anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.types import AtUri
from store.engine import Reader, Row, Tx

MAX_EDGES = 200_000  # that feeds look at, some 50 MB for a moment


class SignalKind(StrEnum):
    LIKE = "like"
    REPOST = "repost"
    PLAYLIST = "playlist"
    ALBUM = "album"


@dataclass(frozen=True, slots=True)
class Signal:
    """One record says something good of one subject: a track, or a post that links one."""

    record: AtUri
    subject: str
    kind: SignalKind
    created_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Who likes what: `people[i]`, a number that means nothing beyond this answer, likes `names[subjects[i]]`: a track
    or a post. The same may be said more than once.
    """

    people: NDArray[np.intp]
    subjects: NDArray[np.intp]
    names: tuple[str, ...]


async def put(tx: Tx, signals: Iterable[Signal]) -> None:
    """Keep signals; those that are known stay as they are."""
    rows = [
        {
            "record_key": _key(str(signal.record)),
            "subject": signal.subject,
            "actor_key": _key(signal.record.did),
            "kind": signal.kind.value,
            "created_us": signal.created_us,
        }
        for signal in signals
    ]
    await tx.run_many("signals.put", rows)


async def drop_record(tx: Tx, record: str) -> None:
    """Forget what this record said."""
    await tx.run("signals.drop_record", record_key=_key(record))


async def drop_subject(tx: Tx, subject: str) -> None:
    """Forget what was said of it: it is gone."""
    await tx.run("signals.drop_subject", subject=subject)


async def forget_account(tx: Tx, did: str) -> None:
    """Forget what the account said, and what was said of its records."""
    await tx.run("signals.drop_actor", actor_key=_key(did))
    await tx.run("signals.drop_range", first=f"at://{did}/", last=f"at://{did}0")


async def counts(r: Reader, subjects: Iterable[str]) -> dict[str, dict[SignalKind, int]]:
    """For each subject, how many accounts gave each kind of signal; kinds that nobody gave are left out."""
    return {
        subject: {SignalKind(kind): count for kind, count in await r.rows("signals.count", subject=subject)}
        for subject in subjects
    }


async def edges(r: Reader, *, limit: int = MAX_EDGES) -> Edges:
    """Who said something good of what, in whatever way: the newest such words."""
    return await asyncio.to_thread(_number, await r.rows("signals.edges", limit=limit))


def _number(rows: Sequence[Row]) -> Edges:
    people: dict[bytes, int] = {}
    names: dict[str, int] = {}
    pairs = [(people.setdefault(actor, len(people)), names.setdefault(name, len(names))) for actor, name in rows]
    numbers = np.array(pairs, np.intp).reshape(-1, 2)
    return Edges(numbers[:, 0], numbers[:, 1], tuple(names))


async def given(r: Reader, did: str) -> dict[SignalKind, int]:
    """How many signals of each kind the account gave; kinds that it never gave are left out."""
    return {SignalKind(kind): count for kind, count in await r.rows("signals.given", actor_key=_key(did))}


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"earmark-signal").digest()
