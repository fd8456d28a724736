"""Accounts whose posts link tracks, and since when each exists: fresh ones may be a farm (POSTS.md section 3)."""

from __future__ import annotations

from store.engine import Reader, Tx


async def meet(tx: Tx, did: str, *, now_us: int) -> None:
    """Have the account's age found out, unless it was. Rings "poster"."""
    await tx.run("posters.meet", did=did, now_us=now_us)
    tx.ring("poster")


async def due(r: Reader, *, now_us: int, limit: int) -> list[tuple[str, int, int]]:
    """(did, when it was met, attempts so far) of accounts whose turn it is, the longest waiting first."""
    rows = await r.rows("posters.due", now_us=now_us, limit=limit)
    return [(did, met_us, attempts) for did, met_us, attempts in rows]


async def put_off(tx: Tx, did: str, *, attempts: int, due_us: int) -> None:
    """Nobody could tell: later again."""
    await tx.run("posters.put_off", did=did, attempts=attempts, due_us=due_us)


async def settle(tx: Tx, did: str, born_us: int) -> None:
    """The account exists since then, in unix microseconds."""
    await tx.run("posters.settle", did=did, born_us=born_us)


async def forget(tx: Tx, did: str) -> None:
    """The account is gone."""
    await tx.run("posters.forget", did=did)
