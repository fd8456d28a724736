"""The feeds that the settings choose, read the same way by the service and by every verb."""

from __future__ import annotations

from core.config import Settings
from core.feed import Feed
from core.taxonomy import Taxonomy
from feedgen.catalogue import load_catalogue
from models.catalogue import tag_names
from models.moods import tag_positions


def load_feeds(settings: Settings, taxonomy: Taxonomy) -> tuple[Feed, ...]:
    """Those that are enabled. Raises Misconfigured, naming file, feed and key."""
    return load_catalogue(
        settings.feeds.catalogue,
        taxonomy=taxonomy,
        known_tags=tag_positions(),
        known_moods=tag_names("moodtheme"),
        min_seconds=settings.feeds.min_seconds,
    )
