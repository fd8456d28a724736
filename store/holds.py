"""What the operator keeps back, whatever is heard and whoever states it: one value, or all, of one record, or of all.

A hold outlives every analysis and every report until it is lifted. `rulings.of` knows of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.analysis import EVERYTHING
from store.engine import Reader, Tx

EVERY_RECORD = "*"  # in place of a record's address


@dataclass(frozen=True, slots=True)
class Hold:
    """`uri` may be EVERY_RECORD, `val` core.analysis.EVERYTHING."""

    uri: str
    val: str
    created_us: int


async def put(tx: Tx, uri: str, val: str = EVERYTHING, *, now_us: int) -> None:
    """From now on this is not to be live. Changes no verdict."""
    await tx.run("holds.put", uri=uri, val=val, now_us=now_us)


async def lift(tx: Tx, *, uri: str | None, val: str | None) -> list[str]:
    """End the holds on `uri` (None: every hold there is) of `val` (None: of any); the addresses that they were on."""
    return [found for (found,) in await tx.rows("holds.lift", uri=uri or "", val=val or "")]


async def in_force(r: Reader, *, limit: int = 1_000) -> list[Hold]:
    """What is kept back now, the oldest first."""
    return [Hold(*row) for row in await r.rows("holds.in_force", limit=limit)]


async def labelled(r: Reader, src: str, *, since_us: int = 0, after_uri: str = "", limit: int) -> list[str]:
    """Tracks on which a label of `src` is live that was made since a time, or on which one is asked for that is not
    signed yet; by address, after one. The caller looks which labels they are.
    """
    rows = await r.rows("holds.labelled", src=src, since_us=since_us, after_uri=after_uri, limit=limit)
    return [uri for (uri,) in rows]
