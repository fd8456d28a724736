"""From mood scores to the order of a feed: pure functions over values (FEEDS.md sections 2 and 3).

A score is in standard deviations whatever space it comes from: of a single tag (`models.moods.score_tags`), or of how
near a feed's prompts are to the tracks of the corpus (`models.prompts.score_prompts`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from core.feed import FeedEntry, MoodFeed
from core.link import Link
from feedgen.posts import PostRules, is_post, preference, usable_posts
from store.tracks import RankableTrack

_DAY_US = 86_400_000_000
_SLOT_US = _DAY_US // 4
_MAX_TITLE = 300
_VERSION_WORDS = r"\b(?:re-?master(?:ed)?|live|demo|edit|feat|ft|featuring)\b"
_VERSION = re.compile(
    rf"[(\[][^()\[\]]*{_VERSION_WORDS}[^()\[\]]*[)\]]"  # (2011 Remaster), [feat. someone]
    rf"|\s[-–—]\s[^-–—]*{_VERSION_WORDS}[^-–—]*\Z"  # - live in Berlin
    r"|\s(?:feat|ft|featuring)\b.*\Z"
)


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of ranking.

    `absolute_score` admits while the corpus is too small for percentiles. Tags that a mood asks for go together, so
    scores spread wider than a single tag does: sd 1.5 to 4 over the pieces measured, where a piece of another mood
    scored below 0.3 and one of the mood itself above 0.85, but for neighbours (metal is danceable). 0.75 lies between.
    """

    percentile_from: int = 50  # scored tracks; below it scores are absolute (issue 2)
    absolute_score: float = 0.75
    percentile: float = 85.0  # FEEDS 2.4
    freshness: float = 0.3  # FEEDS 3: a new track's score counts up to 30 % more
    freshness_half_life_days: float = 14.0
    posts: PostRules = field(default_factory=PostRules)
    max_entries: int = 500
    near: tuple[int, int] = (1, 10)  # at most 1 track of an artist in any 10 entries
    far: tuple[int, int] = (2, 50)  # and 2 in any 50


@dataclass(frozen=True, slots=True)
class Ranked:
    """A track at its place, the post that shows it, its mood score and the weight that orders it."""

    track: RankableTrack
    post: Link
    score: float
    weight: float

    def entry(self) -> FeedEntry:
        """As a feed entry. What is not a post can never become one: the AppView would drop it silently (P105)."""
        if not is_post(self.post.post_uri):
            raise AssertionError(f"a feed entry must be a post, not {self.post.post_uri}")
        return FeedEntry(self.post.post_uri, self.track.uri, self.score)


@dataclass(frozen=True, slots=True)
class Ranking:
    """A feed's order and how it came about, for the status page."""

    ranked: tuple[Ranked, ...]
    scored: int  # tracks with a vector: the corpus
    threshold: float  # score that admits
    matching: int  # admitted, whether or not a post shows them
    with_post: int  # of these, tracks with a usable post


def rank(
    feed: MoodFeed, tracks: Iterable[RankableTrack], scores: Mapping[int, float], *, now_us: int, rules: Rules
) -> Ranking:
    """The order of a mood feed. `scores` maps track_id to mood score; a track without one is not in the corpus."""
    corpus = [track for track in tracks if track.track_id in scores]
    threshold = admission_threshold([scores[track.track_id] for track in corpus], rules)
    matching = [track for track in corpus if scores[track.track_id] >= threshold and suits(feed, track)]
    shown: list[Ranked] = []
    for track in matching:
        posts = usable_posts(track, rules.posts, now_us=now_us)
        if posts:
            score = scores[track.track_id]
            shown.append(Ranked(track, posts[0], score, weigh(score, track.first_seen_us, now_us, rules)))
    order = sorted(drop_duplicates(shown, rules.posts), key=lambda ranked: (-ranked.weight, ranked.track.uri))
    return Ranking(space_artists(order, rules), len(corpus), threshold, len(matching), len(shown))


