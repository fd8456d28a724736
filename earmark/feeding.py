"""The feeds' part of the service: what they are made of, what answers for them, which roles keep them true."""

from __future__ import annotations

from functools import partial

from core.clock import Clock
from core.config import Settings
from core.feed import Questions
from core.log import Log
from core.metrics import Metrics
from core.serviceauth import keys_of
from core.taxonomy import Taxonomy
from core.xrpc import Method
from earmark.announcing import Announcer
from earmark.catalogue import load_feeds
from earmark.consenting import Consents
from earmark.control import Control
from earmark.ears import Ears
from earmark.finding import Finding
from earmark.intake import Intake
from earmark.outside import Outside
from earmark.previewing import ROUTE, Previewing
from earmark.publishing import Publisher
from earmark.roles import Roles
from earmark.steering import Steering
from earmark.tending import tend_index
from earmark.web import Page
from feedgen.context import Contexts
from feedgen.live import LiveFeeds
from feedgen.methods import FeedMethods
from feedgen.posts import PostRules
from feedgen.rules import Rules
from firehose.constellation import Constellation
from firehose.handles import Handles
from store import Store
from store.generations import Generation
from store.index import VectorIndex


class Feeding:
    """Constructed with the service, opened with what hears."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        outside: Outside,
        *,
        handles: Handles,
        taxonomy: Taxonomy,
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        """Reads the catalogue. Raises Misconfigured."""
        self.catalogue = load_feeds(settings, taxonomy)
        self._settings, self._intake = settings, intake
        self._outside, self._handles, self._taxonomy = outside, handles, taxonomy
        self._clock, self._log, self._metrics = clock, log, metrics

    async def open(self, ears: Ears, *, secret: bytes) -> LiveFeeds:
        """The feeds over what the serving generation heard. `secret`: 32 bytes that are not in the store."""
        chosen, serving = self._settings.feeds, ears.listening.living.serving
        return LiveFeeds(
            ears.store,
            await ears.open_index(serving),
            self.catalogue,
            await ears.ask_moods(serving, self.catalogue),
            clock=self._clock,
            log=self._log,
            min_posts=chosen.min_posts,
            min_tracks=chosen.min_tracks,
            settle_seconds=chosen.settle_seconds,
            refresh_seconds=min(45.0, 1.5 * chosen.settle_seconds),
            contexts=Contexts(secret),
            rules=Rules(posts=PostRules(self._settings.linking.others, self._settings.announcer.did or None)),
        )

    async def get_ready(self, ears: Ears, generation: Generation) -> tuple[VectorIndex, Questions]:
        """What feeds need of the generation that is to serve, whole and stored before anything is switched."""
        index = await ears.open_index(generation)
        await index.checkpoint()
        return index, await ears.ask_moods(generation, self.catalogue)

    def steering(self, store: Store, feeds: LiveFeeds, *, secret: bytes) -> Steering:
        """What makes feeds personal. To be closed."""
        return Steering(
            store,
            feeds,
            self._settings,
            self._intake.mapping,
            http=self._outside.http,
            directory=self._outside.directory,
            taxonomy=self._taxonomy,
            secret=secret,
            clock=self._clock,
            log=self._log,
        )

    def answers(
        self, ears: Ears, feeds: LiveFeeds, steering: Steering, *, secret: bytes
    ) -> tuple[list[Method], dict[str, Page]]:
        """What is answered over XRPC, and the plain pages by path."""
        settings, resolve_key = self._settings, keys_of(self._outside.directory)
        own = FeedMethods(
            feeds,
            service_did=settings.service_did,
            publisher_did=settings.publisher_did,
            key=secret,
            clock=self._clock,
            metrics=self._metrics,
            viewing=steering.viewing,
            resolve_key=resolve_key,
            known_key=self._outside.directory.known_key,
            explainer=settings.feeds.explainer,
        )
        said = steering.procedures(own.rkeys, audiences=own.audiences, resolve_key=resolve_key, metrics=self._metrics)
        finding = Finding(
            ears.store,
            feeds,
            steering.viewing,
            settings,
            http=self._outside.http,
            directory=self._outside.directory,
            analyst=ears.crew,
            secret=secret,
            clock=self._clock,
            log=self._log,
        )
        found = finding.methods(own.rkeys, audiences=own.audiences, resolve_key=resolve_key)
        return [*own.queries(), *said, *found], finding.pages()

    def start(self, roles: Roles, store: Store, feeds: LiveFeeds, steering: Steering) -> None:
        """Its roles. All but the announcer begin with `feeds`."""
        roles.start("feeds", feeds.run)
        roles.start("feeds-index", partial(tend_index, feeds, self._log))
        roles.start("feeds-erasing", steering.erase_old)
        if (password := self._settings.feeds.password_file) is not None:
            roles.start("feeds-publisher", partial(self._publisher().keep_open, feeds, store, password, self._log))
        if (secret := self._settings.announcer.password_file) is not None and self._settings.announcer.did:
            roles.start("announcer", partial(self._announcer(store).run, secret))

    def route(self, control: Control, ears: Ears, feeds: LiveFeeds) -> None:
        """What the operator's verbs may ask of the running service."""
        control.route(ROUTE, Previewing(ears, feeds, clock=self._clock).answer)

    def _publisher(self) -> Publisher:
        return Publisher(
            self._settings,
            http=self._outside.http,
            directory=self._outside.directory,
            guard=self._outside.guard,
            user_agent=self._outside.user_agent,
            clock=self._clock,
        )

    def _announcer(self, store: Store) -> Announcer:
        prover, url = self._intake.prover, self._settings.linking.constellation_url
        consents = Consents(
            store,
            self._settings,
            prover=prover,
            constellation=Constellation(self._outside.http, url) if url else None,
            clock=self._clock,
            log=self._log,
        )
        return Announcer(
            store,
            self._settings,
            consents,
            http=self._outside.http,
            directory=self._outside.directory,
            prover=prover,
            handles=self._handles,
            guard=self._outside.guard,
            user_agent=self._outside.user_agent,
            taxonomy=self._taxonomy,
            clock=self._clock,
            log=self._log,
        )
