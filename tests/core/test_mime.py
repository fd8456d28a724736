"""Declared MIME types against what the bytes are."""

from __future__ import annotations

import pytest

from core.mime import contradiction


@pytest.mark.parametrize(
    ("mime", "container"),
    [
        ("audio/vnd.wave", "wav"),
        ("audio/opus", "ogg"),
        ("audio/ogg; codecs=opus", "ogg"),
        ("audio/mp3", "mp3"),
        ("AUDIO/MPEG", "mp3"),
        ("application/octet-stream", "flac"),
        ("", "mp3"),
        ("audio/x-m4a", "m4a"),
        ("video/webm", "webm"),
    ],
)
def test_names_seen_on_the_network_agree(mime: str, container: str) -> None:
    assert contradiction(mime, container) is None


def test_p184_a_claim_that_the_bytes_contradict_is_told() -> None:
    assert contradiction("audio/mpeg", "wav") == "declared as audio/mpeg, is wav"
    assert contradiction("text/html", "ogg") == "declared as text/html, is ogg"
