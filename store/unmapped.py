"""Fields that records had and no mapping reads, for the operator to look at. Names only: no values are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from store.engine import Reader, Tx

MAX_FIELDS = 200  # a collection; names are strangers' words, and there is no end of them


@dataclass(frozen=True, slots=True)
class UnmappedField:
    """`seen` counts the records that had it; `example_uri` is the newest of them. `kind`: JSON's word for its value."""

    collection: str
    path: str
    kind: str
    seen: int
    example_uri: str
    updated_us: int


async def note(tx: Tx, collection: str, fields: Mapping[str, str], *, uri: str, now_us: int) -> None:
    """Count one record's unmapped fields (path -> kind). New ones of a collection that has 200 are left out."""
    for path, kind in fields.items():
        field = {"collection": collection, "path": path, "kind": kind, "uri": uri, "now_us": now_us}
        if await tx.value("unmapped.count", **field) is None:
            await tx.run("unmapped.add", **field, max_fields=MAX_FIELDS)


async def report(r: Reader) -> list[UnmappedField]:
    """All of them, by collection, the most frequent first."""
    return [UnmappedField(*row) for row in await r.rows("unmapped.report")]
