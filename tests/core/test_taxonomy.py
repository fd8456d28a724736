"""Identifiers are a promise: labels on the network carry them for good."""

import hashlib
import re

import pytest

from core.taxonomy import Publish, Taxonomy


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return Taxonomy.load()


def test_the_sorted_identifiers_are_frozen(taxonomy: Taxonomy) -> None:
    digest = hashlib.sha256("\n".join(sorted(taxonomy.identifiers)).encode()).hexdigest()
    assert digest == "b18ff46a920264b3b4d47db1e16512d94abd51f6350fb5f777c27f201c6f88e7"


def test_p17_identifiers_are_what_clients_look_up(taxonomy: Taxonomy) -> None:
    assert len(set(taxonomy.identifiers)) == 15 + 400
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", identifier) for identifier in taxonomy.identifiers)
    assert max(len(identifier.encode()) for identifier in taxonomy.identifiers) <= 100


def test_every_style_begins_with_its_parent_and_no_other(taxonomy: Taxonomy) -> None:
    for style in taxonomy.styles.values():
        owners = [parent for parent in taxonomy.parents if style.identifier.startswith(f"{parent}-")]
        assert owners == [style.parent] == [taxonomy.parent_of(style.identifier)]


def test_publish_kinds(taxonomy: Taxonomy) -> None:
    kinds = [style.publish for style in taxonomy.styles.values()]
    assert [kinds.count(kind) for kind in Publish] == [378, 21, 1]
    assert taxonomy.publish_kind("jazz") is Publish.STYLE
    assert taxonomy.publish_kind("hip-hop-gangsta") is Publish.PARENT_ONLY
    assert all(style.publish is Publish.STYLE for style in taxonomy.styles.values() if style.defined)
    with pytest.raises(KeyError):
        taxonomy.publish_kind("polka-metal")


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("Jazz", "jazz"),
        ("hip hop", "hip-hop"),  # also the name of a style of Electronic: the parent is meant
        ("Hip-Hop", "hip-hop"),
        ("LATIN", "latin"),
        ("lofi", "rock-lo-fi"),
        ("Drum & Bass", "electronic-drum-n-bass"),
        ("drum n bass", "electronic-drum-n-bass"),
        ("Éntekhno", "folk-world-country-entekhno"),
        ("Dub (Reggae)", "reggae-dub"),
        ("reggae-dub", "reggae-dub"),
        ("Dub", None),  # Electronic and Reggae both have one
        ("disco", None),
        ("", None),
        ("my cat", None),
    ],
)
def test_a_persons_word_means_one_identifier_or_none(taxonomy: Taxonomy, name: str, identifier: str | None) -> None:
    assert taxonomy.identify(name) == identifier
