"""The labeler's part of the service: who signs, what it answers, which roles it runs."""

from __future__ import annotations

import asyncio

from core.clock import Clock
from core.config import Settings
from core.keys import PublicKey
from core.log import Log
from core.metrics import Metrics
from core.ports import Directory, SafeHttp
from core.taxonomy import Taxonomy
from core.types import Did
from core.xrpc import Method
from earmark.actor_report import ActorReports
from earmark.control import Control
from earmark.disputing import ROUTE as DISPUTES
from earmark.disputing import Disputing
from earmark.enrolment import Enrolment
from earmark.judging import judge_by, load_policy
from earmark.keyring import load_keys
from earmark.mirroring import Mirroring
from earmark.negating import NEGATE, RESUME, Negating
from earmark.own_methods import OwnMethods
from earmark.rejudging import ROUTE as REJUDGE
from earmark.rejudging import Rejudging
from earmark.reporting import Reporting
from earmark.roles import Roles, within
from labeler.methods import LabelMethods
from labeler.publisher import Publisher
from labeler.renewal import Renewal
from labeler.reports import ReportMethod
from store import Store


class Labelling:
    """Constructed with the service, opened with its store."""

    def __init__(
        self,
        settings: Settings,
        *,
        http: SafeHttp,
        directory: Directory,
        taxonomy: Taxonomy,
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        """Reads the key files and the thresholds. Raises Misconfigured."""
        self.settings = settings
        keys = load_keys(settings)
        self.enrolment = Enrolment(settings, keys.label, log=log)
        self._certificate_key = keys.certificate
        self.policy = load_policy(settings, taxonomy)
        self.judge = judge_by(self.policy)
        self._http, self._directory, self._taxonomy = http, directory, taxonomy
        self._clock, self._log, self._metrics = clock, log, metrics
        self._publisher: Publisher | None = None
        self._renewal: Renewal | None = None
        self._enrolled = asyncio.Event()

    @property
    def src(self) -> Did:
        """Whose labels we serve."""
        return self.enrolment.did or Did(self.settings.service_did)

    @property
    def own_key(self) -> PublicKey | None:
        """The label key for the DID document that we serve ourselves, if the labeler is the service itself."""
        key = self.enrolment.key
        return key.public if key is not None and self.src == self.settings.service_did else None

    @property
    def own_certificate_key(self) -> PublicKey | None:
        """The key of certificates for that document, if there is one."""
        key = self._certificate_key
        return key.public if key is not None and self.src == self.settings.service_did else None

    def methods(self, store: Store, *, viewer_secret: bytes) -> list[Method]:
        """What the labeler answers over XRPC. Feeds hash viewers with `viewer_secret`."""
        if self.enrolment.key is not None:
            self._renewal = Renewal(store, src=self.src, key=self.enrolment.key)
        labels = LabelMethods(store, src=self.src, renewal=self._renewal)
        authority, clock = self.settings.authority, self._clock
        own = OwnMethods(store, src=self.src, authority=authority, key=self._certificate_key, clock=clock)
        known = ActorReports(
            store, src=self.src, authority=authority, secret=viewer_secret, directory=self._directory, clock=clock
        )
        reports = ReportMethod(
            store,
            self._reporting(store),
            did=self.src,
            directory=self._directory,
            clock=clock,
            log=self._log,
            metrics=self._metrics,
        )
        return [labels.query_labels, labels.subscribe_labels, reports.procedure, *own.methods(), known.method]

    def start(self, roles: Roles, store: Store) -> None:
        """Its roles. What must end before the publisher is drained begins with `labels`."""
        roles.start("labels-reports", self._reporting(store).erase_old)
        if self.enrolment.key is not None:
            self._publisher = self._open_publisher(store)
            roles.start("publish", self._publish)
            roles.start("publish-renewal", self._renew)
            mirroring = Mirroring(store, self.settings, src=self.src, clock=self._clock)
            roles.start("labels-mirror", mirroring.run)

    def route(self, control: Control, store: Store) -> None:
        """What the operator's verbs may ask of the running service."""
        control.route(DISPUTES, Disputing(store, judge=self.judge, clock=self._clock).answer)
        control.route(REJUDGE, Rejudging(store, judge=self.judge, clock=self._clock).answer)
        negating = Negating(store, src=self.src, taxonomy=self._taxonomy, judge=self.judge, clock=self._clock)
        control.route(NEGATE, negating.answer_negate)
        control.route(RESUME, negating.answer_resume)

    async def drain(self, seconds: float) -> None:
        """Let what is pending leave before the process ends."""
        if self._publisher is not None and self.enrolment.verified:
            await within(seconds + 0.5, self._publisher.drain(seconds))

    def _reporting(self, store: Store) -> Reporting:
        return Reporting(
            store,
            self.settings,
            src=self.src,
            taxonomy=self._taxonomy,
            judge=self.judge,
            clock=self._clock,
            log=self._log,
        )

    def _open_publisher(self, store: Store) -> Publisher:
        assert self.enrolment.key is not None
        rate = self.settings.labeler.labels_per_second or None
        return Publisher(store, key=self.enrolment.key, src=self.src, clock=self._clock, labels_per_second=rate)

    async def _publish(self) -> None:
        assert self._publisher is not None
        await self.enrolment.wait(self._directory)
        self._enrolled.set()
        await self._publisher.run()

    async def _renew(self) -> None:
        assert self._renewal is not None
        await self._enrolled.wait()
        await self._renewal.run()
        await asyncio.Event().wait()  # a role does not end
