"""From a corpus to the order of a feed: the one way that every reader, preview and adapter gets (FEEDS sections 2-4).

Pure functions over values. What differs between kinds of feeds is who comes in question and how they are lined up;
which post shows a track, duplicates, diversity and caps are the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from core.feed import Feed, FeedKind
from feedgen.candidates import Candidate
from feedgen.corpus import Corpus
from feedgen.duplicates import drop_duplicates
from feedgen.mmr import diversify
from feedgen.personal import LineUp, find_personal, let_strangers_go_first, plan_line_up
from feedgen.posts import usable_posts
from feedgen.ranking import Ledger, Ranking, Why
from feedgen.rotation import draw, name_slot
from feedgen.rules import DAY_US, Rules
from feedgen.scoring import Admitted, admit
from feedgen.spacing import space_out
from feedgen.structural import find_deep_cuts, find_fresh, find_voices, take_turns
from feedgen.taste import Viewer

_BY_TIME = frozenset({FeedKind.FRESH, FeedKind.VOICES})


def rank(
    feed: Feed,
    corpus: Corpus,
    viewer: Viewer | None = None,
    *,
    now_us: int,
    rules: Rules,
    with_posts: bool = True,
    head: str | None = None,
) -> Ranking:
    """The order of a feed, at most `rules.max_entries`.

    `with_posts`: only tracks that a post can show, each with its best one; else every public track. `viewer` concerns
    personal feeds; None gets the mix for those we know nothing of. `head` is the track that stood first earlier in this
    slot: it stays there while the feed admits it (P113).
    """
    ledger = Ledger()
    if viewer is not None and viewer.prefs.langs:
        rules = replace(rules, posts=replace(rules.posts, langs=viewer.prefs.langs))
    admitted = _find(feed, corpus, viewer, now_us, rules, ledger, with_posts)
    plan = None if feed.kind in _BY_TIME else _plan(feed, viewer, admitted.candidates, now_us, rules)
    drawn = admitted.candidates if plan is None else _draw(admitted.candidates, plan, head)
    # Who stands far behind is never reached: to look at all of a large corpus would take minutes.
    shown = _with_posts(drawn, now_us, rules, ledger) if with_posts else drawn[: rules.considered]
    unique = drop_duplicates(shown, rules.posts, ledger, sound=corpus.sound, space=corpus.space, head=head)
    if plan is None:
        order = take_turns(unique)[: rules.max_entries]
    else:
        diverse = let_strangers_go_first(feed, corpus, viewer, _diversify(corpus, unique, plan, rules))
        order = space_out(diverse, rules, ledger)
    return Ranking(
        entries=tuple(candidate.entry() for candidate in order),
        scored=admitted.scored,
        threshold=admitted.threshold,
        matching=len(admitted.candidates),
        with_post=len(unique),
        paused=admitted.paused,
        checks=admitted.checks,
        aside=tuple(ledger.rows),
    )


def _find(
    feed: Feed,
    corpus: Corpus,
    viewer: Viewer | None,
    now_us: int,
    rules: Rules,
    ledger: Ledger,
    with_posts: bool,
) -> Admitted:
    """Who comes in question, the weightiest first."""
    match feed.kind:
        case FeedKind.MOOD:
            return admit(feed, corpus, now_us=now_us, rules=rules, ledger=ledger)
        case FeedKind.FRESH:
            found = find_fresh(feed, corpus)
        case FeedKind.VOICES:
            found = find_voices(feed, corpus)
        case FeedKind.DEEP_CUTS:
            found = find_deep_cuts(feed, corpus, now_us=now_us)
        case FeedKind.FOR_YOU | FeedKind.MORE_LIKE:
            found = find_personal(
                feed, corpus, viewer, now_us=now_us, rules=rules, ledger=ledger, with_posts=with_posts
            )
    return Admitted(found, sum(track.music is True for track in corpus.tracks), 0.0)


def _with_posts(order: Iterable[Candidate], now_us: int, rules: Rules, ledger: Ledger) -> list[Candidate]:
    """The first that a post can show, as many as are looked at."""
    shown: list[Candidate] = []
    for candidate in order:
        if len(shown) == rules.considered:
            break
        posts = usable_posts(candidate.track, rules.posts, now_us=now_us)
        if posts:
            shown.append(replace(candidate, post=posts[0]))
        else:
            ledger.note(candidate.track.uri, Why.NO_POST)
    return shown


def _plan(feed: Feed, viewer: Viewer | None, ranked: Sequence[Candidate], now_us: int, rules: Rules) -> LineUp:
    """How the order is drawn and diversified."""
    if feed.personal:
        return plan_line_up(feed, viewer, ranked, now_us, rules)
    share = rules.decay_share * len(ranked)
    if feed.kind is FeedKind.DEEP_CUTS:
        seed = name_slot(feed.rkey, now_us, length_us=DAY_US)
        return LineUp(seed, max(rules.deep_decay, share), rules.exploration, rules.relevance)
    return LineUp(name_slot(feed.rkey, now_us), max(rules.decay, share), rules.exploration, rules.relevance)


def _draw(ranked: Sequence[Candidate], plan: LineUp, head: str | None) -> list[Candidate]:
    """Drawn for this slot, the head kept."""
    order = list(ranked)
    if plan.decay:
        order = draw(ranked, seed=plan.seed, decay=plan.decay, exploration=plan.exploration)
    order.sort(key=lambda candidate: candidate.track.uri != head)
    return order


def _diversify(corpus: Corpus, order: list[Candidate], plan: LineUp, rules: Rules) -> list[Candidate]:
    """What sounds the same moves apart, where the corpus is large enough to have something else (FEEDS 6)."""
    if len(corpus.tracks) < rules.diversify_from:
        return order
    first, rest = order[: rules.diversified], order[rules.diversified :]
    relevance = 1.0 - np.arange(len(first)) / max(1, len(first))
    vectors = corpus.sound[[one.place for one in first]]
    picked = diversify(relevance, vectors, relevance_share=plan.relevance, count=len(first))
    return [first[place] for place in picked] + rest
