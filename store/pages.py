"""Pages of allowed hosts that posts link to, and the record that each one says it shows (R7 of POSTS.md)."""

from __future__ import annotations

from store import links
from store.engine import Reader, Tx

MAX_WAITING = 10_000  # further pages are not asked: a flood of links must not become a flood of requests


async def ask(tx: Tx, url: str, *, now_us: int) -> bool:
    """Have the page asked, unless it was. False: it shows no track, or too many wait. Rings "page"."""
    state: str | None = await tx.value("pages.known", url=url)
    if state is None:
        if await tx.value("pages.waiting") >= MAX_WAITING:
            return False
        await tx.run("pages.put", url=url, now_us=now_us)
        tx.ring("page")
    return state != "nothing"


async def due(r: Reader, *, now_us: int, limit: int) -> list[tuple[str, int]]:
    """(url, attempts so far) of pages whose turn it is, the longest waiting first."""
    return [(url, attempts) for url, attempts in await r.rows("pages.due", now_us=now_us, limit=limit)]


async def put_off(tx: Tx, url: str, *, attempts: int, due_us: int) -> None:
    """It gave no usable answer: later again."""
    await tx.run("pages.put_off", url=url, attempts=attempts, due_us=due_us)


async def settle(tx: Tx, url: str, uri: str | None, *, now_us: int) -> None:
    """What the page shows; None: no track, and links to it are no links. Answers older than 30 days are forgotten."""
    await tx.run("pages.settle", url=url, state="nothing" if uri is None else "named", uri=uri, now_us=now_us)
    tx.ring("linked")
    if uri is None:
        await links.drop_target(tx, url)
        await tx.run("pages.forget_nothing", before_us=now_us - 30 * 86_400_000_000)
