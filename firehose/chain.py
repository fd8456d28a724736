"""The chain of commits of the repositories that we follow: a link that is missing means events that we never saw
(P145, P160, P164). A repository in doubt is walked anew by `firehose.resync`.
"""

from __future__ import annotations

from firehose.events import CommitEvent, DoubtEvent, GapEvent, IdentityEvent, SyncEvent
from store import Tx, repos

# A host may be in the middle of sending what we miss, and some miss the same of many accounts.
DOUBT_DELAY_US = 3_000_000
GAP_SPACING_US = 500_000  # P165: after a gap every followed repository is walked, on average two in a second


async def apply_commit(tx: Tx, event: CommitEvent, *, now_us: int) -> None:
    """Move a repository on, or mark it for a resync when the commit does not continue what is stored."""
    known = await repos.get(tx, event.did)
    if known is None or event.rev <= known.rev:
        return
    broken = bool(known.rev) and event.since is not None and event.since != known.rev
    if known.data is not None and event.prev_data is not None:
        broken = broken or event.prev_data != known.data
    await repos.advance(tx, event.did, rev=event.rev, data=event.data, now_us=now_us)
    if broken:
        await _doubt(tx, event.did, "missed_commits", now_us)


async def apply_sync(tx: Tx, event: SyncEvent, *, now_us: int) -> None:
    """A repository was set to a state without saying how: nothing to do if it is the one that we know."""
    known = await repos.get(tx, event.did)
    if known is None or event.rev < known.rev:
        return
    if event.rev == known.rev and known.data in (None, event.data):  # None: a walk found this revision
        return
    await repos.advance(tx, event.did, rev=event.rev, data=event.data, now_us=now_us)
    await _doubt(tx, event.did, "sync", now_us)


async def apply_doubt(tx: Tx, event: DoubtEvent, *, now_us: int) -> None:
    """A message that could not be used."""
    await _doubt(tx, event.did, event.reason, now_us)


async def apply_identity(tx: Tx, event: IdentityEvent, *, now_us: int) -> None:
    """The account may have moved, or gone for good without another word (P156): its host is asked what there is.

    Of accounts that are not followed nobody wants to know (P154).
    """
    if await repos.get(tx, event.did) is not None:
        await _doubt(tx, event.did, "identity", now_us)


async def apply_gap(tx: Tx, event: GapEvent, *, now_us: int) -> None:
    """Nobody knows whose events were missed."""
    await repos.doubt_all(tx, reason="gap", now_us=now_us, spacing_us=GAP_SPACING_US)


async def _doubt(tx: Tx, did: str, reason: str, now_us: int) -> None:
    await repos.doubt(tx, did, reason=reason, now_us=now_us, delay_us=DOUBT_DELAY_US)
