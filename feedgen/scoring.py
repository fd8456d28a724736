"""How well tracks fit a mood feed, and which of them it admits (FEEDS section 2)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from core.feed import Feed, Parts, Reason
from feedgen.candidates import Candidate
from feedgen.checks import Checks, Trust
from feedgen.corpus import Corpus
from feedgen.fits import Fits
from feedgen.hearsay import Scores
from feedgen.ranking import Ledger, Why
from feedgen.rules import DAY_US, SLOT_US, Rules
from store.tracks import RankableTrack


@dataclass(frozen=True, slots=True)
class Admitted:
    """`scored` tracks were judged; `threshold`, 0..1, admits. `paused`: why nothing that was said is to be trusted."""

    candidates: list[Candidate]
    scored: int
    threshold: float
    paused: str = ""
    checks: Checks | None = None


def admit(feed: Feed, corpus: Corpus, *, now_us: int, rules: Rules, ledger: Ledger) -> Admitted:
    """The tracks that fit a mood feed, the weightiest first."""
    fits = corpus.fits.get(feed.rkey, Fits())
    opinions = _Opinions.form(fits, rules)
    prompts, tags, mood = opinions.prompts, opinions.tags, opinions.mood
    scored = int(np.isfinite(mood).sum())
    threshold = admission_threshold(mood[np.isfinite(mood)], rules)
    candidates = []
    for place in _pool(mood, threshold, (prompts, tags), corpus.tracks, now_us, rules):
        track = corpus.tracks[place]
        objection = _object(feed, fits, place, track, rules) or _disagree(prompts, tags, place, rules)
        if objection is not None:
            ledger.note(track.uri, *objection)
            continue
        parts = opinions.weigh(corpus, place, now_us, rules)
        candidates.append(Candidate(place, track, parts, Reason.MOOD))
    return Admitted(by_weight(candidates), scored, threshold, _pause(fits), fits.checks)


def measure(feed: Feed, corpus: Corpus, place: int, *, now_us: int, rules: Rules) -> Parts | None:
    """What the score of one track in a mood feed is made of, admitted or not; None if nothing can judge it."""
    opinions = _Opinions.form(corpus.fits.get(feed.rkey, Fits()), rules)
    if not len(opinions.mood) or not np.isfinite(opinions.mood[place]):
        return None
    return opinions.weigh(corpus, place, now_us, rules)


@dataclass(frozen=True, slots=True, eq=False)
class _Opinions:
    """What prompts and tags say of every track, as shares of the corpus, and both together."""

    prompts: Scores | None
    tags: Scores | None
    mood: Scores

    @classmethod
    def form(cls, fits: Fits, rules: Rules) -> _Opinions:
        prompts, tags = place_among(fits.prompts, rules), place_among(fits.tags, rules)
        return cls(prompts, tags, _blend(prompts, tags, rules))

    def weigh(self, corpus: Corpus, place: int, now_us: int, rules: Rules) -> Parts:
        """All parts of a track's score, with the weight that orders a feed."""
        prompt, tags, mood = _part(self.prompts, place), _part(self.tags, place), float(self.mood[place])
        return weigh(prompt, tags, mood, corpus.tracks[place], int(corpus.likes[place]), now_us, rules)


def place_among(scores: Scores | None, rules: Rules) -> Scores | None:
    """The share of tracks that score less, 0..1: of this corpus, or of a usual one while this one is small."""
    if scores is None:
        return None
    heard = scores[np.isfinite(scores)]
    if len(heard) < rules.percentile_from:
        return _usual_share(scores)
    ordered = np.sort(heard)
    below, upto = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    return cast("Scores", np.where(np.isfinite(scores), (below + upto) / (2 * len(ordered)), np.nan))


def admission_threshold(mood: Scores, rules: Rules) -> float:
    """The score that admits: absolute in a small corpus, else the percentile of this one."""
    if len(mood) < rules.percentile_from:
        return float(_usual_share(np.array(rules.absolute_score)))
    return float(np.quantile(mood, rules.percentile))


def weigh(
    prompt: float | None, tags: float | None, mood: float, track: RankableTrack, likes: int, now_us: int, rules: Rules
) -> Parts:
    """All parts of a score, with the weight that orders a feed."""
    freshness = measure_freshness(track.first_seen_us, now_us, rules)
    popularity = measure_popularity(likes, rules)
    return Parts(prompt, tags, mood, freshness, popularity, mood * freshness * popularity)


