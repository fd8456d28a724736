"""A track on its way to a place in a feed."""

from __future__ import annotations

from dataclasses import dataclass

from core.feed import FeedEntry, Parts, Reason
from core.link import Link
from feedgen.posts import is_post
from store.tracks import RankableTrack


@dataclass(frozen=True, slots=True)
class Candidate:
    """A track that a feed admits, what its score is made of and why it is there.

    `place` is its position in `Corpus.tracks`; `post` shows it, None where no post is needed.
    """

    place: int
    track: RankableTrack
    parts: Parts
    reason: Reason
    post: Link | None = None

    @property
    def weight(self) -> float:
        return self.parts.weight

    def entry(self) -> FeedEntry:
        """As a place of a ranking. What is not a post never becomes one: the AppView would drop it silently (P105)."""
        if self.post is not None and not is_post(self.post.post_uri):
            raise AssertionError(f"a feed entry must be a post, not {self.post.post_uri}")
        post_uri = None if self.post is None else self.post.post_uri
        return FeedEntry(self.track.uri, post_uri, self.parts.mood, self.reason, self.parts)
