"""Service tokens of procedures that were used, so that none is used twice (P122)."""

from __future__ import annotations

from store.engine import Tx

MAX_HELD = 100_000  # of all issuers: who mints accounts by the thousand must not fill the disk
MAX_HELD_OF_ISSUER = 200  # an account that sends more within the hour that a token may live is no person
_DROPPED_AT_ONCE = 1_000


async def use(tx: Tx, issuer: str, token: str, *, until_us: int, now_us: int) -> bool:
    """Take note of a token (its hash) until it expires. False when it was used before.

    Expired ones are forgotten; when too many are held, so are those that expire first.
    """
    await drop_expired(tx, now_us=now_us)
    if await tx.value("used_tokens.held") >= MAX_HELD:
        await tx.run("used_tokens.drop_soonest", count=_DROPPED_AT_ONCE)
    return await tx.value("used_tokens.use", issuer=issuer, token=token, until_us=until_us) is not None


async def drop_expired(tx: Tx, *, now_us: int) -> None:
    """Forget tokens that nobody would believe any more, and with them who used them."""
    await tx.run("used_tokens.drop_expired", now_us=now_us)


async def too_many(tx: Tx, issuer: str, *, now_us: int) -> bool:
    """Whether an account has used more tokens, not expired yet, than anybody needs."""
    held: int = await tx.value("used_tokens.held_of", issuer=issuer, now_us=now_us)
    return held >= MAX_HELD_OF_ISSUER
