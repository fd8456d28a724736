"""Verdicts anew from stored analyses: after a ruling, and after the policy changed. Nothing is heard again."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from core.analysis import Verdict, VerdictStatus
from core.clock import Clock
from core.types import TrackState
from earmark.control import read_params
from earmark.deciding import Decision, Judge, confirm, decide, keep, may_decide_anew, settle
from store import Reader, Store, Tx, actions, generations, labels, rulings, tracks
from store.actions import ActorKind
from store.tracks import StoredTrack

ROUTE = "rejudge"
AT_ONCE = 25  # tracks in one transaction: each takes a millisecond or two


async def decide_again(tx: Tx, stored: StoredTrack, judge: Judge, *, now_us: int) -> Verdict | None:
    """Judge a track by what the serving generation heard and what people say now, and make that its verdict.

    A track that is on its way, or was not heard by that generation, keeps its verdict but for the labels that are
    denied; the rest follows when it is heard. The verdict in force, None if there is none.
    """
    decision = await look_again(tx, stored, judge)
    if decision is not None:
        await keep(tx, stored, decision, now_us=now_us)
        await settle(tx, stored, decision, now_us=now_us)
        return decision.verdict
    uri = str(stored.track.uri)
    ruling = await rulings.of(tx, uri)
    return await take_away(tx, uri, ruling.denied, "denied", now_us=now_us)


async def look_again(r: Reader, stored: StoredTrack, judge: Judge) -> Decision | None:
    """What the serving generation would say of a track now; None where it must not or cannot be judged anew."""
    if not await may_decide_anew(r, stored):
        return None
    serving = (await generations.living(r)).serving
    return next(iter(await decide(r, stored, None, judge, [serving])), None)


async def take_away(tx: Tx, uri: str, refused: Collection[str], reason: str, *, now_us: int) -> Verdict | None:
    """The stored verdict on a subject without these labels; `reason` is why if none is left. None if there is none."""
    found = await labels.get_verdict(tx, uri)
    if found is None:
        return None
    verdict, left = found.verdict, tuple(label for label in found.verdict.labels if label not in refused)
    if left == verdict.labels:
        return verdict
    if left:
        verdict = replace(verdict, labels=left)
    else:
        verdict = replace(verdict, labels=(), status=VerdictStatus.UNDECIDED, reason=reason)
    await labels.put_verdict(tx, uri, verdict, now_us=now_us, audio_key=found.audio_key, generation=found.generation)
    stored = await tracks.get(tx, uri)
    if stored is not None and stored.state is TrackState.READY:
        await confirm(tx, stored, verdict, now_us=now_us)
    return verdict


class Rejudgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the verb was asked for. `limit`: stop after so many changed tracks; `by`: the operator's login name, empty
    where this is part of a step that was noted already.
    """

    dry_run: bool = True
    limit: int | None = None
    by: str = ""
    reason: str | None = None


@dataclass(slots=True)
class Tally:
    """How far it is. `added` and `removed` count labels by identifier."""

    judged: int = 0
    changed: int = 0
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)

    def count(self, change: Mapping[str, Any]) -> None:
        self.changed += 1
        self.added.update(set(change["now"]["labels"]) - set(change["was"]["labels"]))
        self.removed.update(set(change["was"]["labels"]) - set(change["now"]["labels"]))

    def tell(self, changes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One line of progress, with the changes since the last one."""
        counts = {"added": dict(self.added), "removed": dict(self.removed)}
        return {"judged": self.judged, "changed": self.changed, **counts, "changes": list(changes)}


class Rejudging:
    """The policy over all stored analyses. Each page commits by itself, and what is judged again and agrees is no news:
    cut short, it goes on by being run again.
    """

    def __init__(self, store: Store, *, judge: Judge, clock: Clock) -> None:
        self._store = store
        self._judge = judge
        self._clock = clock

    async def answer(self, params: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """A command of earmark.control."""
        async for said in self.run(read_params(params, Rejudgement)):
            yield said

    async def run(self, wish: Rejudgement) -> AsyncIterator[dict[str, Any]]:
        """Yields a line a page. Dry, it changes nothing and says what it would change."""
        tally, after = Tally(), 0
        while True:
            async with self._store.read() as reader:
                page = await tracks.decided(reader, after=after, limit=AT_ONCE)
                changes = [change for _, uri in page if (change := await self._differ(reader, uri)) is not None]
            if not page:
                break
            after = page[-1][0]
            if wish.limit is not None:
                changes = changes[: wish.limit - tally.changed]
            if changes and not wish.dry_run:
                changes = await self._apply(changes, wish if tally.changed == 0 else None)
            tally.judged += len(page)
            for change in changes:
                tally.count(change)
            yield tally.tell(changes)
            if tally.changed == wish.limit:
                break
        if not tally.judged:
            yield tally.tell([])

    async def _differ(self, r: Reader, uri: str) -> dict[str, Any] | None:
        """What would change on a track, if anything that others see would."""
        stored = await tracks.get(r, uri)
        if stored is None or (decision := await look_again(r, stored, self._judge)) is None:
            return None
        last = await labels.get_verdict(r, uri)
        assert last is not None  # or it could not be decided anew
        if _visible(last.verdict) == _visible(decision.verdict):
            return None
        return _change(uri, last.verdict, decision.verdict)

    async def _apply(self, changes: Sequence[Mapping[str, Any]], begun: Rejudgement | None) -> list[dict[str, Any]]:
        """In one transaction, and only where it still holds; the operator's step is noted with the first change."""
        now_us, applied = self._clock.now_us(), []
        async with self._store.write() as tx:
            for change in changes:
                uri = change["uri"]
                stored, last = await tracks.get(tx, uri), await labels.get_verdict(tx, uri)
                if stored is None or last is None:
                    continue
                verdict = await decide_again(tx, stored, self._judge, now_us=now_us)
                if verdict is not None and _visible(verdict) != _visible(last.verdict):
                    applied.append(_change(uri, last.verdict, verdict))
            if begun is not None and begun.by and applied:
                await actions.note(
                    tx,
                    at_us=now_us,
                    actor_kind=ActorKind.OPERATOR,
                    actor=begun.by,
                    verb="labels.rejudge",
                    reason=begun.reason,
                )
        return applied


def _visible(verdict: Verdict) -> tuple[object, ...]:
    return verdict.status, verdict.reason, frozenset(verdict.labels), verdict.rankable


def _change(uri: str, was: Verdict, now: Verdict) -> dict[str, Any]:
    return {"uri": uri, "was": _tell(was), "now": _tell(now)}


def _tell(verdict: Verdict) -> dict[str, Any]:
    return {"status": verdict.status.value, "reason": verdict.reason, "labels": list(verdict.labels)}
