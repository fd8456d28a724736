"""Records that make a feed known to Bluesky (P100, P101)."""

from __future__ import annotations

from typing import Any

from core.clock import format_datetime
from core.feed import Feed

GENERATOR_COLLECTION = "app.bsky.feed.generator"


def feed_uri(publisher_did: str, rkey: str) -> str:
    """The at-uri that a feed goes by, in describe, in requests and in its record (P103)."""
    return f"at://{publisher_did}/{GENERATOR_COLLECTION}/{rkey}"


def build_generator_record(
    feed: Feed, *, service_did: str, created_us: int, avatar: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The record for the publisher's repo. `did` is the service's; `avatar` is the blob as uploaded.

    Lengths are held by the catalogue. `contentMode` is left out: only all-video feeds need it.
    """
    record: dict[str, Any] = {
        "$type": GENERATOR_COLLECTION,
        "did": service_did,
        "displayName": feed.display_name,
        "description": feed.description,
        "createdAt": format_datetime(created_us),
    }
    if feed.personal:
        record["acceptsInteractions"] = True  # P129: or what its readers want more or less of never arrives
    return record if avatar is None else record | {"avatar": avatar}
