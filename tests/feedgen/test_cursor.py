"""Cursors: a round trip for ours, InvalidRequest for everything else (P109-P111)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import XrpcError
from feedgen.cursor import MAX_CURSOR_LENGTH, Cursor, decode_cursor, encode_cursor
from feedgen.served import BITS, Served

KEY = b"k" * 32
CURSORS = st.builds(
    Cursor,
    snapshot=st.integers(0, 2**64 - 1),
    start=st.none() | st.integers(0, 500),
    position=st.integers(0, 2**16 - 1),
    last=st.binary(min_size=8, max_size=8),
    served=st.builds(Served, st.integers(0, 2**16 - 1), st.binary(min_size=BITS // 8, max_size=BITS // 8)),
)
ONE = Cursor(1, None, 2, b"12345678", Served())


def assert_refused(text: str, *, feed: str = "calm", key: bytes = KEY) -> None:
    with pytest.raises(XrpcError) as refused:
        decode_cursor(text, feed=feed, key=key)
    assert (refused.value.name, refused.value.status) == ("InvalidRequest", 400)
    assert str(refused.value) == "the cursor is not one of this feed"  # nothing of the text comes back


@given(CURSORS)
def test_p111_round_trip(cursor: Cursor) -> None:
    text = encode_cursor(cursor, feed="calm", key=KEY)
    assert decode_cursor(text, feed="calm", key=KEY) == cursor
    assert len(text) == 1152 <= MAX_CURSOR_LENGTH
    assert_refused(text, feed="heavy")
    assert_refused(text, key=b"x" * 32)


@given(st.text(max_size=80))
def test_p111_any_other_text_is_refused(text: str) -> None:
    assert_refused(text)
    assert_refused("2." + text)


@given(CURSORS, st.data())
def test_p111_a_changed_character_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    text = encode_cursor(cursor, feed="calm", key=KEY)
    place = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda char: char != text[place]))
    assert_refused(text[:place] + char + text[place + 1 :])


@pytest.mark.parametrize("suffix", ["\n", ".", " ", "=", "A", "AAAA", "." + "a" * MAX_CURSOR_LENGTH])
def test_p111_nothing_may_follow_or_lack(suffix: str) -> None:
    text = encode_cursor(ONE, feed="calm", key=KEY)
    assert_refused(text + suffix)
    assert_refused(text[:-1])
    assert_refused(text.removeprefix("2."))


def test_p111_the_last_characters_spare_bits_are_no_second_text() -> None:
    """862 bytes leave four bits of the last character unused: set, they would make another text of one cursor."""
    text = encode_cursor(ONE, feed="calm", key=KEY)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for spare in range(1, 16):
        assert_refused(text[:-1] + letters[letters.index(text[-1]) // 16 * 16 + spare])
