"""What happens on the network, as one type of event whatever the wire. Pure: a frame or message in, events out.

Records come out in the JSON form of the data model (`{"$link"}`, `{"$bytes"}`), so that readers see one shape.
Only BadFrame and ErrorFrame are raised; content that one account got wrong refuses that commit, not the connection.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.clock import parse_datetime
from core.dagcbor import cid_text, is_cid
from core.frames import BadFrame, split_frame
from core.types import Account, AtUri, Cid, Did, Nsid, Tid, is_tid, parse_did, parse_rkey
from firehose.car import BadCar, Car, read_car

MAX_FRAME_BYTES = 5_000_000  # P137, also for the three below
MAX_BLOCKS_BYTES = 2_000_000
MAX_RECORD_BYTES = 1_000_000
MAX_OPS = 200
MAX_DEPTH = 32  # P138


class Operation(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """A record was written or deleted. `record` is None for a delete, when it cannot be read as a map, and for
    an update that no longer holds a needle (Interest).

    `verified`: the commit's signature and tree were checked (never so from Jetstream, P169).
    """

    did: Did
    collection: Nsid
    rkey: str
    rev: Tid
    operation: Operation
    cid: Cid | None
    record: Mapping[str, Any] | None
    position: int
    verified: bool = False

    @property
    def uri(self) -> AtUri:
        return AtUri(self.did, self.collection, self.rkey)


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """What the emitting host says of an account now (P151-P153). `time_us`: when it said so, if the event tells."""

    did: Did
    active: bool
    status: str | None
    position: int
    time_us: int | None = None

    @property
    def account(self) -> Account:
        return Account(self.did, self.active, self.status)


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """Something about a DID may have changed (P154)."""

    did: Did
    position: int


@dataclass(frozen=True, slots=True)
class GapEvent:
    """Events after `position` were missed: OutdatedCursor, FutureCursor, or a frame that had to be skipped."""

    position: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """Nothing of interest up to here: moves the cursor."""

    position: int


Event = RecordEvent | AccountEvent | IdentityEvent | GapEvent | SeenEvent


@dataclass(frozen=True, slots=True)
class Interest:
    """Which collections matter, by exact name, tested before a record is decoded (P134).

    In a collection with `needles`, a record that is written matters only if its bytes hold one of them; an update
    without says that what was known of the record is over.
    """

    collections: frozenset[str]
    needles: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def admits(self, collection: str, raw: bytes) -> bool:
        """Whether a written record of this collection, or the blocks around it, deserves decoding."""
        if collection not in self.collections:
            return False
        needles = self.needles.get(collection)
        return needles is None or any(needle in raw for needle in needles)


@dataclass(frozen=True, slots=True)
class RepoFrame:
    """One `subscribeRepos` frame that says something, read as far as the interest goes."""

    position: int | None  # seq; None for #info
    events: tuple[Event, ...] = ()
    notice: tuple[str, str] | None = None  # name and message of #info
    refused: str | None = None  # why the account's commit is ignored
    commit: Mapping[str, Any] | None = None  # the message behind record events, for verification
    car: Car | None = None


class _Refused(ValueError):
    """One account's commit is unusable."""


