"""Cursors: a round trip for ours, InvalidRequest for everything else (P109-P111)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import XrpcError
from feedgen.cursor import MAX_CURSOR_LENGTH, Cursor, decode_cursor, encode_cursor, hash_track

KEY = b"k" * 32
CURSORS = st.builds(
    Cursor,
    snapshot=st.integers(0, 10**16 - 1),
    position=st.integers(0, 999_999),
    last=st.binary(min_size=8, max_size=8),
)


def assert_refused(text: str, *, feed: str = "calm", key: bytes = KEY) -> None:
    with pytest.raises(XrpcError) as refused:
        decode_cursor(text, feed=feed, key=key)
    assert (refused.value.name, refused.value.status) == ("InvalidRequest", 400)
    assert str(refused.value) == "the cursor is not one of this feed"  # nothing of the text comes back


@given(CURSORS)
def test_p111_round_trip(cursor: Cursor) -> None:
    text = encode_cursor(cursor, feed="calm", key=KEY)
    assert decode_cursor(text, feed="calm", key=KEY) == cursor
    assert len(text) <= 64
    assert_refused(text, feed="heavy")
    assert_refused(text, key=b"x" * 32)


@given(st.text(max_size=80))
def test_p111_any_other_text_is_refused(text: str) -> None:
    assert_refused(text)


@given(CURSORS, st.data())
def test_p111_a_changed_character_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    text = encode_cursor(cursor, feed="calm", key=KEY)
    place = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda char: char != text[place]))
    # The last of 11 base64 characters carries 4 bits: its comparison is on the text, so it counts as well.
    assert_refused(text[:place] + char + text[place + 1 :])


@pytest.mark.parametrize("suffix", ["\n", ".", " ", "=", "." + "a" * MAX_CURSOR_LENGTH])
def test_p111_nothing_may_follow(suffix: str) -> None:
    assert_refused(encode_cursor(Cursor(1, 2, b"12345678"), feed="calm", key=KEY) + suffix)


def test_p111_other_digits_are_refused() -> None:
    assert_refused(encode_cursor(Cursor(1, 2, b"12345678"), feed="calm", key=KEY).replace("1.1.", "1.١."))


def test_hashes_tell_tracks_apart() -> None:
    hashes = {hash_track(f"at://did:plc:a/fm.plyr.track/{number}") for number in range(1000)}
    assert len(hashes) == 1000
    assert {len(value) for value in hashes} == {8}
