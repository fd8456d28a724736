"""How often and how many at once we call a host, and when we leave it alone (P176, P190).

A host that is busy with us, or that is given a rest, is not waited for long: its callers are told when to come again,
each at a time of its own, so that one slow host holds up nobody else and is not stormed when it is back.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from core.clock import Clock
from core.errors import AppError, Crowded, Deadline, DiskFull, RateLimited, Unreachable
from firehose.guard import LOOPBACK_NAMES, Origin
from firehose.pauses import told_pause_seconds

AT_ONCE = 50  # P176, like the next three
PAUSE_SECONDS = 10.0
MAX_PAUSE_SECONDS = 900.0
PATIENCE_SECONDS = 2.0  # how long a caller waits for its turn before it is sent away
MAX_TROUBLE = 20  # so many refusals in a row, or a quarter as many failures to answer, and a host is given a rest
FAILURE_WEIGHT = 4
CAPACITY = 5_000  # hosts that we remember


@dataclass(frozen=True, slots=True)
class Pace:
    """Requests at once, and in any second."""

    at_once: int
    per_second: int


STRANGER = Pace(2, 5)  # P176
OWN = Pace(16, 50)


@dataclass(frozen=True, slots=True)
class Visited:
    """What became of the requests to one host. `paused_seconds`: how much longer it is left alone, 0 if it is not."""

    host: str
    requests: int
    under_way: int
    failures: Mapping[str, int]  # reason -> how often; "status 404" for a refusal
    last_failure: str | None
    paused_seconds: float


@dataclass(slots=True)
class _Host:
    pace: Pace
    requests: int = 0
    under_way: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    last_failure: str | None = None
    trouble: int = 0  # since the last good answer
    pauses: int = 0  # likewise
    paused_until: float = 0.0  # monotonic seconds, like the next two
    recent: deque[float] = field(default_factory=deque)
    next_turn: float = 0.0  # of the next caller who is sent away
    mean_seconds: float = 1.0


class Manners:
    """One for the whole process. `own`: names of hosts that the operator chose, which stand more than strangers' do."""

    def __init__(self, clock: Clock, *, own: frozenset[str] = LOOPBACK_NAMES) -> None:
        self._clock = clock
        self._own = own
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._under_way = 0
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def visit(self, origin: Origin, *, patience_seconds: float = PATIENCE_SECONDS) -> AsyncIterator[Visit]:
        """A turn at a host. Errors of the application that its body raises are counted against the host.

        Raises Crowded, without a request, if there is no turn within that time.
        """
        name = str(origin)
        host = self._find(name, origin.host)
        await self._enter(name, host, patience_seconds)
        visit, began = Visit(self._clock, host), self._clock.monotonic()
        try:
            yield visit
            visit.settle()
        except AppError as error:
            visit.blame(error)
            raise
        finally:
            host.mean_seconds += 0.2 * (self._clock.monotonic() - began - host.mean_seconds)
            host.under_way -= 1
            self._under_way -= 1
            self._wake()

    def hosts(self) -> list[Visited]:
        """Every host that is remembered, those with the most failures first."""
        now = self._clock.monotonic()
        found = [
            Visited(
                name,
                host.requests,
                host.under_way,
                dict(host.failures),
                host.last_failure,
                max(0.0, host.paused_until - now),
            )
            for name, host in self._hosts.items()
        ]
        return sorted(found, key=lambda host: (-sum(host.failures.values()), host.host))

    def _find(self, name: str, host: str) -> _Host:
        found = self._hosts.setdefault(name, _Host(OWN if host in self._own else STRANGER))
        self._hosts.move_to_end(name)
        if len(self._hosts) > CAPACITY:
            idle = next((known for known, one in self._hosts.items() if one is not found and not one.under_way), None)
            if idle is not None:
                del self._hosts[idle]
        return found

    async def _enter(self, name: str, host: _Host, patience_seconds: float) -> None:
        patient_until = self._clock.monotonic() + patience_seconds
        try:
            async with asyncio.timeout(patience_seconds):
                while (seconds := self._obstacle(host)) > 0:
                    if self._clock.monotonic() + (seconds if math.isfinite(seconds) else 0) > patient_until:
                        raise self._send_away(name, host)
                    await self._pause(seconds)
        except TimeoutError:
            raise self._send_away(name, host) from None
        host.recent.append(self._clock.monotonic())
        host.requests += 1
        host.under_way += 1
        self._under_way += 1

    def _obstacle(self, host: _Host) -> float:
        """Seconds until the next turn; infinite: until somebody leaves; 0: now."""
        now = self._clock.monotonic()
        if host.paused_until > now:
            return host.paused_until - now
        at_once = 1 if host.pauses else host.pace.at_once  # after a rest, one goes ahead
        if host.under_way >= at_once or self._under_way >= AT_ONCE:
            return math.inf
        while host.recent and host.recent[0] <= now - 1.0:
            host.recent.popleft()
        return 0.0 if len(host.recent) < host.pace.per_second else host.recent[0] + 1.0 - now

    def _send_away(self, name: str, host: _Host) -> Crowded:
        """Each caller gets a later turn than the one before, as far apart as the host needs for them."""
        now = self._clock.monotonic()
        free = max(host.paused_until, now)
        apart = max(1.0 / host.pace.per_second, host.mean_seconds / host.pace.at_once)
        host.next_turn = min(max(host.next_turn, free) + apart, free + MAX_PAUSE_SECONDS)
        resting = f" is left alone after {host.last_failure}" if host.paused_until > now else " is busy with us"
        return Crowded(f"{name}{resting}", retry_after_seconds=host.next_turn - now)

    async def _pause(self, seconds: float) -> None:
        """For that long, or until somebody leaves."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await asyncio.wait((turn,), timeout=seconds if math.isfinite(seconds) else None)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)


class Visit:
    """A request that is under way: says what the host answered."""

    def __init__(self, clock: Clock, host: _Host) -> None:
        self._clock = clock
        self._host = host
        self._status = 0

    def heed(self, status: int, headers: Mapping[str, str], url: str) -> None:
        """Take note of an answer's status and headers (lower-case names). Raises RateLimited for 429 and 503."""
        self._status = status
        told = told_pause_seconds(headers, now_us=self._clock.now_us())
        if status in (429, 503):
            self._rest(told)
            left = self._host.paused_until - self._clock.monotonic()
            raise RateLimited(f"{url[:200]} answers {status}", retry_after_seconds=left)
        if told is not None and headers.get("ratelimit-remaining", "").strip() == "0":
            self._rest(told)

    def settle(self) -> None:
        """The visit went well, but for a refusal."""
        if self._status < 400:
            self._host.trouble = self._host.pauses = 0
            return
        self._blame(f"status {self._status}", 1)

    def blame(self, error: AppError) -> None:
        """The visit ended with this."""
        if isinstance(error, DiskFull):  # our own
            return
        if isinstance(error, RateLimited):
            self._note(error.reason)
        else:
            reason = getattr(error, "reason", "failure")
            self._blame(reason, FAILURE_WEIGHT if isinstance(error, Unreachable | Deadline) else 1)

    def _note(self, what: str) -> None:
        self._host.failures[what] += 1
        self._host.last_failure = what

    def _blame(self, what: str, weight: int) -> None:
        self._note(what)
        self._host.trouble += weight
        if self._host.trouble >= MAX_TROUBLE and self._host.pace is STRANGER:
            self._rest(None)

    def _rest(self, told_seconds: float | None) -> None:
        """Leave the host alone as long as it says, or twice as long as the time before."""
        now = self._clock.monotonic()
        if told_seconds is None:
            if self._host.paused_until > now:  # another visit that began before has seen to that
                return
            self._host.pauses += 1
            told_seconds = min(MAX_PAUSE_SECONDS, PAUSE_SECONDS * 2.0 ** min(self._host.pauses - 1, 10))
        else:
            told_seconds = max(told_seconds, 1.0)
            self._host.pauses = max(self._host.pauses, 1)
        self._host.paused_until = max(self._host.paused_until, now + told_seconds)