def decode_repo_frame(data: bytes, interest: Interest) -> RepoFrame | int | None:
    """What a frame says; its sequence number alone when that is nothing to us; None when it has not even that.

    Raises BadFrame or ErrorFrame. Nearly all frames of a relay end at the second answer, so that one is cheap.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise BadFrame("a frame is at most 5 MB")
    frame = split_frame(data)
    if frame is None:
        return None
    kind, body = frame
    seq = body.get("seq")
    if kind == "#info":
        return RepoFrame(None, notice=(str(body.get("name"))[:100], str(body.get("message") or "")[:300]))
    if type(seq) is not int or seq < 0:
        if kind in ("#commit", "#sync", "#identity", "#account"):
            raise BadFrame("a frame without sequence number")
        return None
    try:
        if kind == "#commit":
            return _decode_commit(seq, body, interest)
        if kind == "#account":
            return RepoFrame(seq, (_account(body, seq),))
        if kind == "#identity":
            return RepoFrame(seq, (IdentityEvent(_did(body.get("did")), seq),))
    except (_Refused, BadCar) as error:
        return RepoFrame(seq, refused=str(error))
    return seq  # #sync carries no record; unknown types are ignored


def _decode_commit(seq: int, body: Mapping[str, Any], interest: Interest) -> RepoFrame | int:
    ops, blocks = body.get("ops"), body.get("blocks")
    if not isinstance(ops, list) or len(ops) > MAX_OPS:
        raise _Refused("ops is not a list of at most 200")
    wanted = []
    for op in ops:
        path = op.get("path") if isinstance(op, dict) else None
        if not isinstance(path, str):
            raise _Refused("an operation has no path")
        if path.partition("/")[0] in interest.collections:
            wanted.append(op)
    if not wanted:
        return seq
    if not isinstance(blocks, bytes) or len(blocks) > MAX_BLOCKS_BYTES or body.get("tooBig") or body.get("rebase"):
        raise _Refused("blocks are not at most 2 MB of bytes")
    did, rev = _did(body.get("repo")), body.get("rev")
    if not isinstance(rev, str) or not is_tid(rev):
        raise _Refused("the revision is not a TID")
    judged = [(op, interest.admits(op["path"].partition("/")[0], blocks)) for op in wanted]
    judged = [(op, admitted) for op, admitted in judged if admitted or op.get("action") in ("delete", "update")]
    if not judged:
        return seq
    car = read_car(blocks)
    events = tuple(_record_event(did, Tid(rev), op, car, seq, admitted=admitted) for op, admitted in judged)
    return RepoFrame(seq, events, commit=body, car=car)


def _record_event(did: Did, rev: Tid, op: Mapping[str, Any], car: Car, seq: int, *, admitted: bool) -> RecordEvent:
    collection, _, rkey = op["path"].partition("/")
    try:
        operation, rkey = Operation(str(op.get("action"))), parse_rkey(rkey)
    except ValueError:
        raise _Refused("an operation has an unknown action or a bad record key") from None
    if operation is Operation.DELETE:
        return RecordEvent(did, Nsid(collection), rkey, rev, operation, None, None, seq)
    cid = op.get("cid")
    if not is_cid(cid):
        raise _Refused("an operation has no CID")
    if len(car.block(cid)) > MAX_RECORD_BYTES:
        raise _Refused("a record is at most 1 MB")
    record = _plain_record(car, cid) if admitted else None
    return RecordEvent(did, Nsid(collection), rkey, rev, operation, cid_text(cid), record, seq)


def _plain_record(car: Car, cid: bytes) -> Mapping[str, Any] | None:
    """The record in JSON form, or None when it is not a map that we can read: its reader then says why."""
    try:
        record = to_json_form(car.value(cid))
    except ValueError:  # BadCar: the hash was right, so these are the account's own bytes
        return None
    return record if isinstance(record, dict) else None


def to_json_form(value: Any, depth: int = 0) -> Any:
    """Decoded DAG-CBOR with links and bytes as the JSON data model writes them. Raises ValueError (too deep, P138)."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {key: to_json_form(member, depth + 1) for key, member in value.items()}
    if isinstance(value, list):
        return [to_json_form(member, depth + 1) for member in value]
    if is_cid(value):
        return {"$link": cid_text(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).rstrip(b"=").decode()}
    return value


def _account(body: Mapping[str, Any], position: int) -> AccountEvent:
    active, status, time = body.get("active"), body.get("status"), body.get("time")
    if not isinstance(active, bool):
        raise _Refused("an account event does not say whether it is active")
    try:
        time_us = parse_datetime(time) if isinstance(time, str) else None
    except ValueError:
        time_us = None
    return AccountEvent(
        _did(body.get("did")), active, status[:64] if isinstance(status, str) else None, position, time_us
    )


def _did(text: Any) -> Did:
    try:
        return parse_did(text) if isinstance(text, str) else parse_did("")
    except ValueError:
        raise _Refused("not a DID") from None
