"""A Tap of one's own: it follows the relay, verifies and backfills, and repeats what is not acknowledged (P173).

Tap has no cursor. Every message is acknowledged once its events are in the store; what was not comes again, also to
another connection. A Tap shares its messages out among its connections, so one connection has to take everything.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec

from core.clock import Clock
from core.errors import Misconfigured
from core.frames import BadFrame
from core.log import Log
from core.types import parse_did
from firehose.events import AccountEvent, Event, GapEvent, IdentityEvent, Interest, SeenEvent
from firehose.jsonrecord import ToldRecord, record_event
from firehose.socket import ReconnectingSource, stream_origin

PATH = "/channel"
ACK_SECONDS = 10.0  # a Tap that takes no acknowledgements for so long repeats the messages instead


class _Record(ToldRecord):
    operation: str = msgspec.field(name="action")
    did: str = ""


class _Account(msgspec.Struct):
    did: str
    is_active: bool | None = None
    isActive: bool | None = None  # noqa: N815 - newer ones write it so
    status: str | None = None


class _Numbered(msgspec.Struct):
    id: int


class _Message(_Numbered):
    record: _Record | None = None
    identity: _Account | None = None
    user: _Account | None = None  # newer ones call it so


_message = msgspec.json.Decoder(_Message)  # decoders have no state
_numbered = msgspec.json.Decoder(_Numbered)


class Tap(ReconnectingSource):
    """One Tap, whose word counts as verified: it is the operator's own. Silence is usual: pings tell that it lives."""

    def __init__(
        self,
        url: str,
        interest: Interest,
        *,
        clock: Clock,
        log: Log,
        password: str = "",
        user_agent: str = "earmark",
        pong_timeout_seconds: float = 30.0,
        retry_base_seconds: float = 1.0,
    ) -> None:
        """Raises Misconfigured for plain text to anything but this machine or a neighbouring container."""
        origin = tap_origin(url)
        secret = base64.b64encode(f"admin:{password}".encode()).decode()
        super().__init__(
            f"tap:{origin.partition('://')[2]}{PATH}",
            clock=clock,
            log=log,
            user_agent=user_agent,
            frame_timeout_seconds=None,
            pong_timeout_seconds=pong_timeout_seconds,
            retry_base_seconds=retry_base_seconds,
            headers={"Authorization": f"Basic {secret}"} if password else None,
        )
        self._endpoint = origin + PATH
        self._interest = interest

    async def committed(self, events: Sequence[Event]) -> None:
        """See Source.committed: acknowledges the messages. One that gets lost on the way is repeated."""
        numbers = dict.fromkeys(event.position for event in events if not isinstance(event, GapEvent))
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(ACK_SECONDS):
                for number in numbers:
                    if self._line is None:
                        return
                    await self._line.send(f'{{"type":"ack","id":{number}}}')

    def _address(self, position: int | None) -> str:
        return self._endpoint

    async def _read(self, frame: bytes | str) -> tuple[int | None, Sequence[Event]]:
        self.health.heard_us = self._clock.now_us()  # its messages carry no time
        return decode_tap(frame, self._interest)


def decode_tap(text: bytes | str, interest: Interest) -> tuple[int, Sequence[Event]]:
    """Number of a message and its events, at least one, so that it is acknowledged. Raises BadFrame."""
    try:
        number = _numbered.decode(text).id
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"not a Tap message: {str(error)[:200]}") from None
    if not 0 <= number < 2**63:
        raise BadFrame("the number of a message is out of range")
    try:
        message = _message.decode(text)
        if message.record is not None:
            did = parse_did(message.record.did)
            event = record_event(did, message.record, number, interest, verified=True)
            return number, (event or SeenEvent(number),)
        account = message.identity or message.user
        return number, (SeenEvent(number),) if account is None else _account_events(account, number)
    except (ValueError, RecursionError):
        return number, (SeenEvent(number),)  # it would come again for ever


def tap_origin(url: str) -> str:
    """`ws[s]://host[:port]` of a Tap; plain text only to this machine, or to a host whose name has no dot."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    neighbour = url.startswith(("ws://", "http://")) and bool(host) and "." not in host and ":" not in host
    if not neighbour:
        return stream_origin(url, allow_loopback=True)
    try:
        port = urlsplit(url).port
    except ValueError:
        raise Misconfigured("source.urls", f"{url!r} is not a URL") from None
    return f"ws://{host}" + (f":{port}" if port else "")


def _account_events(account: _Account, number: int) -> Sequence[Event]:
    """Raises ValueError."""
    identity = IdentityEvent(parse_did(account.did), number)
    active = account.is_active if account.is_active is not None else account.isActive
    if active is None:
        return (identity,)
    status = account.status[:64] if account.status and not active else None
    # The one that the store keeps comes first: the message may be acknowledged after it.
    return AccountEvent(identity.did, active, status, number), identity
