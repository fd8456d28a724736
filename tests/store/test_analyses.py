"""Analyses, crashes and the vector log."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from core.analysis import Space
from core.link import LinkRule
from store import analyses, links

NOW = 1_800_000_000_000_000
TAGS, SOUND = Space.MUSICNN_TAGS, Space.MUSICNN_SOUND


async def test_an_analysis_comes_back_by_audio_and_pack(store, make):
    analysis = make.analysis(3)
    async with store.write() as tx:
        await analyses.put(tx, "audio", analysis, now_us=NOW)
    async with store.read() as r:
        found = await analyses.get(r, "audio", "pack-1")
        assert await analyses.get(r, "audio", "pack-2") is None
        assert await analyses.get(r, "other", "pack-1") is None
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
        found = await analyses.get(tx, "audio", "pack-1")
    assert (found.rms_dbfs, found.vectors) == (-200.0, {})


async def test_crashes_are_counted_by_audio(store):
    async with store.write() as tx:
        counts = [await analyses.note_crash(tx, audio, now_us=NOW) for audio in ("a", "b", "a")]
    assert counts == [1, 1, 2]


async def _log(store, after=0):
    async with store.read() as r:
        return [
            (row.seq, row.track_id, row.space, row.vector is not None)
            for row in await analyses.vector_log(r, after_seq=after, limit=100)
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
        (row,) = await analyses.vector_log(r, after_seq=2, limit=10)
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
