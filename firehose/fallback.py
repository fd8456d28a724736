"""The audio in a record of a collection that an operator listens to and nobody mapped (LEXICONS 5). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 6
MAX_BLOBS = 4
MAX_VALUES = 2_000  # looked at before giving up: a record may have a million


def find_audio(record: Any) -> dict[str, Any] | None:
    """The first blob that claims to be audio among the first four blobs, depth first, at most six levels down."""
    blobs = 0
    for value in _maps(record):
        if value.get("$type") != "blob":
            continue
        mime = value.get("mimeType")
        if isinstance(mime, str) and (mime.startswith("audio/") or mime == "application/ogg"):
            return value
        blobs += 1
        if blobs == MAX_BLOBS:
            break
    return None


def _maps(record: Any) -> Iterator[dict[str, Any]]:
    """Every map inside, in the order in which a reader of the record meets them."""
    waiting: list[tuple[Any, int]] = [(record, 0)]
    for _ in range(MAX_VALUES):
        if not waiting:
            return
        value, depth = waiting.pop()
        if isinstance(value, dict):
            yield value
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if depth < MAX_DEPTH:
            waiting += [(member, depth + 1) for member in reversed(list(members)[:MAX_VALUES])]