def admission_threshold(scores: Sequence[float], rules: Rules) -> float:
    """The score that admits: absolute in a small corpus, else the percentile of this one."""
    if len(scores) < rules.percentile_from:
        return rules.absolute_score
    return float(np.percentile(scores, rules.percentile))


def suits(feed: MoodFeed, track: RankableTrack) -> bool:
    """Whether neither a label nor the duration keeps the track out. An unknown duration does not."""
    if any(label in feed.veto for label in track.labels):
        return False
    return track.duration_seconds is None or feed.min_seconds <= track.duration_seconds <= feed.max_seconds


def weigh(score: float, first_seen_us: int, now_us: int, rules: Rules) -> float:
    """Score with freshness. Age counts from when we first saw the track, not from what its record claims.

    It moves in steps of six hours, so that the head of a feed does not change between two polls (P113).
    """
    age_days = max(0, now_us - now_us % _SLOT_US - first_seen_us) / _DAY_US
    return score + abs(score) * rules.freshness * math.exp2(-age_days / rules.freshness_half_life_days)


def drop_duplicates(ranked: Iterable[Ranked], rules: PostRules) -> list[Ranked]:
    """One entry per audio, per post, and per title of an account at the same length (within 3 s); the best post stays.

    A second signal besides the title is needed: a live take has its studio version's title and another length. One
    post can stand for two records when the second claims the page of the first.
    """
    kept: list[Ranked] = []
    taken: set[str] = set()  # audio keys and posts
    titles: dict[tuple[str, str], list[float | None]] = {}
    for candidate in sorted(ranked, key=lambda one: (*preference(one.track, one.post, rules), one.track.uri)):
        track = candidate.track
        lengths = titles.setdefault((track.did, normalise_title(track.title)), [])
        if not taken.isdisjoint(_signatures(candidate)) or any(
            _same_length(track.duration_seconds, n) for n in lengths
        ):
            continue
        lengths.append(track.duration_seconds)
        taken |= _signatures(candidate)
        kept.append(candidate)
    return kept


def normalise_title(title: str) -> str:
    """A title without case, punctuation and version words: what two uploads of one song share."""
    plain = unicodedata.normalize("NFKC", title[:_MAX_TITLE]).casefold().strip()
    bare = "".join(char for char in _VERSION.sub(" ", f" {plain}") if char.isalnum())
    return bare or plain


def space_artists(order: Iterable[Ranked], rules: Rules) -> tuple[Ranked, ...]:
    """The same order with artists spaced out: who comes too soon waits for the next place that is free.

    Whoever finds no place any more is left out: the promise "at most 1 in any 10, 2 in any 50" holds at the end of
    a feed as well. At most `rules.max_entries`.
    """
    placed: list[Ranked] = []
    waiting: dict[str, deque[tuple[int, Ranked]]] = {}
    stream = iter(enumerate(order))
    while len(placed) < rules.max_entries:
        near = Counter(one.track.did for one in placed[-rules.near[1] + 1 :])
        far = Counter(one.track.did for one in placed[-rules.far[1] + 1 :])
        closed = {artist for artist, count in near.items() if count >= rules.near[0]}
        closed |= {artist for artist, count in far.items() if count >= rules.far[0]}
        free = [queue[0][0] for artist, queue in waiting.items() if artist not in closed]
        chosen: Ranked | None = None
        if free:  # everybody who waits comes before the rest of the stream
            artist = next(artist for artist, queue in waiting.items() if queue[0][0] == min(free))
            chosen = waiting[artist].popleft()[1]
            if not waiting[artist]:
                del waiting[artist]
        else:
            for place, one in stream:
                if one.track.did not in closed:
                    chosen = one
                    break
                waiting.setdefault(one.track.did, deque()).append((place, one))
        if chosen is None:
            break
        placed.append(chosen)
    return tuple(placed)


def _signatures(ranked: Ranked) -> set[str]:
    key = ranked.track.audio_key
    return {ranked.post.post_uri} if key is None else {ranked.post.post_uri, key}


def _same_length(one: float | None, other: float | None) -> bool:
    return one is None or other is None or abs(one - other) <= 3.0
