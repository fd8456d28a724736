"""The rule for the 400 styles of effnet, step by step as TAXONOMY section 3 has them, through the policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import Analysis, Segment, Tag, VerdictStatus
from core.taxonomy import Publish, Taxonomy
from labeler.effnet import NON_MUSIC
from labeler.musicnn import TagMapping
from labeler.policy import MAX_LABELS, Policy

TAXONOMY = Taxonomy.load()
POLICY = Policy(TAXONOMY, TagMapping.load(TAXONOMY))
SOURCES = [style.source for style in TAXONOMY.styles.values()]

AMBIENT, DRONE, TECHNO = "Electronic---Ambient", "Electronic---Drone", "Electronic---Techno"
ROCK, METAL = "Rock---Post Rock", "Rock---Heavy Metal"
BOP, OPERA = "Jazz---Bop", "Classical---Opera"
SPOKEN, AUDIOBOOK, MONOLOG = "Non-Music---Spoken Word", "Non-Music---Audiobook", "Non-Music---Monolog"
FIELD = "Non-Music---Field Recording"


def heard(scores: dict[str, float], *, rms_dbfs: float = -18.0) -> Analysis:
    """All 400 styles, those not named at nothing; with the tags of musicnn beside them, which must not matter."""
    tags = [Tag(name, "discogs", scores.get(name, 0.0)) for name in SOURCES]
    other = [Tag("Hip-Hop", "msd", 0.9), Tag("classical", "mtt", 0.0), Tag("dark", "moodtheme", 0.9)]
    return Analysis({"musicnn": "a", "effnet": "b"}, 60.0, rms_dbfs, (*tags, *other), {})


def labels(scores: dict[str, float], **told: list[str]) -> tuple[str, ...]:
    return POLICY.judge(heard(scores), **told).labels


def test_the_models_names_are_the_taxonomys() -> None:
    assert len(SOURCES) == 400
    assert SOURCES[0] == "Blues---Boogie Woogie"
    assert {TAXONOMY.styles["electronic-ambient"].source, TAXONOMY.styles["folk-world-country-entekhno"].source} == {
        "Electronic---Ambient",
        "Folk, World, & Country---Éntekhno",
    }
    with pytest.raises(KeyError):
        POLICY.judge(Analysis({"effnet": "b"}, 60.0, -18.0, (Tag("Electronic---Polka", "discogs", 0.5),), {}))


def test_the_best_three_styles_and_their_parents_in_order() -> None:
    verdict = POLICY.judge(heard({AMBIENT: 0.4, ROCK: 0.3, DRONE: 0.25, TECHNO: 0.24}))
    assert verdict.status is VerdictStatus.OK
    assert verdict.labels == ("electronic", "electronic-ambient", "rock", "rock-post-rock", "electronic-drone")
    assert verdict.rankable
    assert verdict.reason is None


def test_at_most_five_labels() -> None:
    three_parents = {AMBIENT: 0.4, ROCK: 0.35, BOP: 0.3}
    assert labels(three_parents) == ("electronic", "electronic-ambient", "rock", "rock-post-rock", "jazz")


def test_half_of_the_top_and_the_floor_decide() -> None:
    assert labels({AMBIENT: 0.4, ROCK: 0.2}) == ("electronic", "electronic-ambient", "rock", "rock-post-rock")
    assert labels({AMBIENT: 0.4, ROCK: 0.199}) == ("electronic", "electronic-ambient")
    assert labels({AMBIENT: 0.12, ROCK: 0.08}) == ("electronic", "electronic-ambient", "rock", "rock-post-rock")
    assert labels({AMBIENT: 0.12, ROCK: 0.079}) == ("electronic", "electronic-ambient")


def test_below_the_least_top_nothing_is_said_and_the_track_may_still_be_ranked() -> None:
    assert labels({AMBIENT: 0.1}) == ("electronic", "electronic-ambient")
    verdict = POLICY.judge(heard({AMBIENT: 0.099}))
    assert (verdict.status, verdict.labels, verdict.reason) == (VerdictStatus.UNDECIDED, (), "low_scores")
    assert verdict.rankable
    assert verdict.genres[0].identifier == "electronic"


def test_a_parent_has_its_best_styles_score_and_comes_before_it() -> None:
    shown = POLICY.judge(heard({AMBIENT: 0.4, DRONE: 0.3, ROCK: 0.1})).genres
    assert [(genre.identifier, genre.score) for genre in shown[:4]] == [
        ("electronic", 0.4),
        ("electronic-ambient", 0.4),
        ("electronic-drone", 0.3),
        ("rock", 0.1),
    ]
    assert len(shown) == 10


def test_speech_is_called_non_music_and_given_no_genre() -> None:
    talk = {AUDIOBOOK: 0.21, SPOKEN: 0.18, MONOLOG: 0.12, "Hip Hop---Conscious": 0.5}
    verdict = POLICY.judge(heard(talk), author_tags=["Conscious"], previous=["hip-hop"])
    assert (verdict.status, verdict.reason) == (VerdictStatus.OK, "non_music")
    assert verdict.labels == ("non-music", "non-music-audiobook")
    assert not verdict.rankable
    assert labels({**talk, "Hip Hop---Conscious": 0.52})[0] == "hip-hop"  # 0.51 of speech against it


def test_of_non_music_only_a_sure_and_publishable_style_is_named() -> None:
    assert labels({SPOKEN: 0.149, AUDIOBOOK: 0.1}) == ("non-music",)
    assert labels({MONOLOG: 0.5, SPOKEN: 0.15}) == ("non-music", "non-music-spoken-word")  # monolog: parent only
    verdict = POLICY.judge(heard({SPOKEN: 0.05, AUDIOBOOK: 0.04, AMBIENT: 0.08}))
    assert (verdict.status, verdict.labels, verdict.reason) == (VerdictStatus.UNDECIDED, (), "non_music")


def test_an_artist_may_make_music_of_a_field_recording_but_not_of_a_talk() -> None:
    assert labels({FIELD: 0.5, AMBIENT: 0.1}) == ("non-music", "non-music-field-recording")
    verdict = POLICY.judge(heard({FIELD: 0.5, AMBIENT: 0.1}), author_tags=["ambient"])
    assert (verdict.labels, verdict.rankable) == (("electronic", "electronic-ambient"), True)
    assert labels({SPOKEN: 0.5, AMBIENT: 0.1}, author_tags=["ambient"])[0] == "non-music"


def test_the_artists_word_wins_when_the_audio_echoes_it() -> None:
    audio = {AMBIENT: 0.4, DRONE: 0.3, ROCK: 0.35, TECHNO: 0.02, METAL: 0.019}
    assert labels(audio, author_tags=["Techno"]) == (
        "electronic",
        "electronic-techno",
        "electronic-ambient",
        "electronic-drone",
    )
    assert labels(audio, author_tags=["heavy metal"]) == labels(audio)  # no echo of it
    assert labels(audio, author_tags=["rock"]) == ("rock", "rock-post-rock")
    assert labels({TECHNO: 0.05}, author_tags=["techno"]) == ("electronic", "electronic-techno")
    assert labels({AMBIENT: 0.4, SPOKEN: 0.3}, author_tags=["Spoken Word"]) == ("electronic", "electronic-ambient")


def test_styles_that_read_as_claims_give_only_their_parent_and_one_gives_nothing() -> None:
    assert TAXONOMY.publish_kind("hip-hop-gangsta") is Publish.PARENT_ONLY
    assert labels({"Hip Hop---Gangsta": 0.5, BOP: 0.3}) == ("hip-hop", "jazz", "jazz-bop")
    assert labels({"Hip Hop---Gangsta": 0.5}, author_tags=["gangsta"]) == ("hip-hop",)
    assert labels({"Rock---Pornogrind": 0.5, METAL: 0.4}) == ("rock", "rock-heavy-metal")
    assert labels({"Rock---Pornogrind": 0.5}) == ()


def test_a_live_label_is_kept_below_the_bar_that_a_new_one_needs() -> None:
    live = ["electronic", "electronic-ambient", "rock", "rock-post-rock"]
    assert labels({AMBIENT: 0.4, ROCK: 0.161}, previous=live) == tuple(live)
    assert labels({AMBIENT: 0.4, ROCK: 0.159}, previous=live) == ("electronic", "electronic-ambient")
    assert labels({AMBIENT: 0.06}, previous=live) == ("electronic", "electronic-ambient")
    assert labels({AMBIENT: 0.059}, previous=live) == ()
    assert labels({"Hip Hop---Gangsta": 0.07}, previous=["hip-hop"]) == ("hip-hop",)


def test_silence_and_adult_self_labels_hold_for_this_pack_too() -> None:
    verdict = POLICY.judge(heard({AMBIENT: 0.9}, rms_dbfs=-60.1))
    assert (verdict.labels, verdict.reason, verdict.rankable) == ((), "silence", False)
    assert POLICY.judge(heard({AMBIENT: 0.9}), self_labels=["porn"]).reason == "self_label"


def test_a_stretch_is_described_by_styles() -> None:
    def describe(scores: dict[str, float]) -> list[str]:
        tags = tuple(Tag(name, "discogs", score) for name, score in scores.items())
        return [genre.identifier for genre in POLICY.describe(Segment(0.0, 300.0, tags))]

    assert describe({TECHNO: 0.5, AMBIENT: 0.4, ROCK: 0.3, BOP: 0.2}) == [
        "electronic-techno",
        "electronic-ambient",
        "rock-post-rock",
    ]
    assert describe({"Hip Hop---Gangsta": 0.5, "Rock---Pornogrind": 0.4}) == ["hip-hop", "rock"]
    assert describe({TECHNO: 0.099}) == []


@given(
    st.dictionaries(st.sampled_from(SOURCES), st.floats(0, 1), max_size=12),
    st.lists(st.sampled_from(["jazz", "House", "gangsta", "pornogrind", "spoken word", "nothing"]), max_size=4),
    st.sets(st.sampled_from([*TAXONOMY.identifiers]), max_size=5),
)
def test_whatever_is_heard_a_verdict_keeps_the_promises(
    scores: dict[str, float], author_tags: list[str], previous: set[str]
) -> None:
    verdict = POLICY.judge(heard(scores), author_tags=author_tags, previous=previous)
    parents = [label for label in verdict.labels if label in TAXONOMY.parents]
    styles = [label for label in verdict.labels if label in TAXONOMY.styles]
    assert len(verdict.labels) == len(set(verdict.labels)) <= MAX_LABELS
    assert len(styles) <= 3
    assert all(TAXONOMY.publish_kind(style) is Publish.STYLE for style in styles)
    for style in styles:
        assert verdict.labels.index(TAXONOMY.parent_of(style)) < verdict.labels.index(style)
    assert bool(verdict.labels) == (verdict.status is VerdictStatus.OK)
    if NON_MUSIC in verdict.labels:
        assert parents == [NON_MUSIC]
        assert not verdict.rankable
    again = POLICY.judge(heard(scores), author_tags=author_tags, previous=verdict.labels)
    assert again.labels[:2] == verdict.labels[:2] or author_tags
