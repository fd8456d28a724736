"""How the network looks from here: what comes in, from whom, how late, what fails, and what of it is trouble.

One JSON value for `earmark network`, the status page and the gauges. Trouble is what an operator has to know of; one
host that is away, a commit that is refused or a reconnect is none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Any

from core.clock import Clock, format_datetime
from earmark.intake import Intake, Reading
from firehose.manners import Manners
from store import Reader, Store, backfills, jobs, repos

ROUTE = "network"
WATCH_SECONDS = 2.0
PATIENCE_SECONDS = 60.0  # a source may be without connection for so long: hosts restart
OVERDUE_US = 3_600_000_000  # a repository in doubt is walked within an hour of its turn
FAILING_HOSTS, FAILING_SHARE = 3, 0.25  # more at rest, and more of all that we call: it is rather us
HOSTS_SHOWN = 50
RATE_SAMPLES = 12  # of frames, one each time the gauges are kept


class Trouble(StrEnum):
    """What is wrong, as metrics and `earmark network` call it."""

    DISCONNECTED = "disconnected"
    BLIND = "blind"
    LATE = "late"
    PAUSED = "paused"
    HOSTS_FAILING = "hosts_failing"
    RESYNC_OVERDUE = "resync_overdue"


SAID = {
    Trouble.DISCONNECTED: "the upstream cannot be reached; Earmark goes on trying",
    Trouble.BLIND: "the upstream tells of others but not of our collections; another host is asked if there is one",
    Trouble.LATE: "reading is so far behind that the upstream may forget events before they are read",
    Trouble.PAUSED: "reading waits until jobs are done (queue.high_water); more cores would help",
    Trouble.HOSTS_FAILING: "many accounts' hosts fail at once: is this machine's own network well?",
    Trouble.RESYNC_OVERDUE: "repositories of which something was missed could not be read again for an hour",
}


class Network:
    """Looks at the parts that read the network; changes nothing."""

    def __init__(self, intake: Intake, manners: Manners, *, high_water: int, clock: Clock) -> None:
        self._intake = intake
        self._manners = manners
        self._high_water = high_water
        self._clock = clock
        self._began_us = clock.now_us()
        self._frames: dict[str, deque[tuple[float, int]]] = {}

    def sample(self) -> None:
        """Remember how many frames came until now: called every few seconds, for their rate."""
        for reading in self._intake.readings():
            samples = self._frames.setdefault(reading.purpose, deque(maxlen=RATE_SAMPLES))
            samples.append((self._clock.monotonic(), reading.source.health.frames))

    async def report(self, reader: Reader) -> dict[str, Any]:
        """`troubles` is empty when all is well. Rates are those of the last minute."""
        now_us = self._clock.now_us()
        sources = [self._source(reading, now_us) for reading in self._intake.readings()]
        hosts = self._manners.hosts()
        resting = [host for host in hosts if host.paused_seconds > 0]
        overdue = await repos.due(reader, now_us=now_us - OVERDUE_US, limit=1)
        found = {
            Trouble.PAUSED: any(source["paused"] for source in sources),
            Trouble.HOSTS_FAILING: len(resting) > max(FAILING_HOSTS, FAILING_SHARE * len(hosts)),
            Trouble.RESYNC_OVERDUE: bool(overdue),
        }
        of_sources = [trouble for source in sources for trouble in source["troubles"]]
        return {
            "at": format_datetime(now_us),
            "troubles": list(dict.fromkeys([*of_sources, *(trouble for trouble, there in found.items() if there)])),
            "sources": sources,
            "events_per_second": self._intake.pulse.per_second(),
            "events": self._intake.pulse.totals(),
            "queue": {"high_water": self._high_water, "jobs": await jobs.counts(reader)},
            "repositories": await repos.counts(reader),
            "backfill": await self._backfill(reader),
            "hosts": {
                "known": len(hosts),
                "resting": len(resting),
                "failing": [
                    {
                        "host": host.host,
                        "requests": host.requests,
                        "failures": dict(host.failures),
                        "last_failure": host.last_failure,
                        "paused_seconds": round(host.paused_seconds, 1),
                    }
                    for host in hosts[:HOSTS_SHOWN]
                    if host.failures
                ],
            },
        }

    async def answer(self, store: Store, params: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """A command of earmark.control: one report, or with `watch` one every two seconds."""
        while True:
            async with store.read() as reader:
                report = await self.report(reader)
            yield report
            if not params.get("watch"):
                return
            await asyncio.sleep(WATCH_SECONDS)

    def _source(self, reading: Reading, now_us: int) -> dict[str, Any]:
        health = reading.source.health
        lag_us = health.lag_us(now_us, paused=reading.paused)
        since_us = max(health.last_frame_us or 0, self._began_us)
        late = health.is_late(now_us, paused=reading.paused)
        gone = not health.connected and now_us - since_us > PATIENCE_SECONDS * 1e6
        found = {Trouble.DISCONNECTED: gone, Trouble.BLIND: health.blind, Trouble.LATE: late}
        return {
            "purpose": reading.purpose,
            "name": reading.source.name,
            "address": health.address,
            "connected": health.connected,
            "paused": reading.paused,
            "troubles": [trouble for trouble, there in found.items() if there],
            "frames_per_second": self._frames_per_second(reading),
            "lag_seconds": None if lag_us is None else round(lag_us / 1e6, 1),
            "window_seconds": None if health.window_us is None else round(health.window_us / 1e6),
            "last_frame": _told(health.last_frame_us),
            "last_event": _told(health.last_event_us),
            "quiet_seconds": round((now_us - (health.last_event_us or self._began_us)) / 1e6, 1),
            "connections": health.connections,
            "gaps": health.gaps,
            "refused": dict(health.refused),
            "last_error": health.last_error,
            "hosts": {
                name: {
                    "connections": host.connections,
                    "failures": host.failures,
                    "blind": host.blind,
                    "frames": host.frames,
                    "last_frame": _told(host.last_frame_us),
                    "last_error": host.last_error,
                }
                for name, host in health.hosts.items()
            },
        }

    def _frames_per_second(self, reading: Reading) -> float | None:
        samples = self._frames.get(reading.purpose)
        if not samples:
            return None
        (since, before), now = samples[0], self._clock.monotonic()
        return round((reading.source.health.frames - before) / max(now - since, 1.0), 1)

    @staticmethod
    async def _backfill(reader: Reader) -> dict[str, Any] | None:
        latest = await backfills.latest(reader)
        if latest is None:
            return None
        progress = await backfills.progress(reader, latest.backfill_id)
        return {
            "state": latest.state,
            "began": format_datetime(latest.started_us),
            "repositories": {"waiting": progress.waiting, "done": progress.done, "failed": progress.failed},
            "failures": dict(progress.failures),
        }


def _told(us: int | None) -> str | None:
    return None if us is None else format_datetime(us)
