"""The one way from a corpus to an order: what holds for whatever is ranked (FEEDS sections 2 and 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.feed import Feed, FeedKind, Reason
from feedgen.corpus import Corpus
from feedgen.fits import Fits
from feedgen.rank import rank
from feedgen.ranking import MOST_TOLD, Why
from feedgen.rules import SLOT_US, Rules
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
MakeCorpus = Callable[..., Corpus]
RULES = Rules()
STEADY = replace(RULES, decay=1e-9, decay_share=0.0, exploration=0.0)  # the best first, in every slot
FEED = Feed("calm", "Calm", "Quiet.", tags={"mtt:quiet": 1.0})
NOW_US = 2000 * 3_600_000_000 // SLOT_US * SLOT_US
KINDS = [Feed(kind.value, "Feed", "All.", kind) for kind in FeedKind]


def level(count: int, value: float = 3.0) -> dict[str, Fits]:
    return {"calm": Fits(tags=np.full(count, value)), "mood": Fits(tags=np.full(count, value))}


def order(corpus: Corpus, feed: Feed = FEED, **options: Any) -> list[int]:
    numbers = {track.uri: track.track_id for track in corpus.tracks}
    ranking = rank(feed, corpus, **({"now_us": NOW_US, "rules": STEADY} | options))
    return [numbers[entry.track_uri] for entry in ranking.entries]


def test_the_best_come_first_where_nothing_is_drawn(track: MakeTrack, corpus: MakeCorpus) -> None:
    told = corpus([track(number) for number in range(20)], {"calm": Fits(tags=np.arange(20) / 10 + 1)})
    assert order(told) == list(range(19, -1, -1))


def test_a_track_without_a_usable_post_counts_as_coverage_only(track: MakeTrack, corpus: MakeCorpus) -> None:
    told = corpus([track(1, posts=()), track(2)], level(2))
    ranking = rank(FEED, told, now_us=NOW_US, rules=STEADY)
    assert [entry.track_uri for entry in ranking.entries] == [told.tracks[1].uri]
    assert (ranking.scored, ranking.matching, ranking.with_post) == (2, 2, 1)
    assert [(one.track_uri, one.why) for one in ranking.aside] == [(told.tracks[0].uri, Why.NO_POST)]


def test_without_posts_every_public_track_is_ranked(track: MakeTrack, corpus: MakeCorpus) -> None:
    """What JSON, RSS and M3U show: tracks, not posts."""
    told = corpus([track(1, posts=()), track(2)], level(2))
    ranking = rank(FEED, told, now_us=NOW_US, rules=STEADY, with_posts=False)
    assert {(entry.track_uri, entry.post_uri) for entry in ranking.entries} == {(one.uri, None) for one in told.tracks}


@pytest.mark.parametrize("feed", KINDS, ids=lambda feed: feed.rkey)
@pytest.mark.parametrize("count", [0, 1, 12])
def test_every_kind_ranks_any_corpus(track: MakeTrack, corpus: MakeCorpus, feed: Feed, count: int) -> None:
    told = corpus([track(number, first_seen_us=0) for number in range(count)], level(count))
    ranking = rank(feed, told, now_us=NOW_US, rules=RULES)
    music_is_shown = feed.kind is not FeedKind.VOICES
    assert len(ranking.entries) == (count if music_is_shown else 0)
    assert all(entry.post_uri for entry in ranking.entries)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), slot=st.integers(0, 10**4))
def test_an_order_depends_on_nothing_but_what_it_is_made_from(
    track: MakeTrack, corpus: MakeCorpus, seed: int, slot: int
) -> None:
    """Preview is production: the same tracks in any order, at any time of a slot, give the same feed."""
    dice = np.random.default_rng(seed)
    tracks = [track(number, artist=int(dice.integers(12))) for number in range(40)]
    tags, sound = dice.standard_normal(40) + 1, dice.standard_normal((40, 6)).astype(np.float32)
    sound /= np.linalg.norm(sound, axis=1, keepdims=True)
    shuffled = dice.permutation(40)
    rules = replace(RULES, diversify_from=0)
    now_us = slot * SLOT_US
    one = order(corpus(tracks, {"calm": Fits(tags=tags)}, sound=sound), rules=rules, now_us=now_us)
    other = corpus([tracks[place] for place in shuffled], {"calm": Fits(tags=tags[shuffled])}, sound=sound[shuffled])
    assert order(other, rules=rules, now_us=now_us + SLOT_US - 1) == one


def test_p113_the_head_of_a_slot_stays_while_tracks_come_and_go(track: MakeTrack, corpus: MakeCorpus) -> None:
    """Position 0 changes at most once in six hours, unless the track itself goes."""
    dice = np.random.default_rng(1)
    tags = dice.standard_normal(400)
    sound = dice.standard_normal((400, 8)).astype(np.float32)
    sound /= np.linalg.norm(sound, axis=1, keepdims=True)
    changes = 0
    for slot in range(12):
        head: str | None = None
        for look in range(8):
            tracks = [track(number, first_seen_us=0) for number in range(300 + 10 * look)]
            told = corpus(tracks, {"calm": Fits(tags=tags[: len(tracks)])}, sound=sound[: len(tracks)])
            ranking = rank(FEED, told, now_us=NOW_US + slot * SLOT_US + look, rules=RULES, head=head)
            first = ranking.entries[0].track_uri
            changes += head is not None and first != head
            head = first
    assert changes == 0
    without = corpus([one for one in told.tracks if one.uri != head], {"calm": Fits(tags=tags[: len(tracks) - 1])})
    assert rank(FEED, without, now_us=NOW_US, rules=RULES, head=head).entries[0].track_uri != head


def test_another_slot_is_another_order_of_the_same_tracks(track: MakeTrack, corpus: MakeCorpus) -> None:
    told = corpus([track(number) for number in range(40)], level(40))
    one, other = (order(told, rules=RULES, now_us=NOW_US + slot * SLOT_US) for slot in (0, 1))
    assert one != other
    assert sorted(one) == sorted(other)
    reasons = Counter(entry.reason for entry in rank(FEED, told, now_us=NOW_US, rules=RULES).entries)
    assert set(reasons) <= {Reason.MOOD, Reason.EXPLORE}


def test_in_30_days_nine_in_ten_admitted_tracks_are_on_a_first_page(track: MakeTrack, corpus: MakeCorpus) -> None:
    """The promise to artists, through the whole ranking: caps, duplicates and MMR included. 400 of 2 700 admitted."""
    dice = np.random.default_rng(3)
    count = 2_700
    tracks = [
        track(number, artist=number % 900, album=f"Album {number // 5}", style=f"style-{number % 9}")
        for number in range(count)
    ]
    sound = dice.standard_normal((count, 16)).astype(np.float32)
    sound /= np.linalg.norm(sound, axis=1, keepdims=True)
    told = corpus(tracks, {"calm": Fits(tags=dice.standard_normal(count))}, sound=sound)
    shown: set[str] = set()
    for slot in range(120):
        ranking = rank(FEED, told, now_us=NOW_US + slot * SLOT_US, rules=RULES)
        shown.update(entry.track_uri for entry in ranking.entries[:30])
    assert ranking.matching == 400
    assert len(shown) / ranking.matching >= 0.9


def test_mmr_makes_the_first_page_sound_less_alike_from_300_tracks_on(track: MakeTrack, corpus: MakeCorpus) -> None:
    """The best of a feed are of one cluster, as they often are."""
    count, dice = 300, np.random.default_rng(4)
    tracks = [track(number, duration_seconds=60.0 + 4 * number) for number in range(count)]
    centres = np.eye(8, dtype=np.float32)[np.arange(count) // 38]
    sound = centres + 0.2 * dice.standard_normal((count, 8)).astype(np.float32)
    sound /= np.linalg.norm(sound, axis=1, keepdims=True)
    told = corpus(tracks, {"calm": Fits(tags=-np.arange(count, dtype=np.float64))}, sound=sound)
    rules = replace(STEADY, percentile=0.0, second_opinion=0.0)

    def alike(rules: Rules) -> float:
        page = sound[order(told, rules=rules)[:30]]
        return float((page @ page.T).mean())

    assert alike(rules) < 0.85 * alike(replace(rules, diversify_from=301))


def test_a_large_corpus_costs_no_more_than_what_is_looked_at(track: MakeTrack, corpus: MakeCorpus) -> None:
    """Of whatever many tracks there are, so many are compared with each other; the head is among them."""
    feed = Feed("deep-cuts", "Deep", "Old.", FeedKind.DEEP_CUTS)
    told = corpus([track(number, first_seen_us=0, posts=({},) * (number % 2)) for number in range(400)])
    head = told.tracks[399].uri
    ranking = rank(feed, told, now_us=NOW_US, rules=replace(RULES, considered=50), head=head)
    assert (ranking.matching, ranking.with_post, len(ranking.entries)) == (400, 50, 50)
    assert ranking.entries[0].track_uri == head


def test_a_ledger_is_bounded(track: MakeTrack, corpus: MakeCorpus) -> None:
    told = corpus([track(number, posts=()) for number in range(MOST_TOLD + 50)], level(MOST_TOLD + 50))
    ranking = rank(FEED, told, now_us=NOW_US, rules=replace(STEADY, percentile=0.0))
    assert len(ranking.aside) == MOST_TOLD


def test_no_reason_hides_another(track: MakeTrack, corpus: MakeCorpus) -> None:
    """However many tracks no post can show, an operator is told of the few that were too short."""
    short = [track(number, duration_seconds=5.0) for number in range(5)]
    told = corpus([*(track(5 + number, posts=()) for number in range(MOST_TOLD + 50)), *short], level(MOST_TOLD + 55))
    ranking = rank(FEED, told, now_us=NOW_US, rules=replace(STEADY, percentile=0.0, second_opinion=0.0))
    counts = Counter(one.why for one in ranking.aside)
    assert (counts[Why.NO_POST], counts[Why.DURATION]) == (MOST_TOLD, 5)
