"""Walks through many repositories: what was asked for, which accounts that means, and how far it got (P175)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from core.types import Did
from store import sequence
from store.engine import Reader, Row, Tx


@dataclass(frozen=True, slots=True)
class StoredBackfill:
    """`wanted` is the canonical text of what was asked for. `listing`: where the search for accounts stands, else None.

    `state`: unfinished, done, or limited (it brought as many tracks as were wanted).
    """

    backfill_id: int
    wanted: str
    state: str
    listing: dict[str, Any] | None
    started_us: int
    finished_us: int | None


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """Repositories by what became of them; records found, written and withdrawn; why some failed or wait."""

    waiting: int = 0
    done: int = 0
    failed: int = 0
    found: int = 0
    changed: int = 0
    withdrawn: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    put_off: dict[str, int] = field(default_factory=dict)


async def begin(tx: Tx, wanted: str, listing: dict[str, Any] | None, *, now_us: int) -> StoredBackfill:
    """The one that was begun for the same wish and has not ended, else a new one; ended ones are forgotten then."""
    row = await tx.row("backfills.unfinished", wanted=wanted)
    if row is not None:
        return _backfill(row)
    await tx.run("backfills.forget_ended_repos")
    await tx.run("backfills.forget_ended")
    backfill_id = await sequence.take(tx, "backfill", 1)
    text = _listing_text(listing)
    await tx.run("backfills.begin", backfill_id=backfill_id, wanted=wanted, listing=text, now_us=now_us)
    return StoredBackfill(backfill_id, wanted, "unfinished", listing, now_us, None)


async def latest(r: Reader) -> StoredBackfill | None:
    """The one begun last; None when there never was one."""
    row = await r.row("backfills.latest")
    return None if row is None else _backfill(row)


async def note_listing(tx: Tx, backfill_id: int, listing: dict[str, Any] | None) -> None:
    """Where the search for accounts stands; None when it is over."""
    await tx.run("backfills.note_listing", backfill_id=backfill_id, listing=_listing_text(listing))


async def finish(tx: Tx, backfill_id: int, state: str, *, now_us: int) -> None:
    """It has ended as done or limited."""
    await tx.run("backfills.finish", backfill_id=backfill_id, state=state, now_us=now_us)


async def add(tx: Tx, backfill_id: int, dids: Iterable[str]) -> None:
    """Have these accounts walked; one that is on the list stays as it is."""
    await tx.run_many("backfills.add_repo", [{"backfill_id": backfill_id, "did": did} for did in dids])


async def due(r: Reader, backfill_id: int, *, now_us: int, limit: int) -> list[tuple[Did, int]]:
    """Accounts that wait for their walk and may have it now, with the attempts made, the longest due first."""
    rows = await r.rows("backfills.due", backfill_id=backfill_id, now_us=now_us, limit=limit)
    return [(Did(did), attempts) for did, attempts in rows]


async def next_due_us(r: Reader, backfill_id: int) -> int | None:
    """When the next one may be walked; None when none waits."""
    found: int | None = await r.value("backfills.next_due_us", backfill_id=backfill_id)
    return found


async def settle(tx: Tx, backfill_id: int, did: str, state: str, *, reason: str | None = None, found: int = 0) -> None:
    """The account is done, or has failed for good."""
    await tx.run("backfills.settle", backfill_id=backfill_id, did=did, state=state, reason=reason, found=found)


async def count(tx: Tx, backfill_id: int, did: str, *, changed: int, withdrawn: int) -> None:
    """So many more of its records were written or withdrawn."""
    await tx.run("backfills.count", backfill_id=backfill_id, did=did, changed=changed, withdrawn=withdrawn)


async def put_off(tx: Tx, backfill_id: int, did: str, *, reason: str, attempts: int, due_us: int) -> None:
    """Later again."""
    await tx.run("backfills.put_off", backfill_id=backfill_id, did=did, reason=reason, attempts=attempts, due_us=due_us)


async def changed(r: Reader, backfill_id: int) -> int:
    """Records written so far."""
    found: int = await r.value("backfills.changed", backfill_id=backfill_id)
    return found


async def progress(r: Reader, backfill_id: int) -> BackfillProgress:
    """How far it is."""
    counts, found, written, withdrawn = {"waiting": 0, "done": 0, "failed": 0}, 0, 0, 0
    for state, repos, *records in await r.rows("backfills.totals", backfill_id=backfill_id):
        counts[state] = repos
        found, written, withdrawn = found + records[0], written + records[1], withdrawn + records[2]
    reasons: dict[str, dict[str, int]] = {"waiting": {}, "failed": {}}
    for state, reason, repos in await r.rows("backfills.reasons", backfill_id=backfill_id):
        reasons[state][reason] = repos
    return BackfillProgress(
        **counts,
        found=found,
        changed=written,
        withdrawn=withdrawn,
        failures=reasons["failed"],
        put_off=reasons["waiting"],
    )


async def accounts(r: Reader) -> list[Did]:
    """Every account that has tracks here."""
    return [Did(did) for (did,) in await r.rows("backfills.accounts")]


def _listing_text(listing: dict[str, Any] | None) -> str | None:
    return None if listing is None else orjson.dumps(listing).decode()


def _backfill(row: Row) -> StoredBackfill:
    backfill_id, wanted, state, listing, started_us, finished_us = row
    return StoredBackfill(
        backfill_id, wanted, state, None if listing is None else orjson.loads(listing), started_us, finished_us
    )
