"""The composition root: the whole machine on one screen.

`build` constructs and opens nothing; `Service.run` opens, starts, stops and closes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web

from core.clock import Clock, SystemClock
from core.config import Settings
from core.errors import Misconfigured
from core.log import Log
from core.metrics import Metrics
from core.taxonomy import Taxonomy
from earmark import __version__
from earmark.api import Api
from earmark.backfilling import ROUTE, Backfilling, Wish
from earmark.changes import Changes
from earmark.control import Control
from earmark.ears import Ears, open_ears, open_store
from earmark.feeding import Feeding
from earmark.gauges import keep_near
from earmark.intake import Intake
from earmark.keyring import load_cursor_key
from earmark.labelling import Labelling
from earmark.lexicon import lexicon_page
from earmark.limits import Limits
from earmark.network import ROUTE as NETWORK
from earmark.network import Network
from earmark.outside import reach_out
from earmark.previewing import Previewing, Question
from earmark.progress import SparingMeasure
from earmark.reanalysis import PutInPlace
from earmark.recheck import recheck_visibility
from earmark.roles import Roles, within
from earmark.steering import Steering
from earmark.tending import store_index
from earmark.vouching import Vouching
from earmark.web import Web
from earmark.worker import Worker
from feedgen.did_document import build_did_document
from feedgen.live import LiveFeeds
from firehose.handles import Handles
from firehose.repostatus import RepoStatus
from firehose.visibility import PlyrVisibility
from store import Store, generations, labels
from store.generations import Generation


def build(settings: Settings, *, log: Log, clock: Clock | None = None) -> Service:
    """The service for these settings. Raises Misconfigured; touches neither network nor disk (but the key file)."""
    return Service(settings, log=log, clock=clock or SystemClock())


class Service:
    """All roles in one process."""

    def __init__(self, settings: Settings, *, log: Log, clock: Clock) -> None:
        self.settings, self.log, self.clock = settings, log, clock
        self.metrics = Metrics()
        self._measure = SparingMeasure(clock)
        self.ready = asyncio.Event()
        self.control = Control(settings.data, log=log)
        self.outside = outside = reach_out(settings, clock=clock)
        self._handles = Handles(outside.http, outside.directory, clock=clock)
        self.intake = Intake(
            settings,
            http=outside.http,
            directory=outside.directory,
            user_agent=outside.user_agent,
            clock=clock,
            log=log,
            metrics=self.metrics,
        )
        self.network = Network(self.intake, outside.manners, high_water=settings.queue.high_water, clock=clock)
        taxonomy = Taxonomy.load()
        self.labelling = Labelling(
            settings,
            http=outside.http,
            directory=outside.directory,
            taxonomy=taxonomy,
            clock=clock,
            log=log,
            metrics=self.metrics,
        )
        self.feeding = Feeding(
            settings,
            self.intake,
            outside,
            handles=self._handles,
            taxonomy=taxonomy,
            clock=clock,
            log=log,
            metrics=self.metrics,
        )
        self._children = settings.listening.children or os.cpu_count() or 1

    # --- life -----------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Opens everything, runs until `stop` is set, closes everything in order. Raises what ended a role, and
        Misconfigured when the labeler's identity is another than configured.
        """
        settings, log = self.settings, self.log
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.outside.http.close)
            await self.labelling.enrolment.refuse_mismatch(self.outside.directory)
            ears = await self._open_ears(stack)
            secret = load_cursor_key(settings.data)
            feeds = await self.feeding.open(ears, secret=secret)
            steering = self.feeding.steering(ears.store, feeds, secret=secret)
            stack.push_async_callback(steering.close)
            server, web_app = self._web(ears, feeds, steering, secret=secret)
            site = await self._listen(stack, web_app)
            roles = Roles(log)
            self._start_roles(roles, ears, feeds, steering)
            self.control.route(ROUTE, self._backfilling(ears.store, working=True).answer)
            self.control.route(NETWORK, partial(self.network.answer, ears.store))
            self.feeding.route(self.control, ears, feeds)
            self.labelling.route(self.control, ears.store)
            controlled = await stack.enter_async_context(AsyncExitStack())
            await controlled.enter_async_context(self.control.opened())
            log.info(
                "serving",
                url=settings.public_url,
                listen=site,
                mode=self.labelling.enrolment.mode(),
                source=self.intake.music.name,
            )
            self.ready.set()
            try:
                await roles.watch(stop)
            finally:
                log.info("stopping")
                await within(1.0, controlled.aclose())
                await within(1.0, roles.stop("ingest"))
                await within(1.5, roles.stop("worker", "reanalysis"))
                await within(1.0, roles.stop("labels"))
                await self.labelling.drain(1.0)
                await within(0.5, roles.stop("publish", "feeds", "announcer", "recheck", "gauges"))
                await within(1.0, server.subscriptions.close())
                await within(1.5, store_index(feeds, log))
        log.info("stopped")

    async def reanalyse(self, *, again: bool, opened: Callable[[], None]) -> None:
        """In the foreground, without serving: until the corpus has moved to the packs that were chosen, or failed to.

        `again` takes up what has failed. `opened` is called once the store can be read. Resumable at any point.
        """
        async with AsyncExitStack() as stack:
            ears = await self._open_ears(stack)
            if again:
                async with ears.store.write() as tx:
                    await generations.retry(tx, now_us=self.clock.now_us())
            opened()

            async def prepare(generation: Generation) -> PutInPlace:
                await self.feeding.get_ready(ears, generation)
                return _nothing_to_put_in_place

            await ears.reanalysis(prepare, background=False).finish(self._children + 1)

    async def preview(self, question: Question) -> dict[str, Any]:
        """In the foreground, without serving: what the feeds would be now. See Previewing.say."""
        async with AsyncExitStack() as stack:
            ears = await self._open_ears(stack)
            feeds = await self.feeding.open(ears, secret=load_cursor_key(self.settings.data))
            return await Previewing(ears, feeds, clock=self.clock).say(question)

    async def backfill(self, wish: Wish) -> AsyncIterator[dict[str, Any]]:
        """In the foreground, without serving: see Backfilling.run. What is to be heard waits for the next start."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.outside.http.close)
            if not wish.dry_run:
                store = await open_store(self.settings, clock=self.clock)
            elif self.settings.database.exists():
                store = await Store.open_to_read(self.settings.database)
            else:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="earmark-")))
                store = await Store.open(folder / "nothing-yet.db", clock=self.clock)
            stack.push_async_callback(store.close)
            async for progress in self._backfilling(store, working=False).run(wish):
                yield progress

    def _backfilling(self, store: Store, *, working: bool) -> Backfilling:
        return Backfilling(
            store,
            self.intake,
            http=self.outside.http,
            settings=self.settings,
            working=working,
            clock=self.clock,
            log=self.log,
        )

    async def _open_ears(self, stack: AsyncExitStack) -> Ears:
        stack.push_async_callback(self.outside.http.close)
        ears = open_ears(
            self.settings,
            directory=self.outside.directory,
            guard=self.outside.guard,
            manners=self.outside.manners,
            vouching=partial(
                Vouching,
                prover=self.intake.prover,
                repo_status=RepoStatus(self.outside.http, self.outside.directory),
                applier=self.intake.applier,
                control=self.intake.control.of_artists,
                clock=self.clock,
            ),
            visibility={"plyr": PlyrVisibility(self.outside.http, base_url=self.settings.network.plyr_url)},
            judge=self.labelling.judge,
            children=self._children,
            user_agent=self.outside.user_agent,
            clock=self.clock,
            log=self.log,
        )
        return await stack.enter_async_context(ears)

    def _start_roles(self, roles: Roles, ears: Ears, feeds: LiveFeeds, steering: Steering) -> None:
        store = ears.store
        self.intake.start(roles, store)
        for number in range(2 * self._children + 2):  # a slow PDS must not leave the children idle
            roles.start(f"worker-{number}", self._worker(f"worker-{number}", ears).run)
        self.labelling.start(roles, store)
        self.feeding.start(roles, store, feeds, steering)
        roles.start("reanalysis", ears.reanalysis(partial(self._prepare, ears, feeds), background=True).run)
        roles.start("recheck", partial(recheck_visibility, store, self.clock))
        roles.start("gauges", partial(keep_near, store, feeds, self.network, self.metrics, self._measure))

    # --- parts ----------------------------------------------------------------------------------------------

    def _worker(self, name: str, ears: Ears) -> Worker:
        queue = self.settings.queue
        return Worker(
            name=name,
            store=ears.store,
            hearing=ears.hearing,
            judge=self.labelling.judge,
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
            lease_seconds=queue.lease_seconds,
            max_attempts=queue.max_attempts,
            retry_seconds=queue.retry_seconds,
        )

    async def _prepare(self, ears: Ears, feeds: LiveFeeds, generation: Generation) -> PutInPlace:
        """What the feeds need of the generation that is to serve, whole before anything is switched."""
        return partial(feeds.turn_to, *await self.feeding.get_ready(ears, generation))

    def _web(self, ears: Ears, feeds: LiveFeeds, steering: Steering, *, secret: bytes) -> tuple[Web, web.Application]:
        store, settings = ears.store, self.settings
        api = Api(
            store=store,
            feeds=feeds,
            labeler_did=self.labelling.src,
            did_document=build_did_document(
                settings.service_did,
                settings.public_url,
                label_key=self.labelling.own_key,
                certificate_key=self.labelling.own_certificate_key,
            ),
            mode=self.labelling.enrolment.mode,
            network=self.network,
            contact=settings.service.contact,
            describe=self.labelling.policy.describe,
            measure=self._measure,
            handle_of=self._handles.known,
        )

        async def healthy() -> None:
            async with store.read() as reader:
                await labels.newest_seq(reader)

        methods, pages = self.feeding.answers(ears, feeds, steering, secret=secret)
        server = Web(
            methods=[*self.labelling.methods(store, viewer_secret=secret), *methods],
            pages=api.pages() | Changes(store).pages() | pages | {"/api/lexicons": lexicon_page(settings.authority)},
            healthy=healthy,
            version=__version__,
            limits=Limits(settings.limits, self.clock),
            metrics=self.metrics,
            log=self.log,
        )
        return server, server.app

    async def _listen(self, stack: AsyncExitStack, app: web.Application) -> str:
        service = self.settings.service
        # Bodies are taken as they come: what is not compressed as it says would be answered before we are asked.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, max_line_size=65_536, auto_decompress=False)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, service.host, service.port).start()
        except OSError as error:
            raise Misconfigured(
                "service.port", f"cannot listen on {service.host}:{service.port} ({error.strerror}); choose another"
            ) from None
        host, port = runner.addresses[0][:2]
        return f"{host}:{port}"


async def _nothing_to_put_in_place() -> None:
    """No feeds are served here; the next process that serves them finds the new generation."""
