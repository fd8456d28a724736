"""Who did what to labels and why: a log that only grows. Its numbers are gapless, so a row that is gone would show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from core.types import AtUri
from store import sequence
from store.engine import Reader, Row, Tx

_NEWEST = 2**62  # no log grows past it


class ActorKind(StrEnum):
    """In what capacity somebody acted."""

    ARTIST = "artist"
    LISTENER = "listener"
    OPERATOR = "operator"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Action:
    """One step. `actor`: an operator's login name or a DID (private); `uri`, `did`: the record and the account that it
    is about; `reason`: in an operator's words (private); `detail`: what changed, fit for the public.
    """

    action_id: int
    at_us: int
    actor_kind: ActorKind
    actor: str | None
    verb: str
    uri: str | None = None
    did: str | None = None
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


async def note(
    tx: Tx,
    *,
    at_us: int,
    actor_kind: ActorKind,
    actor: str | None,
    verb: str,
    uri: str | None = None,
    did: str | None = None,
    reason: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Add a step in the transaction that takes it; its number. Without `did` it is about the account of `uri`.

    `verb` is a word or two with dots, such as `dispute.accept`; `detail` must be JSON and must not name reporters.
    """
    if did is None and uri is not None:
        did = AtUri.parse(uri).did
    action_id = await sequence.take(tx, "action", 1)
    await tx.run(
        "actions.note",
        action_id=action_id,
        at_us=at_us,
        actor_kind=actor_kind.value,
        actor=actor,
        verb=verb,
        uri=uri,
        did=did,
        reason=reason,
        detail=orjson.dumps(dict(detail or {})).decode(),
    )
    return action_id


async def of(r: Reader, uri: str, *, before: int = _NEWEST, limit: int = 100) -> list[Action]:
    """What was done about a record, the newest first: at most `limit`, with numbers below `before`."""
    return [_action(row) for row in await r.rows("actions.on_record", uri=uri, before=before, limit=limit)]


async def about(r: Reader, did: str, *, before: int = _NEWEST, limit: int = 100) -> list[Action]:
    """What was done about an account and its records, as `of`."""
    return [_action(row) for row in await r.rows("actions.about", did=did, before=before, limit=limit)]


async def page(r: Reader, *, before: int = _NEWEST, limit: int = 100) -> list[Action]:
    """The whole log, as `of`."""
    return [_action(row) for row in await r.rows("actions.page", before=before, limit=limit)]


def _action(row: Row) -> Action:
    action_id, at_us, actor_kind, actor, verb, uri, did, reason, detail = row
    return Action(action_id, at_us, ActorKind(actor_kind), actor, verb, uri, did, reason, orjson.loads(detail))
