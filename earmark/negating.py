"""The operator's kill switch: labels that are taken back and stay back, whatever is heard or reported, until lifted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from core.analysis import EVERYTHING
from core.clock import Clock, format_datetime, parse_datetime
from core.errors import AppError
from core.taxonomy import Taxonomy
from core.types import Did
from earmark.control import read_params
from earmark.deciding import Judge
from earmark.rejudging import AT_ONCE, Rejudgement, Rejudging, decide_again, take_away
from store import Reader, Store, Tx, actions, holds, labels, tracks
from store.actions import ActorKind
from store.holds import EVERY_RECORD

NEGATE, RESUME = "negate", "resume"


class Negation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the verbs ask for. No `uri`: all records; no `val`: all values; `by`: the operator's login name."""

    uri: str | None = None
    val: str | None = None
    since_us: int | None = None  # only labels that were made since; never with a `uri`, nor to resume
    by: str
    reason: str


class UnknownTrack(AppError):
    """There is no such track here."""

    reason = "unknown_track"


class Negating:
    """Holds are noted first, so that nothing is published that they keep back; then verdicts follow, page by page. Cut
    short, a negation goes on by being run again, and what a hold that was lifted kept back comes by earmark.rejudging.
    """

    def __init__(self, store: Store, *, src: Did, taxonomy: Taxonomy, judge: Judge, clock: Clock) -> None:
        self._store = store
        self._src = src
        self._taxonomy = taxonomy
        self._judge = judge
        self._clock = clock

    async def answer_negate(self, params: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """A command of earmark.control."""
        async for said in self.negate(read_params(params, Negation)):
            yield said

    async def answer_resume(self, params: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """A command of earmark.control."""
        async for said in self.resume(read_params(params, Negation)):
            yield said

    async def negate(self, wish: Negation) -> AsyncIterator[dict[str, Any]]:
        """Yields {"tracks", "labels"}: on how many of them how many labels are taken back. Raises UnknownTrack."""
        told = {"tracks": 0, "labels": 0}
        await self._hold(wish)
        after = ""
        while uris := await self._next(wish, after):
            after = uris[-1]
            async with self._store.write() as tx:
                for uri in uris:
                    taken = await self._strip(tx, uri, wish)
                    told["tracks"] += taken > 0
                    told["labels"] += taken
            yield told
        if not after:
            yield told

    async def resume(self, wish: Negation) -> AsyncIterator[dict[str, Any]]:
        """Lift holds and judge again what they were on. Yields {"lifted", "changed"}."""
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            lifted = await holds.lift(tx, uri=wish.uri, val=wish.val)
            if lifted:
                await self._note(tx, "labels.resume", wish, now_us)
        told = {"lifted": len(lifted), "changed": 0}
        if EVERY_RECORD in lifted:
            rejudging = Rejudging(self._store, judge=self._judge, clock=self._clock)
            async for said in rejudging.run(Rejudgement(dry_run=False)):
                yield told | {"changed": said["changed"]}
            return
        uris = sorted(set(lifted))
        for first in range(0, len(uris), AT_ONCE):
            told["changed"] += await self._judge_again(uris[first : first + AT_ONCE])
            yield told
        if not uris:
            yield told

    async def _hold(self, wish: Negation) -> None:
        now_us = self._clock.now_us()
        async with self._store.write() as tx:
            if wish.uri is not None and await tracks.get(tx, wish.uri) is None:
                raise UnknownTrack(f"{wish.uri} was never seen here (labels on posts follow those of their tracks)")
            if wish.since_us is None:
                await holds.put(tx, wish.uri or EVERY_RECORD, wish.val or EVERYTHING, now_us=now_us)
            await self._note(tx, "labels.negate", wish, now_us)

    async def _next(self, wish: Negation, after: str) -> list[str]:
        if wish.uri is not None:
            return [] if after else [wish.uri]
        async with self._store.read() as reader:
            since_us = wish.since_us or 0
            return await holds.labelled(reader, self._src, since_us=since_us, after_uri=after, limit=AT_ONCE)

    async def _strip(self, tx: Tx, uri: str, wish: Negation) -> int:
        """How many labels were taken off one track's verdict."""
        now_us = self._clock.now_us()
        found = await labels.get_verdict(tx, uri)
        if found is None:
            return 0
        asked = found.verdict.labels
        refused = await self._refused(tx, uri, asked, wish)
        if wish.since_us is not None:
            for val in refused:
                await holds.put(tx, uri, val, now_us=now_us)
        await take_away(tx, uri, refused, "withheld", now_us=now_us)
        return len(refused)

    async def _refused(self, r: Reader, uri: str, asked: Sequence[str], wish: Negation) -> list[str]:
        """Which of the labels that are asked for go: a parent takes its styles along."""
        distrusted = {wish.val} if wish.val is not None else set(asked)
        if wish.since_us is not None:
            live = [row.label for row in await labels.live(r, self._src, uri) if not row.label.neg]
            older = {label.val for label in live if parse_datetime(label.cts) < wish.since_us}
            distrusted &= set(asked) - older
        parent_of = self._taxonomy.parent_of
        return [label for label in asked if label in distrusted or parent_of(label) in distrusted]

    async def _judge_again(self, uris: Sequence[str]) -> int:
        changed = 0
        async with self._store.write() as tx:
            for uri in uris:
                stored, before = await tracks.get(tx, uri), await labels.get_verdict(tx, uri)
                if stored is not None and before is not None:
                    after = await decide_again(tx, stored, self._judge, now_us=self._clock.now_us())
                    changed += after != before.verdict
        return changed

    async def _note(self, tx: Tx, verb: str, wish: Negation, now_us: int) -> None:
        scope = {"val": wish.val or "all"} | ({} if wish.uri else {"records": "all"})
        await actions.note(
            tx,
            at_us=now_us,
            actor_kind=ActorKind.OPERATOR,
            actor=wish.by,
            verb=verb,
            uri=wish.uri,
            reason=wish.reason,
            detail=scope | ({} if wish.since_us is None else {"since": format_datetime(wish.since_us)}),
        )
