"""Disputes and what they do to labels: the ruling on a record is made of those that stand, and its verdict follows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import msgspec

from core.analysis import Ruling
from core.clock import Clock
from core.errors import AppError
from earmark.control import read_params
from earmark.deciding import Judge
from earmark.rejudging import decide_again
from labeler.disputes import MAX_STATED
from store import Store, Tx, actions, disputes, rulings, tracks
from store.actions import ActorKind
from store.disputes import Dispute, DisputeState

ROUTE = "disputes"


class NothingToDecide(AppError):
    """There is no dispute with this number, or it leaves nothing to decide."""

    reason = "nothing_to_decide"


class Decision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator decides: whether the word of a report stands. `by`: their login name."""

    dispute_id: int
    accept: bool
    by: str
    reason: str


class Disputing:
    """Decides disputes, one at a time."""

    def __init__(self, store: Store, *, judge: Judge, clock: Clock) -> None:
        self._store = store
        self._judge = judge
        self._clock = clock

    async def answer(self, params: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """A command of earmark.control: one line that says what came of it."""
        yield await self.decide(read_params(params, Decision))

    async def decide(self, decision: Decision) -> dict[str, Any]:
        """What is denied, what is stated and which labels are asked for now. Raises NothingToDecide."""
        now_us = self._clock.now_us()
        state = DisputeState.ACCEPTED if decision.accept else DisputeState.REJECTED
        async with self._store.write() as tx:
            dispute = await disputes.get(tx, decision.dispute_id)
            if dispute is None:
                raise NothingToDecide(f"there is no dispute {decision.dispute_id}")
            if dispute.state in (DisputeState.DONE, state):
                raise NothingToDecide(f"dispute {decision.dispute_id} is {dispute.state.value} already")
            await disputes.decide(
                tx, dispute.dispute_id, state, by=decision.by, decision=decision.reason or None, now_us=now_us
            )
            changed = await apply_ruling(tx, dispute.uri, self._judge, now_us=now_us)
            await actions.note(
                tx,
                at_us=now_us,
                actor_kind=ActorKind.OPERATOR,
                actor=decision.by,
                verb="dispute.accept" if decision.accept else "dispute.reject",
                uri=dispute.uri,
                reason=decision.reason or None,
                detail={"dispute": dispute.dispute_id, **changed},
            )
        return {"dispute": dispute.dispute_id, "state": state.value, "uri": dispute.uri, **changed}


async def apply_ruling(tx: Tx, uri: str, judge: Judge, *, now_us: int) -> dict[str, Any]:
    """Let the disputes that stand now be the ruling on a record, and its verdict follow; both as JSON."""
    ruling = make_ruling(await disputes.standing(tx, uri))
    await rulings.put(tx, uri, ruling, now_us=now_us)
    stored = await tracks.get(tx, uri)
    verdict = None if stored is None else await decide_again(tx, stored, judge, now_us=now_us)
    return {
        "denied": sorted(ruling.denied),
        "stated": list(ruling.stated),
        "labels": [] if verdict is None else list(verdict.labels),
    }


def make_ruling(standing: Iterable[Dispute]) -> Ruling:
    """Of the disputes about one record that are in force. The later word counts, the artist's more than all others."""
    denied: set[str] = set()
    stated: tuple[str, ...] = ()
    for dispute in sorted(standing, key=lambda one: (one.by_artist, one.dispute_id)):
        denied = (denied - set(dispute.stated)) | dispute.denied
        stated = dispute.stated or tuple(name for name in stated if name not in denied)
    return Ruling(frozenset(denied), stated[:MAX_STATED])
