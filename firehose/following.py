"""Whose repositories are followed, at hand for every frame of a stream (P145)."""

from __future__ import annotations

import asyncio

from store import Store, repos

PAUSE_SECONDS = 1.0  # between two looks: many new artists at once are one change


class Following:
    """The accounts that had tracks here a moment ago: `did in following`."""

    def __init__(self) -> None:
        self._dids: set[str] = set()

    def __contains__(self, did: object) -> bool:
        return did in self._dids

    def __len__(self) -> int:
        return len(self._dids)

    def add(self, did: str) -> None:
        """Follow the account from this moment on, before the transaction that says so is over: what it commits next may
        be on its way already. Should that transaction fail, one account too many is followed.
        """
        self._dids.add(did)

    async def refresh(self, store: Store) -> None:
        """As the store has it now."""
        async with store.read() as reader:
            self._dids.update(await repos.followed(reader))

    async def run(self, store: Store) -> None:
        """Follows the store. Ends by cancellation only."""
        while True:
            rung = store.bell.count("repo")
            await self.refresh(store)
            await asyncio.sleep(PAUSE_SECONDS)
            await store.bell.wait("repo", 3600.0, seen=rung)
