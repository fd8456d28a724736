"""What is held about one account, one audio or all labels, gathered from every table for those who ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import orjson

from store.engine import Reader, Row
from store.wishes import Scope, WishKind


class Heard(NamedTuple):
    """A record whose verdict was decided by hearing an audio, in which generation, and when it was heard."""

    uri: str
    generation: str
    heard_us: int


class LabelStep(NamedTuple):
    """A label given or taken back. `cts` and `exp` are the texts that were signed."""

    seq: int
    val: str
    neg: bool
    cts: str
    exp: str | None


class LinkingPost(NamedTuple):
    """A post and how many things it links that are, or may be, music records."""

    uri: str
    created_us: int
    links: int


class WishRecord(NamedTuple):
    """What one control record says; see store.wishes.Wish."""

    uri: str
    kind: WishKind
    scope: Scope
    logged_in_only: bool
    updated_us: int


@dataclass(frozen=True, slots=True)
class DisputeNote:
    """A report about a record. Words and sender are private, and None once they are erased."""

    dispute_id: int
    created_us: int
    state: str
    reporter: str | None
    by_artist: bool
    uri: str
    subject: str
    reason_type: str
    words: str | None
    labels: tuple[str, ...]
    decided_us: int | None


async def heard_for(r: Reader, audio_key: str, *, limit: int) -> list[Heard]:
    """The records that were judged by hearing this audio, oldest first."""
    return [Heard(*row) for row in await r.rows("dossiers.heard_for", audio_key=audio_key, limit=limit)]


async def label_counts(r: Reader, src: str) -> list[tuple[str, int]]:
    """How many labels of each value are live, the most frequent first. Reads all of them."""
    return [(val, count) for val, count in await r.rows("dossiers.label_counts", src=src)]


async def label_history(r: Reader, src: str, uri: str, *, limit: int) -> list[LabelStep]:
    """Every label that a subject ever got or lost, the newest first."""
    rows = await r.rows("dossiers.label_history", src=src, uri=uri, limit=limit)
    return [LabelStep(seq, val, bool(neg), cts, exp) for seq, val, neg, cts, exp in rows]


async def tracks_of(r: Reader, did: str, *, after: int, limit: int) -> list[tuple[int, str]]:
    """Numbers (above `after`) and addresses of an account's records, tombstones included."""
    return [(number, uri) for number, uri in await r.rows("dossiers.tracks_of", did=did, after=after, limit=limit)]


async def posts_by(r: Reader, did: str, *, after: str, limit: int) -> list[LinkingPost]:
    """The account's posts that link something, by address, above `after`."""
    return [LinkingPost(*row) for row in await r.rows("dossiers.posts_by", did=did, after=after, limit=limit)]


async def disputes_with(r: Reader, did: str, *, after: int, limit: int) -> list[DisputeNote]:
    """Reports about the account's records and those that it sent, by number, above `after`."""
    first, last = f"at://{did}/", f"at://{did}0"
    rows = await r.rows("dossiers.disputes_with", did=did, first=first, last=last, after=after, limit=limit)
    return [_dispute_note(row) for row in rows]


async def wishes_of(r: Reader, did: str, *, limit: int) -> list[WishRecord]:
    """The control records that the account has or had, the newest first."""
    rows = await r.rows("dossiers.wishes_of", did=did, limit=limit)
    return [
        WishRecord(uri, WishKind(kind), Scope(scope), bool(hidden), updated_us)
        for uri, kind, scope, hidden, updated_us in rows
    ]


async def met(r: Reader, did: str) -> tuple[int | None, int] | None:
    """When an account that posts links of others' music was made, if known, and when we first saw such a post."""
    row = await r.row("dossiers.poster", did=did)
    return None if row is None else (row[0], row[1])


def _dispute_note(row: Row) -> DisputeNote:
    number, created_us, state, reporter, by_artist, uri, subject, reason_type, words, labels, decided_us = row
    return DisputeNote(
        dispute_id=number,
        created_us=created_us,
        state=state,
        reporter=reporter,
        by_artist=bool(by_artist),
        uri=uri,
        subject=subject,
        reason_type=reason_type,
        words=words,
        labels=tuple(orjson.loads(labels)),
        decided_us=decided_us,
    )
