"""Feeds as values: what a feed is made of, what it asks of vectors, and what one place of a ranking holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from core.analysis import PackName, Space, Vector

# A prompt is put in each of these, and the mean counts: no wording decides alone (FEEDS section 2).
PROMPT_WRAPPERS = ("{}", "a recording of {}", "{}, music")


class FeedKind(StrEnum):
    """How a feed finds its tracks (FEEDS sections 2 and 4)."""

    MOOD = "mood"  # by how they sound
    FRESH = "fresh"  # the newest first, artists in turn
    DEEP_CUTS = "deep-cuts"  # old ones that few have heard
    VOICES = "voices"  # what is not music: talks, field recordings
    FOR_YOU = "for-you"  # near what the viewer likes
    MORE_LIKE = "more-like"  # near the viewer's newest like


Mode = Literal["major", "minor"]
PERSONAL = frozenset({FeedKind.FOR_YOU, FeedKind.MORE_LIKE})


class Reason(StrEnum):
    """Why a track has its place; what `feedContext` and explanations say."""

    MOOD = "mood"
    FRESH = "fresh"
    DEEP = "deep"
    VOICE = "voice"
    EXPLORE = "explore"  # admitted, and drawn whatever its rank
    SIMILAR = "similar"  # to the seed
    LIKED_SIMILAR = "liked-similar"  # to several things the viewer likes
    CO_LIKED = "co-liked"  # by people who like what the viewer likes
    POPULAR = "popular"  # of the mix for viewers we know nothing of
    PINNED = "pinned"


class Quality(StrEnum):
    """What a feed can require of a track besides its mood."""

    INSTRUMENTAL = "instrumental"  # 1 less the chance that somebody sings or speaks


@dataclass(frozen=True, slots=True)
class TagRule:
    """What stands in for a pack that did not listen: true of a track whose tags, weighed so, reach `at`.

    `tags` are weights over the tag space ("msd:metal"); `at` is in standard deviations, as mood scores by tags are.
    """

    tags: Mapping[str, float]
    at: float


@dataclass(frozen=True, slots=True)
class Veto:
    """Tracks that a feed never shows: any of these styles is heard with at least `at` (0..1)."""

    styles: tuple[str, ...]  # taxonomy identifiers; a parent stands for every style under it
    without: TagRule
    pack: PackName = "effnet"
    at: float = 0.15  # FEEDS 2.3


@dataclass(frozen=True, slots=True)
class Requirement:
    """Tracks that a feed may show: this quality is at least `at` (0..1)."""

    quality: Quality
    at: float
    without: TagRule
    pack: PackName = "effnet"


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed of the catalogue (FEEDS.md section 1; `feedgen/feeds.json`). Only mood feeds have words for sounds."""

    rkey: str
    display_name: str
    description: str
    kind: FeedKind = FeedKind.MOOD
    tags: Mapping[str, float] = field(default_factory=dict)  # "msd:ambient" -> weight, for the tag space
    prompts: tuple[str, ...] = ()
    negative_prompts: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = PROMPT_WRAPPERS  # of the prompts
    styles: Mapping[str, float] = field(default_factory=dict)  # taxonomy identifier -> weight, for effnet
    moods: Mapping[str, float] = field(default_factory=dict)  # jamendo mood or theme -> weight, for effnet
    vetoes: tuple[Veto, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    non_music: tuple[str, ...] = ()  # labels of what is no music and may enter all the same
    mode: Mode | None = None  # of the key, where tags alone judge: they do not tell a sad piece from a calm one
    min_seconds: float = 30.0
    max_seconds: float = 1200.0

    @property
    def gates(self) -> tuple[Veto | Requirement, ...]:
        """What keeps a track out whatever its score."""
        return (*self.vetoes, *self.requirements)

    @property
    def personal(self) -> bool:
        """Whether each viewer gets an order of their own."""
        return self.kind in PERSONAL


@dataclass(frozen=True, slots=True, eq=False)
class MoodQuery:
    """What a mood asks of one vector space.

    In the spaces of tags: one positive f32 [1, tags] of length 1, no negatives. In the space CLAP: f32 [n, 512] and
    [m, 512], a row a prompt: its vector of length 1 less what it shares with neutral prompts, so that inner products
    are similarities beyond those that a track has with everything (FEEDS section 2, step 1).
    """

    space: Space
    positive: Vector
    negative: Vector


@dataclass(frozen=True, slots=True, eq=False)
class FeedQuery:
    """What a mood feed asks of the vectors of a generation; None where no pack of it can tell.

    `gates` are its vetoes and requirements, each with its rule over the tag space.
    """

    prompts: MoodQuery | None = None  # of the space CLAP
    styles: MoodQuery | None = None  # of what effnet names
    tags: MoodQuery | None = None  # of musicnn's tags
    gates: tuple[tuple[Veto | Requirement, MoodQuery], ...] = ()
    non_music: frozenset[str] = frozenset()  # labels of what is no music and counts all the same
    mode: Mode | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """All that the feeds of a service ask. `neutral`: prompts that mean nothing in particular, f32 [prompts, 512], each
    less what they share; what a prompt finds is compared with what these find.
    """

    feeds: Mapping[str, FeedQuery]  # by rkey
    neutral: Vector | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a score is made of. `weight`, which orders a feed, is `mood * freshness * popularity * damping` for mood
    feeds.
    """

    prompt: float | None = None  # 0..1: the share of the corpus that fits the prompts less
    tags: float | None = None  # 0..1: the same by tags
    mood: float = 0.0  # both together; for feeds without a mood their own score, 0..1
    freshness: float = 1.0
    popularity: float = 1.0  # 0.95..1.05
    damping: float = 1.0  # 0.9..1: less where other feeds have their turn of the artist today
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One place of a ranking. `post_uri` is None only where no post is needed to show a track."""

    track_uri: str
    post_uri: str | None
    score: float  # what the track was admitted by: `parts.mood`
    reason: Reason = Reason.MOOD
    parts: Parts = field(default_factory=Parts)
