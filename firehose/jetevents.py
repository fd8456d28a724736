"""One text message of Jetstream's v1 wire (P167) -> event. Pure. Positions are unix microseconds of the host."""

from __future__ import annotations

from typing import Any

import msgspec

from core.dagcbor import cid_binary
from core.frames import BadFrame
from core.types import Cid, Nsid, Tid, is_tid, parse_did, parse_rkey
from firehose.events import (
    MAX_DEPTH,
    MAX_RECORD_BYTES,
    AccountEvent,
    Event,
    IdentityEvent,
    Interest,
    Operation,
    RecordEvent,
    SeenEvent,
)


class _Commit(msgspec.Struct):
    rev: str
    operation: str
    collection: str
    rkey: str
    record: msgspec.Raw = msgspec.Raw(b"")
    cid: str | None = None


class _Account(msgspec.Struct):
    active: bool
    status: str | None = None


class _Message(msgspec.Struct):
    did: str
    time_us: int
    kind: str
    commit: _Commit | None = None
    account: _Account | None = None


_decoder = msgspec.json.Decoder(_Message)  # stateless


def decode_message(text: bytes | str, interest: Interest) -> Event:
    """The event of a message; SeenEvent when it is of no interest or unusable. Raises BadFrame."""
    try:
        message = _decoder.decode(text)
        did = parse_did(message.did)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"not a Jetstream message: {str(error)[:200]}") from None
    position = message.time_us
    if not 0 <= position < 2**62:
        raise BadFrame("time_us is out of range")
    if message.kind == "commit" and message.commit is not None:
        return _record_event(did, message.commit, position, interest) or SeenEvent(position)
    if message.kind == "account" and message.account is not None:
        status = message.account.status
        return AccountEvent(did, message.account.active, status[:64] if status else None, position, position)
    if message.kind == "identity":
        return IdentityEvent(did, position)
    return SeenEvent(position)


def _record_event(did: Any, commit: _Commit, position: int, interest: Interest) -> RecordEvent | None:
    """None when the commit is of no interest, or breaks a rule of the network."""
    if commit.collection not in interest.collections:
        return None
    try:
        operation, rkey = Operation(commit.operation), parse_rkey(commit.rkey)
        cid = None if operation is Operation.DELETE else _cid(commit.cid)
    except ValueError:
        return None
    if not is_tid(commit.rev):
        return None
    collection, rev = Nsid(commit.collection), Tid(commit.rev)
    if cid is None:
        return RecordEvent(did, collection, rkey, rev, operation, None, None, position)
    raw = bytes(commit.record)
    if len(raw) > 2 * MAX_RECORD_BYTES:  # JSON is wider than CBOR
        return None
    if not interest.admits(commit.collection, raw):
        gone = operation is Operation.UPDATE  # what an earlier version held is there no more
        return RecordEvent(did, collection, rkey, rev, operation, cid, None, position) if gone else None
    return RecordEvent(did, collection, rkey, rev, operation, cid, _record(raw), position)


def _cid(text: str | None) -> Cid:
    cid_binary(text or "")
    return Cid(text or "")


def _record(raw: bytes) -> dict[str, Any] | None:
    try:
        record = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and _depth_within(record, MAX_DEPTH) else None


def _depth_within(value: Any, levels: int) -> bool:
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_depth_within(member, levels - 1) for member in members)
    return True
