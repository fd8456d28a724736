"""The vocabulary, entry by entry, and how prompts are read with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models.words
from core.analysis import Vector
from core.errors import NotUnderstood, Permanent
from models.moods import query_vector, tag_positions
from models.words import KINDS, MAX_PROMPT_CHARACTERS, Kind, fold, load_vocabulary, read_prompt, understand

TABLE: dict[str, Any] = json.loads(Path(models.words.__file__).with_name("mood_words.json").read_text("utf-8"))
ENTRIES: list[dict[str, Any]] = TABLE["entries"]


def known(prompt: str) -> list[str]:
    """The entries that a prompt was matched with; a negated one with a minus."""
    return [f"{'-' * match.negated}{match.entry.word}" for match in read_prompt(prompt).matches]


def direction(prompt: str) -> Vector:
    return query_vector(understand(prompt).weights)


def test_the_table_is_large_and_covers_every_kind() -> None:
    assert len(ENTRIES) >= 400
    counts = {kind: sum(entry["kind"] == kind for entry in ENTRIES) for kind in KINDS}
    assert sum(counts.values()) == len(ENTRIES), "a kind that there is not"
    assert min(counts.values()) >= 9
    assert get_args(Kind) == KINDS


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["word"] for entry in ENTRIES])
def test_each_entry_weighs_tags_that_exist(entry: dict[str, Any]) -> None:
    assert set(entry) <= {"word", "kind", "tags", "aliases", "without"}
    assert set(entry["tags"]) <= set(tag_positions())
    assert all(0 < abs(weight) <= 1 for weight in entry["tags"].values())
    assert len(entry["tags"]) >= 3 or entry["word"] in ("harpsichord", "indian", "sitar"), "one tag is no meaning"
    assert max(entry["tags"].values()) >= 0.4, "something has to be asked for"


def test_no_spelling_has_two_meanings() -> None:
    """After folding: "drum" beside "drums", or an alias twice, would hide an entry."""
    meanings: dict[str, str] = {}
    for entry in ENTRIES:
        for phrase in (entry["word"], *entry.get("aliases", ())):
            assert fold(phrase), phrase
            assert fold(phrase) not in meanings, f"{phrase}: {entry['word']} and {meanings[fold(phrase)]}"
            meanings[fold(phrase)] = entry["word"]
    for word in (*TABLE["fillers"], *TABLE["negators"]):
        assert fold(word) not in meanings, word
    assert {entry["without"] for entry in ENTRIES if "without" in entry} <= {entry["word"] for entry in ENTRIES}


def test_no_two_entries_mean_the_same() -> None:
    vectors = np.stack([query_vector(entry["tags"]) for entry in ENTRIES])
    likeness = np.triu(vectors @ vectors.T, 1)
    one, other = np.unravel_index(likeness.argmax(), likeness.shape)
    assert likeness.max() < 0.98, f"{ENTRIES[one]['word']} and {ENTRIES[other]['word']} should be aliases"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("calm", "loud"), ("happy", "sad"), ("fast", "slow"), ("quiet", "loud"), ("soft", "heavy"),
        ("peaceful", "angry"),
        ("vocals", "instrumental"), ("electronic", "acoustic"), ("old", "modern"), ("dark", "sunny"),
        ("sleep", "workout"),
        ("energetic", "relaxing"), ("male vocals", "female vocals"), ("catchy", "dissonant"), ("drums", "beatless"),
    ],
)  # fmt: skip
def test_opposites_point_apart(one: str, other: str) -> None:
    assert float(direction(one) @ direction(other)) < -0.3


@pytest.mark.parametrize(
    ("one", "other", "stranger"),
    [
        ("techno", "house", "chamber music"), ("thrash metal", "death metal", "bossa nova"), ("cello", "violin", "rap"),
        ("sad", "melancholic", "party"), ("study", "focus", "moshing"), ("baroque", "harpsichord", "dubstep"),
        ("boom bap", "rap", "chant"), ("scary", "eerie", "feel good"), ("60s", "rock and roll", "trance"),
    ],
)  # fmt: skip
def test_neighbours_lie_together(one: str, other: str, stranger: str) -> None:
    assert float(direction(one) @ direction(other)) > 0.4
    assert float(direction(one) @ direction(stranger)) < 0.1


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("dark ambient techno", ["dark ambient", "techno"]),  # the longest phrase first
        ("Drum & Bass", ["drum and bass"]),
        ("drum'n'bass", ["drum and bass"]),
        ("HIP-HOP, hiphop; hip hop", ["hip hop"] * 3),
        ("80's", ["80s"]),
        ("R&B", ["r and b"]),
        ("CAFÉ", ["coffee"]),
        ("ＪＡＺＺ", ["jazz"]),  # NFKD: as some keyboards write it
        ("lullabies and marches for cellos", ["lullaby", "march", "cello"]),
        ("late night", ["nocturnal"]),
        ("late", []),
        ("tape hiss on a road trip", ["tape hiss", "road trip"]),
        ("words, less metal", ["vocals", "-metal"]),  # not "wordless": no phrase goes over a comma
    ],
)
def test_spelling_does_not_matter(prompt: str, words: list[str]) -> None:
    assert known(prompt) == words


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("no vocals", ["-vocals"]),
        ("piano without drums or vocals", ["piano", "-drums", "-vocals"]),
        ("drums but no vocals", ["drums", "-vocals"]),
        ("not too fast, slow", ["-fast", "slow"]),
        ("music that isn't sad", ["-sad"]),
        ("anything but country", ["-country"]),
        ("non-stop party", ["driving beat", "party"]),
        ("jazz w/o singing", ["jazz", "-vocals"]),
        ("neither drums nor vocals", ["-drums", "-vocals"]),
        ("piano, neither fast nor loud nor sad", ["piano", "-fast", "-loud", "-sad"]),
        ("no drums nor vocals", ["-drums", "-vocals"]),
        ("nothing too heavy", ["-heavy"]),
        ("nothing but drums", ["drums"]),
        ("not only piano", ["piano"]),
        ("not without drums", ["drums"]),
        ("techno, never without any drums", ["techno", "drums"]),
        ("I don't want no vocals", ["-vocals"]),  # as people say it: not a double negation
        ("no music for sleeping", ["sleep"]),  # its purpose stays wanted
        ("no sad music for sleeping", ["-sad", "sleep"]),
        ("not for sleeping", ["-sleep"]),
        ("not suitable for sleeping", ["-sleep"]),
        ("don't give me music for sleeping", ["-sleep"]),
        ("no songs about war", ["-war"]),
        ("no need for drums", ["-drums"]),
    ],
)
def test_negations(prompt: str, words: list[str]) -> None:
    assert known(prompt) == words


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("blue", []), ("blues", ["blues"]), ("delta blues", ["delta blues"]),
        ("in the key of C", []), ("a minor key", ["melancholic"]), ("soft keys", ["soft", "keyboard"]),
        ("coffee break", ["coffee"]), ("breaks", ["breakbeat"]),
        ("news", []), ("new", ["modern"]),
        ("city lights", ["urban"]), ("neon light", ["neon"]), ("neon lights", ["neon"]),
        ("hello folks", []), ("lost souls", []), ("old houses", ["old"]), ("far countries", []),
        ("forest noises", ["natural"]),
        ("piano works", ["piano"]), ("our lives", []), ("against all odds", []), ("ocean currents", ["underwater"]),
        ("Niagara Falls", []), ("hot springs", []), ("her hips", []),
        ("rock star", ["rock"]), ("under the stars", ["spacey"]), ("a wave of it", []),
        ("ocean waves", ["underwater"] * 2),
        ("made of wood", []), ("in the woods", ["natural"]),
        ("ninety bpm", []), ("nineties", ["90s"]),
        ("San Francisco rock", ["rock"]), ("rock sans vocals", ["rock", "-vocals"]),
        ("Rhode Island", ["island"]), ("fender rhodes", ["electric piano"]),
        ("to be at home", []), ("go a long way", []),  # neither beat nor goa
        ("up beat", ["upbeat"]), ("out run", ["synthwave"]), ("drum", ["drums"]), ("string", ["strings"]),
    ],
)  # fmt: skip
def test_no_false_friends(prompt: str, words: list[str]) -> None:
    """What is left of a word without its s, or two small words read as one, may be another word."""
    assert known(prompt) == words


def test_a_place_is_no_negation() -> None:
    understood = read_prompt("San Francisco rock")
    assert understood.unknown == ("San", "Francisco")
    assert understood.unwanted == ()


def test_what_is_negated_counts_against_and_nothing_in_its_place() -> None:
    against = understand("no techno").weights
    assert against["mtt:techno"] < 0
    assert all(weight < 0 for weight in against.values())
    assert float(direction("not sad") @ direction("sad")) < -0.5
    assert known("instrumental") == ["instrumental"]
    np.testing.assert_array_equal(direction("no singing"), direction("instrumental"))  # tags that say so themselves


def test_genres_count_double() -> None:
    weights = understand("sad techno").weights
    assert weights["mtt:techno"] > 1.5 * weights["msd:sad"]
    both = query_vector(understand("techno").weights) * 2 + query_vector(understand("sad").weights)
    np.testing.assert_allclose(direction("sad techno"), both / np.linalg.norm(both), atol=1e-6)
    np.testing.assert_array_equal(direction("techno techno techno"), direction("techno"))


def test_unknown_words_are_named_and_fillers_are_not() -> None:
    understood = understand("some music for a Flurbing with Ärger, like dark techno please")
    assert understood.words == ("dark", "techno")
    assert understood.unknown == ("Flurbing", "Ärger")
    assert understood.unwanted == ()


def test_what_a_text_model_gets_to_read() -> None:
    understood = read_prompt("calm piano without drums or Flurb, please")
    assert understood.wanted == "calm piano, please"
    assert understood.unwanted == ("drums", "Flurb")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("xyzzy plugh", "xyzzy, plugh"),
        ("music for the", "none that says anything"),
        ("", "none that says anything"),
        ("🎸 ?!", "none that says anything"),
        ("harpsichord, no harpsichord", "cancel each other out"),
        ("a" * (MAX_PROMPT_CHARACTERS + 1), "300 characters; this one has 301"),
    ],
)
def test_a_prompt_that_says_nothing_is_refused(prompt: str, message: str) -> None:
    with pytest.raises(NotUnderstood, match=message) as refused:
        understand(prompt)
    assert isinstance(refused.value, Permanent)
    assert refused.value.reason == "not_understood"


@given(st.text(max_size=MAX_PROMPT_CHARACTERS))
def test_any_text_is_read(prompt: str) -> None:
    understood = read_prompt(prompt)
    assert len(understood.words) + len(understood.unknown) <= len(prompt)
    assert all(np.isfinite(weight) for weight in understood.weights.values())


@given(st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=4, unique_by=lambda entry: entry["word"]))
def test_every_phrase_is_found_again(entries: list[dict[str, Any]]) -> None:
    phrases = [[entry["word"], *entry.get("aliases", ())][-1] for entry in entries]
    assert known(", ".join(phrases)) == [entry["word"] for entry in entries]


def test_the_vocabulary_is_the_file() -> None:
    assert [entry.word for entry in load_vocabulary().entries] == [entry["word"] for entry in ENTRIES]
