"""Everything that happened on the network, in order, in the shapes of both streams.

Readers pull from the log at their own position, so a slow one costs nothing until it falls off the end.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from core.clock import Clock, format_datetime
from core.types import Did
from core.xrpc import message_frame


@dataclass(frozen=True, slots=True)
class JetstreamEvent:
    """One event of the Jetstream, as each of its wires writes it. `collection` is None for all but commits (P168)."""

    seq: int
    time_us: int
    kind: str
    collection: str | None
    v1: str | None  # None: it is not told there
    v2: str


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `seq` is None for a raw frame: seen by who is connected, never replayed."""

    seq: int | None
    did: Did | None
    frame: bytes
    jetstream: tuple[JetstreamEvent, ...] = ()


class EventLog:
    """A bounded log. Positions count all events ever; the oldest `limit` to `2 x limit` are kept."""

    def __init__(self, clock: Clock, *, limit: int = 20_000) -> None:
        self._clock = clock
        self._limit = limit
        self._events: list[Event | None] = []  # None: purged
        self._forgotten = 0
        self._seq = 0
        self._jetstream_seq = 0
        self._time_us = 0
        self._grown = asyncio.Event()

    @property
    def newest_seq(self) -> int:
        return self._seq

    @property
    def newest_jetstream_seq(self) -> int:
        return self._jetstream_seq

    @property
    def start(self) -> int:
        """Position of the oldest event still here."""
        return self._forgotten

    @property
    def end(self) -> int:
        """Position that the next event will have."""
        return self._forgotten + len(self._events)

    def add(
        self, kind: str, did: Did, body: dict[str, Any], jetstream: Sequence[tuple[str, dict[str, Any]]] = ()
    ) -> int:
        """Append a message of this kind ("#commit"); `jetstream` holds (kind, content) pairs. Returns its `seq`."""
        self._seq += 1
        time = format_datetime(self._clock.now_us())
        events = [self._tell(did, name, content, time) for name, content in jetstream]
        frame = message_frame(kind, {**body, "seq": self._seq, "time": time})
        self._append(Event(self._seq, did, frame, tuple(events)))
        return self._seq

    def add_raw(self, frame: bytes) -> None:
        """Send these bytes to everybody who is connected now."""
        self._append(Event(None, None, frame))

    def purge(self, did: Did) -> None:
        """Take an account's events out of the replay, as a PDS does when the account is deleted."""
        self._events = [None if event is not None and event.did == did else event for event in self._events]

    def at(self, position: int) -> Event | None:
        """The event there, None if purged. Raises IndexError when it is no longer or not yet there."""
        if not self.start <= position < self.end:
            raise IndexError(position)
        return self._events[position - self._forgotten]

    async def wait_beyond(self, position: int) -> None:
        """Return once there is an event at `position`."""
        while self.end <= position:
            await self._grown.wait()

    def _tell(self, did: Did, kind: str, content: dict[str, Any], time: str) -> JetstreamEvent:
        self._time_us = max(self._clock.now_us(), self._time_us + 1)
        self._jetstream_seq += 1
        moment = f"{format_datetime(self._time_us)[:-4]}{self._time_us % 1_000_000:06d}Z"
        envelope = {"seq": self._jetstream_seq, "did": did, "time": moment, "witnessedAt": moment}
        wrapped = content if kind == "commit" else {kind: {"did": did, "seq": self._seq, "time": time, **content}}
        payload = {"$type": f"network.bsky.jetstream.subscribeEvents#{kind}", **envelope, **wrapped}
        v1 = {"did": did, "time_us": self._time_us, "kind": kind, **({kind: content} if kind == "commit" else wrapped)}
        return JetstreamEvent(
            self._jetstream_seq,
            self._time_us,
            kind,
            content.get("collection"),
            None if kind == "sync" else orjson.dumps(v1, default=_as_json).decode("utf-8"),
            orjson.dumps({"$type": "message", "payload": payload}, default=_as_json).decode("utf-8"),
        )

    def _append(self, event: Event) -> None:
        self._events.append(event)
        if len(self._events) > 2 * self._limit:
            del self._events[: self._limit]
            self._forgotten += self._limit
        self._grown.set()
        self._grown = asyncio.Event()


def _as_json(value: object) -> dict[str, str]:
    """Bytes as the JSON of the data model has them."""
    if not isinstance(value, bytes):
        raise TypeError(type(value).__name__)
    return {"$bytes": base64.b64encode(value).rstrip(b"=").decode()}
