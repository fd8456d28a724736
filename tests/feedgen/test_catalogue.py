"""The catalogue that ships, and what is refused in an operator's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.analysis import Tag, TaggerName
from core.errors import Misconfigured
from core.feed import PROMPT_WRAPPERS, Feed, FeedKind, Quality, TagRule
from core.taxonomy import Taxonomy
from feedgen import Rules, load_catalogue
from models.catalogue import tag_names
from models.moods import query_vector, tag_vector

REFERENCE = json.loads((Path(__file__).parents[1] / "vectors" / "musicnn_reference.json").read_text("utf-8"))
CLIP = REFERENCE["clips"]["vibe-ace.ogg"]
TAGS = [f"msd:{tag}" for tag in CLIP["msd_hop187_mean"]] + [f"mtt:{tag}" for tag in CLIP["mtt"]]
TAXONOMY = Taxonomy.load()
ROW: dict[str, Any] = {
    "rkey": "rain",
    "displayName": "Rain",
    "description": "Tape hiss and piano.",
    "pos": ["piano with tape hiss"],
    "tags": {"mtt:piano": 1, "mtt:quiet": 0.5},
}


MOODS = [
    *("calm", "focus", "sleep", "night-drive", "melancholy", "dreamy"),
    *("high-energy", "dance-floor", "groove", "heavy", "sunny", "strange"),
]
STRUCTURAL = ["fresh", "deep-cuts", "for-you", "more-like", "voices"]
RULE = {"tags": {"msd:punk": 1}, "at": 1.0}
VETO = {"styles": ["rock-punk"], "pack": "effnet", "without": RULE}
REQUIREMENT = {"quality": "instrumental", "pack": "effnet", "at": 0.6, "without": RULE}


def load(path: Path | None = None, **options: Any) -> tuple[Feed, ...]:
    return load_catalogue(path, taxonomy=TAXONOMY, known_tags=TAGS, known_moods=tag_names("moodtheme"), **options)


def write(folder: Path, *rows: dict[str, Any], **top: Any) -> Path:
    path = folder / "feeds.json"
    path.write_text(json.dumps({"feeds": list(rows)} | top), "utf-8")
    return path


def test_the_launch_set_is_complete_and_open() -> None:
    """FEEDS section 1: twelve moods and five that need none."""
    feeds = load()
    assert [feed.rkey for feed in feeds] == MOODS + STRUCTURAL
    assert [feed.kind.value for feed in feeds] == ["mood"] * 12 + STRUCTURAL
    assert [feed.rkey for feed in feeds if feed.personal] == ["for-you", "more-like"]


def test_p100_all_twelve_moods_are_valid() -> None:
    """Loading checks names, lengths, every tag against the tag space, every style and mood against the taxonomy."""
    feeds = [feed for feed in load() if feed.kind is FeedKind.MOOD]
    assert len(TAGS) == 100
    for feed in feeds:
        assert len(feed.rkey) <= 15
        assert len(feed.prompts) >= 3
        assert feed.negative_prompts
        assert feed.styles
        assert feed.moods
        assert feed.vetoes
        assert len([weight for weight in feed.tags.values() if weight > 0]) >= 3
        assert any(weight < 0 for weight in feed.tags.values())
    assert len({feed.display_name for feed in load()}) == 17


def test_every_gate_names_its_pack_and_the_rule_that_replaces_it() -> None:
    for feed in load():
        for gate in feed.gates:
            assert gate.pack == "effnet"
            assert any(gate.without.tags.values())
    focus = next(feed for feed in load() if feed.rkey == "focus")
    assert [(one.quality, one.at) for one in focus.requirements] == [(Quality.INSTRUMENTAL, 0.6)]


def test_the_launch_feeds_tell_the_reference_clips_apart() -> None:
    """A quiet jazz loop and a celesta are calm by the absolute bar; nothing among the clips is heavy."""

    def score(feed: Feed, clip: str) -> float:
        rows: tuple[tuple[TaggerName, str], ...] = (("msd", "msd_hop187_mean"), ("mtt", "mtt"))
        tags = [Tag(name, model, score) for model, key in rows for name, score in REFERENCE["clips"][clip][key].items()]
        return float(query_vector(feed.tags) @ tag_vector(tags))

    calm, dance_floor, heavy = (feed for feed in load() if feed.rkey in ("calm", "dance-floor", "heavy"))
    bar = Rules().absolute_score
    assert min(score(calm, clip) for clip in ("vibe-ace.ogg", "sugar-plum-fairy.ogg")) >= bar
    assert score(calm, "solo-trumpet.ogg") < 0
    assert score(dance_floor, "vibe-ace.ogg") >= bar > 0 > score(dance_floor, "sugar-plum-fairy.ogg")
    assert max(score(heavy, clip) for clip in ("vibe-ace.ogg", "sugar-plum-fairy.ogg", "solo-trumpet.ogg")) < 0


def test_a_feed_states_its_own_duration_or_gets_the_setting() -> None:
    feeds = {feed.rkey: feed for feed in load(min_seconds=5, max_seconds=900)}
    assert (feeds["calm"].min_seconds, feeds["calm"].max_seconds) == (5, 900)
    assert feeds["sleep"].min_seconds == 120
    for wrong in (1200.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(Misconfigured, match=r"^feeds\.min_seconds: .*less than 1200"):  # no feed is to blame
            load(min_seconds=wrong)


def test_a_veto_on_a_parent_holds_for_its_styles() -> None:
    sleep = next(feed for feed in load() if feed.rkey == "sleep")
    assert {"rock", "rock-punk"} <= set(sleep.vetoes[0].styles)
    assert "hip-hop-boom-bap" in sleep.vetoes[1].styles
    assert sleep.non_music == ("non-music-field-recording",)


def test_an_operators_veto_and_requirement(tmp_path: Path) -> None:
    (feed,) = load(write(tmp_path, ROW | {"veto": [VETO], "require": [REQUIREMENT]}))
    assert feed.vetoes[0].without == TagRule({"msd:punk": 1.0}, 1.0)
    assert (feed.vetoes[0].at, feed.requirements[0].at) == (0.15, 0.6)


def test_structural_feeds_can_be_renamed_and_limited(tmp_path: Path) -> None:
    row = {"rkey": "new", "kind": "fresh", "displayName": "New", "description": "All.", "min_seconds": 60}
    (feed,) = load(write(tmp_path, structural=[row]))
    assert (feed.rkey, feed.kind, feed.min_seconds) == ("new", FeedKind.FRESH, 60.0)
    assert load(write(tmp_path, structural=[row | {"enabled": False}])) == ()
    with pytest.raises(Misconfigured, match="twice"):
        load(write(tmp_path, ROW | {"rkey": "new"}, structural=[row]))


def test_an_operator_adds_a_feed_with_five_lines(tmp_path: Path) -> None:
    (feed,) = load(write(tmp_path, ROW))
    assert (feed.rkey, feed.tags, feed.min_seconds) == ("rain", {"mtt:piano": 1.0, "mtt:quiet": 0.5}, 30.0)


def test_prompts_are_worded_as_the_file_says(tmp_path: Path) -> None:
    assert {feed.wrappers for feed in load()} == {PROMPT_WRAPPERS}
    (feed,) = load(write(tmp_path, ROW, template_wrappers=["{}", "the sound of {}"]))
    assert feed.wrappers == ("{}", "the sound of {}")
    for wrong in ([], ["music"], "{}", [3]):
        with pytest.raises(Misconfigured, match="template_wrappers"):
            load(write(tmp_path, ROW, template_wrappers=wrong))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"displayName": "x" * 25}, "displayName.*24 characters"),
        ({"displayName": "👨‍👩‍👧‍👦" * 9}, "displayName.*240 bytes"),
        ({"description": "x" * 301}, "description.*300 characters"),
        ({"displayName": " "}, "displayName"),
        ({"rkey": "a/b"}, "rkey"),
        ({"rkey": ".."}, "rkey"),
        ({"rkey": None}, "rkey"),
        ({"tags": {}}, "at least one tag"),
        ({"tags": {"mtt:paino": 1}}, "did you mean 'mtt:piano'"),
        ({"tags": {"piano": 1}}, "unknown tag"),
        ({"tags": {"mtt:piano": "loud"}}, "number"),
        ({"tags": {"mtt:piano": float("nan")}}, "cannot be read"),  # JSON has no such number
        ({"tags": {"mtt:piano": 1e7}}, "number"),
        ({"tags": {"mtt:piano": True}}, "number"),
        ({"veto": [VETO | {"styles": ["rock-pnuk"]}]}, "did you mean 'rock-punk'"),
        ({"veto": [VETO | {"styles": []}]}, "styles.*list"),
        ({"veto": [VETO | {"pack": "clap"}]}, "pack that hears styles: effnet"),
        ({"veto": [{"styles": ["rock-punk"], "without": RULE}]}, "pack that hears styles"),
        ({"veto": [{"styles": ["rock-punk"], "pack": "effnet"}]}, "without.*must say"),
        ({"veto": [VETO | {"without": {"tags": {}, "at": 1}}]}, "without.tags.*at least one"),
        ({"veto": [VETO | {"without": {"tags": {"msd:pnuk": 1}, "at": 1}}]}, "did you mean 'msd:punk'"),
        ({"veto": [VETO | {"without": {"tags": {"msd:punk": 1}}}]}, "without.at.*number"),
        ({"veto": [VETO | {"at": 0}]}, "above 0"),
        ({"veto": [VETO | {"wihtout": RULE}]}, "did you mean 'without'"),
        ({"require": [REQUIREMENT | {"quality": "loud"}]}, "quality.*instrumental"),
        ({"require": [REQUIREMENT | {"at": 1.5}]}, "at most 1"),
        ({"require": {"instrumental": 0.6}}, "list of objects"),
        ({"mode": "lydian"}, "mode.*major or minor"),
        ({"moods": {"clam": 1}}, "unknown mood 'clam'; did you mean 'calm'"),
        ({"pos": []}, "pos.*at least one prompt"),
        ({"pos": ["piano", " "]}, "pos.*list of texts"),
        ({"pos": None}, "pos.*list of texts"),
        ({"rkey": "x" * 16}, "rkey.*15 characters"),
        ({"allow_non_music": ["non-music-poerty"]}, "did you mean 'non-music-poetry'"),
        ({"allow_non_music": ["rock-punk"]}, "'rock-punk' is music"),
        ({"styles": {"polka": 1}}, "unknown style"),
        ({"veto": "rock"}, "list"),
        ({"tag": {}}, "did you mean 'tags'"),
        ({"enabled": "yes"}, "true or false"),
        ({"min_seconds": 100, "max_seconds": 50}, "smaller"),
        ({"min_seconds": -1}, "smaller"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        load(write(tmp_path, ROW | change))


def test_a_feed_without_a_prompt_is_refused_by_name(tmp_path: Path) -> None:
    """Also where no pack reads prompts now: the pack that does may come later, and would have nothing to go by."""
    for row in ({key: ROW[key] for key in ROW if key != "pos"}, {**ROW, "pos": [], "neg": ["shouting"]}):
        with pytest.raises(Misconfigured, match=r"feeds\.json: rain\.pos: .*at least one prompt"):
            load(write(tmp_path, row))


def test_files_that_are_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="twice"):
        load(write(tmp_path, ROW, ROW))
    with pytest.raises(Misconfigured, match=r"structural.*list"):
        load(write(tmp_path, structural={}))
    with pytest.raises(Misconfigured, match=r"kind.*fresh"):
        load(write(tmp_path, structural=[{"rkey": "x", "kind": "mood", "displayName": "X", "description": "X"}]))
    with pytest.raises(Misconfigured, match="unknown key"):
        load(write(tmp_path, ROW, feed=[]))
    with pytest.raises(Misconfigured, match="cannot be read"):
        load(tmp_path / "absent.json")
    for name, content in (("deep", "[" * 100_000), ("lone", r'{"feeds": [], "_about": "\ud800"}'), ("cut", "{")):
        (tmp_path / name).write_text(content)
        with pytest.raises(Misconfigured, match="cannot be read"):
            load(tmp_path / name)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(Misconfigured, match="list `feeds`"):
        load(tmp_path / "list.json")
