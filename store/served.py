"""The label log as others read it: the newest row of each key by subject, and every row in order.

What was signed was written down once as JSON too (P2, P13); both surfaces are made of that text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from core.label import NumberedLabel
from store import labels
from store.engine import Reader, Tx

# Up to this many rows in a prefix's range, sorting them is cheaper than walking the log past all others.
_NARROW = 10_000
_FEW = 500  # fewer rows than that are simply all read


Served = tuple[int, str]  # a label as queryLabels gives it: its number and its JSON form; one answer has many


class LoggedLabel(NamedTuple):
    """A row of the log as subscribeLabels needs it."""

    seq: int
    src: str
    json: str
    sig: bytes
    key_id: str


async def of_subject(r: Reader, uri: str, *, src: str, after_seq: int, limit: int) -> list[Served]:
    """Current rows, retractions included (P58), of one subject and source, by number after `after_seq`."""
    return _page(await r.rows("served.of_subject", uri=uri, src=src), after_seq, limit)


async def few_under(r: Reader, prefix: str, *, src: str, after_seq: int, limit: int) -> list[Served] | None:
    """The same of all subjects with a prefix; None if so many rows may be under it that reading them takes a while."""
    high = successor(prefix)
    if high is None:
        return None
    rows = await r.rows("served.few", low=prefix, high=high, src=src, cap=_FEW)
    if len(rows) == _FEW:
        return None
    return _page([row for row in rows if row[1] is not None], after_seq, limit)


async def query(
    r: Reader, *, exact: Sequence[str], prefixes: Sequence[str], src: str, after_seq: int, limit: int
) -> list[Served]:
    """Current rows, retractions included, whose subject is one of `exact` or starts with one of `prefixes` ("" for
    all), of one source, by number after `after_seq`, at most `limit` (P53, P55, P57).
    """
    asked = {"src": src, "after_seq": after_seq, "limit": limit}
    found: dict[int, str] = {}
    for uri in dict.fromkeys(exact):
        found.update(await of_subject(r, uri, src=src, after_seq=after_seq, limit=limit))
    for prefix in _shortest(prefixes):
        high = successor(prefix)
        if not prefix:
            rows = await r.rows("served.all", **asked)
        elif high is None:  # only U+10FFFF, with which no subject starts
            continue
        else:
            width = await r.value("served.width", low=prefix, high=high, cap=_NARROW)
            plan = "served.range" if width < _NARROW else "served.walk"
            rows = await r.rows(plan, low=prefix, high=high, **asked)
        found.update(rows)
    # Each pattern gave its own first `limit` rows, so the first `limit` of the union are among them.
    return [(seq, found[seq]) for seq in sorted(found)[:limit]]


async def log(r: Reader, *, after_seq: int, limit: int) -> list[LoggedLabel]:
    """Every row after a number, at most `limit`."""
    return [LoggedLabel(*row) for row in await r.rows("served.log", after_seq=after_seq, limit=limit)]


async def signed_otherwise(r: Reader, *, src: str, key_id: str, after_seq: int, last_seq: int) -> list[int]:
    """Numbers of a source's rows, after one number and up to another, that this key has not signed."""
    span = {"after_seq": after_seq, "last_seq": last_seq}
    return [seq for (seq,) in await r.rows("served.signed_otherwise", src=src, key_id=key_id, **span)]


async def numbered(r: Reader, numbers: Iterable[int]) -> list[NumberedLabel]:
    """The rows of these numbers."""
    found = [await labels.stream(r, after_seq=number - 1, limit=1) for number in numbers]
    return [row for rows in found for row in rows]


async def resign(tx: Tx, rows: Iterable[NumberedLabel]) -> None:
    """Replace signature and key of these rows; `cts` and all else stay (P41). Rings "signature"."""
    changes = []
    for row in rows:
        form = labels.json_text(row.label)
        changes.append({"seq": row.seq, "sig": row.label.sig, "key_id": row.key_id, "json": form})
    await tx.run_many("served.resign", changes)
    tx.ring("signature")


def successor(prefix: str) -> str | None:
    """The least text, bytewise in UTF-8, that is greater than every text with this prefix; None if there is none.

    UTF-8 orders as code points do, so the last code point that can be raised is raised; surrogates are no text (P54).
    """
    trimmed = prefix.rstrip("\U0010ffff")
    if not trimmed:
        return None
    point = ord(trimmed[-1]) + 1
    return trimmed[:-1] + chr(0xE000 if point == 0xD800 else point)


def _page(rows: list[Any], after_seq: int, limit: int) -> list[Served]:
    if after_seq:
        rows = [row for row in rows if row[0] > after_seq]
    rows.sort()
    return rows[:limit]


def _shortest(prefixes: Iterable[str]) -> list[str]:
    """The prefixes without those that another one covers."""
    kept: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept
