"""What artists say in their own repository about being labelled, shown and listed (POSTS.md section 7).

A profile may say `no-auto-label` and `!no-unauthenticated`; a record `example.earmark.optout` with the key `self`
leaves its artist out, altogether or (`scope`: `feeds`) of feeds only; so does a block of one of our accounts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from core.errors import Misconfigured
from core.log import Log
from core.nsids import OPTOUT
from core.types import parse_nsid
from firehose.events import Operation, RecordEvent
from firehose.records import find_values
from firehose.withdrawal import opt_out
from store import Tx, links, repos, wishes
from store.wishes import Scope, Wish, WishKind

PROFILE = "app.bsky.actor.profile"
BLOCK = "app.bsky.graph.block"
SELF = "self"  # the record key of profiles and opt-outs
NO_LABELS = "no-auto-label"
LOGGED_IN_ONLY = "!no-unauthenticated"


class ControlRecords:
    """Implements firehose.apply.RecordReader for profiles, opt-outs and blocks of `our_dids`.

    Of profiles and opt-outs the key `self` counts only. A scope that nobody knows, or an opt-out that cannot be read,
    counts as the widest.
    """

    def __init__(self, our_dids: Iterable[str], *, optout_collections: Collection[str] = (), log: Log) -> None:
        """Raises Misconfigured for an opt-out collection whose name is none."""
        try:
            self._optouts = frozenset(parse_nsid(name) for name in (OPTOUT, *optout_collections))
        except ValueError as error:
            raise Misconfigured("control.optout_collections", str(error)) from None
        self._our_dids = frozenset(our_dids)
        self._log = log

    @property
    def collections(self) -> frozenset[str]:
        return self.of_artists | {BLOCK}

    @property
    def of_artists(self) -> frozenset[str]:
        """Those of which an account has one record, with the key `self`: it can be asked for."""
        return self._optouts | {PROFILE}

    @property
    def needles(self) -> tuple[bytes, ...]:
        """Byte strings without one of which a block is none of us."""
        return tuple(did.encode() for did in sorted(self._our_dids))

    async def apply(self, tx: Tx, event: RecordEvent, *, now_us: int) -> None:
        """See RecordReader.apply. What a wish takes away goes in this transaction."""
        wish = self._read(event)
        if wish is None or (wish == _silent(wish) and not await self._is_news(tx, wish)):
            return
        await take_wish(tx, wish, now_us=now_us, log=self._log)

    @staticmethod
    async def _is_news(tx: Tx, wish: Wish) -> bool:
        """Whether silence is worth a row: that an artist was asked, or that something is taken back. Strangers lift
        blocks of strangers all day.
        """
        return wish.kind is not WishKind.BLOCK or await wishes.said(tx, wish.uri) is not None

    def _read(self, event: RecordEvent) -> Wish | None:
        """What a control record says now; None for one that is none of ours to read."""
        uri, gone = str(event.uri), event.operation is Operation.DELETE
        if event.collection == BLOCK:
            subject = event.record.get("subject") if isinstance(event.record, Mapping) else None
            blocked = isinstance(subject, str) and subject in self._our_dids
            return Wish(uri, event.did, WishKind.BLOCK, event.rev, Scope.ALL if blocked else Scope.NONE)
        if event.rkey != SELF:
            return None
        if event.collection == PROFILE:
            said = self_labels(event.record)
            scope = Scope.ALL if NO_LABELS in said else Scope.NONE
            return Wish(uri, event.did, WishKind.PROFILE, event.rev, scope, LOGGED_IN_ONLY in said)
        scope = Scope.NONE if gone else _optout_scope(event.record)
        return Wish(uri, event.did, WishKind.OPTOUT, event.rev, scope)


async def take_wish(tx: Tx, wish: Wish, *, now_us: int, log: Log) -> None:
    """Keep what an artist says now, wherever it was said, with all that follows: what it takes away goes in this
    transaction, what it brings back comes by a walk. A revision that is not newer than the known one changes nothing.
    """
    before = await wishes.of(tx, wish.did)
    if not await wishes.put(tx, wish, now_us=now_us):
        return
    after = await wishes.of(tx, wish.did)
    if before == after:
        return
    await links.ring_for(tx, wish.did)  # feeds look anew
    log.info("an artist's wish", did=wish.did, kind=wish.kind.value, scope=after.scope.value)
    if after.scope is Scope.ALL and before.scope is not Scope.ALL:
        await opt_out(tx, wish.did, now_us=now_us)
    elif before.scope is Scope.ALL and after.scope is not Scope.ALL:
        await repos.doubt(tx, wish.did, reason="wish_undone", now_us=now_us)  # the walk brings the tracks back


def _silent(wish: Wish) -> Wish:
    return Wish(wish.uri, wish.did, wish.kind, wish.rev)


def self_labels(record: Any) -> frozenset[str]:
    """What a record says of itself; nothing if it is not well formed."""
    return frozenset(label for label in find_values(record, "labels.values[].val") if isinstance(label, str))


def _optout_scope(record: Any) -> Scope:
    said = record.get("scope") if isinstance(record, Mapping) else None
    return Scope.FEEDS if said == "feeds" else Scope.ALL
