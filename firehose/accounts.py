"""What an account's host says of it (P151-P156)."""

from __future__ import annotations

from core.types import Account, make_tid, tid_microseconds
from firehose.answers import NOT_FOUND
from firehose.events import AccountEvent
from firehose.withdrawal import withdraw
from store import Tx, accounts, jobs, links, repos, signals, tracks, wishes

DELETED = "deleted"
# A stream that says something so much older than what is known repeats itself, or is the slower one of two that both
# tell. Emitters with wrong clocks are given that much, and replays are over soon.
STALE_US = 300_000_000
# What its own host says of an account when it is asked (position 0) ends these, but no takedown that a stream told of.
COMES_BACK = (None, "deactivated", DELETED, NOT_FOUND)


async def apply_account(tx: Tx, event: AccountEvent, *, now_us: int) -> None:
    """Hide or show everything of the account; a deleted one loses what is derived from it as well.

    Labels of an account that is only away stay as they are: who hides its records hides them too.
    """
    account = event.account
    said_us = min(event.time_us, now_us) if event.time_us is not None and event.position else None
    known_us = await accounts.said_us(tx, account.did)
    if said_us is not None and known_us is not None and said_us < known_us - STALE_US:
        return
    before = await accounts.get(tx, account.did)
    if not event.position and not _counts(before, account):
        return
    if await accounts.put(tx, account, now_us=now_us, said_us=said_us):
        await links.ring_for(tx, account.did)
        if account.active:
            await jobs.hasten(tx, account.did, reason="account_inactive", now_us=now_us)
            if before.status in (DELETED, NOT_FOUND):
                await repos.doubt(tx, account.did, reason="account_back", now_us=now_us)
    if not account.active and account.status == DELETED:
        await _forget(tx, event, now_us=now_us)


def _counts(before: Account, said: Account) -> bool:
    """Whether the word of an account's own host changes anything: no takedown by others, but deletion, which is final
    for a host that does not know the account any more.
    """
    if said.status == DELETED or before.active:
        return True
    return before.status in COMES_BACK and (before.status, said.status) != (DELETED, NOT_FOUND)


async def _forget(tx: Tx, event: AccountEvent, *, now_us: int) -> None:
    """Content and what is derived from it go (P151). An event that tells its time may be a replay: what the account
    wrote since then stays, for it came back.
    """
    did = event.did
    until_us = now_us if event.time_us is None else min(event.time_us, now_us)
    is_back = False
    for stored in await tracks.of_account(tx, did):
        rev = stored.track.rev
        if rev and until_us < tid_microseconds(rev) <= now_us:
            is_back = True
        elif rev:
            await withdraw(tx, str(stored.track.uri), rev, now_us=now_us)
            await tracks.unpin(tx, str(stored.track.uri))
    if not is_back:  # or what it and others said since then would be lost
        await links.forget_account(tx, did)
        await signals.forget_account(tx, did)
    await wishes.forget(tx, did, before_rev=make_tid(until_us + 1))
