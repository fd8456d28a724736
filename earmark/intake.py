"""Everything that reads the network: which sources there are, what each has to deliver, and who takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from core.clock import Clock
from core.config import Settings
from core.errors import Misconfigured
from core.log import Log
from core.metrics import Metrics
from core.ports import Directory, SafeHttp
from earmark.linking import Linking
from earmark.roles import Roles
from firehose.apply import Applier, RecordReader
from firehose.control import BLOCK, PROFILE, ControlRecords
from firehose.events import MAX_FRAME_BYTES, Interest
from firehose.following import Following
from firehose.ingest import Ingest, IngestLimits
from firehose.jetstream import Jetstream
from firehose.listings import Listings
from firehose.mapping import load_mapping
from firehose.proof import RecordProver
from firehose.pulse import Pulse
from firehose.relay import Relay
from firehose.resync import Resync
from firehose.source import Source
from firehose.tap import Tap
from firehose.walk import RepoWalker
from firehose.zstd import Inflater
from store import Store

PUBLIC_SOURCES = {
    "v2": ("wss://jetstream.us-east.bsky.network", "wss://jetstream.us-west.bsky.network"),
    "v1": (
        "wss://jetstream2.us-east.bsky.network",
        "wss://jetstream1.us-east.bsky.network",
        "wss://jetstream2.us-west.bsky.network",
        "wss://jetstream1.us-west.bsky.network",
    ),
    "relay": ("wss://relay1.us-east.bsky.network",),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One source as it is read now. `purpose`: music or posts; `paused`: by backpressure."""

    purpose: str
    source: Source
    paused: bool


class Intake:
    """Two consumers with cursors of their own: music, and posts, so that music never waits for the posts."""

    def __init__(
        self,
        settings: Settings,
        *,
        http: SafeHttp,
        directory: Directory,
        user_agent: str,
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._user_agent = user_agent
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self.mapping = load_mapping(settings.source.mapping, only=frozenset(settings.source.collections) or None)
        self.pulse = Pulse(clock)
        self.prover = RecordProver(http, directory, clock=clock)
        self.walker = RepoWalker(http, directory, self.prover, clock=clock)
        self._following = Following()
        self._linking = Linking(settings, self.mapping, http=http, prover=self.prover, clock=clock, log=log)
        self.control = ControlRecords(
            _our_dids(settings), optout_collections=settings.control.optout_collections, log=log
        )
        self._readers: list[RecordReader] = [
            Listings(self.mapping, log=log, following=self._following),
            *self._linking.readers,
            self.control,
        ]
        self.applier = Applier(self._readers, directory=directory, log=log, pulse=self.pulse, metrics=metrics)
        blocks = {BLOCK: self.control.needles}
        music = Interest(
            self.walked if settings.source.posts else self.walked | {BLOCK},
            {} if settings.source.posts else blocks,
            own=frozenset((PROFILE,)),
            followed=self._following,
        )
        posts = Interest(
            self._linking.collections | {BLOCK},
            self._linking.needles() | blocks,
            self._linking.prefilters(),
            identities=False,
        )
        self._ingests: list[Ingest] = []
        self.music: Source
        self.posts: Source | None = None
        if settings.source.kind == "tap":  # it shares its messages out among its connections: one takes everything
            self.music = self._tap(_both(music, posts) if settings.source.posts else music)
        else:
            self.music = self._source(music, "music")
            if settings.source.posts:
                self.posts = self._source(posts, "posts")

    @property
    def walked(self) -> frozenset[str]:
        """The collections that a walk through a repository lists."""
        return frozenset(self.mapping) | self.control.of_artists

    @property
    def sources(self) -> Sequence[Source]:
        return (self.music,) if self.posts is None else (self.music, self.posts)

    def start(self, roles: Roles, store: Store) -> None:
        """One ingest a source, and one that fetches what they missed."""
        begin = 0 if self._settings.source.begin == "oldest" else None
        for source in self.sources:
            # Posts make no jobs, and one that is deleted must not stay in feeds until other audio was heard.
            limits = IngestLimits(high_water=None if source is self.posts else self._settings.queue.high_water)
            ingest = Ingest(store, source, self.applier, clock=self._clock, log=self._log, limits=limits, begin=begin)
            self._ingests.append(ingest)
            roles.start(f"ingest-{source.name}", partial(self._ingest, ingest, store))
        roles.start("ingest-following", partial(self._following.run, store))
        resync = Resync(store, self.walker, self.applier, collections=self.walked, clock=self._clock, log=self._log)
        roles.start("ingest-resync", resync.run)
        self._linking.start(roles, store)

    async def _ingest(self, ingest: Ingest, store: Store) -> None:
        await self._following.refresh(store)  # or the first commits of followed repositories would be missed
        await self._linking.prepare(store)
        await ingest.run()

    def readings(self) -> list[Reading]:
        """Every source, and whether its reading waits."""
        paused = {ingest.source.name for ingest in self._ingests if ingest.paused}
        return [
            Reading("posts" if source is self.posts else "music", source, source.name in paused)
            for source in self.sources
        ]

    def _source(self, interest: Interest, purpose: str) -> Source:
        """`purpose` tells the cursors of two readers of one host apart."""
        settings = self._settings
        kind, loopback = settings.source.kind, settings.development.allow_loopback
        wire, dictionary = settings.source.wire, settings.source.zstd_dictionary
        urls = settings.source.urls or PUBLIC_SOURCES[wire if kind == "jetstream" else kind]
        timeout = None if loopback else 90.0  # a test network is quiet: pings tell that it lives
        if kind == "jetstream":
            return Jetstream(
                urls,
                interest,
                wire=wire,
                inflater=Inflater.load(dictionary, max_bytes=MAX_FRAME_BYTES) if dictionary else None,
                purpose=purpose,
                clock=self._clock,
                log=self._log,
                user_agent=self._user_agent,
                allow_loopback=loopback,
                frame_timeout_seconds=timeout,
            )
        if len(urls) != 1:
            raise Misconfigured("source.urls", "a relay's cursor means nothing to another relay: name one")
        return Relay(
            urls[0],
            interest,
            purpose=purpose,
            clock=self._clock,
            log=self._log,
            directory=self._directory,
            user_agent=self._user_agent,
            allow_loopback=loopback,
            on_future_cursor=settings.source.future_cursor,
            direct=settings.source.direct,
            frame_timeout_seconds=timeout,
        )

    def _tap(self, interest: Interest) -> Tap:
        settings = self._settings.source
        if len(settings.urls) != 1:
            raise Misconfigured("source.urls", "name your Tap, for example ws://localhost:2480")
        return Tap(
            settings.urls[0],
            interest,
            password=settings.tap_password.get_secret_value() if settings.tap_password else "",
            clock=self._clock,
            log=self._log,
            user_agent=self._user_agent,
        )


def _both(one: Interest, other: Interest) -> Interest:
    """What either of two readers wants. They follow the same accounts."""
    return Interest(
        one.collections | other.collections,
        {**one.needles, **other.needles},
        {**one.prefilters, **other.prefilters},
        one.own | other.own,
        one.followed,
    )


def _our_dids(settings: Settings) -> frozenset[str]:
    """The accounts that an artist may block."""
    ours = (settings.labeler.did, settings.service_did, settings.publisher_did, settings.announcer.did)
    return frozenset(did for did in ours if did)
