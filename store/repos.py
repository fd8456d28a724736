"""Where the repositories of accounts with tracks stand: followed commit by commit, or in doubt (P145, P164)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from core.types import Cid, Did, Tid
from store.engine import Reader, Row, Tx

REST_US = 60_000_000  # between two walks of one repository: it may be its owner who keeps it in doubt


@dataclass(frozen=True, slots=True)
class StoredRepo:
    """`rev` is '' and `data` None until a commit was seen."""

    did: Did
    rev: Tid
    data: Cid | None
    state: str
    reason: str | None
    attempts: int
    due_us: int

    @property
    def in_doubt(self) -> bool:
        return self.state == "desynchronised"


async def get(r: Reader, did: str) -> StoredRepo | None:
    """None when the account's repository is not followed."""
    row = await r.row("repos.get", did=did)
    return None if row is None else _repo(row)


async def follow(tx: Tx, did: str, *, now_us: int) -> None:
    """Follow the repository from now on; one that is followed already stays as it is. Rings "repo"."""
    await tx.run("repos.follow", did=did, now_us=now_us)
    tx.ring("repo")


async def advance(tx: Tx, did: str, *, rev: str, data: str | None, now_us: int) -> None:
    """This is the newest commit now; an older one, or one of an account that is not followed, changes nothing."""
    await tx.run("repos.advance", did=did, rev=rev, data=data, now_us=now_us)


async def doubt(tx: Tx, did: str, *, reason: str, now_us: int, delay_us: int = 0) -> None:
    """Something of this repository was missed: it is walked anew, not before `delay_us` from now, nor within a minute
    of the last walk that succeeded. Rings "doubt".
    """
    due_us = now_us + delay_us
    await tx.run("repos.doubt", did=did, reason=reason, due_us=due_us, rest_us=REST_US, now_us=now_us)
    tx.ring("doubt")


async def doubt_all(tx: Tx, *, reason: str, now_us: int, spacing_us: int) -> int:
    """Something of any repository was missed: they are all walked anew, in no particular order, one each `spacing_us`
    on average (P165). The number of repositories that were not in doubt before. Rings "doubt".
    """
    await tx.run("repos.renew_doubts", now_us=now_us)
    dids = [did for (did,) in await tx.rows("repos.synchronised")]
    await tx.run_many(
        "repos.doubt",
        [
            {
                "did": did,
                "reason": reason,
                "due_us": now_us + int(_share(did) * len(dids) * spacing_us),
                "rest_us": REST_US,
                "now_us": now_us,
            }
            for did in dids
        ],
    )
    tx.ring("doubt")
    return len(dids)


async def due(r: Reader, *, now_us: int, limit: int) -> list[StoredRepo]:
    """Repositories in doubt whose turn it is, the longest waiting first."""
    return [_repo(row) for row in await r.rows("repos.due", now_us=now_us, limit=limit)]


async def next_due_us(r: Reader, *, now_us: int) -> int | None:
    """When the next one in doubt will be due; None when none will."""
    found: int | None = await r.value("repos.next_due_us", now_us=now_us)
    return found


async def put_off(tx: Tx, did: str, *, reason: str, attempts: int, due_us: int, now_us: int) -> None:
    """The walk did not succeed: later again. `attempts`: how often it failed so far."""
    await tx.run("repos.put_off", did=did, reason=reason, attempts=attempts, due_us=due_us, now_us=now_us)


async def settle(tx: Tx, did: str, *, since_us: int, now_us: int) -> bool:
    """A walk that began at `since_us` succeeded: nothing is missing any more. False, and nothing changed, when there
    was new doubt since.
    """
    return await tx.value("repos.settle", did=did, since_us=since_us, now_us=now_us) is not None


async def followed(r: Reader) -> list[Did]:
    """Every account whose repository is followed."""
    return [Did(did) for (did,) in await r.rows("repos.followed")]


async def counts(r: Reader) -> dict[str, int]:
    """Number of followed repositories by state."""
    return {"synchronised": 0, "desynchronised": 0} | dict(await r.rows("repos.counts"))


async def known(r: Reader, did: str) -> dict[str, str]:
    """CID by uri of the account's records that are there as far as the store knows: what a walk is compared with."""
    return dict(await r.rows("repos.known", did=did))


def _share(did: str) -> float:
    """A number in 0..1 that is as good as random, and another one for each account."""
    return int.from_bytes(hashlib.sha256(did.encode()).digest()[:6], "big") / 2.0**48


def _repo(row: Row) -> StoredRepo:
    did, rev, data, state, reason, attempts, due_us = row
    return StoredRepo(Did(did), Tid(rev), Cid(data) if data else None, state, reason, attempts, due_us)
