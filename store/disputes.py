"""What was reported about tracks, what the words make of it, and what became of it.

Words and sender are private: they are shown to the operator only, and erased when their time is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import orjson

from core.types import Did
from store import sequence
from store.engine import Reader, Row, Tx

_NEWEST = 2**62


class DisputeState(StrEnum):
    """OPEN waits for an operator; DONE was carried out and leaves nothing to decide (an opt-out)."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class NewDispute:
    """A report as it came. `uri`: the track that it is about; `subject`: what it names; `labels`: live on it then.

    `denied` and `stated`: what is never live on the track and what is its artist's word, as far as this report goes.
    `digest`: the same for a report that is sent again.
    """

    created_us: int
    state: DisputeState
    reporter: Did
    by_artist: bool
    uri: str
    subject: str
    subject_cid: str | None
    reason_type: str
    words: str
    digest: str
    labels: tuple[str, ...] = ()
    denied: frozenset[str] = frozenset()
    stated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dispute:
    """A report as it is stored. `reporter` and `words` are None once erased; `decision`: why, as the operator said."""

    dispute_id: int
    created_us: int
    state: DisputeState
    reporter: Did | None
    by_artist: bool
    uri: str
    subject: str
    subject_cid: str | None
    reason_type: str
    words: str | None
    labels: tuple[str, ...]
    denied: frozenset[str]
    stated: tuple[str, ...]
    decided_us: int | None
    decided_by: str | None
    decision: str | None


async def add(tx: Tx, new: NewDispute) -> int:
    """Store a report; its number, from 1. Raises what the engine raises for a digest that is stored already."""
    dispute_id = await sequence.take(tx, "dispute", 1)
    await tx.run(
        "disputes.add",
        dispute_id=dispute_id,
        created_us=new.created_us,
        state=new.state.value,
        reporter=new.reporter,
        by_artist=int(new.by_artist),
        uri=new.uri,
        subject=new.subject,
        subject_cid=new.subject_cid,
        reason_type=new.reason_type,
        words=new.words,
        digest=new.digest,
        labels=_text(new.labels),
        denied=_text(sorted(new.denied)),
        stated=_text(new.stated),
    )
    return dispute_id


async def get(r: Reader, dispute_id: int) -> Dispute | None:
    """None when there is no such number."""
    row = await r.row("disputes.get", dispute_id=dispute_id)
    return None if row is None else _dispute(row)


async def same(r: Reader, digest: str) -> Dispute | None:
    """The report that this digest belongs to, if one was stored."""
    row = await r.row("disputes.same", digest=digest)
    return None if row is None else _dispute(row)


async def sent_since(r: Reader, reporter: str, since_us: int) -> int:
    """How many reports of this account were stored after that time."""
    count: int = await r.value("disputes.since", reporter=reporter, since_us=since_us)
    return count


async def page(
    r: Reader, *, state: DisputeState | None = None, before: int = _NEWEST, limit: int = 100
) -> list[Dispute]:
    """The newest first: at most `limit`, with numbers below `before`; None: in any state."""
    if state is None:
        rows = await r.rows("disputes.page", before=before, limit=limit)
    else:
        rows = await r.rows("disputes.page_in_state", state=state.value, before=before, limit=limit)
    return [_dispute(row) for row in rows]


async def of_track(r: Reader, uri: str, *, limit: int = 100) -> list[Dispute]:
    """About this record, the newest first."""
    rows = await r.rows("disputes.of_track", uri=uri, limit=limit)
    return [_dispute(row) for row in rows]


async def standing(r: Reader, uri: str, *, limit: int = 1_000) -> list[Dispute]:
    """Those about this record that are in force, the newest first: an artist's word at once, anybody else's when it is
    accepted.
    """
    return [_dispute(row) for row in await r.rows("disputes.standing", uri=uri, limit=limit)]


async def decide(tx: Tx, dispute_id: int, state: DisputeState, *, by: str, decision: str | None, now_us: int) -> None:
    """What an operator made of it."""
    await tx.run(
        "disputes.decide",
        dispute_id=dispute_id,
        state=state.value,
        decided_us=now_us,
        decided_by=by,
        decision=decision,
    )


async def erase(tx: Tx, *, before_us: int) -> int:
    """Forget words and senders of reports that came before that time; how many."""
    return len(await tx.rows("disputes.erase", before_us=before_us))


def _text(identifiers: object) -> str:
    return orjson.dumps(identifiers).decode()


def _dispute(row: Row) -> Dispute:
    dispute_id, created_us, state, reporter, by_artist, uri, subject, subject_cid, reason_type, words, *rest = row
    labels, denied, stated, decided_us, decided_by, decision = rest
    return Dispute(
        dispute_id,
        created_us,
        DisputeState(state),
        None if reporter is None else Did(reporter),
        bool(by_artist),
        uri,
        subject,
        subject_cid,
        reason_type,
        words,
        tuple(orjson.loads(labels)),
        frozenset(orjson.loads(denied)),
        tuple(orjson.loads(stated)),
        decided_us,
        decided_by,
        decision,
    )