def measure_freshness(first_seen_us: int, now_us: int, rules: Rules) -> float:
    """1 to 1.3. Age counts from when we first saw the track, not from what its record claims.

    It moves in steps of six hours, so that the head of a feed does not change between two polls (P113).
    """
    age_days = max(0, now_us - now_us % SLOT_US - first_seen_us) / DAY_US
    return 1.0 + rules.freshness * math.exp2(-age_days / rules.freshness_half_life_days)


def measure_popularity(likes: int, rules: Rules) -> float:
    """0.95 without a like to 1.05 with a hundred: never more than a nudge (FEEDS 3)."""
    fame = min(1.0, math.log1p(likes) / math.log1p(rules.popular_likes))
    return 1.0 + rules.popularity * (2.0 * fame - 1.0)


def by_weight(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The weightiest first; ties by address, so that an order never depends on where it came from."""
    return sorted(candidates, key=lambda one: (-one.weight, one.track.uri))


def suits(feed: Feed, track: RankableTrack) -> bool:
    """Whether the duration fits. An unknown one does."""
    return track.duration_seconds is None or feed.min_seconds <= track.duration_seconds <= feed.max_seconds


def _pool(
    mood: Scores,
    threshold: float,
    opinions: Iterable[Scores | None],
    tracks: Sequence[RankableTrack],
    now_us: int,
    rules: Rules,
) -> list[int]:
    """Places of those that a feed is made from: the best by prompts, the best by tags, and what is new (FEEDS 3)."""
    places = np.flatnonzero(mood >= threshold)
    near = np.zeros(len(mood), bool)
    for scores in opinions:
        if scores is not None:
            near[places[np.argsort(-np.nan_to_num(scores[places], nan=-1.0), kind="stable")[: rules.pool]]] = True
    best = np.flatnonzero(near)
    best = best[np.argsort(-mood[best], kind="stable")[: rules.most]]
    new = (place for place in places.tolist() if now_us - tracks[place].first_seen_us <= rules.new_us)
    return sorted({*best.tolist(), *new})


def _object(feed: Feed, fits: Fits, place: int, track: RankableTrack, rules: Rules) -> tuple[Why, str] | None:
    """What keeps a track out whatever its score."""
    if not track.music and not set(feed.non_music) & set(track.labels):
        return Why.NOT_MUSIC, ""
    if (track.speech or 0.0) > rules.speech and not feed.non_music:
        return Why.SPEECH, f"{track.speech:.2f}"
    if not suits(feed, track):
        return Why.DURATION, f"{track.duration_seconds:.0f} s"
    labelled = next((label for veto in feed.vetoes for label in track.labels if label in veto.styles), None)
    if labelled is not None:
        return Why.VETO, f"labelled {labelled}"
    barred = next((gate for gate in fits.gates if gate.bars[place]), None)
    return None if barred is None else (barred.why, f"{barred.name} {barred.strength[place]:.2f}")


def _blend(prompts: Scores | None, tags: Scores | None, rules: Rules) -> Scores:
    """Both where both are known, else the one there is."""
    if prompts is None or tags is None:
        return prompts if prompts is not None else tags if tags is not None else np.empty(0)
    both = rules.prompt_share * prompts + (1 - rules.prompt_share) * tags
    return cast("Scores", np.where(np.isfinite(both), both, np.where(np.isfinite(prompts), prompts, tags)))


def _pause(fits: Fits) -> str:
    if fits.checks is None or fits.checks.trust is Trust.BOTH or fits.tags is not None:
        return ""
    return f"paused: its prompts mean nothing in this corpus ({fits.checks.passed} of 3 checks hold)"


def _disagree(prompts: Scores | None, tags: Scores | None, place: int, rules: Rules) -> tuple[Why, str] | None:
    """Texture may match where the genre does not: each of the two has to find the track fitting (FEEDS 2.3)."""
    for name, scores in (("prompts", prompts), ("tags", tags)):
        if scores is not None and scores[place] < rules.second_opinion:
            return Why.ONE_OPINION, f"{name} {scores[place]:.2f}"
    return None


def _part(scores: Scores | None, place: int) -> float | None:
    return None if scores is None or not np.isfinite(scores[place]) else float(scores[place])


def _usual_share(scores: NDArray[np.float64]) -> Scores:
    """The normal distribution's share below so many standard deviations."""
    share = np.vectorize(lambda score: 0.5 * (1.0 + math.erf(score / math.sqrt(2.0))), otypes=[np.float64])
    return cast("Scores", share(scores))
