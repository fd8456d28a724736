"""The verdict outbox and the label log.

A verdict says which labels ought to be live; the publisher makes it so and settles the version that it saw. The log is
numbered without gaps; the newest row of each key (src, uri, cid or "", val) is current (P35).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson

from core.analysis import Genre, Verdict, VerdictStatus
from core.clock import parse_datetime
from core.label import Label, NumberedLabel
from store import mirrors, sequence
from store.engine import Reader, Row, Tx


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """A verdict and whether the publisher has yet to act on it. `version` counts changes, from 1."""

    uri: str
    version: int
    pending: bool
    verdict: Verdict
    updated_us: int
    audio_key: str | None = None  # what it was decided on, if anything was heard for it
    generation: str | None = None  # of the analysis that it was decided on


class Turn(IntEnum):
    """Whose labels leave first while their rate is limited (P47): retractions, and what a person has ruled on."""

    RULED_RETRACTION = 0
    RETRACTION = 1
    RULED = 2
    OTHER = 3


@dataclass(frozen=True, slots=True)
class PendingVerdict:
    """What the publisher has to do on one subject."""

    uri: str
    version: int
    turn: Turn
    labels: tuple[str, ...]  # what ought to be live
    current: tuple[Label, ...]  # the newest row of each key of the subject, retractions included, without signatures
    away: bool = False  # its account is not active: nothing new is said of it now (P151)


async def put_verdict(
    tx: Tx, uri: str, verdict: Verdict, *, now_us: int, audio_key: str | None = None, generation: str | None = None
) -> None:
    """What ought to be live on a subject from now on, and the analysis that says so, if one does.

    The stored verdict again, even on other grounds, is no news. Posts that carry the subject's labels (store.mirrors)
    ask for the same. Rings "verdict", and "link" when the subject may not be in feeds any more.
    """
    stored = await get_verdict(tx, uri)
    if stored is not None and stored.verdict == verdict:
        if (stored.audio_key, stored.generation) != (audio_key, generation):
            await tx.run("labels.note_basis", uri=uri, audio_key=audio_key, generation=generation)
        return
    await tx.run("labels.put_verdict", **_verdict_columns(uri, verdict, now_us, audio_key, generation))
    for post in await mirrors.posts_of(tx, uri):
        await put_verdict(tx, post, mirrors.reflect(verdict.labels), now_us=now_us)
    tx.ring("verdict")
    if stored is not None and stored.verdict.rankable and not verdict.rankable:
        tx.ring("link")  # a page may be showing it


async def put_verdicts(tx: Tx, verdicts: Mapping[str, Verdict], *, now_us: int) -> None:
    """The same for many subjects at once, for which nothing was heard. Rings more than it must."""
    if not verdicts:
        return
    await tx.run_many("labels.put_verdict", [_verdict_columns(uri, one, now_us) for uri, one in verdicts.items()])
    posts = await tx.rows("labels.reflected", now_us=now_us)
    reflections = [(post, mirrors.reflect(tuple(orjson.loads(carried)))) for post, carried in posts]
    await tx.run_many("labels.put_verdict", [_verdict_columns(post, one, now_us) for post, one in reflections])
    tx.ring("verdict")
    if not all(verdict.rankable for verdict in verdicts.values()):
        tx.ring("link")


async def get_verdict(r: Reader, uri: str) -> StoredVerdict | None:
    """The newest verdict on a subject."""
    row = await r.row("labels.get_verdict", uri=uri)
    return None if row is None else _stored_verdict(row)


async def pending(r: Reader, limit: int) -> list[PendingVerdict]:
    """What the publisher has to do, at most `limit` subjects: by turn, then the oldest first."""
    rows = await r.rows("labels.pending", limit=limit)
    return [_pending_verdict(list(group)) for _, group in groupby(rows, itemgetter(0))]


async def settle(tx: Tx, verdicts: Iterable[PendingVerdict]) -> None:
    """Mark verdicts as published. One that has changed since it was read stays pending."""
    await tx.run_many("labels.settle", [{"uri": one.uri, "version": one.version} for one in verdicts])


async def defer(tx: Tx, turns: Mapping[str, Turn]) -> None:
    """The turns of pending verdicts of which the pressing part is done."""
    await tx.run_many("labels.defer", [{"uri": uri, "turn": int(turn)} for uri, turn in turns.items()])


async def live(r: Reader, src: str, uri: str) -> list[NumberedLabel]:
    """The current row of each key of a subject, retractions included, by number."""
    return [_numbered_label(row) for row in await r.rows("labels.live", src=src, uri=uri)]


async def append(tx: Tx, labels: Sequence[Label], *, key_id: str, current: Iterable[Label] | None = None) -> list[int]:
    """Number and store signed labels, in order; their numbers. Rings "label".

    Of each key the label with the latest `cts` becomes current, among equals the one with the highest number (P35).
    `current` holds the current rows of all these subjects, for whom has read them; without it they are read.
    Raises ValueError for a label without signature or with an empty `cid`, or whose `cts` is no datetime.
    """
    if not labels:
        return []
    if current is None:
        subjects = dict.fromkeys((label.src, label.uri) for label in labels)
        current = [row.label for src, uri in subjects for row in await live(tx, src, uri)]
    moments = {cts: parse_datetime(cts) for cts in {label.cts for label in labels}}
    held = {label.key: label for label in current}
    newest: dict[tuple[str, str, str, str], tuple[int, int]] = {}  # key -> (cts in microseconds, place; -1: held)
    for place, label in enumerate(labels):
        if label.sig is None or label.cid == "":
            raise ValueError(f"not a signed label: {label}")
        key, rank = label.key, (moments[label.cts], place)
        known = newest.get(key) or ((parse_datetime(held[key].cts), -1) if key in held else rank)
        newest[key] = max(rank, known)
    places = {place for _, place in newest.values()}
    replaced = [key for key, (_, place) in newest.items() if place >= 0 and key in held]
    await tx.run_many("labels.retire", [_key_columns(key) for key in replaced])
    first = await sequence.take(tx, "label", len(labels))
    rows = [
        {
            "src": label.src,
            "uri": label.uri,
            "cid": label.cid or "",
            "val": label.val,
            "seq": first + place,
            "neg": int(label.neg),
            "cts": label.cts,
            "cts_us": moments[label.cts],
            "exp": label.exp,
            "ver": label.ver,
            "sig": label.sig,
            "key_id": key_id,
            "json": json_text(label),
            "is_current": int(place in places),
        }
        for place, label in enumerate(labels)
    ]
    await tx.run_many("labels.add", rows)
    tx.ring("label")
    return [first + place for place in range(len(labels))]


async def stream(r: Reader, *, after_seq: int, limit: int) -> list[NumberedLabel]:
    """The log after a number, every row, at most `limit`."""
    return [_numbered_label(row) for row in await r.rows("labels.stream", after_seq=after_seq, limit=limit)]


async def newest_seq(r: Reader) -> int:
    """The number of the newest label, 0 when there is none."""
    seq: int = await r.value("labels.newest_seq")
    return seq


async def complete(tx: Tx, limit: int) -> bool:
    """Give labels that were stored before there was one their JSON form. True when none is left."""
    rows = [_numbered_label(row) for row in await tx.rows("labels.incomplete", limit=limit)]
    await tx.run_many("labels.complete", [{"seq": row.seq, "json": json_text(row.label)} for row in rows])
    return len(rows) < limit


def json_text(label: Label) -> str:
    """The JSON form that is stored with a signed label."""
    return orjson.dumps(label.json_form()).decode()


def _key_columns(key: tuple[str, str, str, str]) -> dict[str, str]:
    src, uri, cid, val = key
    return {"src": src, "uri": uri, "cid": cid, "val": val}


def _verdict_columns(
    uri: str, verdict: Verdict, now_us: int, audio_key: str | None = None, generation: str | None = None
) -> dict[str, Any]:
    return {
        "uri": uri,
        "status": verdict.status.value,
        "labels": orjson.dumps(verdict.labels).decode(),
        "reason": verdict.reason,
        "genres": orjson.dumps([(genre.identifier, genre.display, genre.score) for genre in verdict.genres]).decode(),
        "notes": orjson.dumps(verdict.notes).decode(),
        "rankable": int(verdict.rankable),
        "audio_key": audio_key,
        "generation": generation,
        "now_us": now_us,
    }


def _pending_verdict(rows: list[Row]) -> PendingVerdict:
    uri, version, turn, wanted, away = rows[0][:5]
    current = tuple(
        Label(src=src, uri=uri, val=val, cts=cts, cid=cid or None, neg=bool(neg), exp=exp)
        for *_, src, cid, val, neg, cts, exp in rows
        if src is not None
    )
    return PendingVerdict(uri, version, Turn(turn), tuple(orjson.loads(wanted)), current, bool(away))


def _stored_verdict(row: Row) -> StoredVerdict:
    uri, version, is_pending, status, labels, reason, genres, notes, rankable, updated_us, audio_key, generation = row
    verdict = Verdict(
        status=VerdictStatus(status),
        labels=tuple(orjson.loads(labels)),
        reason=reason,
        genres=tuple(Genre(*genre) for genre in orjson.loads(genres)),
        notes=tuple(orjson.loads(notes)),
        rankable=bool(rankable),
    )
    return StoredVerdict(uri, version, bool(is_pending), verdict, updated_us, audio_key, generation)


def _numbered_label(row: Row) -> NumberedLabel:
    seq, src, uri, cid, val, neg, cts, exp, ver, sig, key_id = row
    label = Label(src=src, uri=uri, val=val, cts=cts, cid=cid or None, neg=bool(neg), exp=exp, ver=ver, sig=bytes(sig))
    return NumberedLabel(seq, label, key_id)
