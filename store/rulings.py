"""What people have said about the labels of one record: it outlives every analysis."""

from __future__ import annotations

import orjson

from core.analysis import Ruling
from store.engine import Reader, Tx


async def of(r: Reader, uri: str) -> Ruling:
    """The ruling on a record, what the operator withholds (store.holds) included; empty when nobody said anything."""
    row = await r.row("rulings.get", uri=uri)
    denied, stated = row if row is not None else ("[]", "[]")
    withheld = frozenset(val for (val,) in await r.rows("holds.of", uri=uri))
    return Ruling(frozenset(orjson.loads(denied)), tuple(orjson.loads(stated)), withheld)


async def put(tx: Tx, uri: str, ruling: Ruling, *, now_us: int) -> None:
    """Let this be the ruling on a record from now on, but for what is withheld, which has a place of its own."""
    if not ruling.denied and not ruling.stated:
        await tx.run("rulings.drop", uri=uri)
        return
    denied, stated = orjson.dumps(sorted(ruling.denied)).decode(), orjson.dumps(ruling.stated).decode()
    await tx.run("rulings.put", uri=uri, denied=denied, stated=stated, now_us=now_us)
