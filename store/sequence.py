"""Numbers from counter rows: gapless, because a rollback gives them back; in commit order, because the row is locked.

A serial column would let a reader see n+1 before n (P66). Take numbers as late in a transaction as possible.
"""

from __future__ import annotations

from store.engine import Reader, Tx


async def take(tx: Tx, name: str, count: int) -> int:
    """The first number of a run of `count` >= 1. Numbers start at 1."""
    if count < 1:
        raise ValueError(f"cannot take {count} numbers")
    last: int = await tx.value("sequence.take", name=name, count=count)
    return last - count + 1


async def newest(r: Reader, name: str) -> int:
    """The newest number taken, 0 if none."""
    return await r.value("sequence.last", name=name) or 0


async def identity(r: Reader) -> str:
    """What tells this database's numbers from those of another one: the time it was made."""
    return str(await r.value("sequence.identity"))
