"""Whole answers that lie ready: what somebody asked for already, to be sent again while nothing has changed."""

from __future__ import annotations

from feedgen.live import LiveFeeds

MAX_READY = 1_000  # of up to 25 KB; anybody can ask in a thousand ways, which then costs what it did the first time
MAX_QUERY = 2_000  # characters: a feed and a cursor. Longer ones are answered, but not at our memory's cost


class ReadyPages:
    """Answers by query string, all of one edition of the feeds."""

    def __init__(self, feeds: LiveFeeds) -> None:
        self._feeds = feeds
        self._edition: int | None = None
        self._bodies: dict[str, bytes] = {}

    def get(self, query: str) -> bytes | None:
        """The answer, if it is what would be made now."""
        return self._bodies.get(query) if self._is_current() else None

    def keep(self, query: str, body: bytes) -> None:
        """For the next who asks so. Nothing may have been awaited since the page was cut."""
        if self._is_current() and len(self._bodies) < MAX_READY and len(query) <= MAX_QUERY:
            self._bodies[query] = body

    def _is_current(self) -> bool:
        """Whether what lies here is; without anything that was of an earlier edition."""
        edition = self._feeds.edition
        if edition != self._edition:
            self._bodies.clear()
            self._edition = edition
        return edition is not None
