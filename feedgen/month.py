"""Thirty days of a feed as its readers see it: who gets a turn, how fairly, how varied, and how right (FEEDS 3 and 7).

The orders are those of `feedgen.rank`, with its draws, caps and diversity. The corpus stands still meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from core.feed import Feed, FeedKind
from feedgen.candidates import Candidate
from feedgen.corpus import Corpus
from feedgen.duplicates import drop_duplicates
from feedgen.rank import rank
from feedgen.ranking import Ledger
from feedgen.rules import SLOT_US, Rules
from feedgen.scoring import admit
from feedgen.structural import find_deep_cuts

SLOTS = 30 * 4  # six hours each
SEEN = 30  # entries that a reader sees of each order (FEEDS 3)
JUDGED = 20  # first entries of each order that precision is of


@dataclass(frozen=True, slots=True)
class Precision:
    """How right the first JUDGED entries are, as far as anybody said what the tracks are. Shares, 0..1."""

    share: float  # right, of those entries that something is known of
    chance: float  # the same of the whole corpus: what an order at random would have
    judged: int  # different tracks among those entries that something is known of
    known: int  # tracks of the corpus that something is known of
    right: int  # of these, tracks that the feed is for


@dataclass(frozen=True, slots=True)
class Month:
    """How thirty days of a feed went for the tracks that it admits. Each recording counts once."""

    rkey: str
    admitted: int
    shown: int  # of these, seen at least once
    entries: float  # in an order, on average: caps leave out who finds no place
    artists: int  # of the admitted
    gini: float  # of how often artists were seen: 0 all alike, 1 one alone
    gini_admitted: float  # of how many admitted tracks they have: how unequal the feed would be without caps
    distance: float | None  # 0..2, mean cosine distance of entries seen together; None: fewer than two were heard
    distance_admitted: float | None  # the same of all that are admitted
    precision: Precision | None  # None: nobody said of any track that the feed is for it

    @property
    def share(self) -> float | None:
        """Of the admitted tracks, those that were seen: the promise to artists is 0.9."""
        return self.shown / self.admitted if self.admitted else None


def live_a_month(
    feed: Feed, corpus: Corpus, *, now_us: int, rules: Rules, known: Mapping[str, frozenset[str]]
) -> Month:
    """Look at the first SEEN entries of a feed four times a day for thirty days.

    `known`: by the at-uri of a track, the rkeys of the feeds that it belongs in as far as somebody said so; of tracks
    that are not named nothing is known. Only for mood feeds and deep cuts: the others owe no track a turn.
    """
    admitted = _admit(feed, corpus, now_us, rules)
    seen = Counter[str]()
    pages: list[list[int]] = []
    lengths: list[int] = []
    for slot in range(SLOTS):
        order = rank(feed, corpus, now_us=now_us + slot * SLOT_US, rules=rules, with_posts=False)
        uris = [entry.track_uri for entry in order.entries[:SEEN]]
        seen.update(uris)
        lengths.append(len(order.entries))
        pages.append([corpus.places[uri] for uri in uris])
    artist_of = {one.track.uri: one.track.did for one in admitted}
    times = Counter(dict.fromkeys(artist_of.values(), 0))
    for uri in seen.keys() & artist_of.keys():
        times[artist_of[uri]] += seen[uri]
    heads = [[corpus.tracks[place].uri for place in page[:JUDGED]] for page in pages]
    return Month(
        rkey=feed.rkey,
        admitted=len(admitted),
        shown=len(seen.keys() & artist_of.keys()),
        entries=fmean(lengths),
        artists=len(times),
        gini=measure_gini(times.values()),
        gini_admitted=measure_gini(Counter(artist_of.values()).values()),
        distance=_mean(measure_distance(corpus, page) for page in pages),
        distance_admitted=measure_distance(corpus, [one.place for one in admitted]),
        precision=_judge(feed.rkey, heads, known),
    )


def measure_gini(counts: Iterable[int]) -> float:
    """Gini's coefficient, 0 (all have the same) to 1 (one has all); 0 where nobody has anything."""
    ordered = np.sort(np.fromiter(counts, np.float64))
    total = ordered.sum()
    if not total:
        return 0.0
    ranks = np.arange(1, len(ordered) + 1)
    return float((2 * ranks - len(ordered) - 1) @ ordered / (len(ordered) * total))


def measure_distance(corpus: Corpus, places: Sequence[int]) -> float | None:
    """Mean cosine distance of every two, 0..2; None if fewer than two of them were heard."""
    vectors = corpus.sound[list(places)]
    vectors = vectors[np.any(vectors, axis=1)].astype(np.float64)
    count = len(vectors)
    if count < 2:
        return None
    total = vectors.sum(axis=0)
    return float(1.0 - (total @ total - np.sum(vectors * vectors)) / (count * (count - 1)))


def _admit(feed: Feed, corpus: Corpus, now_us: int, rules: Rules) -> list[Candidate]:
    """Everybody who is owed a turn, each recording once."""
    if feed.kind is FeedKind.MOOD:
        found = admit(feed, corpus, now_us=now_us, rules=rules, ledger=Ledger()).candidates
    elif feed.kind is FeedKind.DEEP_CUTS:
        found = find_deep_cuts(feed, corpus, now_us=now_us)
    else:
        raise ValueError(f"{feed.rkey} owes no track a turn")
    return drop_duplicates(found, rules.posts, Ledger(), sound=corpus.sound, space=corpus.space)


def _judge(rkey: str, heads: Iterable[Sequence[str]], known: Mapping[str, frozenset[str]]) -> Precision | None:
    right = sum(rkey in feeds for feeds in known.values())
    judged = [uri for head in heads for uri in head if uri in known]
    if not right or not judged:
        return None
    share = fmean(rkey in known[uri] for uri in judged)
    return Precision(share, right / len(known), len(set(judged)), len(known), right)


def _mean(values: Iterable[float | None]) -> float | None:
    some = [value for value in values if value is not None]
    return fmean(some) if some else None
