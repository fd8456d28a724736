"""Analyses, crashes and the vector logs of generations."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from core.analysis import Acoustics, Segment, Space, Tag
from core.link import LinkRule
from store import analyses, generations, links

NOW = 1_800_000_000_000_000
TAGS, SOUND = Space.MUSICNN_TAGS, Space.MUSICNN_SOUND


ACOUSTICS = Acoustics(
    bpm=128.0,
    bpm_confidence=0.9,
    key="F#",
    mode="minor",
    key_confidence=0.2,
    loudness_lufs=-9.5,
    loudness_range_lu=None,
    sample_peak_dbfs=-0.1,
    true_peak_dbtp=0.25,
    clipped=0.0,
    peaks=bytes(range(200)) * 4,
    channels=2,
    sample_rate=44_100,
    speech=0.0,
    music=0.9,
    voice=0.25,
)
SEGMENTS = (Segment(0.0, 300.0, (Tag("techno", "msd", 0.5),)), Segment(300.0, 601.5, ()))


@pytest.mark.parametrize(
    "extra", [{}, {"acoustics": ACOUSTICS, "segments": SEGMENTS, "packs": {"musicnn": "a", "effnet": "b"}}]
)
async def test_an_analysis_comes_back_by_audio_and_generation(store, make, extra):
    analysis = make.analysis(3, **extra)
    async with store.write() as tx:
        await analyses.put(tx, "audio", analysis, now_us=NOW)
    async with store.read() as r:
        found = await analyses.get(r, "audio", analysis.generation)
        assert await analyses.get(r, "audio", "another generation") is None
        assert await analyses.get(r, "other", analysis.generation) is None
    for field in dataclasses.fields(analysis):
        if field.name != "vectors":
            assert getattr(found, field.name) == getattr(analysis, field.name)
    assert list(found.vectors) == [TAGS, SOUND]
    for space, vector in analysis.vectors.items():
        np.testing.assert_array_equal(found.vectors[space], vector)
        assert found.vectors[space].dtype == np.float32


async def test_silence_has_a_number_and_a_second_analysis_replaces_the_first(store, make):
    async with store.write() as tx:
        await analyses.put(tx, "audio", make.analysis(1), now_us=NOW)
        await analyses.put(tx, "audio", make.analysis(2, rms_dbfs=-math.inf, vectors={}), now_us=NOW)
        found = await analyses.get(tx, "audio", make.generation)
    assert (found.rms_dbfs, found.vectors) == (-200.0, {})


async def test_crashes_are_counted_by_audio(store):
    async with store.write() as tx:
        counts = [await analyses.note_crash(tx, audio, now_us=NOW) for audio in ("a", "b", "a")]
    assert counts == [1, 1, 2]


async def test_people_are_shown_what_serves_else_what_is_newest(store, make):
    older, newer = make.analysis(1, packs={"musicnn": "1"}), make.analysis(2, packs={"musicnn": "2"})
    async with store.write() as tx:
        assert await analyses.shown(tx, "audio") is None
        await analyses.put(tx, "audio", older, now_us=NOW)
        await analyses.put(tx, "audio", newer, now_us=NOW + 1)
        assert (await analyses.shown(tx, "audio")).packs == {"musicnn": "2"}
        await generations.arrange(tx, older.packs, now_us=NOW)
        assert (await analyses.shown(tx, "audio")).packs == {"musicnn": "1"}


async def _log(store, generation="p"):
    async with store.read() as r:
        return [
            (row.seq, row.track_id, row.space, row.vector is not None)
            for row in await analyses.vector_log(r, generation, after_seq=0, limit=100)
        ]


async def test_the_vector_log_moves_what_changed_and_only_that(store, make):
    async with store.write() as tx:
        number = await make.stored(tx, make.track(1))
        await analyses.put_vectors(tx, number, "p", {TAGS: make.vector(1), SOUND: make.vector(1, 400)})
    assert await _log(store) == [(1, number, TAGS, True), (2, number, SOUND, True)]
    heard = store.bell.count("vector")
    async with store.write() as tx:
        await analyses.put_vectors(tx, number, "p", {TAGS: make.vector(1)})
    assert store.bell.count("vector") == heard  # the same bytes: nothing to follow
    async with store.write() as tx:
        await analyses.put_vectors(tx, number, "p", {TAGS: make.vector(2), SOUND: make.vector(1, 400)})
    assert store.bell.count("vector") == heard + 1
    assert await _log(store) == [(2, number, SOUND, True), (3, number, TAGS, True)]
    async with store.read() as r:
        (row,) = await analyses.vector_log(r, "p", after_seq=2, limit=10)
    np.testing.assert_array_equal(row.vector, make.vector(2))


async def test_dropped_vectors_stay_in_the_log_as_removals_once(store, make):
    async with store.write() as tx:
        number = await make.stored(tx, make.track(1))
        await analyses.put_vectors(tx, number, "p", {TAGS: make.vector(1)})
        await analyses.drop_vectors(tx, number)
        await analyses.drop_vectors(tx, number)
    assert await _log(store) == [(2, number, TAGS, False)]
    async with store.write() as tx:
        await analyses.put_vectors(tx, number, "p", {TAGS: make.vector(1)})
    assert await _log(store) == [(3, number, TAGS, True)]


async def test_each_generation_has_its_own_log(store, make):
    async with store.write() as tx:
        number = await make.stored(tx, make.track(1))
        await analyses.put_vectors(tx, number, "p", {TAGS: make.vector(1)})
        await analyses.put_vectors(tx, number, "q", {TAGS: make.vector(1), SOUND: make.vector(2, 400)})
    assert await _log(store, "p") == [(1, number, TAGS, True)]
    assert await _log(store, "q") == [(2, number, TAGS, True), (3, number, SOUND, True)]
    async with store.write() as tx:
        await analyses.drop_vectors(tx, number, "q")
    assert await _log(store, "p") == [(1, number, TAGS, True)]
    async with store.write() as tx:
        await analyses.drop_vectors(tx, number)
    assert await _log(store, "p") == [(6, number, TAGS, False)]
    assert [row[3] for row in await _log(store, "q")] == [False, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
async def test_vectors_that_are_not_finite_are_refused(store, make, bad):
    vector = make.vector(1)
    vector[7] = bad
    async with store.write() as tx:
        number = await make.stored(tx, make.track(1))
        with pytest.raises(ValueError, match="finite"):
            await analyses.put_vectors(tx, number, "p", {TAGS: vector})
        with pytest.raises(ValueError, match="finite"):
            await analyses.put(tx, "audio", make.analysis(vectors={TAGS: vector}), now_us=NOW)
    assert await _log(store) == []


async def test_links_the_surest_rule_counts_and_a_dropped_post_is_gone(store, make):
    weak = make.link("https://plyr.fm/track/1", rule=LinkRule.PAGE_IN_FACET, reply=True, adult=True, targets_in_post=2)
    strong = dataclasses.replace(weak, rule=LinkRule.ASSOCIATED_REF, card=True)
    async with store.write() as tx:
        await links.put(tx, [weak, strong, weak], now_us=NOW)  # before the track is known
        await make.stored(tx, make.track(1, page_url="https://plyr.fm/track/1"))
        assert await links.of_track(tx, make.uri(1)) == [strong]
        await links.put(tx, [], now_us=NOW)
        await links.drop_post(tx, weak.post_uri)
        assert await links.of_track(tx, make.uri(1)) == []
