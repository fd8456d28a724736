"""The composition root: the whole machine on one screen.

`build` constructs and opens nothing; `Service.run` opens, starts, stops and closes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from core.clock import Clock, SystemClock
from core.config import Settings
from core.errors import Misconfigured
from core.log import Log
from core.metrics import Metrics
from core.serviceauth import keys_of
from core.taxonomy import Taxonomy
from core.xrpc import Method
from earmark import __version__
from earmark.announcing import Announcer
from earmark.api import Api
from earmark.backfilling import ROUTE, Backfilling, Wish
from earmark.changes import Changes
from earmark.consenting import Consents
from earmark.control import Control
from earmark.ears import Ears, open_ears, open_store
from earmark.finding import Finding
from earmark.gauges import keep_near
from earmark.intake import Intake
from earmark.labelling import Labelling
from earmark.lexicon import lexicon_page
from earmark.limits import Limits
from earmark.network import ROUTE as NETWORK
from earmark.network import Network
from earmark.previewing import ROUTE as FEEDS
from earmark.previewing import Previewing, Question
from earmark.progress import SparingMeasure
from earmark.publishing import Publisher
from earmark.reanalysis import PutInPlace
from earmark.recheck import recheck_visibility
from earmark.roles import Roles, within
from earmark.steering import Steering
from earmark.tending import store_index, tend_index
from earmark.vouching import Vouching
from earmark.web import Web
from earmark.worker import Worker
from feedgen.catalogue import load_catalogue
from feedgen.context import Contexts
from feedgen.did_document import build_did_document
from feedgen.live import LiveFeeds
from feedgen.methods import FeedMethods
from feedgen.posts import PostRules
from feedgen.rules import Rules
from firehose.constellation import Constellation
from firehose.guard import LOOPBACK_NAMES, Guard
from firehose.handles import Handles
from firehose.identity import DidDirectory
from firehose.manners import Manners
from firehose.repostatus import RepoStatus
from firehose.safehttp import GuardedHttp
from firehose.visibility import PlyrVisibility
from models.catalogue import tag_names
from models.moods import tag_positions
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
        loopback = settings.development.allow_loopback
        contact = f" (+{settings.service.contact})" if settings.service.contact else ""
        self._user_agent = f"Earmark/{__version__}{contact}"
        self._guard = Guard(allow_loopback=loopback)
        self.manners = Manners(clock, own=_own_hosts(settings))
        self._http = GuardedHttp(self._guard, clock=clock, user_agent=self._user_agent, manners=self.manners)
        self.directory = DidDirectory(
            self._http, clock=clock, plc_url=settings.network.plc_url, allow_loopback=loopback
        )
        self._handles = Handles(self._http, self.directory, clock=clock)
        self.intake = Intake(
            settings,
            http=self._http,
            directory=self.directory,
            user_agent=self._user_agent,
            clock=clock,
            log=log,
            metrics=self.metrics,
        )
        self.network = Network(self.intake, self.manners, high_water=settings.queue.high_water, clock=clock)
        self._taxonomy = taxonomy = Taxonomy.load()
        self.labelling = Labelling(
            settings,
            http=self._http,
            directory=self.directory,
            taxonomy=taxonomy,
            clock=clock,
            log=log,
            metrics=self.metrics,
        )
        self.catalogue = load_catalogue(
            settings.feeds.catalogue,
            taxonomy=taxonomy,
            known_tags=tag_positions(),
            known_moods=tag_names("moodtheme"),
            min_seconds=settings.feeds.min_seconds,
        )
        self._children = settings.listening.children or os.cpu_count() or 1

    # --- life -----------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Opens everything, runs until `stop` is set, closes everything in order. Raises what ended a role, and
        Misconfigured when the labeler's identity is another than configured.
        """
        settings, log = self.settings, self.log
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._http.close)
            await self.labelling.enrolment.refuse_mismatch(self.directory)
            ears = await self._open_ears(stack)
            await self._check_moods(ears)
            feeds = await self._feeds(ears)
            steering = self._steering(ears.store, feeds)
            stack.push_async_callback(steering.close)
            server, web_app = self._web(ears, feeds, steering)
            site = await self._listen(stack, web_app)
            roles = Roles(log)
            self._start_roles(roles, ears, feeds)
            roles.start("feeds-erasing", steering.erase_old)
            self.control.route(ROUTE, self._backfilling(ears.store, working=True).answer)
            self.control.route(NETWORK, partial(self.network.answer, ears.store))
            self.control.route(FEEDS, self._previewing(ears, feeds).answer)
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
            await self._check_moods(ears)
            opened()

            async def prepare(generation: Generation) -> PutInPlace:
                await (await ears.open_index(generation)).checkpoint()
                await ears.ask_moods(generation, self.catalogue)
                return _nothing_to_put_in_place

            await ears.reanalysis(prepare, background=False).finish(self._children + 1)

    async def preview(self, question: Question) -> dict[str, Any]:
        """In the foreground, without serving: what the feeds would be now. See Previewing.say."""
        async with AsyncExitStack() as stack:
            ears = await self._open_ears(stack)
            return await self._previewing(ears, await self._feeds(ears)).say(question)

    async def backfill(self, wish: Wish) -> AsyncIterator[dict[str, Any]]:
        """In the foreground, without serving: see Backfilling.run. What is to be heard waits for the next start."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._http.close)
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
            http=self._http,
            settings=self.settings,
            working=working,
            clock=self.clock,
            log=self.log,
        )

    async def _open_ears(self, stack: AsyncExitStack) -> Ears:
        stack.push_async_callback(self._http.close)
        ears = open_ears(
            self.settings,
            directory=self.directory,
            guard=self._guard,
            manners=self.manners,
            vouching=partial(
                Vouching,
                prover=self.intake.prover,
                repo_status=RepoStatus(self._http, self.directory),
                applier=self.intake.applier,
                control=self.intake.control.of_artists,
                clock=self.clock,
            ),
            visibility={"plyr": PlyrVisibility(self._http, base_url=self.settings.network.plyr_url)},
            judge=self.labelling.judge,
            children=self._children,
            user_agent=self._user_agent,
            clock=self.clock,
            log=self.log,
        )
        return await stack.enter_async_context(ears)

    def _start_roles(self, roles: Roles, ears: Ears, feeds: LiveFeeds) -> None:
        store = ears.store
        self.intake.start(roles, store)
        for number in range(2 * self._children + 2):  # a slow PDS must not leave the children idle
            roles.start(f"worker-{number}", self._worker(f"worker-{number}", ears).run)
        self.labelling.start(roles, store)
        roles.start("feeds", feeds.run)
        roles.start("feeds-index", partial(tend_index, feeds, self.log))
        if (password := self.settings.feeds.password_file) is not None:
            roles.start("feeds-publisher", partial(self._publisher().keep_open, feeds, password, self.log))
        if (secret := self.settings.announcer.password_file) is not None and self.settings.announcer.did:
            roles.start("announcer", partial(self._announcer(store).run, secret))
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

    async def _feeds(self, ears: Ears) -> LiveFeeds:
        feeds, serving = self.settings.feeds, ears.listening.living.serving
        return LiveFeeds(
            ears.store,
            await ears.open_index(serving),
            self.catalogue,
            await ears.ask_moods(serving, self.catalogue),
            clock=self.clock,
            log=self.log,
            min_posts=feeds.min_posts,
            min_tracks=feeds.min_tracks,
            settle_seconds=feeds.settle_seconds,
            refresh_seconds=min(45.0, 1.5 * feeds.settle_seconds),
            contexts=Contexts(self._cursor_key()),
            rules=Rules(posts=PostRules(self.settings.linking.others, self.settings.announcer.did or None)),
        )

    def _previewing(self, ears: Ears, feeds: LiveFeeds) -> Previewing:
        return Previewing(ears, feeds, clock=self.clock)

    def _publisher(self) -> Publisher:
        return Publisher(
            self.settings,
            http=self._http,
            directory=self.directory,
            guard=self._guard,
            user_agent=self._user_agent,
            clock=self.clock,
        )

    def _announcer(self, store: Store) -> Announcer:
        settings, prover = self.settings, self.intake.prover
        url = settings.linking.constellation_url
        consents = Consents(
            store,
            settings,
            prover=prover,
            constellation=Constellation(self._http, url) if url else None,
            clock=self.clock,
            log=self.log,
        )
        return Announcer(
            store,
            settings,
            consents,
            http=self._http,
            directory=self.directory,
            prover=prover,
            handles=self._handles,
            guard=self._guard,
            user_agent=self._user_agent,
            taxonomy=self._taxonomy,
            clock=self.clock,
            log=self.log,
        )

    async def _check_moods(self, ears: Ears) -> None:
        """Raises Misconfigured now, not after days of hearing, if the next generation cannot serve these feeds."""
        async with ears.store.read() as reader:
            building = (await generations.living(reader)).building
        if building is not None:
            await ears.ask_moods(building, self.catalogue)

    async def _prepare(self, ears: Ears, feeds: LiveFeeds, generation: Generation) -> PutInPlace:
        """What the feeds need of the generation that is to serve, whole before anything is switched."""
        index = await ears.open_index(generation)
        await index.checkpoint()
        queries = await ears.ask_moods(generation, self.catalogue)
        return partial(feeds.turn_to, index, queries)

    def _steering(self, store: Store, feeds: LiveFeeds) -> Steering:
        return Steering(
            store,
            feeds,
            self.settings,
            self.intake.mapping,
            http=self._http,
            directory=self.directory,
            taxonomy=self._taxonomy,
            secret=self._cursor_key(),
            clock=self.clock,
            log=self.log,
        )

    def _web(self, ears: Ears, feeds: LiveFeeds, steering: Steering) -> tuple[Web, web.Application]:
        store, settings, resolve_key = ears.store, self.settings, keys_of(self.directory)
        feed_methods = FeedMethods(
            feeds,
            service_did=settings.service_did,
            publisher_did=settings.publisher_did,
            key=self._cursor_key(),
            clock=self.clock,
            metrics=self.metrics,
            viewing=steering.viewing,
            resolve_key=resolve_key,
            known_key=self.directory.known_key,
            explainer=settings.feeds.explainer,
        )
        said = steering.procedures(
            feed_methods.rkeys, audiences=feed_methods.audiences, resolve_key=resolve_key, metrics=self.metrics
        )
        finding = Finding(
            store,
            feeds,
            steering.viewing,
            settings,
            http=self._http,
            directory=self.directory,
            analyst=ears.crew,
            secret=self._cursor_key(),
            clock=self.clock,
            log=self.log,
        )
        found = finding.methods(feed_methods.rkeys, audiences=feed_methods.audiences, resolve_key=resolve_key)
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

        known = self.labelling.methods(store, viewer_secret=self._cursor_key())
        methods: list[Method] = [*known, *feed_methods.queries(), *said, *found]
        server = Web(
            methods=methods,
            pages=api.pages()
            | Changes(store).pages()
            | finding.pages()
            | {"/api/lexicons": lexicon_page(settings.authority)},
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

    def _cursor_key(self) -> bytes:
        """Secret that signs feed cursors: made once, kept with the data so that cursors survive a restart."""
        path = self.settings.data / "cursor.key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = b""
        if len(key) != 32:
            key = secrets.token_bytes(32)
            path.touch(mode=0o600)
            path.write_bytes(key)
        return key


def _own_hosts(settings: Settings) -> frozenset[str]:
    """Names of hosts that the operator chose to ask, and of this machine."""
    network, chosen = settings.network, settings.linking.constellation_url
    urls = (network.relay_url, network.plc_url, network.plyr_url, chosen)
    return LOOPBACK_NAMES | {host for url in urls if (host := urlsplit(url).hostname)}


async def _nothing_to_put_in_place() -> None:
    """No feeds are served here; the next process that serves them finds the new generation."""
