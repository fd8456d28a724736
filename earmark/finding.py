"""Music outside Bluesky's feeds: similar tracks, search, feeds of tracks and why, as one part of the service."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from core.clock import Clock
from core.config import Settings
from core.log import Log
from core.ports import Analyst, Directory, SafeHttp
from core.serviceauth import KeyResolver
from core.xrpc import Method
from earmark.feed_methods import TrackFeedMethods
from earmark.feed_pages import FeedPages
from earmark.playlists import Playlists
from earmark.reasons import Reasons
from earmark.search_methods import SearchMethods
from earmark.showing import Showing
from earmark.similar_methods import SimilarMethods
from earmark.track_feeds import TrackFeeds
from earmark.turns import Turns
from earmark.web import Page
from earmark.why_pages import WhyPages
from feedgen.live import LiveFeeds
from feedgen.viewing import Viewing
from store import Store


class Finding:
    """Reads the store and the feeds; changes nothing. `secret`: 32 bytes that sign cursors."""

    def __init__(
        self,
        store: Store,
        feeds: LiveFeeds,
        viewing: Viewing,
        settings: Settings,
        *,
        http: SafeHttp,
        directory: Directory,
        analyst: Analyst,
        secret: bytes,
        clock: Clock,
        log: Log,
    ) -> None:
        self._feeds = feeds
        self._viewing = viewing
        self._settings = settings
        self._analyst = analyst
        self._clock = clock
        self._log = log
        self._turns = Turns()
        self._showing = Showing(store, feeds, directory)
        self._reasons = Reasons(store, feeds, self._showing, self._turns)
        self._playlists = Playlists(store, http, directory, clock=clock)
        self._track_feeds = TrackFeeds(feeds, self._showing, self._turns, key=secret, clock=clock)

    def methods(
        self, feeds_by_uri: Mapping[str, str], *, audiences: Collection[str], resolve_key: KeyResolver
    ) -> list[Method]:
        """What anybody may ask over XRPC; `feeds_by_uri` is the rkey of each feed by its at-uri."""
        authority, min_seconds = self._settings.authority, self._settings.feeds.min_seconds
        similar = SimilarMethods(
            self._feeds,
            self._showing,
            self._playlists,
            self._turns,
            authority=authority,
            min_seconds=min_seconds,
            clock=self._clock,
        )
        search = SearchMethods(
            self._feeds, self._showing, self._turns, self._analyst, authority=authority, log=self._log
        )
        of_feeds = TrackFeedMethods(
            self._feeds,
            self._track_feeds,
            self._showing,
            self._reasons,
            self._viewing,
            self._turns,
            feeds_by_uri=feeds_by_uri,
            audiences=audiences,
            resolve_key=resolve_key,
            authority=authority,
            clock=self._clock,
        )
        return [*similar.methods(), *search.methods(), *of_feeds.methods()]

    def pages(self) -> dict[str, Page]:
        """Feeds for readers, players and people, by path."""
        documents = FeedPages(self._track_feeds, self._showing, public_url=self._settings.public_url)
        shown = WhyPages(self._feeds, self._track_feeds, self._showing, self._reasons)
        return documents.pages() | shown.pages()  # in this order: a path of the former would fit the latter too
