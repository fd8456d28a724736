"""The rule for the 400 styles of effnet, step by step as TAXONOMY section 3 has them, through the policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import Analysis, Ruling, Segment, Tag, VerdictStatus
from core.taxonomy import Publish, Taxonomy
from labeler.effnet import NON_MUSIC
from labeler.musicnn import TagMapping
from labeler.policy import MAX_LABELS, Policy
from labeler.thresholds import Thresholds

TAXONOMY = Taxonomy.load()
POLICY = Policy(TAXONOMY, TagMapping.load(TAXONOMY))
STYLES = {style.source: style for style in TAXONOMY.styles.values()}
SOURCES = list(STYLES)

AMBIENT, DRONE, TECHNO = "Electronic---Ambient", "Electronic---Drone", "Electronic---Techno"
HOUSE, PUNK = "Electronic---House", "Rock---Punk"
ROCK, METAL = "Rock---Post Rock", "Rock---Heavy Metal"
BOP, BLUES = "Jazz---Bop", "Blues---Delta Blues"
GANGSTA, BOOM_BAP, TRAP = "Hip Hop---Gangsta", "Hip Hop---Boom Bap", "Hip Hop---Trap"
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


def test_what_no_label_may_name_is_not_shown_either_and_takes_no_place() -> None:
    audio = heard({"Rock---Pornogrind": 0.5, GANGSTA: 0.4, AMBIENT: 0.3})
    for verdict in (POLICY.judge(audio), POLICY.judge(audio, self_labels=["porn"])):
        shown = [genre.identifier for genre in verdict.genres]
        assert shown[:4] == ["rock", "hip-hop", "electronic", "electronic-ambient"]
        assert len(shown) == 10
        assert all(TAXONOMY.publish_kind(identifier) is Publish.STYLE for identifier in shown)


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
    assert labels({GANGSTA: 0.5, BOP: 0.3}) == ("hip-hop", "jazz", "jazz-bop")
    assert labels({GANGSTA: 0.5}, author_tags=["gangsta"]) == ("hip-hop",)
    assert labels({"Rock---Pornogrind": 0.5, METAL: 0.4}) == ("rock", "rock-heavy-metal")
    assert labels({"Rock---Pornogrind": 0.5}) == ()


def test_a_live_label_is_kept_below_the_bar_that_a_new_one_needs() -> None:
    live = ["electronic", "electronic-ambient", "rock", "rock-post-rock"]
    assert labels({AMBIENT: 0.4, ROCK: 0.161}, previous=live) == tuple(live)
    assert labels({AMBIENT: 0.4, ROCK: 0.159}, previous=live) == ("electronic", "electronic-ambient")
    assert labels({AMBIENT: 0.06}, previous=live) == ("electronic", "electronic-ambient")
    assert labels({AMBIENT: 0.059}, previous=live) == ()
    assert labels({GANGSTA: 0.07}, previous=["hip-hop"]) == ("hip-hop",)


def test_a_live_parent_is_kept_by_its_own_score_when_its_style_goes() -> None:
    live = labels({PUNK: 0.3, TECHNO: 0.16})
    assert live == ("rock", "rock-punk", "electronic", "electronic-techno")
    weaker = {PUNK: 0.3, TECHNO: 0.1, HOUSE: 0.13}
    assert labels(weaker) == ("rock", "rock-punk")
    assert labels(weaker, previous=list(live)) == ("rock", "rock-punk", "electronic")
    assert labels({**weaker, HOUSE: 0.119}, previous=list(live)) == ("rock", "rock-punk")
    assert labels(weaker, previous=list(live), author_tags=["punk"]) == ("rock", "rock-punk")


def test_a_newcomer_takes_no_live_labels_place_unless_it_is_the_best_of_all() -> None:
    live = labels({ROCK: 0.3, AMBIENT: 0.2, BOP: 0.19})
    assert live == ("rock", "rock-post-rock", "electronic", "electronic-ambient", "jazz")
    assert labels({ROCK: 0.3, AMBIENT: 0.2, BOP: 0.19, BLUES: 0.195}, previous=list(live)) == live
    assert labels({ROCK: 0.3, AMBIENT: 0.2, BOP: 0.119, BLUES: 0.195}, previous=list(live)) == (*live[:4], "blues")
    best = labels({ROCK: 0.3, AMBIENT: 0.2, BOP: 0.19, BLUES: 0.31}, previous=list(live))
    assert best == ("blues", "blues-delta-blues", "rock", "rock-post-rock", "electronic")
    only_parents = ["electronic", "jazz", "rock"]
    named = labels({ROCK: 0.3, AMBIENT: 0.2, BOP: 0.19}, previous=only_parents)
    assert named == ("rock", "rock-post-rock", "electronic", "jazz", "electronic-ambient")
    of_one_parent = ["electronic", "electronic-ambient", "electronic-drone", "electronic-techno"]
    audio = {AMBIENT: 0.4, DRONE: 0.2, TECHNO: 0.19, HOUSE: 0.3}
    assert set(labels(audio, previous=of_one_parent)) == set(of_one_parent)
    assert "electronic-house" in labels(audio)


def test_a_style_that_gives_only_its_parent_is_never_live_itself() -> None:
    live = ["hip-hop", "hip-hop-boom-bap", "jazz", "jazz-bop"]
    audio = {BOOM_BAP: 0.3, TRAP: 0.2, GANGSTA: 0.14, BOP: 0.13}
    assert labels(audio, previous=live) == (*live, "hip-hop-trap")
    assert labels({BOOM_BAP: 0.3, GANGSTA: 0.25, TRAP: 0.2, BOP: 0.19}) == (
        *("hip-hop", "hip-hop-boom-bap", "hip-hop-trap"),  # Gangsta says nothing more, and takes no place
        *("jazz", "jazz-bop"),
    )


def test_live_labels_of_speech_flicker_as_little_as_those_of_music() -> None:
    live = labels({SPOKEN: 0.15})
    assert live == ("non-music", "non-music-spoken-word")
    assert labels({SPOKEN: 0.149}) == ("non-music",)
    assert labels({SPOKEN: 0.149}, previous=list(live)) == live
    assert labels({SPOKEN: 0.12}, previous=list(live)) == live
    assert labels({SPOKEN: 0.119}, previous=list(live)) == ("non-music",)
    assert labels({SPOKEN: 0.2, AUDIOBOOK: 0.21}, previous=list(live)) == live
    assert labels({SPOKEN: 0.2, AUDIOBOOK: 0.51}, previous=list(live)) == ("non-music", "non-music-audiobook")
    assert labels({SPOKEN: 0.06}, previous=["non-music"]) == ("non-music",)
    assert labels({SPOKEN: 0.06}) == labels({SPOKEN: 0.059}, previous=["non-music"]) == ()


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
    assert describe({GANGSTA: 0.5, "Rock---Pornogrind": 0.4}) == ["hip-hop", "rock"]
    assert describe({TECHNO: 0.099}) == []


# Few styles of few parents, at scores about the bars: what is drawn from all 400 rarely meets.
NEAR = [AMBIENT, DRONE, TECHNO, ROCK, METAL, BOP, GANGSTA, BOOM_BAP, "Rock---Pornogrind", SPOKEN, AUDIOBOOK, FIELD]
SCORES = st.dictionaries(st.sampled_from(SOURCES), st.floats(0, 1), max_size=12) | st.dictionaries(
    st.sampled_from(NEAR), st.floats(0.05, 0.4), max_size=12
)
WORDS = st.lists(st.sampled_from(["jazz", "House", "gangsta", "pornogrind", "spoken word", "nothing"]), max_size=4)


@given(SCORES, WORDS, st.sets(st.sampled_from(TAXONOMY.identifiers), max_size=5))
def test_whatever_is_heard_a_verdict_keeps_the_promises(
    scores: dict[str, float], author_tags: list[str], previous: set[str]
) -> None:
    verdict = POLICY.judge(heard(scores), author_tags=author_tags, previous=previous)
    parents = [label for label in verdict.labels if label in TAXONOMY.parents]
    styles = [label for label in verdict.labels if label in TAXONOMY.styles]
    assert len(verdict.labels) == len(set(verdict.labels)) <= MAX_LABELS
    assert len({*parents} - {TAXONOMY.parent_of(style) for style in styles}) + len(styles) <= 3
    assert all(TAXONOMY.publish_kind(label) is Publish.STYLE for label in verdict.labels)
    for style in styles:
        assert verdict.labels.index(TAXONOMY.parent_of(style)) < verdict.labels.index(style)
    assert bool(verdict.labels) == (verdict.status is VerdictStatus.OK)
    if NON_MUSIC in verdict.labels:
        assert parents == [NON_MUSIC]
        assert not verdict.rankable
    again = POLICY.judge(heard(scores), author_tags=author_tags, previous=verdict.labels)
    assert set(again.labels) == set(verdict.labels)
    assert again.labels[:1] == verdict.labels[:1]


@given(
    st.fixed_dictionaries({name: st.floats(0.05, 0.4) for name in NEAR[:9]}),
    st.lists(st.floats(0.7, 1.3), min_size=9, max_size=9),
)
def test_what_is_live_and_holds_is_lost_to_nothing_but_a_new_best_style(
    before: dict[str, float], changes: list[float]
) -> None:
    live = labels(before)
    now = {name: score * change for (name, score), change in zip(before.items(), changes, strict=True)}
    scored = {STYLES[name].identifier: score for name, score in now.items()}
    best = max((name for name in now if STYLES[name].publish is not Publish.NEVER), key=lambda name: now[name])

    def holds(label: str) -> bool:
        own = max(score for style, score in scored.items() if label in (style, TAXONOMY.parent_of(style)))
        return own >= max(0.06, 0.4 * max(now.values()))

    lost = {label for label in live if holds(label)}.difference(labels(now, previous=list(live)))
    is_published = STYLES[best].publish is Publish.STYLE
    assert not lost or (STYLES[best].identifier if is_published else STYLES[best].parent) not in live


def test_a_ruling_wins_over_what_is_heard() -> None:
    audio = heard({AMBIENT: 0.4, DRONE: 0.3, ROCK: 0.35})

    def ruled(*denied: str, stated: tuple[str, ...] = ()) -> tuple[str, ...]:
        return POLICY.judge(audio, ruling=Ruling(frozenset(denied), stated)).labels

    assert ruled("rock") == ("electronic", "electronic-ambient", "electronic-drone")
    assert ruled("electronic-ambient")[:2] == ("electronic", "rock")
    assert ruled("electronic", "rock", stated=("jazz-bop",)) == ("jazz", "jazz-bop")
    assert ruled(stated=("electronic-techno",)) == (
        *("electronic", "electronic-techno"),
        *("electronic-ambient", "electronic-drone"),  # what is heard of the same parent stays
    )
    talk = heard({SPOKEN: 0.5})
    assert POLICY.judge(talk, ruling=Ruling(stated=("electronic-techno",))).labels[0] == "non-music"
    refused = POLICY.judge(talk, ruling=Ruling(frozenset({"non-music"})))
    assert (refused.labels, refused.status, refused.reason) == ((), VerdictStatus.UNDECIDED, "non_music")
    field = POLICY.judge(heard({FIELD: 0.5}), ruling=Ruling(stated=("electronic-ambient",)))
    assert (field.labels, field.rankable) == (("electronic", "electronic-ambient"), True)


def test_thresholds_of_styles_and_the_way_back_to_the_parent() -> None:
    def fitted(scores: dict[str, float], *previous: str, **floors: float | None) -> tuple[str, ...]:
        named = {identifier.replace("_", "-"): floor for identifier, floor in floors.items()}
        policy = Policy(TAXONOMY, TagMapping.load(TAXONOMY), thresholds=Thresholds("effnet", named))
        return policy.judge(heard(scores), previous=previous).labels

    audio = {AMBIENT: 0.4, ROCK: 0.3}
    assert fitted(audio, electronic_ambient=0.41) == ("rock", "rock-post-rock")
    assert fitted(audio, electronic_ambient=0.4)[:2] == ("electronic", "electronic-ambient")
    assert fitted(audio, "electronic", "electronic-ambient", electronic_ambient=0.5)[:2] == (
        "electronic",
        "electronic-ambient",  # 0.5 * 0.06 / 0.08 is what it needs to stay
    )
    assert fitted(audio, electronic_ambient=None) == ("electronic", "rock", "rock-post-rock")
    assert fitted(audio, electronic_ambient=None, electronic=0.41) == ("rock", "rock-post-rock")
    assert fitted(audio, electronic_ambient=None, electronic=None) == ("rock", "rock-post-rock")
    assert fitted({AMBIENT: 0.4, ROCK: 0.19}, rock_post_rock=0.01)[-1] == "electronic-ambient"  # the ratio stays
    assert fitted({AMBIENT: 0.099}, electronic_ambient=0.01) == ()  # and so does the least top


def test_an_explanation_tells_of_every_rule_that_had_a_say() -> None:
    audio = heard({AMBIENT: 0.4, ROCK: 0.3, DRONE: 0.25, TECHNO: 0.24, METAL: 0.11})
    told = POLICY.explain(audio, previous=["electronic-techno"])
    steps = {(step.rule, step.label): step for step in told.steps}
    assert told.verdict == POLICY.judge(audio, previous=["electronic-techno"])
    assert steps["non_music", None].numbers == {"non_music": 0.0, "music": 0.4}
    assert steps["bar", "electronic-techno"].outcome == "is live and stays"
    assert steps["bar", "electronic-techno"].numbers == pytest.approx({"score": 0.24, "needed": 0.16})
    assert steps["bar", "rock-heavy-metal"].outcome == "too weak"
    assert steps["places", "electronic-drone"].numbers == {"places": 3}
    assert POLICY.explain(heard({AMBIENT: 0.09})).steps[-1].rule == "min_top"
