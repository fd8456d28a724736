"""What the words of a report mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.taxonomy import Taxonomy
from labeler.disputes import MAX_STATED, understand
from store.wishes import Scope

TAXONOMY = Taxonomy.load()


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ("opt out", Scope.ALL),
        ("Opt-Out.", Scope.ALL),
        ("OPTOUT", Scope.ALL),
        ("please opt me out", Scope.ALL),
        ("I do not want labels. Please opt out all my songs!", Scope.ALL),
        ("I am opting out", Scope.ALL),
        ("opt out of feeds", Scope.FEEDS),
        ("Please opt me out of all your mood feeds", Scope.FEEDS),
        ("opt out of feeds; no, opt out", Scope.ALL),
        ("do not label me opt out", Scope.ALL),
        ("wrong again please opt me out", Scope.ALL),
        ("remove my labels and opt me out", Scope.ALL),
        ("opt all of my music out", Scope.ALL),
        ("opt out of labels and feeds", Scope.ALL),
        ("opt out of feeds and labels", Scope.ALL),
        ("opt in", Scope.NONE),
        ("Please opt me back in again.", Scope.NONE),
        ("I'd like to opt in", Scope.NONE),
        ("We want to opt back in again please", Scope.NONE),
        ("", None),
        ("wrong genre", None),
        ("I don't want to opt out", None),
        ("I don\u2019t want to opt out", None),
        ("I never opted out", None),
        ("when did I opt in?", None),
        ("I did not opt in", None),
        ("opt in, opt out", Scope.ALL),
        ("the option outlined", None),
        ("adopt outside", None),
    ],
)
def test_wishes(words: str, wish: Scope | None) -> None:
    assert understand(words, TAXONOMY).wish is wish


@pytest.mark.parametrize(
    ("words", "live", "stated", "denied"),
    [
        ("", ["electronic"], [], ["electronic"]),
        ("wrong genre", ["electronic", "rock"], [], ["electronic", "rock"]),
        ("This is jazz", ["electronic"], ["jazz"], ["electronic"]),
        ("hip hop", ["rock"], ["hip-hop"], ["rock"]),
        ("It's drum & bass.", ["rock"], ["electronic-drum-n-bass"], ["rock"]),
        ("not rock, it's ambient", ["rock"], ["electronic-ambient"], ["rock"]),
        ("ambient", ["electronic", "rock"], ["electronic-ambient"], ["rock"]),  # a style's parent is true as well
        ("ambient, not electronic", ["electronic"], ["electronic-ambient"], ["electronic"]),
        ("You labelled it electronic but it is jazz", ["electronic"], ["jazz"], ["electronic"]),
        ("rock is wrong", ["rock", "jazz"], [], ["jazz", "rock"]),
        ("jazz rather than rock", ["rock"], ["jazz"], ["rock"]),
        ("Nicht Rock, sondern Jazz", ["rock"], ["jazz"], ["rock"]),
        ("ce n'est pas du rock", ["rock"], [], ["rock"]),
        ("Isto n\u00e3o \u00e9 rock", ["rock"], [], ["rock"]),
        ("this has nothing to do with rock", ["rock"], [], ["rock"]),
        ("anything but rock", ["rock"], [], ["rock"]),
        ("far from rock", ["rock"], [], ["rock"]),
        ("Remove rock", ["rock"], [], ["rock"]),
        ("please remove the rock tag", [], [], ["rock"]),  # also when it is away already
        ("remove rock and folk", ["rock"], [], ["folk-world-country-folk", "rock"]),
        ("get rid of rock", ["rock"], [], ["rock"]),
        ("the rock label should go", ["rock"], [], ["rock"]),
        ("take the rock label off", ["rock"], [], ["rock"]),
        ("rock should be removed", ["rock"], [], ["rock"]),
        ("replace rock with jazz", ["rock"], ["jazz"], ["rock"]),
        ("change rock to jazz", ["rock"], ["jazz"], ["rock"]),
        ("remove rock add jazz", ["rock"], ["jazz"], ["rock"]),
        ("remove the label and call it jazz", ["rock"], ["jazz"], ["rock"]),
        ("less rock more jazz", ["rock"], ["jazz"], ["rock"]),
        ("jazz not rock", ["rock"], ["jazz"], ["rock"]),
        ("rock it is not", ["rock"], [], ["rock"]),
        ("wrong label jazz would be right", ["rock"], ["jazz"], ["rock"]),
        ("no rock only folk", ["rock"], ["folk-world-country-folk"], ["rock"]),
        ("not just jazz", ["jazz"], ["jazz"], []),
        ("please don't call it rock", ["rock"], [], ["rock"]),
        ("I do not want you to label this track as rock or folk", ["rock"], [], ["folk-world-country-folk", "rock"]),
        ("stop tagging my music rock its jazz", ["rock"], ["jazz"], ["rock"]),
        ("Rock? No, jazz!", ["rock"], ["jazz"], ["rock"]),
        ('wrong label "rock" right label "jazz"', ["rock"], ["jazz"], ["rock"]),
        ("not rock \u2014 jazz", ["rock"], ["jazz"], ["rock"]),
        ("hip-hop/jazz", ["rock"], ["hip-hop", "jazz"], ["rock"]),
        ("It is not ambient or rock and this is jazz", [], ["jazz"], ["electronic-ambient", "rock"]),
        ("electronic and jazz", ["electronic"], ["electronic", "jazz"], []),
        ("the beat is techno", ["rock"], ["electronic-techno"], ["rock"]),  # Beat is a style, and an everyday word
        ("pornogrind", ["rock"], [], ["rock"]),  # never published
        ("Das ist kein Rock", ["rock"], [], ["rock"]),
        ("ロックではない", ["rock"], [], ["rock"]),  # other languages are for people to read
    ],
)
def test_genres(words: str, live: list[str], stated: list[str], denied: list[str]) -> None:
    ruling = understand(words, TAXONOMY, live=live).of_labels(live)
    assert (list(ruling.stated), sorted(ruling.denied)) == (stated, denied)


@given(words=st.text(max_size=300), live=st.lists(st.sampled_from(TAXONOMY.identifiers), max_size=5, unique=True))
def test_whatever_is_said_no_label_is_both_stated_and_denied(words: str, live: list[str]) -> None:
    said = understand(words, TAXONOMY, live=live)
    ruling = said.of_labels(live)
    assert not ruling.denied & set(ruling.stated)
    assert len(ruling.stated) <= MAX_STATED
    assert set(live) <= ruling.denied | set(said.fits) | said.above


@pytest.mark.parametrize(
    "unit", ["a", "opt ", "pop ", "opt out not ", "opt my a ", "\u0300", ".", "n,o,t,", "rock is not ", "(((", "opt-"]
)
def test_long_words_take_no_longer_than_their_length(unit: str) -> None:
    """A pattern that backtracks would not come back from 20 000 characters (P93) while anybody waits."""
    said = understand(unit * (20_000 // len(unit)), TAXONOMY, live=["rock"])
    assert len(said.fits) <= 1
