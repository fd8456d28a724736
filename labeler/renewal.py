"""After a change of key: what another key of ours signed is signed anew, when it is served and in the background (P41).

`cts` and every other field stay. The new signature is stored before it is served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from core.errors import Transient
from core.keys import SigningKey
from core.types import Did
from labeler.signing import sign
from store import Store, labels, served

SPAN = 20_000  # rows looked at in one statement
_BATCH = 200  # rows signed before others get their turn: some 10 ms
_PAUSE_SECONDS = 0.02
_TROUBLE_SECONDS = 5.0


class Renewal:
    """Serving asks it about rows; it knows the key, serving does not. Nothing happens before `run` says that the key is
    in force: labels must not bear a signature that no DID document explains.
    """

    def __init__(self, store: Store, *, src: Did, key: SigningKey) -> None:
        self._store = store
        self._src = src
        self._key = key
        self._key_id = key.public.did_key
        self.under_way = False
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """From the moment that our DID document names the key, until no row bears another key's signature."""
        self.under_way = True
        after_seq, newest = 0, await labels.newest_seq(self._store.peek)
        while after_seq < newest:
            last_seq = min(after_seq + SPAN, newest)
            try:
                await self.renew_span(after_seq, last_seq)
            except Transient as error:
                logging.getLogger(__name__).warning("signing anew continues in %.0f s: %s", _TROUBLE_SECONDS, error)
                await asyncio.sleep(_TROUBLE_SECONDS)
                continue
            after_seq = last_seq
        self.under_way = False

    async def renew_span(self, after_seq: int, last_seq: int) -> bool:
        """Sign a stretch of the log anew, as far as that is due; whether any row changed."""
        if not self.under_way:
            return False
        async with self._store.read() as reader:
            span = {"after_seq": after_seq, "last_seq": last_seq}
            due = await served.signed_otherwise(reader, src=self._src, key_id=self._key_id, **span)
        return await self._renew(due)

    async def renew(self, numbers: Sequence[int]) -> bool:
        """Sign these rows anew, as far as that is due; whether any changed. Waits for a writer only if one is."""
        if not self.under_way:
            return False
        async with self._store.read() as reader:
            rows = await served.numbered(reader, numbers)
        return await self._renew([row.seq for row in rows if row.key_id != self._key_id])

    async def _renew(self, numbers: Sequence[int]) -> bool:
        changed = False
        for start in range(0, len(numbers), _BATCH):
            async with self._turn, self._store.write() as tx:
                rows = await served.numbered(tx, numbers[start : start + _BATCH])
                due = [row for row in rows if row.key_id != self._key_id]
                fresh = [replace(row, label=sign(row.label, self._key), key_id=self._key_id) for row in due]
                if fresh:
                    await served.resign(tx, fresh)
                    changed = True
            await asyncio.sleep(_PAUSE_SECONDS if start else 0)
        return changed
