"""A record that came as JSON, with the CID that somebody says it has -> event (P172). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from core.dagcbor import cid_binary, cid_of, encode
from core.datamodel import from_json_form
from core.types import Cid, Did, Nsid, Tid, is_tid, parse_rkey
from firehose.events import MAX_RECORD_BYTES, Interest, Operation, RecordEvent

MAX_JSON_BYTES = 2 * MAX_RECORD_BYTES  # JSON is wider than CBOR


class ToldRecord(msgspec.Struct):
    """One change of a record, as Jetstream tells it in its messages."""

    rev: str
    operation: str
    collection: str
    rkey: str
    record: msgspec.Raw = msgspec.Raw(b"")
    cid: str | None = None


def record_event(
    did: Did, told: ToldRecord, position: int, interest: Interest, *, verified: bool = False
) -> RecordEvent | None:
    """None when it is of no interest, or breaks a rule of the network.

    A record whose content does not have the CID that is told gets the CID that it has, and is not verified: whoever
    proves it later sees that the account signed something else.
    """
    if not interest.concerns(told.collection, did) or not is_tid(told.rev):
        return None
    try:
        operation, rkey = Operation(told.operation), parse_rkey(told.rkey)
        cid = None if operation is Operation.DELETE else _checked(told.cid)
    except ValueError:
        return None
    collection, rev = Nsid(told.collection), Tid(told.rev)
    if cid is None:
        return RecordEvent(did, collection, rkey, rev, operation, None, None, position, verified)
    raw = bytes(told.record)
    if len(raw) > MAX_JSON_BYTES:
        return None
    if not interest.admits(told.collection, raw, did):
        gone = operation is Operation.UPDATE  # what an earlier version held is there no more
        return RecordEvent(did, collection, rkey, rev, operation, cid, None, position, verified) if gone else None
    record = _read(raw)
    try:
        own = cid if record is None else cid_of_record(record)
    except ValueError:
        record, own = None, cid
    return RecordEvent(did, collection, rkey, rev, operation, own, record, position, verified and own == cid)


def cid_of_record(record: Mapping[str, Any]) -> Cid:
    """The CID of the DAG-CBOR that this JSON stands for. Raises ValueError when it stands for none.

    JSON that came through a foreign encoder may stand for other numbers than the record had: another CID means "not
    proven", not "forged".
    """
    try:
        return cid_of(encode(from_json_form(record)))
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not in the data model: {str(error)[:100]}") from None


def _checked(text: str | None) -> Cid:
    cid_binary(text or "")
    return Cid(text or "")


def _read(raw: bytes) -> dict[str, Any] | None:
    """None when it is not a map that we can read: its reader then says why."""
    try:
        record = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
