"""Feed records that were seen published: one that somebody took away is not published again by itself."""

from __future__ import annotations

from collections.abc import Iterable

from store.engine import Reader, Tx


async def known(r: Reader) -> frozenset[str]:
    """The at-uris of all that were ever noted."""
    return frozenset(row[0] for row in await r.rows("published_feeds.known"))


async def note(tx: Tx, uris: Iterable[str]) -> None:
    """These are published now."""
    for uri in uris:
        await tx.run("published_feeds.note", uri=uri)
