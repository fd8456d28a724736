"""Feeds as values: what a mood feed is made of, and what a snapshot holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.analysis import Space, Vector

# A prompt is put in each of these, and the mean counts: no wording decides alone (FEEDS section 2).
PROMPT_WRAPPERS = ("{}", "a recording of {}", "{}, music")


@dataclass(frozen=True, slots=True)
class MoodFeed:
    """One mood feed of the catalogue (FEEDS.md section 1; data in `feedgen/feeds.json`)."""

    rkey: str
    display_name: str
    description: str
    tags: dict[str, float]  # "msd:ambient" -> weight, for the tag space
    prompts: tuple[str, ...] = ()
    negative_prompts: tuple[str, ...] = ()
    veto: tuple[str, ...] = ()  # taxonomy identifiers
    min_seconds: float = 30.0
    max_seconds: float = 1200.0
    wrappers: tuple[str, ...] = PROMPT_WRAPPERS  # of the prompts
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class MoodQuery:
    """What a mood asks of one vector space.

    In the tag space: one positive f32 [1, 100] of length 1, no negatives. In the space CLAP: f32 [n, 512] and
    [m, 512], a row a prompt: its vector of length 1 less what it shares with neutral prompts, so that inner products
    are similarities beyond those that a track has with everything (FEEDS section 2, step 1).
    """

    space: Space
    positive: Vector
    negative: Vector


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One place in a feed: the post that is shown, the track behind it, its score (standard deviations)."""

    post_uri: str
    track_uri: str
    score: float
