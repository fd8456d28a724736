"""What may be shown at this moment: tracks and posts go while the orders that name them live on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from core.clock import Clock
from core.errors import Transient
from core.log import Log
from feedgen.corpus import Corpus
from feedgen.posts import PostRules, usable_posts
from store import Store, tracks
from store.tracks import RankableTrack

_GONE = "link"  # the bell that tells that a post or an account may be gone

Posts = Mapping[str, tuple[str, ...]]  # by track, the best first


class Left:
    """The tracks that may be shown, each with the posts that may show it, true since the bell last rang."""

    def __init__(self, store: Store, rules: PostRules, *, clock: Clock, log: Log) -> None:
        self.posts: Posts = {}
        self._store = store
        self._rules = rules
        self._clock = clock
        self._log = log
        self._looked = -1  # how often the bell had rung when that was true
        self._looking = asyncio.Lock()

    @property
    def certain(self) -> bool:
        """Whether nothing may have gone since."""
        return self._looked == self.rung

    @property
    def rung(self) -> int:
        """How often the bell has rung: to be asked before the store is read."""
        return self._store.bell.count(_GONE)

    def of(self, track_uri: str) -> Sequence[str]:
        """The posts that may show a track; none if it may not be shown."""
        return self.posts.get(track_uri, ())

    def put(self, posts: Posts, rung: int) -> None:
        """What was true when the bell had rung so often."""
        self.posts, self._looked = posts, rung

    async def look_again(self, ranked: Corpus | None) -> bool:
        """Learn what is left, if any may have gone; whether it was looked up. In doubt what was true stays."""
        if self.certain:
            return False
        async with self._looking:
            rung = self.rung
            if self._looked == rung:
                return False
            try:
                async with self._store.read() as reader:
                    shown = await tracks.rankable(reader)
            except Transient as error:
                self._log.warning("a page was not checked for what is gone", reason=error.reason)
                return False
            self.put(await asyncio.to_thread(self.find, shown, ranked, now_us=self._clock.now_us()), rung)
            return True

    def find(self, shown: Iterable[RankableTrack], ranked: Corpus | None, *, now_us: int) -> Posts:
        """Without what is to be released later, and what was taken for music when feeds were ranked and is not any
        more.
        """
        return {
            track.uri: tuple(link.post_uri for link in usable_posts(track, self._rules, now_us=now_us))
            for track in shown
            if track.release_us <= now_us and (track.music is not False or _was_no_music(track, ranked))
        }


def _was_no_music(track: RankableTrack, ranked: Corpus | None) -> bool:
    place = None if ranked is None else ranked.places.get(track.uri)
    return ranked is not None and place is not None and ranked.tracks[place].music is False
