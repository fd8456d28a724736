"""What artists wish: not to be labelled, not to be in feeds, not to be shown to people who are logged out.

One row a control record: the profile, an opt-out record, a block of one of our accounts; and one for what an account
says in reports. A record that is gone leaves its row, which says nothing any more: `rev` orders the versions, and a
profile that was looked for stays known.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.types import Did, Tid, make_tid
from store.engine import Reader, Tx


class Scope(StrEnum):
    """How much an artist wants to be left out of."""

    NONE = "none"
    FEEDS = "feeds"  # no track in a feed, and no post that stands for one
    ALL = "all"  # not labelled, not analysed, nothing derived kept


class WishKind(StrEnum):
    """What says so: a record, or a report, which is in nobody's repository."""

    PROFILE = "profile"
    OPTOUT = "optout"
    BLOCK = "block"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Wish:
    """What one control record says."""

    uri: str
    did: Did
    kind: WishKind
    rev: Tid
    scope: Scope = Scope.NONE
    logged_in_only: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """All wishes of an account together: the strongest counts."""

    scope: Scope = Scope.NONE
    logged_in_only: bool = False


def in_report(did: Did, scope: Scope, *, now_us: int) -> Wish:
    """What an account says of itself in a report: it takes the place of what it said so before."""
    uri = f"at://{did}/com.atproto.moderation.createReport/self"
    return Wish(uri, did, WishKind.REPORT, make_tid(now_us), scope)


async def put(tx: Tx, wish: Wish, *, now_us: int) -> bool:
    """Keep what a control record says now. False, and nothing changed, unless its `rev` is newer than the known one."""
    stored = await tx.value(
        "wishes.put",
        uri=wish.uri,
        did=wish.did,
        kind=wish.kind.value,
        scope=wish.scope.value,
        logged_in_only=int(wish.logged_in_only),
        rev=wish.rev,
        now_us=now_us,
    )
    return stored is not None


async def said(r: Reader, uri: str) -> Scope | None:
    """What this control record, or this account's reports, said last; None if it was never seen nor looked for."""
    scope = await r.value("wishes.said", uri=uri)
    return None if scope is None else Scope(scope)


async def of(r: Reader, did: str) -> Standing:
    """What an account wishes; nothing when it never said anything."""
    said = await r.rows("wishes.of_account", did=did)
    scopes = {Scope(scope) for scope, _ in said}
    strongest = next((scope for scope in (Scope.ALL, Scope.FEEDS) if scope in scopes), Scope.NONE)
    return Standing(strongest, any(logged_in_only for _, logged_in_only in said))


async def profile_known(r: Reader, did: str) -> bool:
    """Whether the account's profile was read, or looked for in vain. Until then nothing may be said of its tracks."""
    return await r.value("wishes.profile_known", did=did) is not None


async def logged_in_only(r: Reader, did: str) -> bool:
    """Whether the account is not to be shown on the public web (`!no-unauthenticated`)."""
    return (await of(r, did)).logged_in_only


async def all_logged_in_only(r: Reader) -> frozenset[str]:
    """Every account that is not to be shown on the public web."""
    return frozenset(did for (did,) in await r.rows("wishes.all_logged_in_only"))


async def forget(tx: Tx, did: str, *, before_rev: str) -> None:
    """Drop what the records of a deleted account said before that revision: its profile is looked for anew should it
    come back. What it said in a report cannot be looked for, and stays.
    """
    await tx.run("wishes.forget", did=did, before_rev=before_rev)
