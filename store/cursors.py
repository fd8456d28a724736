"""How far each source was read (P157). Advanced in the transaction that stores the events, only forward."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import Corrupt
from store.engine import Reader, Tx


@dataclass(frozen=True, slots=True)
class StoredCursor:
    """`source` names host and endpoint (P158); `wall_us` is when the cursor was last advanced."""

    source: str
    value: int
    wall_us: int


async def get(r: Reader, source: str) -> StoredCursor | None:
    """None for a source never read. Raises Corrupt when the row is not a cursor: never start over silently."""
    row = await r.row("cursors.get", source=source)
    if row is None:
        return None
    cursor = StoredCursor(*row)
    if not isinstance(cursor.value, int) or cursor.value < 0 or not isinstance(cursor.wall_us, int):
        raise Corrupt(f"the cursor of {source} is {cursor.value!r}, not a position: restore a backup or delete the row")
    return cursor


async def advance(tx: Tx, source: str, value: int, *, now_us: int) -> None:
    """A smaller value than the stored one changes nothing. Raises Corrupt as `get` does."""
    if value < 0:
        raise ValueError(f"a cursor is never negative: {value}")
    await get(tx, source)
    await tx.run("cursors.advance", source=source, value=value, wall_us=now_us)


async def forget(tx: Tx, source: str) -> None:
    """The source gives its positions anew: the next one may be smaller."""
    await tx.run("cursors.forget", source=source)
