"""T3: verdicts become signed, numbered labels. The only user of the label key."""

from __future__ import annotations

import asyncio
import logging

from core.clock import Clock, backoff_seconds
from core.errors import Transient
from core.keys import SigningKey
from core.label import Label
from core.types import Did
from labeler.emission import Emission
from labeler.reconcile import reconcile
from labeler.signing import sign
from store import Store, Tx, labels

_BATCH = 64  # verdicts in one transaction
_IDLE_SECONDS = 5.0  # the bell is a hint: look again without it


class Publisher:
    """Makes live what verdicts ask for. One per store.

    A verdict is settled in the transaction that appends its last label, so a crash at any point loses nothing and
    repeats nothing: reconciling again finds what is left. Errors leave the verdict pending.
    """

    def __init__(
        self, store: Store, *, key: SigningKey, src: Did, clock: Clock, labels_per_second: float | None = 4.0
    ) -> None:
        self._store = store
        self._key = key
        self._src = src
        self._clock = clock
        self._emission = Emission(clock, labels_per_second)
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Publish until cancelled. Raises what is not transient."""
        failures = 0
        while True:
            seen = self._store.bell.count("verdict")
            try:
                wait_seconds = await self.publish_pending()
            except Transient as error:
                failures += 1
                wait_seconds = backoff_seconds(failures, self._clock, base=0.5, cap=30.0)
                logging.getLogger(__name__).warning("publishing again in %.1f s: %s", wait_seconds, error)
                await asyncio.sleep(wait_seconds)
                continue
            failures = 0
            if wait_seconds is None:
                await self._store.bell.wait("verdict", _IDLE_SECONDS, seen=seen)
            else:
                await asyncio.sleep(wait_seconds)

    async def drain(self, deadline_seconds: float) -> bool:
        """Publish what is pending before the process ends; whether nothing is left when the deadline passes."""
        try:
            async with asyncio.timeout(deadline_seconds):
                wait_seconds = await self.publish_pending()
                while wait_seconds is not None:
                    await asyncio.sleep(wait_seconds)
                    wait_seconds = await self.publish_pending()
        except TimeoutError:
            return False
        return True

    async def publish_pending(self) -> float | None:
        """Publish pending verdicts in one transaction, retractions first, as far as the limits allow.

        None when nothing was pending; otherwise the seconds to wait before the next call: 0 unless a limit was met.
        """
        async with self._turn:
            leaving: list[Label] = []
            complete = True
            async with self._store.write() as tx:
                waiting = await labels.pending(tx, _BATCH)
                if not waiting:
                    return None
                for verdict in waiting:
                    wanted = await self._labels_wanted(tx, verdict)
                    room = await self._emission.room(tx, len(leaving) + len(wanted)) - len(leaving) if wanted else 0
                    leaving += wanted[: max(0, room)]
                    complete = room >= len(wanted)
                    if not complete:
                        break
                    await labels.settle(tx, verdict.uri, verdict.version)
                # Last in the transaction, because appending takes the sequence numbers.
                signed = [sign(label, self._key) for label in leaving]
                await labels.append(tx, signed, key_id=self._key.public.did_key)
            self._emission.take(len(leaving))
            return 0.0 if complete else self._emission.seconds_until_room()

    async def _labels_wanted(self, tx: Tx, pending: labels.StoredVerdict) -> list[Label]:
        """What one verdict still asks for, given what is live."""
        current = await labels.live(tx, self._src, pending.uri)
        return reconcile(self._src, pending.uri, pending.verdict.labels, current, now_us=self._clock.now_us())
