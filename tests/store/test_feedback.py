"""What viewers said about tracks: the last word, its bounds, and everything that makes it go."""

from __future__ import annotations

import pytest

from core.types import TrackState
from firehose.withdrawal import withdraw
from store import feedback
from store.feedback import Feedback, FeedWish, viewer_key
from tests.store.conftest import START_US

LESS, MORE = FeedWish.LESS, FeedWish.MORE
SECRET = b"s" * 32


async def test_the_last_word_on_a_track_counts_and_only_that_of_its_viewer(store, make):
    one, other = (viewer_key(make.did(number), SECRET) for number in (1, 2))
    first, second = make.uri(1), make.uri(2)
    async with store.write() as tx:
        await feedback.put(tx, one, "for-you", {first: LESS, second: LESS}, now_us=START_US)
        await feedback.put(tx, one, "more-like", {second: MORE}, now_us=START_US + 1)
        await feedback.put(tx, other, "for-you", {first: MORE}, now_us=START_US + 2)
        assert await feedback.of_viewer(tx, one) == [
            Feedback(second, "more-like", MORE, START_US + 1),
            Feedback(first, "for-you", LESS, START_US),
        ]
        assert await feedback.forget(tx, one) == 2
        assert await feedback.of_viewer(tx, one) == []
        assert len(await feedback.of_viewer(tx, other)) == 1


async def test_the_same_said_in_two_feeds_is_known_of_both_until_the_opposite_is_said(store, make):
    viewer = viewer_key(make.did(1), SECRET)
    uri = make.uri(1)
    async with store.write() as tx:
        for later, feed in enumerate(("for-you", "more-like", "for-you")):
            await feedback.put(tx, viewer, feed, {uri: LESS}, now_us=START_US + later)
        assert await feedback.of_viewer(tx, viewer) == [
            Feedback(uri, "for-you", LESS, START_US + 2),
            Feedback(uri, "more-like", LESS, START_US + 1),
        ]
        await feedback.put(tx, viewer, "more-like", {uri: MORE}, now_us=START_US + 3)
        assert await feedback.of_viewer(tx, viewer) == [Feedback(uri, "more-like", MORE, START_US + 3)]
        await feedback.put(tx, viewer, "for-you", {uri: MORE}, now_us=START_US + 4)
        assert await feedback.forget(tx, viewer) == 1, "one track, whatever was said of it"


async def test_nothing_in_the_database_names_a_viewer_without_the_secret(store, make, place):
    did = make.did(1)
    async with store.write() as tx:
        await feedback.put(tx, viewer_key(did, SECRET), "for-you", {make.uri(1): LESS}, now_us=START_US)
    (row,) = place.content()["feedback"]
    assert did not in repr(row)
    assert row[0] == viewer_key(did, SECRET) != viewer_key(did, b"t" * 32)


async def test_what_one_viewer_and_what_all_may_say_is_bounded(store, make, monkeypatch):
    monkeypatch.setattr(feedback, "MAX_OF_VIEWER", 3)
    monkeypatch.setattr(feedback, "MAX_HELD", 10)
    monkeypatch.setattr(feedback, "_DROPPED_AT_ONCE", 4)
    async with store.write() as tx:
        one = viewer_key(make.did(0), SECRET)
        for number in range(5):
            await feedback.put(tx, one, "for-you", {make.uri(number): LESS}, now_us=START_US + number)
        assert [said.track_uri for said in await feedback.of_viewer(tx, one)] == [make.uri(n) for n in (4, 3, 2)]
        for viewer in range(1, 30):
            key = viewer_key(make.did(viewer), SECRET)
            await feedback.put(tx, key, "for-you", {make.uri(1): MORE}, now_us=START_US + 10 + viewer)
            assert await tx.value("feedback.held") <= 10
        assert await feedback.of_viewer(tx, one) == []  # the oldest went first
        assert await feedback.of_viewer(tx, viewer_key(make.did(29), SECRET))


@pytest.mark.parametrize("old", [0, 1, 2])
async def test_what_is_too_old_goes(store, make, old):
    key = viewer_key(make.did(0), SECRET)
    async with store.write() as tx:
        for number in range(2):
            await feedback.put(tx, key, "for-you", {make.uri(number): LESS}, now_us=START_US + number)
        assert await feedback.erase(tx, before_us=START_US + old) == old
        assert len(await feedback.of_viewer(tx, key)) == 2 - old


async def test_what_was_said_of_a_track_goes_with_it(store, make):
    key = viewer_key(make.did(3), SECRET)
    async with store.write() as tx:
        for number in (1, 2):
            await make.stored(tx, make.track(number), TrackState.READY)
        await feedback.put(tx, key, "for-you", {make.uri(1): LESS, make.uri(2): LESS}, now_us=START_US)
        assert await withdraw(tx, make.uri(1), make.track(1, rev=2).rev, now_us=START_US)
        assert [said.track_uri for said in await feedback.of_viewer(tx, key)] == [make.uri(2)]
