"""What ranking yields: an order, how it came about, and what was kept out of it and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from core.feed import FeedEntry
from feedgen.checks import Checks

MOST_TOLD = 50  # for each reason: what an operator can read, and no reason hides another


class Why(StrEnum):
    """Why a track that was admitted by its score is not where its score would have put it."""

    VETO = "veto"
    REQUIREMENT = "requirement"
    NOT_MUSIC = "not-music"
    SPEECH = "speech"
    DURATION = "duration"
    ONE_OPINION = "one-opinion"  # prompts or tags alone speak for it
    UNWANTED = "unwanted"  # by the viewer
    NO_POST = "no-post"
    DUPLICATE = "duplicate"
    ARTIST = "artist"  # moved or left out: too near another track of the artist
    ALBUM = "album"
    SONG = "song"
    STYLE = "style"


@dataclass(frozen=True, slots=True)
class Aside:
    """`place`: where it came out after being pushed down; None when it was left out."""

    track_uri: str
    why: Why
    detail: str = ""  # the style, the other track, the number that decided
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """Collects what was set aside, at most MOST_TOLD for each reason."""

    rows: list[Aside] = field(default_factory=list)
    _counts: Counter[Why] = field(default_factory=Counter)

    def note(self, track_uri: str, why: Why, detail: str = "", place: int | None = None) -> None:
        self._counts[why] += 1
        if self._counts[why] <= MOST_TOLD:
            self.rows.append(Aside(track_uri, why, detail, place))


@dataclass(frozen=True, slots=True)
class Ranking:
    """A feed's order and how it came about."""

    entries: tuple[FeedEntry, ...]
    scored: int  # tracks that the feed could judge: for mood feeds those with a vector
    threshold: float  # the score that admits, 0..1; 0 where none is needed
    matching: int  # admitted, whether or not a post shows them
    with_post: int  # of these, recordings that can be shown, whoever's turn it is
    paused: str = ""  # why the feed's prompts mean nothing in this corpus; empty: they do
    checks: Checks | None = None  # None: nothing was checked
    aside: tuple[Aside, ...] = ()
