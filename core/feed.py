"""Feeds as values: what a mood feed is made of, and what a snapshot holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One place in a feed: the post that is shown, the track behind it, its score (standard deviations)."""

    post_uri: str
    track_uri: str
    score: float
