"""How people steer feeds: personal feeds and the methods behind them, as one part of the service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping

from core.clock import Clock
from core.config import Settings
from core.errors import StoreBusy
from core.log import Log
from core.metrics import Metrics
from core.ports import Directory, SafeHttp
from core.serviceauth import KeyResolver
from core.taxonomy import Taxonomy
from core.xrpc import Procedure
from earmark.viewer import Viewers
from feedgen.interactions import Interactions
from feedgen.live import LiveFeeds
from feedgen.viewing import Viewing
from firehose.links import LinkRules
from firehose.mapping import CollectionMap, page_hosts
from store import Store, feedback, used_tokens

DAY_US = 86_400_000_000
ERASE_SECONDS = 3600.0  # how often feedback and tokens whose time is over are erased


class Steering:
    """Opened with the store. `secret`: 32 bytes that are not in it. Close it with `close`."""

    def __init__(
        self,
        store: Store,
        feeds: LiveFeeds,
        settings: Settings,
        mapping: Mapping[str, CollectionMap],
        *,
        http: SafeHttp,
        directory: Directory,
        taxonomy: Taxonomy,
        secret: bytes,
        clock: Clock,
        log: Log,
    ) -> None:
        rules = LinkRules(frozenset(mapping), page_hosts(mapping), frozenset(settings.linking.page_hosts))
        self._viewers = Viewers(store, http, directory, rules, taxonomy=taxonomy, clock=clock)
        self._store = store
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._log = log
        self.viewing = Viewing(feeds, store, self._viewers, secret=secret, clock=clock, log=log)

    def procedures(
        self,
        feeds: Mapping[str, str],
        *,
        audiences: Collection[str],
        resolve_key: KeyResolver,
        metrics: Metrics,
    ) -> tuple[Procedure, ...]:
        """What viewers may say; `feeds` is the rkey of each feed by its at-uri."""
        return Interactions(
            self._store,
            self.viewing,
            feeds=feeds,
            audiences=audiences,
            authority=self._settings.authority,
            secret=self._secret,
            resolve_key=resolve_key,
            clock=self._clock,
            metrics=metrics,
            log=self._log,
        ).procedures()

    async def erase_old(self) -> None:
        """A role: what viewers said goes when its time is over. Ends by cancellation only."""
        while True:
            before_us = self._clock.now_us() - self._settings.feeds.feedback_days * DAY_US
            with contextlib.suppress(StoreBusy):  # the next round makes up for it
                async with self._store.write() as tx:
                    erased = await feedback.erase(tx, before_us=before_us)
                    await used_tokens.drop_expired(tx, now_us=self._clock.now_us())  # they name who spoke
                if erased:
                    self._log.info("old feedback was erased", tracks=erased)
            await asyncio.sleep(ERASE_SECONDS)

    async def close(self) -> None:
        """Stop reading viewers."""
        await self._viewers.close()
