"""One text message of a Jetstream -> what it tells (P167). Pure. Both wires: v1, and v2 with its frames.

Times are unix microseconds of the host; one that lies in our future counts as now, so that it is no cursor that skips
everything until then.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import msgspec

from core.clock import parse_datetime
from core.dagcbor import cid_text
from core.frames import BadFrame, ErrorFrame
from core.types import Did, Tid, is_tid, parse_did
from firehose.car import BadCar, read_car
from firehose.events import AccountEvent, Event, IdentityEvent, Interest, SyncEvent
from firehose.jsonrecord import ToldRecord, record_event

V2_NSID = "network.bsky.jetstream.subscribeEvents"


@dataclass(frozen=True, slots=True)
class Told:
    """What a message tells: when it happened, which number it has (v2), and an event unless it is of no interest.

    `collection`: of a commit, even if its record is of no interest.
    """

    time_us: int
    seq: int | None = None
    collection: str | None = None
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """`#info` of v2: about the stream itself."""

    name: str
    message: str


class _Account(msgspec.Struct):
    active: bool
    status: str | None = None


class _Bytes(msgspec.Struct):
    base64: str = msgspec.field(name="$bytes")


class _Sync(msgspec.Struct):
    rev: str
    blocks: _Bytes


class _V1Message(msgspec.Struct):
    did: str
    time_us: int
    kind: str
    commit: ToldRecord | None = None
    account: _Account | None = None


class _V2Frame(msgspec.Struct):
    kind: str = msgspec.field(name="$type")
    payload: msgspec.Raw = msgspec.Raw(b"")
    error: str = ""
    message: str = ""


class _V2Kind(msgspec.Struct):
    kind: str = msgspec.field(name="$type")


class _V2Envelope(_V2Kind):
    seq: int
    did: str
    time: str
    witnessed: str | None = msgspec.field(name="witnessedAt", default=None)
    account: _Account | None = None
    sync: _Sync | None = None


class _V2Info(msgspec.Struct):
    name: str
    message: str = ""


_v1 = msgspec.json.Decoder(_V1Message)  # decoders have no state
_frame = msgspec.json.Decoder(_V2Frame)
_kind = msgspec.json.Decoder(_V2Kind)
_envelope = msgspec.json.Decoder(_V2Envelope)
_commit = msgspec.json.Decoder(ToldRecord)
_info = msgspec.json.Decoder(_V2Info)


def decode_v1(text: bytes | str, interest: Interest, *, now_us: int) -> Told:
    """Raises BadFrame."""
    try:
        message = _v1.decode(text)
        did = parse_did(message.did)
    except (ValueError, RecursionError) as error:
        raise _bad(error) from None
    if message.time_us < 0:
        raise BadFrame("time_us is negative")
    time_us = min(message.time_us, now_us)
    if message.kind == "commit" and message.commit is not None:
        return _told_commit(did, message.commit, time_us, None, interest)
    if message.kind == "account" and message.account is not None:
        return Told(time_us, event=_account_event(did, message.account, time_us))
    told = message.kind == "identity" and interest.identities
    return Told(time_us, event=IdentityEvent(did, time_us) if told else None)


def decode_v2(text: bytes | str, interest: Interest, *, now_us: int) -> Told | Notice | None:
    """None for a frame or message that must be ignored (P135). Raises BadFrame, ErrorFrame."""
    try:
        frame = _frame.decode(text)
        if frame.kind == "error":
            raise ErrorFrame(frame.error[:100] or "Unknown", frame.message[:300])
        if frame.kind != "message":
            return None
        kind = _kind.decode(frame.payload).kind.removeprefix(V2_NSID)
        if kind == "#info":
            info = _info.decode(frame.payload)
            return Notice(info.name[:100], info.message[:300])
        if kind not in ("#commit", "#account", "#identity", "#sync"):
            return None
        envelope = _envelope.decode(frame.payload)
        did = parse_did(envelope.did)
        time_us = min(parse_datetime(envelope.witnessed or envelope.time), now_us)
        commit = _commit.decode(frame.payload) if kind == "#commit" else None
    except (ValueError, RecursionError) as error:
        raise _bad(error) from None
    if envelope.seq < 0 or time_us < 0:
        raise BadFrame("a sequence number or time is negative")
    event: Event | None = None
    if commit is not None:
        return _told_commit(did, commit, time_us, envelope.seq, interest)
    if kind == "#account" and envelope.account is not None:
        event = _account_event(did, envelope.account, time_us)
    elif kind == "#identity" and interest.identities:
        event = IdentityEvent(did, time_us)
    elif envelope.sync is not None and did in interest.followed:
        event = _sync_event(did, envelope.sync, time_us)
    return Told(time_us, envelope.seq, event=event)


def _bad(error: Exception) -> BadFrame:
    return BadFrame(f"not a Jetstream message: {str(error)[:200]}")


def _account_event(did: Did, account: _Account, time_us: int) -> AccountEvent:
    return AccountEvent(did, account.active, account.status[:64] if account.status else None, time_us, time_us)


def _sync_event(did: Did, sync: _Sync, position: int) -> SyncEvent | None:
    """Its commit names the new root. Nobody has checked the signature: all it does is to make us look (P164)."""
    try:
        text = sync.blocks.base64
        car = read_car(base64.b64decode(text + "=" * (-len(text) % 4)))
        root = car.value(car.root)
        return SyncEvent(did, Tid(sync.rev), cid_text(root["data"]), position) if is_tid(sync.rev) else None
    except (BadCar, ValueError, TypeError, KeyError):
        return None


def _told_commit(did: Did, commit: ToldRecord, time_us: int, seq: int | None, interest: Interest) -> Told:
    return Told(time_us, seq, commit.collection, record_event(did, commit, time_us, interest))
