"""How well tracks fit a mood feed, and which of them it admits (FEEDS section 2)."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np

from core.feed import Feed, Parts, Reason
from feedgen.candidates import Candidate
from feedgen.checks import Checks, Trust
from feedgen.corpus import Corpus
from feedgen.fits import Fits
from feedgen.opinions import Opinions, admission_threshold
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
    opinions = Opinions.form(fits, rules)
    heard = opinions.mood[np.isfinite(opinions.mood)]
    threshold = admission_threshold(heard, rules)

    @cache  # each is judged, and noted, once
    def may_enter(place: int) -> bool:
        track = corpus.tracks[place]
        objection = _object(feed, fits, place, track, rules) or opinions.disagree(place, rules)
        if objection is not None:
            ledger.note(track.uri, *objection)
        return objection is None

    candidates = [
        Candidate(place, corpus.tracks[place], _weigh(feed, corpus, opinions, place, now_us, rules), Reason.MOOD)
        for place in _pool(opinions, threshold, may_enter, corpus.tracks, now_us, rules)
    ]
    return Admitted(by_weight(candidates), len(heard), threshold, _pause(fits), fits.checks)


def measure(feed: Feed, corpus: Corpus, place: int, *, now_us: int, rules: Rules) -> Parts | None:
    """What the score of one track in a mood feed is made of, admitted or not; None if nothing can judge it."""
    opinions = Opinions.form(corpus.fits.get(feed.rkey, Fits()), rules)
    if not len(opinions.mood) or not np.isfinite(opinions.mood[place]):
        return None
    return _weigh(feed, corpus, opinions, place, now_us, rules)


def object_to(feed: Feed, corpus: Corpus, place: int, *, rules: Rules) -> tuple[Why, str] | None:
    """What keeps one track out of a mood feed whatever its score, and the number or the name that decides."""
    fits = corpus.fits.get(feed.rkey, Fits())
    objection = _object(feed, fits, place, corpus.tracks[place], rules)
    return objection or Opinions.form(fits, rules).disagree(place, rules)


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


def measure_damping(artist: str, feed: Feed, corpus: Corpus, now_us: int, rules: Rules) -> float:
    """1 down to 0.9 for an artist whom other mood feeds admit as well: they have them in turn (FEEDS 3).

    Each UTC day deals these feeds another order: in the first the artist loses nothing, in the others the more the
    later they come. All artists of a feed may lose, so nobody is kept out for it.
    """
    own = _deal(artist, feed.rkey, now_us)
    others = (other for other in corpus.wanted.get(artist, ()) if other != feed.rkey)
    ahead = sum(_deal(artist, other, now_us) < own for other in others)
    return 1.0 - rules.damping * ahead / (ahead + 1)


def by_weight(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The weightiest first; ties by address, so that an order never depends on where it came from."""
    return sorted(candidates, key=lambda one: (-one.weight, one.track.uri))


def suits(feed: Feed, track: RankableTrack) -> bool:
    """Whether the duration fits. An unknown one does."""
    return track.duration_seconds is None or feed.min_seconds <= track.duration_seconds <= feed.max_seconds


def _weigh(feed: Feed, corpus: Corpus, opinions: Opinions, place: int, now_us: int, rules: Rules) -> Parts:
    """All parts of a track's score, with the weight that orders a feed."""
    track, mood = corpus.tracks[place], float(opinions.mood[place])
    prompt, tags = opinions.known(place)
    freshness = measure_freshness(track.first_seen_us, now_us, rules)
    popularity = measure_popularity(int(corpus.likes[place]), rules)
    damping = measure_damping(track.did, feed, corpus, now_us, rules)
    weight = mood * freshness * popularity * damping
    return Parts(prompt, tags, mood, freshness, popularity, damping, weight)


def _pool(
    opinions: Opinions,
    threshold: float,
    may_enter: Callable[[int], bool],
    tracks: Sequence[RankableTrack],
    now_us: int,
    rules: Rules,
) -> list[int]:
    """Places of those that a feed is made from: the best by prompts, the best by tags, and what is new (FEEDS 3).

    Who may not enter takes nobody's place: with strict vetoes a feed would be made of what they leave of the best few.
    """
    mood = opinions.mood
    places = np.flatnonzero(mood >= threshold)
    near: set[int] = set()
    for scores in (opinions.prompts, opinions.tags):
        if scores is not None:
            ordered = places[np.argsort(-np.nan_to_num(scores[places], nan=-1.0), kind="stable")].tolist()
            near.update(islice(_share_out(filter(may_enter, ordered), tracks, rules), rules.pool))
    by_mood = sorted(near, key=lambda place: (-mood[place], place))
    best = islice(_share_out(by_mood, tracks, rules), rules.most)
    new = (place for place in places.tolist() if now_us - tracks[place].first_seen_us <= rules.new_us)
    return sorted({*best, *filter(may_enter, new)})


def _share_out(places: Iterable[int], tracks: Sequence[RankableTrack], rules: Rules) -> Iterator[int]:
    """The same without those of an artist that could not have their turn within a month."""
    counts: Counter[str] = Counter()
    for place in places:
        counts[tracks[place].did] += 1
        if counts[tracks[place].did] <= rules.most_of_artist:
            yield place


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


def _pause(fits: Fits) -> str:
    if fits.checks is None or fits.checks.trust is Trust.BOTH or fits.tags is not None:
        return ""
    return f"paused: its prompts mean nothing in this corpus ({fits.checks.passed} of 3 checks hold)"


def _deal(artist: str, rkey: str, now_us: int) -> bytes:
    return hashlib.blake2b(f"{now_us // DAY_US} {artist} {rkey}".encode(), digest_size=8).digest()
