"""What a viewer says of music in their own public repository, read when they ask for a feed of theirs (FEEDS 4, 7).

Within a second and a half. Of what is read only known tracks are remembered, in memory, for ten minutes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.clock import Clock
from core.errors import AppError
from core.ports import Directory, SafeHttp
from core.taxonomy import Taxonomy
from core.types import Did
from earmark.viewer_records import Said, ViewerRecords, read_prefs
from feedgen.taste import Anchor, Reading, newest_anchors
from firehose.links import LinkRules
from store import Store, links

PATIENCE_SECONDS = 1.5  # what a viewer waits in all; then what was read so far counts
FRESH_SECONDS = 600.0
PARTIAL_SECONDS = 60.0  # of a reading that lacks something: its host was slow or away
MAX_VIEWERS = 1_000  # remembered, at most some 60 kB each
LOOKING_UP_SECONDS = 0.2  # of that, what is left for our own store
AT_ONCE = 12  # viewers who are read; further ones are strangers until their next visit. Hosts that stall leave most of
# the questions that we ask at once (firehose.manners) to the network that we listen to.


@dataclass(frozen=True, slots=True)
class _Cached:
    reading: Reading
    until: float  # monotonic seconds


class Viewers:
    """Reads viewers, each once at a time. Nobody is refused: of who cannot be read nothing is known."""

    def __init__(
        self,
        store: Store,
        http: SafeHttp,
        directory: Directory,
        rules: LinkRules,
        *,
        taxonomy: Taxonomy,
        clock: Clock,
    ) -> None:
        self._store = store
        self._http = http
        self._directory = directory
        self._rules = rules
        self._taxonomy = taxonomy
        self._clock = clock
        self._cache: OrderedDict[Did, _Cached] = OrderedDict()
        self._flights: dict[Did, asyncio.Task[_Cached]] = {}

    async def read(self, did: Did) -> Reading:
        """What the viewer's records say. Never raises for what others do or do not answer."""
        cached = self._cache.get(did)
        if cached is not None and self._clock.monotonic() < cached.until:
            self._cache.move_to_end(did)
            return cached.reading
        flight = self._flights.get(did)
        if flight is None:
            if len(self._flights) >= AT_ONCE:
                return Reading(complete=False)
            flight = self._flights[did] = asyncio.create_task(self._look(did))
            flight.add_done_callback(lambda ended: self._land(did, ended))
        return (await asyncio.shield(flight)).reading

    @property
    def remembered(self) -> int:
        """How many viewers."""
        return len(self._cache)

    def forget(self, did: Did) -> None:
        """Remember nothing of this viewer; what is being read is answered and not kept."""
        self._cache.pop(did, None)
        self._flights.pop(did, None)

    async def close(self) -> None:
        """Stop reading. Nobody may be waiting for it any more."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _land(self, did: Did, flight: asyncio.Task[_Cached]) -> None:
        """Keep what a flight brought, unless the viewer was forgotten meanwhile."""
        if self._flights.get(did) is not flight:
            return
        del self._flights[did]
        if flight.cancelled() or flight.exception() is not None:
            return
        cached = self._cache[did] = flight.result()
        self._cache.move_to_end(did)
        while len(self._cache) > MAX_VIEWERS:
            self._cache.popitem(last=False)
        seconds = cached.until - self._clock.monotonic()
        asyncio.get_running_loop().call_later(seconds, self._drop, did, cached)

    def _drop(self, did: Did, cached: _Cached) -> None:
        """Its time is over, also if nobody asks again."""
        if self._cache.get(did) is cached:
            del self._cache[did]

    async def _look(self, did: Did) -> _Cached:
        repo, anchors, found = ViewerRecords(did, self._http, self._clock), list[Anchor](), False
        with suppress(TimeoutError, AppError):
            async with asyncio.timeout(PATIENCE_SECONDS - LOOKING_UP_SECONDS):
                identity = await self._directory.resolve(did)
                if identity.pds is not None:
                    await repo.read(identity.pds, self._rules)
        with suppress(TimeoutError, AppError):  # a busy store is asked again as soon as a slow host
            async with asyncio.timeout(LOOKING_UP_SECONDS):
                await self._find_tracks(did, repo.said, anchors)
                found = True
        complete = repo.complete and found
        reading = Reading(newest_anchors(anchors), read_prefs(repo.prefs, self._taxonomy), complete)
        return _Cached(reading, self._clock.monotonic() + (FRESH_SECONDS if complete else PARTIAL_SECONDS))

    async def _find_tracks(self, did: Did, said: Sequence[Said], anchors: list[Anchor]) -> None:
        """Adds the tracks of others behind what was said; what several tracks claim stands for none of them."""
        async with self._store.read() as reader:
            for one in said:
                found = await links.tracks_behind(reader, one.subject)
                if len(found) == 1 and not found[0].startswith(f"at://{did}/"):
                    anchors.append(Anchor(found[0], one.at_us, one.kind))
