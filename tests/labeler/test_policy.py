"""What the policy makes of real tag means and of made-up ones."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import EVERYTHING, Analysis, Ruling, Segment, Tag, VerdictStatus
from core.taxonomy import Publish, Taxonomy
from labeler.musicnn import MusicnnRule, TagMapping
from labeler.policy import MAX_LABELS, Policy
from labeler.thresholds import Thresholds

TAXONOMY = Taxonomy.load()
MAPPING = TagMapping.load(TAXONOMY)
POLICY = Policy(TAXONOMY, MAPPING)
WITH_STYLES = Policy(TAXONOMY, MAPPING, publish_styles=True)
CLIPS = json.loads((Path(__file__).parents[1] / "vectors" / "musicnn_reference.json").read_text())["clips"]


def heard(msd: dict[str, float], mtt: dict[str, float], *, rms_dbfs: float = -18.0) -> Analysis:
    """Made-up means. There is a piano in all of them: an instrument votes for no genre, and says that this is music."""
    mtt = {"piano": 0.5, **mtt}
    tags = (*(Tag(name, "msd", score) for name, score in msd.items()), *(Tag(n, "mtt", s) for n, s in mtt.items()))
    return Analysis({"musicnn": "hash"}, 60.0, rms_dbfs, tags, {})


def clip(name: str) -> Analysis:
    return heard(CLIPS[name]["msd_hop187_mean"], CLIPS[name]["mtt"])


def scores(analysis: Analysis) -> dict[str, float]:
    return {genre.identifier: genre.score for genre in MusicnnRule(TAXONOMY, MAPPING).score(analysis.tags)}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("vibe-ace.ogg", ("jazz", "electronic")),
        ("sugar-plum-fairy.ogg", ("classical",)),
        ("solo-trumpet.ogg", ("jazz",)),
    ],
)
def test_music_is_labelled(name: str, labels: tuple[str, ...]) -> None:
    verdict = POLICY.judge(clip(name))
    assert (verdict.status, verdict.labels, verdict.reason) == (VerdictStatus.OK, labels, None)
    assert verdict.rankable
    assert len(verdict.genres) == 10
    assert verdict.genres[0].identifier == labels[0]


@pytest.mark.parametrize("name", ["speech-a.ogg", "speech-b.ogg"])
def test_speech_is_neither_labelled_nor_ranked_whatever_its_author_says(name: str) -> None:
    for policy in (POLICY, WITH_STYLES):
        verdict = policy.judge(clip(name), author_tags=["hip hop"], previous=["hip-hop"])
        assert (verdict.status, verdict.labels) == (VerdictStatus.UNDECIDED, ())
        assert (verdict.reason, verdict.rankable) == ("speech_like", False)


def test_a_whale_is_neither_labelled_nor_ranked() -> None:
    verdict = POLICY.judge(clip("humpback.ogg"), previous=["electronic"])
    assert (verdict.status, verdict.labels) == (VerdictStatus.UNDECIDED, ())
    assert (verdict.reason, verdict.rankable) == ("no_music_heard", False)
    assert verdict.genres


def test_without_instrument_and_genre_it_may_not_be_music_unless_its_artist_says_so() -> None:
    drone = {"electronic": 0.5, "ambient": 0.5}
    assert POLICY.judge(heard(drone, {"piano": 0.099, "ambient": 0.6, "weird": 0.9})).reason == "no_music_heard"
    assert POLICY.judge(heard(drone, {"piano": 0.1})).labels == ("electronic",)
    assert POLICY.judge(heard(drone, {"piano": 0.0}), author_tags=["Dark Ambient"]).labels == ("electronic",)
    assert POLICY.judge(heard(drone, {"piano": 0.0}), author_tags=["whales", "reggae"]).reason == "no_music_heard"


def test_a_voice_alone_is_taken_for_speech_unless_its_artist_names_a_genre() -> None:
    song = {"folk": 0.5}
    assert POLICY.judge(heard(song, {"piano": 0.19, "female": 0.31, "no vocals": 0.1})).reason == "voice_alone"
    assert not POLICY.judge(heard(song, {"piano": 0.19, "female": 0.31, "no vocals": 0.1})).rankable
    assert POLICY.judge(heard(song, {"piano": 0.19, "female": 0.3, "no vocals": 0.1})).labels  # not so sure of a voice
    assert POLICY.judge(heard(song, {"piano": 0.2, "female": 0.5})).labels  # accompanied
    assert POLICY.judge(heard(song, {"piano": 0.0, "opera": 0.9, "female": 0.5})).reason == "voice_alone"
    assert POLICY.judge(heard(song, {"piano": 0.0, "drums": 0.15, "female": 0.5})).labels
    stated = POLICY.judge(heard(song, {"piano": 0.19, "female": 0.5}), author_tags=["folk"])
    assert stated.labels == ("folk-world-country",)


def test_silence_is_neither_labelled_nor_ranked() -> None:
    verdict = POLICY.judge(heard({"rock": 0.9}, {"rock": 0.9}, rms_dbfs=-60.1))
    assert (verdict.status, verdict.labels) == (VerdictStatus.UNDECIDED, ())
    assert (verdict.reason, verdict.rankable) == ("silence", False)
    assert POLICY.judge(heard({"rock": 0.9}, {"rock": 0.9}, rms_dbfs=-60.0)).labels == ("rock",)


def test_hip_hop_with_drums_is_music() -> None:
    assert POLICY.judge(heard({"Hip-Hop": 0.5}, {"beat": 0.15})).labels == ("hip-hop",)
    assert POLICY.judge(heard({"Hip-Hop": 0.5}, {"beat": 0.149})).reason == "speech_like"


def test_adult_self_labels_end_the_matter() -> None:
    for value in ("porn", "sexual", "nudity", "graphic-media"):
        verdict = POLICY.judge(clip("vibe-ace.ogg"), self_labels=["other", value], previous=["jazz"])
        assert (verdict.status, verdict.labels, verdict.reason) == (VerdictStatus.REFUSED, (), "self_label")
        assert not verdict.rankable
    assert POLICY.judge(clip("vibe-ace.ogg"), self_labels=["other"]).labels


def test_votes_are_combined_as_the_rule_says() -> None:
    found = scores(heard({"rock": 0.4, "jazz": 0.6}, {"rock": 0.2, "classical": 0.5, "indian": 0.3}))
    assert found["rock"] == pytest.approx((0.4 * 0.5 + 0.2) / 2)  # both know it: mean, after the classical veto
    assert found["jazz"] == pytest.approx(2 / 3 * 0.6 * 0.5)
    assert found["classical"] == pytest.approx(0.5)
    assert found["folk-world-country"] == pytest.approx(2 / 3 * 0.7 * 0.3)


def test_style_votes_reach_their_parent_with_the_parents_weight() -> None:
    found = scores(heard({"ambient": 0.9, "chillout": 0.5}, {"ambient": 0.5}))
    assert found["electronic"] == pytest.approx(0.7 * 0.5 / 2)  # ambient alone says nothing of electronic
    assert found["electronic-ambient"] == pytest.approx(0.7)
    assert found["electronic-downtempo"] == pytest.approx(2 / 3 * 0.5)


def test_at_most_three_parents_each_at_half_of_the_top() -> None:
    msd = {"jazz": 0.9, "blues": 0.8, "folk": 0.7, "soul": 0.6}
    assert POLICY.judge(heard(msd, {})).labels == ("jazz", "blues", "folk-world-country")
    assert POLICY.judge(heard({"jazz": 0.9, "blues": 0.44}, {})).labels == ("jazz",)
    assert POLICY.judge(heard({"jazz": 0.9, "blues": 0.46}, {})).labels == ("jazz", "blues")


def test_below_the_floor_a_track_is_undecided_and_may_still_be_ranked() -> None:
    verdict = POLICY.judge(heard({"jazz": 0.2}, {}))
    assert (verdict.status, verdict.labels) == (VerdictStatus.UNDECIDED, ())
    assert (verdict.reason, verdict.rankable) == ("low_scores", True)


def test_a_live_label_is_kept_below_the_bar_that_a_new_one_needs() -> None:
    weak = heard({"jazz": 0.9, "blues": 0.38}, {})  # blues at 0.42 of the top
    assert POLICY.judge(weak).labels == ("jazz",)
    assert POLICY.judge(weak, previous=["jazz", "blues"]).labels == ("jazz", "blues")
    weaker = heard({"jazz": 0.9, "blues": 0.35}, {})  # at 0.39 of the top
    assert POLICY.judge(weaker, previous=["jazz", "blues"]).labels == ("jazz",)
    faint = heard({"jazz": 0.19}, {})  # 0.127
    assert POLICY.judge(faint, previous=["jazz"]).labels == ("jazz",)
    assert POLICY.judge(heard({"jazz": 0.17}, {}), previous=["jazz"]).labels == ()


def test_the_artists_word_wins_when_the_audio_echoes_it() -> None:
    audio = heard({"jazz": 0.9, "blues": 0.04}, {})
    assert POLICY.judge(audio, author_tags=["Blues", "my cat"]).labels == ("blues",)
    assert POLICY.judge(audio, author_tags=["Blues", "jazz"]).labels == ("jazz", "blues")
    assert POLICY.judge(audio, author_tags=["reggae"]).labels == ("jazz",)  # no echo
    assert POLICY.judge(audio, author_tags=["piano blues"]).labels == ("blues",)  # a style means its parent
    assert POLICY.judge(heard({"rock": 0.9}, {"rock": 0.9}), author_tags=["Pornogrind"]).labels == ("rock",)


def test_styles_are_published_only_when_switched_on_and_beneath_a_published_parent() -> None:
    both = heard({"jazz": 0.1, "electronic": 0.5, "ambient": 0.3}, {"electronic": 0.5, "ambient": 0.12})
    assert POLICY.judge(both).labels == ("electronic",)
    assert WITH_STYLES.judge(both).labels == ("electronic", "electronic-ambient")
    one = heard({"electronic": 0.5, "House": 0.46}, {"electronic": 0.5})
    assert WITH_STYLES.judge(one).labels == ("electronic", "electronic-house")
    one = heard({"electronic": 0.5, "House": 0.44}, {"electronic": 0.5})
    assert WITH_STYLES.judge(one).labels == ("electronic",)
    assert WITH_STYLES.judge(one, author_tags=["House"]).labels == ("electronic", "electronic-house")
    alone = heard({"jazz": 0.9, "ambient": 0.9}, {"ambient": 0.9})
    assert WITH_STYLES.judge(alone).labels == ("jazz",)


def test_without_tags_of_genres_there_is_no_verdict() -> None:
    moods = (Tag("dark", "moodtheme", 0.5),)
    with pytest.raises(ValueError, match="no rule for genres from clap"):
        POLICY.judge(Analysis({"clap": "hash"}, 60.0, -18.0, moods, {}))
    assert POLICY.describe(Segment(0.0, 300.0, moods)) == ()


def test_a_stretch_is_described_by_its_strongest_genres() -> None:
    def describe(msd: dict[str, float], mtt: dict[str, float]) -> list[str]:
        return [genre.identifier for genre in POLICY.describe(Segment(0.0, 300.0, heard(msd, mtt).tags))]

    many = {"jazz": 0.9, "blues": 0.6, "folk": 0.5, "soul": 0.4}
    assert describe(many, {}) == ["jazz", "blues", "folk-world-country-folk"]
    assert describe({"jazz": 0.149}, {}) == []  # 2/3 of it is faint
    both = describe({"electronic": 0.5, "ambient": 0.6}, {"electronic": 0.3, "ambient": 0.4})
    assert both == ["electronic-ambient"]  # 0.5 where its parent has 0.4
    both = describe({"electronic": 0.9, "ambient": 0.3}, {"electronic": 0.9, "ambient": 0.3})
    assert both == ["electronic", "electronic-ambient"]


MSD_NAMES = sorted(CLIPS["vibe-ace.ogg"]["msd_hop187_mean"])
MTT_NAMES = sorted(CLIPS["vibe-ace.ogg"]["mtt"])
means = st.floats(0, 1)


@given(
    st.dictionaries(st.sampled_from(MSD_NAMES), means, max_size=12),
    st.dictionaries(st.sampled_from(MTT_NAMES), means, max_size=12),
    st.lists(st.sampled_from(["jazz", "House", "gangsta", "pornogrind", "nothing"]), max_size=3),
    st.sets(st.sampled_from(["jazz", "electronic", "electronic-house", "rock"])),
)
def test_whatever_is_heard_a_verdict_keeps_the_promises(
    msd: dict[str, float], mtt: dict[str, float], author_tags: list[str], previous: set[str]
) -> None:
    for policy in (POLICY, WITH_STYLES):
        verdict = policy.judge(heard(msd, mtt), author_tags=author_tags, previous=previous)
        parents = [label for label in verdict.labels if label in TAXONOMY.parents]
        styles = [label for label in verdict.labels if label in TAXONOMY.styles]
        assert len(verdict.labels) == len(set(verdict.labels)) <= MAX_LABELS
        assert len(parents) <= 3
        assert {TAXONOMY.parent_of(style) for style in styles} <= set(parents)
        assert bool(verdict.labels) == (verdict.status is VerdictStatus.OK)
        assert "non-music" not in verdict.labels
        assert all(0.0 <= genre.score <= 1.0 for genre in verdict.genres)
        again = policy.judge(heard(msd, mtt), author_tags=author_tags, previous=verdict.labels)
        assert set(verdict.labels) <= set(again.labels) or author_tags or len(parents) == 3


def test_the_packaged_mapping_names_only_what_the_taxonomy_has() -> None:
    assert MAPPING.version == "musicnn-map-1"
    assert set(MAPPING.votes["msd"]) <= set(MSD_NAMES)
    assert set(MAPPING.votes["mtt"]) <= set(MTT_NAMES)
    for votes in (*MAPPING.votes["msd"].values(), *MAPPING.votes["mtt"].values()):
        assert all(vote.parent in TAXONOMY.parents for vote in votes)
        assert all(vote.style is None or vote.style in TAXONOMY.styles for vote in votes)


def test_what_is_denied_is_not_live_and_nothing_takes_its_place() -> None:
    audio = heard({"jazz": 0.9, "blues": 0.8, "folk": 0.7, "soul": 0.6}, {})
    assert POLICY.judge(audio, ruling=Ruling(frozenset({"jazz"}))).labels == ("blues", "folk-world-country")
    none = POLICY.judge(audio, ruling=Ruling(frozenset({"jazz", "blues", "folk-world-country"})))
    assert (none.status, none.labels, none.reason) == (VerdictStatus.UNDECIDED, (), "denied")
    assert none.rankable  # it is music all the same
    assert none.genres
    tagged = POLICY.judge(audio, author_tags=["jazz"], ruling=Ruling(frozenset({"jazz"})))
    assert tagged.labels == ("blues", "folk-world-country")  # the record's word is older than the artist's report


def test_who_denies_a_parent_denies_its_styles() -> None:
    audio = heard({"electronic": 0.5, "ambient": 0.9}, {"electronic": 0.5, "ambient": 0.9})
    assert WITH_STYLES.judge(audio).labels == ("electronic", "electronic-ambient")
    assert WITH_STYLES.judge(audio, ruling=Ruling(frozenset({"electronic"}))).labels == ()
    assert WITH_STYLES.judge(audio, ruling=Ruling(frozenset({"electronic-ambient"}))).labels == ("electronic",)


def test_what_the_artist_states_is_published_whatever_is_heard() -> None:
    audio = heard({"jazz": 0.9}, {})
    stated = POLICY.judge(audio, ruling=Ruling(stated=("electronic-techno", "reggae")))
    assert (stated.status, stated.labels) == (VerdictStatus.OK, ("electronic", "reggae", "electronic-techno"))
    both = POLICY.judge(audio, ruling=Ruling(frozenset({"jazz", "electronic"}), ("electronic-techno",)))
    assert both.labels == ("electronic", "electronic-techno")  # a stated style needs its parent, denied or not
    many = Ruling(stated=("rock-punk", "jazz-bop", "blues", "reggae", "pop", "electronic-techno"))
    assert POLICY.judge(audio, ruling=many).labels == ("rock", "jazz", "blues", "reggae", "pop")
    assert POLICY.judge(audio, ruling=Ruling(stated=("hip-hop-gangsta",))).labels == ("hip-hop",)
    assert POLICY.judge(audio, ruling=Ruling(stated=("rock-pornogrind", "no-such"))).labels == ("jazz",)


def test_what_is_stated_overrules_doubts_but_neither_speech_nor_silence_nor_a_self_label() -> None:
    stated = Ruling(stated=("rock",))
    drone = heard({"electronic": 0.5}, {"piano": 0.0})
    assert POLICY.judge(drone).reason == "no_music_heard"
    assert POLICY.judge(drone, ruling=stated).labels == ("rock",)
    assert POLICY.judge(clip("speech-a.ogg"), ruling=stated).reason == "speech_like"
    assert POLICY.judge(heard({}, {}, rms_dbfs=-61.0), ruling=stated).reason == "silence"
    assert POLICY.judge(drone, self_labels=["porn"], ruling=stated).reason == "self_label"


def test_what_the_operator_withholds_no_artist_brings_back() -> None:
    audio = heard({"jazz": 0.9, "blues": 0.8}, {})
    held = Ruling(stated=("jazz",), withheld=frozenset({"jazz"}))
    verdict = POLICY.judge(audio, author_tags=["jazz"], ruling=held)
    assert (verdict.labels, verdict.reason) == ((), "withheld")
    assert POLICY.judge(audio, ruling=Ruling(withheld=frozenset({"jazz"}))).labels == ("blues",)
    everything = POLICY.judge(audio, ruling=Ruling(withheld=frozenset({EVERYTHING})))
    assert (everything.status, everything.reason) == (VerdictStatus.UNDECIDED, "withheld")


def test_thresholds_stand_in_for_the_floor_and_nothing_else() -> None:
    fitted = Thresholds("musicnn", {"jazz": 0.3, "blues": None, "rock": 0.05})
    policy = Policy(TAXONOMY, MAPPING, thresholds=fitted)
    assert policy.judge(heard({"jazz": 0.46}, {})).labels == ("jazz",)  # 2/3 of it
    assert policy.judge(heard({"jazz": 0.44}, {})).labels == ()
    assert policy.judge(heard({"jazz": 0.37}, {}), previous=["jazz"]).labels == ("jazz",)  # four fifths to stay
    assert policy.judge(heard({"jazz": 0.35}, {}), previous=["jazz"]).labels == ()
    assert policy.judge(heard({"blues": 0.9, "jazz": 0.8}, {}), previous=["blues"]).labels == ("jazz",)
    assert policy.judge(heard({"blues": 0.9}, {}), author_tags=["blues"]).labels == ("blues",)
    assert policy.judge(heard({"rock": 0.06}, {"rock": 0.06})).labels == ("rock",)
    assert policy.judge(heard({"rock": 0.3, "soul": 0.99}, {"rock": 0.3})).labels == ("funk-soul",)  # half of the top
    other = Policy(TAXONOMY, MAPPING, thresholds=Thresholds("effnet", {"jazz": None}))
    assert other.judge(heard({"jazz": 0.9}, {})).labels == ("jazz",)  # another pack's


def test_a_style_without_threshold_is_not_published_by_itself() -> None:
    both = heard({"electronic": 0.5, "ambient": 0.3}, {"electronic": 0.5, "ambient": 0.3})
    assert WITH_STYLES.judge(both).labels == ("electronic", "electronic-ambient")
    for threshold, labels in ((None, ("electronic",)), (0.31, ("electronic",)), (0.3, WITH_STYLES.judge(both).labels)):
        fitted = Thresholds("musicnn", {"electronic-ambient": threshold})
        policy = Policy(TAXONOMY, MAPPING, publish_styles=True, thresholds=fitted)
        assert policy.judge(both).labels == labels


def test_an_explanation_has_the_verdict_and_the_numbers_that_made_it() -> None:
    audio = heard({"jazz": 0.9, "blues": 0.38}, {})
    told = POLICY.explain(audio, author_tags=["reggae"], ruling=Ruling(frozenset({"jazz"})))
    assert told.verdict == POLICY.judge(audio, author_tags=["reggae"], ruling=Ruling(frozenset({"jazz"})))
    steps = {(step.rule, step.label): step for step in told.steps}
    assert steps["stated", "reggae"].numbers == {"score": 0.0}
    assert steps["bar", "blues"].outcome == "too weak"
    assert steps["bar", "blues"].numbers == pytest.approx({"score": 0.38 * 2 / 3, "needed": 0.3})
    assert steps["ruling", "jazz"].outcome == "denied"
    by_artist = POLICY.explain(audio, author_tags=["blues"])
    assert by_artist.verdict.labels == ("blues",)
    assert [(step.rule, step.label) for step in by_artist.steps[-2:]] == [("stated", "blues"), ("styles", None)]
    assert POLICY.explain(clip("speech-a.ogg")).steps[-1].rule == "speech_like"
    assert POLICY.explain(heard({}, {}, rms_dbfs=-61.0)).steps[-1].numbers == {"rms_dbfs": -61.0, "needed": -60.0}
    assert POLICY.explain(audio, self_labels=["porn"]).steps[-1].rule == "self_label"


@given(
    st.dictionaries(st.sampled_from(MSD_NAMES), means, max_size=12),
    st.sets(st.sampled_from(TAXONOMY.identifiers), max_size=6),
    st.lists(st.sampled_from(TAXONOMY.identifiers), max_size=6),
    st.sets(st.sampled_from([*TAXONOMY.parents, "electronic-house", EVERYTHING]), max_size=3),
)
def test_whatever_people_say_a_ruling_is_kept(
    msd: dict[str, float], denied: set[str], stated: list[str], withheld: set[str]
) -> None:
    ruling = Ruling(frozenset(denied), tuple(stated), frozenset(withheld))
    verdict = WITH_STYLES.judge(heard(msd, {"drums": 0.5}), ruling=ruling)
    own = {label for genre in stated for label in (genre, TAXONOMY.parent_of(genre))}
    for label in verdict.labels:
        family = {label, TAXONOMY.parent_of(label)}
        assert not family & withheld
        assert not family & (denied - own)
        assert TAXONOMY.parent_of(label) in verdict.labels
        assert TAXONOMY.publish_kind(label) is Publish.STYLE
    assert len(verdict.labels) <= MAX_LABELS
    assert EVERYTHING not in withheld or not verdict.labels
    publishable = [one for one in stated if TAXONOMY.publish_kind(one) is not Publish.NEVER]
    kept = [one for one in publishable if not {one, TAXONOMY.parent_of(one)} & withheld]
    assert not kept or EVERYTHING in withheld or TAXONOMY.parent_of(kept[0]) in verdict.labels or len(kept) > MAX_LABELS
