"""Which MIME types name which audio container. A record's MIME type is a claim: it is noted, never believed (P184)."""

from __future__ import annotations

from collections.abc import Mapping

MIME_TYPES: Mapping[str, frozenset[str]] = {
    "aac": frozenset({"audio/aac", "audio/aacp", "audio/x-aac"}),
    "aiff": frozenset({"audio/aiff", "audio/x-aiff"}),
    "flac": frozenset({"audio/flac", "audio/x-flac"}),
    "m4a": frozenset({"audio/mp4", "audio/m4a", "audio/x-m4a", "audio/aac", "video/mp4"}),
    "mp3": frozenset({"audio/mpeg", "audio/mp3", "audio/x-mp3", "audio/mpeg3"}),
    "ogg": frozenset({"audio/ogg", "audio/opus", "audio/vorbis", "application/ogg", "video/ogg"}),
    "wav": frozenset({"audio/wav", "audio/wave", "audio/x-wav", "audio/vnd.wave"}),
    "webm": frozenset({"audio/webm", "video/webm", "audio/x-matroska", "video/x-matroska"}),
}
_NO_CLAIM = frozenset({"", "*/*", "application/octet-stream", "binary/octet-stream"})


def contradiction(mime: str, container: str) -> str | None:
    """A sentence if the declared type names something else than the bytes are; None if it agrees or claims nothing."""
    declared = mime.partition(";")[0].strip().lower()
    if declared in _NO_CLAIM or declared in MIME_TYPES.get(container, {declared}):
        return None
    return f"declared as {declared[:60]}, is {container}"
