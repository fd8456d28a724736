"""Feeds of one viewer's own: from their taste to candidates (FEEDS section 4), and the mix for strangers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from core.feed import Feed, FeedKind, Parts, Reason
from feedgen.candidates import Candidate
from feedgen.corpus import Corpus
from feedgen.duplicates import find_twins
from feedgen.likes import co_likes
from feedgen.posts import may_be_posted
from feedgen.ranking import MOST_TOLD, Ledger, Why
from feedgen.rotation import name_slot
from feedgen.rules import Rules
from feedgen.scoring import by_weight, measure_freshness, measure_popularity, suits
from feedgen.taste import (
    MIN_ANCHORS,
    Anchor,
    AnchorKind,
    Mask,
    Taste,
    Viewer,
    decay,
    nearest_to,
    taste_of,
)
from store.tracks import RankableTrack

_INSTRUMENTAL = 0.6  # FEEDS 1 (focus): 1 less the chance of a voice
STRANGERS_FIRST = 10  # FEEDS 4: places of more-like without the seed's artist
_DECAY = 20.0  # ranks; half of a mood feed's: what suits one viewer is a narrower choice, and likes turn it anyway
_MIX = 4_000  # tracks for strangers, more than any draw reaches
_MIXED = 0.5  # lambda of MMR for strangers, and for more-like (FEEDS 4)


@dataclass(frozen=True, slots=True)
class LineUp:
    """How candidates of a personal feed are lined up: a draw (none if `decay` is 0), then MMR with `relevance`."""

    seed: str
    decay: float
    exploration: float
    relevance: float


def find_personal(
    feed: Feed,
    corpus: Corpus,
    viewer: Viewer | None,
    *,
    now_us: int,
    rules: Rules,
    ledger: Ledger,
    with_posts: bool = True,
) -> list[Candidate]:
    """What suits the viewer, the weightiest first; a mix of what is liked and new for one who is not known.

    What the viewer does not want, and where posts are needed what has none that they read, takes no place among the
    nearest: a thousand tracks with a voice around a taste must not be all that one finds who wants none.
    """
    fits = np.array([bool(track.music) and suits(feed, track) for track in corpus.tracks], bool)
    if viewer is None:
        return find_cold(corpus, fits, now_us=now_us, rules=rules)
    anchors = usable_anchors(feed, corpus, viewer)
    objections = {
        place: objection
        for place in np.flatnonzero(fits).tolist()
        if (objection := _object(viewer, corpus.tracks[place]))
    }
    fits[list(objections)] = False
    found: list[Candidate] = []
    if anchors:
        near = fits & [may_be_posted(track, rules.posts) for track in corpus.tracks] if with_posts else fits
        found = _find_near(feed, corpus, viewer, anchors, near, now_us=now_us, rules=rules)
    if not found:
        found = find_cold(corpus, fits, now_us=now_us, rules=rules)
    found = _leave_out_known(corpus, viewer, found, ledger)
    for place in _nearest_first(corpus, list(objections), anchors)[:MOST_TOLD]:
        ledger.note(corpus.tracks[place].uri, Why.UNWANTED, objections[place])
    return found


def usable_anchors(feed: Feed, corpus: Corpus, viewer: Viewer | None) -> tuple[Anchor, ...]:
    """Those that the feed starts from; none when the viewer is cold: the newest seed, or all that were named; or at
    least three likes.
    """
    known = () if viewer is None else tuple(one for one in viewer.anchors if one.track_uri in corpus.places)
    if feed.kind is FeedKind.MORE_LIKE:
        heard = [one for one in known if corpus.sound[corpus.places[one.track_uri]].any()]
        named = tuple(one for one in heard if one.kind is AnchorKind.SEED)
        return named or tuple(one for one in heard if one.kind.of_one)[:1]
    return known if len(known) >= MIN_ANCHORS else ()


def find_cold(corpus: Corpus, fits: Mask, *, now_us: int, rules: Rules) -> list[Candidate]:
    """Of the tracks that fit, music that people like, and new music; diversity comes with the ranking."""
    most = max(1, int(corpus.likes.max(initial=0)))
    found = []
    for place in np.flatnonzero(fits).tolist():
        track = corpus.tracks[place]
        score = 0.5 + 0.5 * int(corpus.likes[place]) / most
        freshness = measure_freshness(track.first_seen_us, now_us, rules)
        parts = Parts(mood=score, freshness=freshness, weight=score * freshness)
        found.append(Candidate(place, track, parts, Reason.POPULAR))
    return by_weight(found)[:_MIX]


def plan_line_up(feed: Feed, viewer: Viewer | None, ranked: Sequence[Candidate], now_us: int, rules: Rules) -> LineUp:
    """The nearest sounds keep their order; all else is drawn anew in every slot, for each viewer apart."""
    if not ranked or viewer is None or ranked[0].reason is Reason.POPULAR:
        return LineUp(name_slot(feed.rkey, now_us), _DECAY, rules.exploration, _MIXED)
    seed = name_slot(f"{feed.rkey} {viewer.did}", now_us)
    if feed.kind is FeedKind.MORE_LIKE:
        return LineUp(seed, 0.0, 0.0, _MIXED)
    ranks = min(_DECAY, max(1.0, len(ranked) / 10))  # of a few tracks the first suit and the last do not
    return LineUp(seed, ranks, viewer.prefs.exploration, viewer.prefs.relevance)


def let_strangers_go_first(
    feed: Feed, corpus: Corpus, viewer: Viewer | None, order: Sequence[Candidate]
) -> list[Candidate]:
    """`more-like` shows the seeds' artists after ten others (FEEDS 4); other feeds stay as they are."""
    seeds = usable_anchors(feed, corpus, viewer) if feed.kind is FeedKind.MORE_LIKE else ()
    if not seeds:
        return list(order)
    artists = {corpus.tracks[corpus.places[seed.track_uri]].did for seed in seeds}
    return [order[place] for place in strangers_first([one.track.did for one in order], artists)]


