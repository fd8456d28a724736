"""feedContext: what it says, and that nobody else can say it (P130)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.feed import FeedEntry, Reason
from feedgen.context import MAX_CONTEXT_BYTES, Context, Contexts
from feedgen.served import hash_track

URI = "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/fm.plyr.track/t"
ENTRY = FeedEntry(URI, "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/p", 0.7345, Reason.EXPLORE)
SECRET = b"s" * 32


def test_p130_a_context_is_read_back() -> None:
    text = Contexts(SECRET).write("calm", ENTRY)
    said = Contexts(SECRET).read(text)
    assert said == Context(hash_track(URI), "calm", Reason.EXPLORE, 7)
    assert said.is_of(URI)
    assert not said.is_of(URI + "t")


def test_p130_it_shows_neither_the_score_nor_the_secret() -> None:
    text = Contexts(SECRET).write("calm", ENTRY)
    assert len(text.encode()) <= 100 < MAX_CONTEXT_BYTES
    assert "734" not in text.rpartition("|")[0]
    assert SECRET.decode() not in text


@given(score=st.floats(0.651, 0.749))
def test_p130_scores_of_one_bucket_look_the_same(score: float) -> None:
    entry = FeedEntry(URI, ENTRY.post_uri, score, Reason.EXPLORE)
    assert Contexts(SECRET).write("calm", entry) == Contexts(SECRET).write("calm", ENTRY)


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")))
def test_p130_what_others_write_is_not_ours(text: str) -> None:
    assert Contexts(SECRET).read(text) is None


@given(place=st.integers(0, 200), char=st.characters(codec="utf-8"))
def test_p130_a_changed_context_is_not_ours(place: int, char: str) -> None:
    text = Contexts(SECRET).write("calm", ENTRY)
    place %= len(text)
    changed = text[:place] + char + text[place + 1 :]
    assert (Contexts(SECRET).read(changed) is None) == (changed != text)


@pytest.mark.parametrize("other", [Contexts(b"t" * 32), Contexts()])
def test_another_secret_is_another_service(other: Contexts) -> None:
    assert other.read(Contexts(SECRET).write("calm", ENTRY)) is None
