"""One binary frame of `subscribeRepos` -> what it says, as far as anybody is interested. Pure.

Only BadFrame and ErrorFrame are raised; content that one account got wrong refuses that message, not the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import libipld

from core.clock import parse_datetime
from core.dagcbor import cid_text, is_cid
from core.datamodel import to_json_form
from core.frames import BadFrame, split_frame
from core.types import Did, Nsid, Tid, is_tid, parse_did, parse_rkey
from firehose.car import BadCar, Car, read_car
from firehose.events import (
    MAX_BLOCKS_BYTES,
    MAX_FRAME_BYTES,
    MAX_OPS,
    MAX_POSITION,
    MAX_RECORD_BYTES,
    MAX_SYNC_BYTES,
    AccountEvent,
    DoubtEvent,
    Event,
    IdentityEvent,
    Interest,
    Operation,
    RecordEvent,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """The decoded `#commit` or `#sync` message and its archive, of which nothing is proven yet."""

    kind: str
    did: Did
    message: Mapping[str, Any]
    car: Car


@dataclass(frozen=True, slots=True)
class RepoFrame:
    """One `subscribeRepos` frame that says something, read as far as the interest goes."""

    position: int | None  # seq; None for #info
    events: tuple[Event, ...] = ()
    notice: tuple[str, str] | None = None  # name and message of #info
    refused: str | None = None  # why the account's message is ignored
    claim: Claim | None = None  # what record events rest on, for verification


class _Refused(ValueError):
    """One account's commit is unusable."""


def decode_repo_frame(data: bytes, interest: Interest) -> RepoFrame | int | None:
    """What a frame says; its sequence number alone when that is nothing to us; None when it has not even that.

    Raises BadFrame or ErrorFrame. Nearly all frames of a relay end at the second answer, so that one is cheap.
    """
    passed = glance(data, interest)
    if passed is not None:
        return passed
    if len(data) > MAX_FRAME_BYTES:
        raise BadFrame("a frame is at most 5 MB")
    frame = split_frame(data)
    if frame is None:
        return None
    kind, body = frame
    seq = body.get("seq")
    if kind == "#info":
        return RepoFrame(None, notice=(str(body.get("name"))[:100], str(body.get("message") or "")[:300]))
    if type(seq) is not int or not 0 <= seq <= MAX_POSITION:
        if kind in ("#commit", "#sync", "#identity", "#account"):
            raise BadFrame("a frame without a usable sequence number")
        return None
    try:
        if kind == "#commit":
            return _decode_commit(seq, body, interest)
        if kind == "#sync":
            return _decode_sync(seq, body, interest)
        if kind == "#account":
            return RepoFrame(seq, (_account(body, seq),))
        if kind == "#identity" and interest.identities:
            return RepoFrame(seq, (IdentityEvent(_did(body.get("did")), seq),))
    except (_Refused, BadCar) as error:
        return RepoFrame(seq, _doubt(kind, body, interest, seq), refused=str(error))
    return seq  # unknown types are ignored


def glance(data: bytes, interest: Interest) -> int | None:
    """The sequence number of a sound commit that is nothing to us, as nearly all are. Anything else gets None, and with
    it the careful reading: that decodes once more, which costs less than care for every frame would.
    """
    if len(data) > MAX_FRAME_BYTES:
        return None
    try:
        header, body = libipld.decode_dag_cbor_multi(data)
        if header["t"] != "#commit" or header["op"] != 1 or header["op"] is True:
            return None
        seq, ops, collections = body["seq"], body["ops"], interest.collections
        for op in ops:
            if op["path"].partition("/")[0] in collections:
                return None
        if body["repo"] in interest.followed or type(seq) is not int or type(ops) is not list:
            return None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError):
        return None
    return seq if 0 <= seq <= MAX_POSITION and len(ops) <= MAX_OPS else None


def _decode_commit(seq: int, body: Mapping[str, Any], interest: Interest) -> RepoFrame | int:
    ops, repo = body.get("ops"), body.get("repo")
    if not isinstance(ops, list) or len(ops) > MAX_OPS:
        raise _Refused("ops is not a list of at most 200")
    wanted = []
    for op in ops:
        path = op.get("path") if isinstance(op, dict) else None
        if not isinstance(path, str):
            raise _Refused("an operation has no path")
        if path.partition("/")[0] in interest.collections:
            wanted.append(op)
    followed = _is_followed(repo, interest)
    if not wanted and not followed:
        return seq
    did, blocks = _did(repo), _blocks(body, MAX_BLOCKS_BYTES)
    judged = [(op, interest.admits(op["path"].partition("/")[0], blocks, did)) for op in wanted]
    judged = [(op, admitted) for op, admitted in judged if admitted or _may_undo(op, did, interest)]
    if not judged and not followed:
        return seq
    rev, car = _rev(body), read_car(blocks)
    events = tuple(_record_event(did, rev, op, car, seq, admitted=admitted) for op, admitted in judged)
    return RepoFrame(seq, events, claim=Claim("#commit", did, body, car))


def _may_undo(op: Mapping[str, Any], did: Did, interest: Interest) -> bool:
    """Whether an operation whose record does not matter may end one that did."""
    return op.get("action") in ("delete", "update") and interest.concerns(op["path"].partition("/")[0], did)


def _decode_sync(seq: int, body: Mapping[str, Any], interest: Interest) -> RepoFrame | int:
    if not _is_followed(body.get("did"), interest):
        return seq
    _rev(body)
    car = read_car(_blocks(body, MAX_SYNC_BYTES))
    return RepoFrame(seq, claim=Claim("#sync", _did(body.get("did")), body, car))


def _doubt(kind: str, body: Mapping[str, Any], interest: Interest, seq: int) -> tuple[DoubtEvent, ...]:
    did = body.get({"#commit": "repo", "#sync": "did"}.get(kind, ""))
    return (DoubtEvent(Did(did), "unusable", seq),) if _is_followed(did, interest) else ()


def _is_followed(did: Any, interest: Interest) -> TypeGuard[str]:
    return isinstance(did, str) and did in interest.followed


def _blocks(body: Mapping[str, Any], limit: int) -> bytes:
    blocks = body.get("blocks")
    if not isinstance(blocks, bytes) or len(blocks) > limit or body.get("tooBig") or body.get("rebase"):
        raise _Refused(f"blocks are not at most {limit} bytes")
    return blocks


def _rev(body: Mapping[str, Any]) -> Tid:
    rev = body.get("rev")
    if not isinstance(rev, str) or not is_tid(rev):
        raise _Refused("the revision is not a TID")
    return Tid(rev)


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
    record = plain_record(car, cid) if admitted else None
    return RecordEvent(did, Nsid(collection), rkey, rev, operation, cid_text(cid), record, seq)


def plain_record(car: Car, cid: bytes) -> Mapping[str, Any] | None:
    """The record in JSON form, or None when it is not a map that we can read: its reader then says why."""
    try:
        record = to_json_form(car.value(cid))
    except ValueError:  # BadCar: the hash was right, so these are the account's own bytes
        return None
    return record if isinstance(record, dict) else None


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
