"""The verdict outbox and the label log.

A verdict says which labels ought to be live; the publisher makes it so and settles the version that it saw. The log is
numbered without gaps; the newest row of each key (src, uri, cid or "", val) is current (P35).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from core.analysis import Genre, Verdict, VerdictStatus
from core.clock import parse_datetime
from core.label import Label, NumberedLabel
from store import sequence
from store.engine import Reader, Row, Tx

# Up to this many rows in a prefix's range, sorting them is cheaper than walking the log past all others.
_NARROW = 10_000


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


async def put_verdict(
    tx: Tx, uri: str, verdict: Verdict, *, now_us: int, audio_key: str | None = None, generation: str | None = None
) -> None:
    """What ought to be live on a subject from now on, and the analysis that says so, if one does.

    The stored verdict again, even on other grounds, is no news. Rings "verdict", and "link" when the subject
    may not be in feeds any more.
    """
    stored = await get_verdict(tx, uri)
    if stored is not None and stored.verdict == verdict:
        if (stored.audio_key, stored.generation) != (audio_key, generation):
            await tx.run("labels.note_basis", uri=uri, audio_key=audio_key, generation=generation)
        return
    await tx.run(
        "labels.put_verdict",
        uri=uri,
        status=verdict.status.value,
        labels=orjson.dumps(verdict.labels).decode(),
        reason=verdict.reason,
        genres=orjson.dumps([(genre.identifier, genre.display, genre.score) for genre in verdict.genres]).decode(),
        notes=orjson.dumps(verdict.notes).decode(),
        rankable=int(verdict.rankable),
        audio_key=audio_key,
        generation=generation,
        now_us=now_us,
    )
    tx.ring("verdict")
    if stored is not None and stored.verdict.rankable and not verdict.rankable:
        tx.ring("link")  # a page may be showing it


async def get_verdict(r: Reader, uri: str) -> StoredVerdict | None:
    """The newest verdict on a subject."""
    row = await r.row("labels.get_verdict", uri=uri)
    return None if row is None else _stored_verdict(row)


async def pending(r: Reader, limit: int) -> list[StoredVerdict]:
    """What the publisher has to do: verdicts without labels first (they retract), then oldest first."""
    return [_stored_verdict(row) for row in await r.rows("labels.pending", limit=limit)]


async def settle(tx: Tx, uri: str, version: int) -> bool:
    """Mark a verdict as published. False, and it stays pending, if it changed since that version."""
    return await tx.value("labels.settle", uri=uri, version=version) is not None


async def live(r: Reader, src: str, uri: str) -> list[NumberedLabel]:
    """The current row of each key of a subject, retractions included, by number."""
    return [_numbered_label(row) for row in await r.rows("labels.live", src=src, uri=uri)]


async def append(tx: Tx, labels: Sequence[Label], *, key_id: str) -> list[int]:
    """Number and store signed labels, in order; their numbers. Rings "label".

    Of each key the label with the latest `cts` becomes current, among equals the one with the highest number (P35).
    Raises ValueError for a label without signature or with an empty `cid`, or whose `cts` is no datetime.
    """
    if not labels:
        return []
    newest: dict[tuple[str, str, str, str], tuple[int, int]] = {}  # key -> (cts in microseconds, place)
    for place, label in enumerate(labels):
        if label.sig is None or label.cid == "":
            raise ValueError(f"not a signed label: {label}")
        newest[label.key] = max(newest.get(label.key, (-1, -1)), (parse_datetime(label.cts), place))
    await tx.run_many("labels.retire", [{**_key_columns(key), "cts_us": cts} for key, (cts, _) in newest.items()])
    first = await sequence.take(tx, "label", len(labels))
    rows = [
        {
            **_key_columns(label.key),
            "seq": first + place,
            "neg": int(label.neg),
            "cts": label.cts,
            "cts_us": parse_datetime(label.cts),
            "exp": label.exp,
            "ver": label.ver,
            "sig": label.sig,
            "key_id": key_id,
            "newest": int(newest[label.key][1] == place),
        }
        for place, label in enumerate(labels)
    ]
    await tx.run_many("labels.add", rows)
    tx.ring("label")
    return [first + place for place in range(len(labels))]


async def stream(r: Reader, *, after_seq: int, limit: int) -> list[NumberedLabel]:
    """The log after a number, every row, at most `limit`."""
    return [_numbered_label(row) for row in await r.rows("labels.stream", after_seq=after_seq, limit=limit)]


async def query(
    r: Reader, *, exact: Sequence[str], prefixes: Sequence[str], sources: Sequence[str], after_seq: int, limit: int
) -> list[NumberedLabel]:
    """Current rows, retractions included (P58), whose subject is one of `exact` or starts with one of `prefixes` (""
    for all), of one of `sources` (none: of any), by number after `after_seq`, at most `limit` (P53, P55, P57).
    """
    found: dict[int, Row] = {}

    async def collect(name: str, **parameters: object) -> None:
        for source in sorted(set(sources)) or [""]:
            page = {"after_seq": after_seq, "limit": limit, "any_source": int(not sources), "src": source}
            found.update((row[0], row) for row in await r.rows(name, **page, **parameters))

    for uri in dict.fromkeys(exact):
        await collect("labels.query_exact", uri=uri)
    for prefix in _shortest(prefixes):
        high = successor(prefix)
        if not prefix:
            await collect("labels.query_all")
        elif high is not None:  # otherwise only U+10FFFF, with which no subject starts
            width = await r.value("labels.width", low=prefix, high=high, cap=_NARROW)
            plan = "labels.query_range" if width < _NARROW else "labels.query_walk"
            await collect(plan, low=prefix, high=high)
    # Each pattern gave its own first `limit` rows, so the first `limit` of the union are among them.
    return [_numbered_label(found[seq]) for seq in sorted(found)[:limit]]


async def newest_seq(r: Reader) -> int:
    """The number of the newest label, 0 when there is none."""
    seq: int = await r.value("labels.newest_seq")
    return seq


async def resign(tx: Tx, seq: int, sig: bytes, key_id: str) -> None:
    """Replace a signature after a change of key; `cts` and all else stay (P41)."""
    await tx.run("labels.resign", seq=seq, sig=sig, key_id=key_id)


def successor(prefix: str) -> str | None:
    """The least text, bytewise in UTF-8, that is greater than every text with this prefix; None if there is none.

    UTF-8 orders as code points do, so the last code point that can be raised is raised; surrogates are no text (P54).
    """
    trimmed = prefix.rstrip("\U0010ffff")
    if not trimmed:
        return None
    point = ord(trimmed[-1]) + 1
    return trimmed[:-1] + chr(0xE000 if point == 0xD800 else point)


def _shortest(prefixes: Iterable[str]) -> list[str]:
    """The prefixes without those that another one covers."""
    kept: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept


def _key_columns(key: tuple[str, str, str, str]) -> dict[str, str]:
    src, uri, cid, val = key
    return {"src": src, "uri": uri, "cid": cid, "val": val}


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
