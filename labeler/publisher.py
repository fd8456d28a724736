"""T3: verdicts become signed, numbered labels. The only user of the label key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from core.analysis import Verdict
from core.clock import Clock, backoff_seconds, format_datetime
from core.errors import Transient
from core.keys import SigningKey
from core.types import Did
from labeler.emission import Emission, Round
from labeler.reconcile import reconcile
from labeler.signing import BadLabel, sign_all
from store import Store, Tx, labels

_BATCH = 64  # verdicts in one transaction, or as many as were handed
_IDLE_SECONDS = 5.0  # the bell is a hint: look again without it


_Handed = tuple[Mapping[str, Verdict], asyncio.Future[None]]  # with what their caller waits for


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
        self._handed: list[_Handed] = []
        self._handing: asyncio.Task[None] | None = None

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

    async def hand(self, verdicts: Mapping[str, Verdict]) -> None:
        """Store verdicts on subjects for which nothing was heard, and publish them; returns after the commit.

        For whoever has nothing but verdicts to store. What has a reason to store with them (an analysis, a ruling, a
        post that follows its track) puts both into the outbox in one transaction instead (store.labels.put_verdict).
        All who call at once share one transaction. While a limit holds or others are before them the verdicts are
        stored and stay pending: their labels leave in their turn, by `run`. Of one subject the last caller's verdict
        counts. Raises BadLabel for what nobody may sign, StoreBusy; then nothing of these verdicts is stored. When the
        caller is cancelled they may be.
        """
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._handed.append((verdicts, committed))
        if self._handing is None:
            self._handing = asyncio.create_task(self._publish_handed())
        await committed

    async def publish_pending(self) -> float | None:
        """Publish pending verdicts in one transaction, retractions first, as far as the limits allow.

        None when nothing was pending; otherwise the seconds to wait before the next call: 0 unless a limit was met.
        """
        async with self._turn:
            return await self._publish({})

    async def _publish_handed(self) -> None:
        """Until nothing is handed any more. A task of its own, because callers may be cancelled."""
        try:
            while self._handed:
                async with self._turn:
                    handed, self._handed = self._handed, []
                    await self._publish_all(handed)
        finally:
            self._handing = None

    async def _publish_all(self, handed: Sequence[_Handed]) -> None:
        try:
            await self._publish({uri: verdict for verdicts, _ in handed for uri, verdict in verdicts.items()})
        except BadLabel as error:
            if len(handed) > 1:  # one of them is to blame, and nothing was stored of any
                for one in handed:
                    await self._publish_all([one])
            else:
                _tell(handed, error)
        except Exception as error:  # it is the callers'
            _tell(handed, error)
        else:
            _tell(handed, None)

    async def _publish(self, verdicts: Mapping[str, Verdict]) -> float | None:
        async with self._store.write() as tx:
            await labels.put_verdicts(tx, verdicts, now_us=self._clock.now_us())
            this = await self._publish_some(tx, max(_BATCH, len(verdicts)))
        if this is None:
            return None
        self._emission.take(len(this.leaving))
        return 0.0 if this.is_complete else self._emission.seconds_until_room()

    async def _publish_some(self, tx: Tx, limit: int) -> Round | None:
        waiting = await labels.pending(tx, limit)
        if not waiting:
            return None
        now = format_datetime(self._clock.now_us())
        wanted = [(one, reconcile(self._src, one.uri, one.labels, one.current, now=now)) for one in waiting]
        room = await self._emission.room(tx, wanted)
        this = Round.of(wanted, room)
        await labels.settle(tx, this.settled)
        await labels.defer(tx, this.turns)
        # Last in the transaction, because appending takes the sequence numbers.
        current = (label for one in waiting for label in one.current)
        await labels.append(tx, sign_all(this.leaving, self._key), key_id=self._key.public.did_key, current=current)
        return this


def _tell(handed: Sequence[_Handed], failure: Exception | None) -> None:
    for _, committed in handed:
        if committed.done():  # its caller went away
            continue
        if failure is None:
            committed.set_result(None)
        else:
            committed.set_exception(failure)
