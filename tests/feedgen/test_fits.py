"""What the packs say of a corpus, read from a real index: styles, tags, prompts, gates and checks (FEEDS section 2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.analysis import DIMENSIONS, Space, Vector
from core.clock import SystemClock
from core.feed import FeedQuery, MoodQuery, Quality, Questions, Requirement, TagRule, Veto
from core.types import AtUri, Cid, Track, TrackState, make_tid
from feedgen.checks import Trust
from feedgen.fits import CheckBook, Fits, measure_fits
from feedgen.ranking import Why
from feedgen.rules import DAY_US
from models.moods import build_query, tag_positions
from models.styles import UNKNOWN, build_style_query, style_columns
from store import Store, analyses, tracks
from store.index import VectorIndex
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
Build = Callable[..., Any]
NOW_US = 20_000 * DAY_US
PUNK = Veto(("rock-punk",), TagRule({"msd:punk": 1.0}, 1.5))
INSTRUMENTAL = Requirement(Quality.INSTRUMENTAL, 0.6, TagRule({"mtt:no vocals": 1.0}, 0.5))
AMBIENT = build_style_query({"electronic-ambient": 1.0}, {"calm": 1.0})
QUIET = build_query({"mtt:quiet": 1.0})


def styled(scores: Mapping[str, float] | None = None, *, voice: float = 0.0) -> Vector:
    vector = np.zeros(DIMENSIONS[Space.EFFNET_TAGS], np.float32)
    for style, score in (scores or {}).items():
        vector[style_columns()[style][0]] = score
    vector[-1] = voice
    return vector


def tagged(scores: Mapping[str, float]) -> Vector:
    vector = np.zeros(DIMENSIONS[Space.MUSICNN_TAGS], np.float32)
    for tag, score in scores.items():
        vector[tag_positions()[tag]] = score
    return vector


def ask(**query: Any) -> Questions:
    gates = tuple((gate, build_query(gate.without.tags)) for gate in query.pop("gates", ()))
    return Questions({"calm": FeedQuery(gates=gates, **query)}, neutral=query.pop("neutral", None))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    yield opened
    await opened.close()


async def fill(
    store: Store, folder: Path, made: Sequence[RankableTrack], vectors: Sequence[Mapping[Space, Vector]]
) -> VectorIndex:
    """An index that has these vectors of these tracks, of exactly the spaces that are named."""
    async with store.write() as tx:
        for place, one in enumerate(made):
            record = Track(AtUri.parse(one.uri), Cid(f"bafy{place}"), make_tid(1), one.title, 0)
            await tracks.put(tx, record, state=TrackState.READY, reason=None, now_us=1)
            await analyses.put_vectors(tx, place + 1, "pack", vectors[place])
    spaces = {space: DIMENSIONS[space] for spaces in vectors for space in spaces}
    return await VectorIndex.open(store, folder / "index", spaces=spaces, generation="pack")


def measure(index: VectorIndex, made: Sequence[RankableTrack], questions: Questions) -> Fits:
    return measure_fits(made, index, questions, CheckBook(), now_us=NOW_US)["calm"]


async def test_styles_count_where_effnet_listened_to_enough_and_tags_before(
    store: Store, tmp_path: Path, track: MakeTrack
) -> None:
    made = [track(number + 1) for number in range(60)]
    vectors = [
        {
            Space.EFFNET_TAGS: styled({"electronic-ambient": number / 100}),
            Space.MUSICNN_TAGS: tagged({"mtt:quiet": -number / 30}),
        }
        for number in range(60)
    ]
    index = await fill(store, tmp_path, made, vectors)
    many = measure(index, made, ask(styles=AMBIENT, tags=QUIET)).tags
    few = measure(index, made[:49], ask(styles=AMBIENT, tags=QUIET)).tags
    assert many is not None
    assert few is not None
    np.testing.assert_allclose(many, np.arange(60) / 100, atol=1e-6)
    assert few.argmax() == 0, "how ambient usual music is, nobody knows before there is a corpus"
    assert measure(index, made[:49], ask(styles=AMBIENT)).tags is None


async def test_what_a_feed_does_not_take_does_not_make_its_corpus_large_enough(
    store: Store, tmp_path: Path, track: MakeTrack
) -> None:
    """49 pieces of music, and field recordings for another feed: scores of styles are no standard deviations."""
    field = {"music": False, "labels": ("non-music", "non-music-field-recording")}
    made = [track(number + 1, **(field if number >= 49 else {"minor": number > 0})) for number in range(60)]
    vectors = [
        {Space.EFFNET_TAGS: styled({"electronic-ambient": 0.9}), Space.MUSICNN_TAGS: tagged({"mtt:quiet": 1.0})}
    ] * 60
    index = await fill(store, tmp_path, made, vectors)
    sleep = frozenset({"non-music-field-recording"})
    calm = FeedQuery(styles=AMBIENT, tags=QUIET, mode="minor")
    asked = Questions({"calm": calm, "sleep": FeedQuery(styles=AMBIENT, tags=QUIET, non_music=sleep)})
    found = measure_fits(made, index, asked, CheckBook(), now_us=NOW_US)
    told, slept = found["calm"].tags, found["sleep"].tags
    assert told is not None
    assert slept is not None
    np.testing.assert_allclose(told[:49], 1.0, atol=0.01)
    assert [gate.name for gate in found["calm"].gates] == ["minor key"], "tags alone judge"
    np.testing.assert_allclose(slept, 0.9, atol=1e-6)


async def test_what_is_no_music_is_no_part_of_the_corpus_unless_the_feed_wants_it(
    store: Store, tmp_path: Path, track: MakeTrack
) -> None:
    made = [
        track(1),
        track(2, music=False, labels=("non-music", "non-music-field-recording")),
        track(3, music=False),
        track(4, music=None),
        track(5),
    ]
    vectors = [{Space.MUSICNN_TAGS: tagged({"mtt:quiet": 1.0})}] * 4 + [{Space.MUSICNN_SOUND: np.ones(400, np.float32)}]
    index = await fill(store, tmp_path, made, vectors)
    plain = measure(index, made, ask(tags=QUIET)).tags
    wanting = measure(index, made, ask(tags=QUIET, non_music=frozenset({"non-music-field-recording"}))).tags
    assert plain is not None
    assert wanting is not None
    assert np.isfinite(plain).tolist() == [True, False, False, False, False]
    assert np.isfinite(wanting).tolist() == [True, True, False, False, False]


async def test_a_veto_is_heard_by_its_pack(store: Store, tmp_path: Path, track: MakeTrack) -> None:
    made = [track(number + 1) for number in range(3)]
    loud = tagged({"msd:punk": 3.0})  # the tag rule would bar them all
    vectors = [
        {Space.EFFNET_TAGS: styled({"rock-punk": score}), Space.MUSICNN_TAGS: loud} for score in (0.1499, 0.15, 0.9)
    ]
    (gate,) = measure(await fill(store, tmp_path, made, vectors), made, ask(tags=QUIET, gates=(PUNK,))).gates
    assert (gate.why, gate.name, gate.bars.tolist()) == (Why.VETO, "rock-punk", [False, True, True])
    np.testing.assert_allclose(gate.strength, [0.1499, 0.15, 0.9], atol=1e-6)


async def test_without_the_pack_its_tag_rule_bars_and_what_nobody_heard_is_barred_too(
    store: Store, tmp_path: Path, track: MakeTrack
) -> None:
    """Never a silent pass."""
    made = [track(number + 1) for number in range(3)]
    heard = [{Space.MUSICNN_TAGS: tagged({"msd:punk": score})} for score in (1.4, 1.6)]
    index = await fill(store, tmp_path, made, [*heard, {Space.MUSICNN_SOUND: np.ones(400, np.float32)}])
    (gate,) = measure(index, made, ask(tags=QUIET, gates=(PUNK,))).gates
    assert gate.bars.tolist() == [False, True, True]


async def test_a_requirement_is_met_by_its_pack_by_the_tag_rule_or_not_at_all(
    store: Store, tmp_path: Path, track: MakeTrack
) -> None:
    """Where the head for voices is not installed, effnet does not know: the tag rule stands in."""
    made = [track(number + 1) for number in range(5)]
    sung, played = tagged({"mtt:no vocals": -1.0}), tagged({"mtt:no vocals": 1.0})
    vectors = [
        {Space.EFFNET_TAGS: styled(voice=0.39), Space.MUSICNN_TAGS: sung},
        {Space.EFFNET_TAGS: styled(voice=0.41), Space.MUSICNN_TAGS: played},
        {Space.EFFNET_TAGS: styled(voice=UNKNOWN), Space.MUSICNN_TAGS: sung},
        {Space.EFFNET_TAGS: styled(voice=UNKNOWN), Space.MUSICNN_TAGS: played},
        {Space.EFFNET_TAGS: styled(voice=UNKNOWN)},
    ]
    index = await fill(store, tmp_path, made, vectors)
    (gate,) = measure(index, made, ask(tags=QUIET, gates=(INSTRUMENTAL,))).gates
    assert (gate.why, gate.name) == (Why.REQUIREMENT, "instrumental")
    assert gate.bars.tolist() == [False, True, True, False, True]


async def test_where_tags_alone_judge_a_feed_may_ask_for_the_key(
    store: Store, tmp_path: Path, track: MakeTrack
) -> None:
    """Calm and sad are one in the tag space (POLICY-MUSICNN); with effnet they are not."""
    made = [track(number + 1, minor=minor) for number, minor in enumerate((True, False, None))]
    quiet = tagged({"mtt:quiet": 1.0})
    index = await fill(store, tmp_path, made, [{Space.MUSICNN_TAGS: quiet}] * 3)
    (gate,) = measure(index, made, ask(tags=QUIET, mode="minor")).gates
    assert (gate.name, gate.bars.tolist()) == ("minor key", [False, True, True])
    (gate,) = measure(index, made, ask(tags=QUIET, mode="major")).gates
    assert gate.bars.tolist() == [True, False, True]


def near(dice: np.random.Generator, axis: int, amount: float) -> Vector:
    vector = 0.06 * dice.standard_normal(DIMENSIONS[Space.CLAP])
    vector[axis] += amount
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def texts(dice: np.random.Generator, count: int, axis: int | None = None) -> Vector:
    rows = dice.standard_normal((count, DIMENSIONS[Space.CLAP])).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if axis is not None:
        rows[:, axis] += 1.0
    return rows


async def test_prompts_are_checked_from_300_tracks_on_and_once_a_night(
    store: Store, tmp_path: Path, track: MakeTrack
) -> None:
    """A tenth of the tracks are what one feed means; what the other says means nothing here."""
    dice = np.random.default_rng(2)
    made = [track(number + 1) for number in range(300)]
    vectors = [
        {
            Space.CLAP: near(dice, 0, 0.8 if number % 10 == 0 else 0.0),
            Space.MUSICNN_TAGS: tagged({"mtt:quiet": float(dice.normal() + (number % 10 == 0) * 2)}),
        }
        for number in range(300)
    ]
    index = await fill(store, tmp_path, made, vectors)
    none = np.empty((0, DIMENSIONS[Space.CLAP]), np.float32)
    meant = FeedQuery(MoodQuery(Space.CLAP, texts(dice, 3, axis=0), none), tags=QUIET)
    noise = FeedQuery(MoodQuery(Space.CLAP, texts(dice, 3), none), tags=build_query({"msd:House": 1.0}))
    asked = Questions({"calm": meant, "noise": noise}, neutral=texts(dice, 200))
    book = CheckBook()
    found = measure_fits(made, index, asked, book, now_us=NOW_US)
    assert found["calm"].checks is not None
    assert found["calm"].checks.trust is Trust.BOTH
    assert found["calm"].prompts is not None
    assert set(found["calm"].prompts.argsort()[-30:].tolist()) == set(range(0, 300, 10))
    assert found["noise"].checks is not None
    assert found["noise"].checks.trust is not Trust.BOTH
    assert found["noise"].prompts is None, "what means nothing is not ranked by"

    few = measure_fits(made[:299], index, asked, CheckBook(), now_us=NOW_US)
    assert (few["noise"].checks, few["noise"].prompts is not None) == (None, True), "too few to tell"
    later = measure_fits(made, index, asked, book, now_us=NOW_US + DAY_US - 1)
    assert later["calm"].checks is found["calm"].checks, "until the night is over"
    tomorrow = measure_fits(made, index, asked, book, now_us=NOW_US + DAY_US)
    assert tomorrow["calm"].checks is not found["calm"].checks
