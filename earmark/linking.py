"""From tracks to posts: who reads links and signals off the stream, and who looks further for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from core.clock import Clock
from core.config import Settings
from core.log import Log
from core.ports import Prover, SafeHttp
from core.types import Did
from earmark.roles import Roles
from firehose.apply import RecordReader
from firehose.constellation import Constellation
from firehose.finding import PostFinder
from firehose.links import POSTS, LinkRules
from firehose.mapping import CollectionMap, page_hosts
from firehose.pages import PageReader
from firehose.posters import PosterAges
from firehose.posts import SPARK_POSTS, SPARK_SOUNDS, Crossposts, LinkedPosts, PostLinks
from firehose.replies import StopReplies
from firehose.signals import BLUESKY_LIKES, Signals
from store import Store, links

MAX_LINKED_POSTS = 1_000_000


class Linking:
    """Everything about posts, as the posts consumer and the roles behind it need it."""

    def __init__(
        self,
        settings: Settings,
        mapping: Mapping[str, CollectionMap],
        *,
        http: SafeHttp,
        prover: Prover,
        clock: Clock,
        log: Log,
    ) -> None:
        self._settings = settings
        self._http = http
        self._prover = prover
        self._clock = clock
        self._log = log
        self._rules = LinkRules(frozenset(mapping), page_hosts(mapping), frozenset(settings.linking.page_hosts))
        self._linked = LinkedPosts(MAX_LINKED_POSTS)
        self._posts = PostLinks(self._rules, self._linked)
        announcer = settings.announcer.did
        self.readers: list[RecordReader] = [
            StopReplies(Did(announcer), self._posts) if announcer else self._posts,
            Signals(self._rules, likes_of_posts=settings.source.likes),
        ]
        if SPARK_SOUNDS in mapping:
            self.readers.append(Crossposts(self._rules))

    @property
    def collections(self) -> frozenset[str]:
        """What the posts consumer has to read for us."""
        return frozenset(name for reader in self.readers for name in reader.collections)

    def needles(self) -> dict[str, tuple[bytes, ...]]:
        """Byte strings that a record of a collection must hold: a track's collection, or for posts a page's host or the
        announcer whose post they answer.
        """
        tracks = tuple(name.encode() for name in sorted(self._rules.collections))
        needles = dict.fromkeys(self.collections - BLUESKY_LIKES - {POSTS, SPARK_POSTS}, tracks)
        announcer = self._settings.announcer.did
        posts = (*self._rules.needles(), announcer.encode()) if announcer else self._rules.needles()
        return needles | {POSTS: posts, SPARK_POSTS: (SPARK_SOUNDS.encode(),)}

    def prefilters(self) -> dict[str, Callable[[bytes], bool]]:
        """Every like of the network passes here: only those of posts that link a track are decoded."""
        return dict.fromkeys(BLUESKY_LIKES, self._linked.are_in)

    async def prepare(self, store: Store) -> None:
        """Know the posts that were linked before this start."""
        if self._settings.source.likes:
            async with store.read() as reader:
                self._linked.add(await links.newest_posts(reader, limit=MAX_LINKED_POSTS))

    def start(self, roles: Roles, store: Store) -> None:
        """Who looks for posts that the stream did not bring, and who asks pages what they show."""
        linking = self._settings.linking
        finder = PostFinder(
            store,
            self._prover,
            self._rules,
            self._posts,
            constellation=Constellation(self._http, linking.constellation_url) if linking.constellation_url else None,
            clock=self._clock,
            log=self._log,
        )
        roles.start("ingest-finder", finder.run)
        if linking.others:
            plc_url = self._settings.network.plc_url
            ages = PosterAges(store, self._http, plc_url=plc_url, clock=self._clock, log=self._log)
            roles.start("ingest-posters", ages.run)
        if linking.page_hosts:
            pages = PageReader(store, self._http, self._rules, clock=self._clock, log=self._log)
            roles.start("ingest-pages", pages.run)
