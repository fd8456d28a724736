"""Whether a feed is open, and if not, why (FEEDS 1, 6)."""

from __future__ import annotations

from dataclasses import dataclass

from core.feed import Feed, FeedKind
from feedgen.ranking import Ranking

EARLY = frozenset({FeedKind.FRESH, FeedKind.VOICES})  # open in the smallest corpus (FEEDS 6)


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How a feed stands, for people: coverage, and why it is dark if it is."""

    rkey: str
    display_name: str
    reasons: tuple[str, ...]  # why it is dark; empty when it is open
    scored: int  # analysed tracks that feeds may show
    threshold: float  # score that admits
    matching: int  # tracks that match
    with_post: int  # of these, with a usable post
    entries: int  # after dedup and artist caps: what a reader finds

    @property
    def dark(self) -> bool:
        return bool(self.reasons)


def assess(feed: Feed, ranking: Ranking, *, min_posts: int, min_tracks: int) -> FeedStatus:
    """How a feed of this ranking stands.

    One that matches fewer than `min_posts` tracks with a post is dark; so is one that needs to know its corpus while
    that has fewer than `min_tracks` tracks.
    """
    reasons: list[str] = []
    if ranking.paused:
        reasons.append(ranking.paused)
    elif feed.kind not in EARLY and ranking.scored < min_tracks:
        reasons.append(f"{ranking.scored} analysed tracks, {min_tracks} needed")
    if ranking.with_post < min_posts:  # caps leave some of them for a later slot (FEEDS 1)
        reasons.append(f"{ranking.with_post} tracks with a usable post, {min_posts} needed")
    return FeedStatus(
        feed.rkey,
        feed.display_name,
        tuple(reasons),
        ranking.scored,
        ranking.threshold,
        ranking.matching,
        ranking.with_post,
        len(ranking.entries),
    )