def strangers_first(order: Sequence[str], artists: Collection[str]) -> list[int]:
    """Places of an order of artists, with those of `artists` behind the first ten others who differ from each other."""
    ahead, own, others = list[int](), list[int](), set[str]()
    for place, one in enumerate(order):
        if one in artists and len(others) < STRANGERS_FIRST:
            own.append(place)
            continue
        ahead.append(place)
        others.add(one)
        if len(others) >= STRANGERS_FIRST and own:
            ahead, own = ahead + own, []
    return ahead + own


def _leave_out_known(corpus: Corpus, viewer: Viewer, found: list[Candidate], ledger: Ledger) -> list[Candidate]:
    """Candidates, in their order, without what the viewer knows or wants no more of, in whatever upload."""
    told = (*viewer.disliked, *(one.track_uri for one in viewer.anchors))
    known = [corpus.places[uri] for uri in told if uri in corpus.places]
    twins = find_twins(known, [one.place for one in found], corpus.tracks, sound=corpus.sound, space=corpus.space)
    for one in found:
        if one.place in twins:
            ledger.note(one.track.uri, Why.UNWANTED, "known")
    return [one for one in found if one.place not in twins]


def _object(viewer: Viewer, track: RankableTrack) -> str:
    """What speaks against a track; empty: nothing."""
    prefs = viewer.prefs
    if track.did == viewer.did or track.did in viewer.left_out:
        return "artist"
    if prefs.muted_styles and prefs.muted_styles & {track.style, *track.labels}:
        return "style"
    if prefs.hide_machines and track.machine:
        return "machine"
    if prefs.min_seconds and (track.duration_seconds or 0.0) < prefs.min_seconds:
        return "short"
    if prefs.instrumental_only and (track.voice is None or 1.0 - track.voice < _INSTRUMENTAL):
        return "voice"
    return ""


def _nearest_first(corpus: Corpus, places: list[int], anchors: Sequence[Anchor]) -> list[int]:
    """Places by how much they sound like the anchors; without anchors as they are."""
    if not anchors or not places:
        return places
    middle = corpus.sound[[corpus.places[one.track_uri] for one in anchors]].mean(axis=0)
    likeness = (corpus.sound @ middle)[places]
    return [places[one] for one in np.argsort(-likeness, kind="stable").tolist()]


def _find_near(
    feed: Feed, corpus: Corpus, viewer: Viewer, anchors: Sequence[Anchor], fits: Mask, *, now_us: int, rules: Rules
) -> list[Candidate]:
    places = np.array([corpus.places[one.track_uri] for one in anchors], np.intp)
    if feed.kind is FeedKind.MORE_LIKE:
        taste, reason = nearest_to(corpus.sound, places, fits), Reason.SIMILAR
    else:
        likes, reason = co_likes(corpus.people, corpus.liked, places), Reason.LIKED_SIMILAR
        weights, pockets = decay(anchors, now_us), viewer.prefs.pockets
        taste = taste_of(corpus.sound, places, weights, pockets=pockets, together=likes, may_fit=fits)
    return by_weight(
        Candidate(place, corpus.tracks[place], parts, Reason.CO_LIKED if anchor < 0 else reason)
        for place, parts, anchor in _weigh(feed, corpus, taste, rules)
    )


def _weigh(feed: Feed, corpus: Corpus, taste: Taste, rules: Rules) -> list[tuple[int, Parts, int]]:
    """Place, parts and anchor of each row. Scores are shares of the best one; of nearest sounds, cosines."""
    nearest = feed.kind is FeedKind.MORE_LIKE
    best = 1.0 if nearest or not len(taste.scores) else float(taste.scores[0])
    weighed = []
    for place, score, anchor in zip(taste.rows.tolist(), taste.scores.tolist(), taste.anchors.tolist(), strict=True):
        popularity = 1.0 if nearest else measure_popularity(int(corpus.likes[place]), rules)
        mood = max(0.0, score / best)
        weighed.append((place, Parts(mood=mood, popularity=popularity, weight=mood * popularity), anchor))
    return weighed
