"""Search over a corpus: words of records, sound, and both as one list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.searching import Field, Words, fold, join
from tests.feedgen.conftest import make_corpus, make_track

TRACKS = [
    make_track(0, title="Blue Train", artist=1),
    make_track(1, title="Train", artist=2),
    make_track(2, title="Rainy Day", artist=3, album="Blue"),
    make_track(3, title="Café del Mar", artist=4, labels=("electronic", "ambient")),
    make_track(4, title="Night Train (Live)", artist=5),
    make_track(5, title="!!!", artist=6),
]
WORDS = Words(make_corpus(TRACKS, likes={4: 3}))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("train", [1, 4, 0]),  # the whole title, then what people like
        ("TRAIN blue", [0]),
        ("blu", [0, 2]),  # titles before albums
        ("rain", [2]),  # words begin so: it is in no train
        ("cafe DEL", [3]),
        ("ambient", [3]),
        ("train nowhere", []),
        ("", []),
        ("!?", []),
    ],
)
def test_words(text: str, places: list[int]) -> None:
    assert list(WORDS.find(text)) == places


def test_where_words_are() -> None:
    assert WORDS.find("blue")[2] == (Field.ALBUM,)
    assert WORDS.find("mar ambient")[3] == (Field.TITLE, Field.LABEL)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=12), st.text(max_size=12))
def test_what_is_found_has_all_words_and_what_has_them_is_found(titles: list[str], text: str) -> None:
    tracks = [make_track(number, title=title) for number, title in enumerate(titles)]
    found = Words(make_corpus(tracks)).find(text)
    words = fold(text).split()
    having = {
        number
        for number, title in enumerate(titles)
        if words and all(any(said.startswith(word) for said in fold(title).split()) for word in words)
    }
    assert set(found) == having


def test_folding_is_used_again_and_never_for_what_changed() -> None:
    renamed = [make_track(0, title="Red Train"), *TRACKS[1:]]
    words = Words(make_corpus(renamed), WORDS)
    assert list(words.find("blue")) == [2]
    assert list(words.find("red")) == [0]
    assert list(words.find("night")) == [4]


def test_what_both_ways_find_comes_first_then_in_turn() -> None:
    corpus = make_corpus(TRACKS)
    hits = join(corpus, {4: 2.0, 3: 1.5, 0: 1.0}, {1: (Field.TITLE,), 0: (Field.TITLE,)})
    assert [hit.track_uri for hit in hits] == [TRACKS[place].uri for place in (0, 1, 4, 3)]
    assert [(hit.sound, hit.fields) for hit in hits][:3] == [(1.0, (Field.TITLE,)), (None, (Field.TITLE,)), (2.0, ())]
