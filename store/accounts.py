"""What the hosts of accounts last said of them (P151-P153). Accounts of which nothing was said count as active."""

from __future__ import annotations

from core.types import Account, Did
from store.engine import Reader, Tx


async def put(tx: Tx, account: Account, *, now_us: int, said_us: int | None = None) -> bool:
    """Keep what an account's host says. True if it became active or inactive; unknown accounts count as active.

    `said_us`: when, if a stream tells. An active account that was never otherwise gets no row: the firehose names
    strangers all day.
    """
    known = await get(tx, account.did)
    if account == known:
        return False
    parameters = {"did": account.did, "active": int(account.active), "status": account.status}
    await tx.run("accounts.put", **parameters, said_us=said_us, now_us=now_us)
    return account.active != known.active


async def said_us(r: Reader, did: str) -> int | None:
    """The newest time that a stream gave for a change of the account; None when none did."""
    found: int | None = await r.value("accounts.said_us", did=did)
    return found


async def get(r: Reader, did: str) -> Account:
    """What an account's host last said; unknown accounts count as active."""
    row = await r.row("accounts.get", did=did)
    return Account(Did(did), True) if row is None else Account(Did(did), bool(row[0]), row[1])
