"""The score of a mood feed, from stored vectors to the weight, reckoned a second time as FEEDS section 2 has it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.analysis import DIMENSIONS, Space
from core.clock import SystemClock
from core.feed import Feed, FeedQuery, MoodQuery, Questions
from core.types import AtUri, Cid, Track, TrackState, make_tid
from feedgen.corpus import Corpus
from feedgen.fits import CheckBook, measure_fits
from feedgen.rank import rank
from feedgen.rules import DAY_US, SLOT_US, Rules
from models.styles import build_style_query, style_columns
from store import Store, analyses, tracks
from store.index import VectorIndex
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
NOW_US = 20_000 * DAY_US + SLOT_US + 5
COUNT = 120
CALM = Feed("calm", "Calm", "Quiet.")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    yield opened
    await opened.close()


def share_below(values: Sequence[float]) -> list[float]:
    """Of each value: the share of all that are less, and half of those that are the same."""
    return [
        (sum(one < value for one in values) + 0.5 * sum(one == value for one in values)) / len(values)
        for value in values
    ]


async def test_feeds_2_from_vectors_to_weights(
    store: Store, tmp_path: Path, track: MakeTrack, corpus: Callable[..., Corpus]
) -> None:
    dice = np.random.default_rng(11)
    made = [track(number + 1, first_seen_us=NOW_US - number * DAY_US) for number in range(COUNT)]
    heard = dice.standard_normal((COUNT, DIMENSIONS[Space.CLAP]))
    heard /= np.linalg.norm(heard, axis=1, keepdims=True)
    named = dice.random((COUNT, DIMENSIONS[Space.EFFNET_TAGS]))
    named[:, -1] = 0.0
    named[:, style_columns()["electronic-ambient"][0]] = 0.5 + heard[:, 0] * 4  # the two agree, somewhat
    async with store.write() as tx:
        for place, one in enumerate(made):
            record = Track(AtUri.parse(one.uri), Cid(f"bafy{place}"), make_tid(1), one.title, 0)
            await tracks.put(tx, record, state=TrackState.READY, reason=None, now_us=1)
            vectors: Any = {Space.CLAP: heard[place], Space.EFFNET_TAGS: named[place]}
            vectors = {space: vector.astype(np.float32) for space, vector in vectors.items()}
            await analyses.put_vectors(tx, place + 1, "pack", vectors)
    spaces = {space: DIMENSIONS[space] for space in (Space.CLAP, Space.EFFNET_TAGS)}
    index = await VectorIndex.open(store, tmp_path / "index", spaces=spaces, generation="pack")
    positive, negative = (0.1 * dice.standard_normal((rows, DIMENSIONS[Space.CLAP])) for rows in (3, 2))
    positive[:, 0] += 1.0
    prompts = MoodQuery(Space.CLAP, positive.astype(np.float32), negative.astype(np.float32))
    styles = build_style_query({"electronic-ambient": 1.0, "rock-punk": -0.5}, {"calm": 1.0})
    asked = Questions({"calm": FeedQuery(prompts=prompts, styles=styles)})
    likes = {3: 2, 7: 40, 11: 500}
    whole = corpus(made, measure_fits(made, index, asked, CheckBook(), now_us=NOW_US), likes=likes)
    told = rank(CALM, whole, now_us=NOW_US, rules=Rules())

    fits, tags = [], []
    for place in range(COUNT):
        near = sorted(sum(a * b for a, b in zip(heard[place], row, strict=True)) for row in positive)
        far = max(sum(a * b for a, b in zip(heard[place], row, strict=True)) for row in negative)
        fits.append((near[-1] + near[-2]) / 2 - 0.5 * far)
        column = style_columns()
        tags.append(
            named[place][column["electronic-ambient"][0]]
            - 0.5 * named[place][column["rock-punk"][0]]
            + 0.5 * named[place][int(np.flatnonzero(build_style_query({}, {"calm": 1.0}).positive[0])[0])]
        )
    by_prompts, by_tags = share_below(fits), share_below(tags)
    moods = [0.6 * one + 0.4 * other for one, other in zip(by_prompts, by_tags, strict=True)]
    bar = float(np.quantile(moods, 0.85))
    admitted = {
        place for place in range(COUNT) if moods[place] >= bar and min(by_prompts[place], by_tags[place]) >= 0.6
    }
    assert told.threshold == pytest.approx(bar, abs=1e-9)
    assert {whole.places[entry.track_uri] for entry in told.entries} == admitted
    assert len(admitted) > 8
    since_us = NOW_US // SLOT_US * SLOT_US
    for entry in told.entries:
        place = whole.places[entry.track_uri]
        age_days = max(0, since_us - made[place].first_seen_us) / DAY_US
        fresh = 1 + 0.3 * 0.5 ** (age_days / 14)
        fame = 0.95 + 0.1 * min(1.0, math.log(1 + likes.get(place, 0)) / math.log(101))
        parts = entry.parts
        assert (parts.prompt, parts.tags) == pytest.approx((by_prompts[place], by_tags[place]), abs=1e-6)
        assert (parts.mood, parts.freshness) == pytest.approx((moods[place], fresh), abs=1e-6)
        assert parts.weight == pytest.approx(moods[place] * fresh * fame, abs=1e-6)
