"""Feeds that need no mood: the newest, the overlooked, and what is not music (FEEDS section 4)."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

import numpy as np

from core.feed import Feed, Parts, Reason
from feedgen.candidates import Candidate
from feedgen.corpus import Corpus
from feedgen.rules import DAY_US, SLOT_US
from feedgen.scoring import by_weight, suits
from store.tracks import RankableTrack

_OLD_DAYS = 30.0  # FEEDS 4: from then on a track is a deep cut
_HINT = 0.05  # of quality: its artist shows it in a post with a card
_AT_ONCE = 2  # FEEDS 4: tracks of an artist in 24 hours that need not wait for somebody else's


def find_fresh(feed: Feed, corpus: Corpus) -> list[Candidate]:
    """Everything that is music as far as anybody knows, the newest first: nothing waits for being heard."""
    return _newest(feed, corpus, Reason.FRESH, _may_be_music)


def find_voices(feed: Feed, corpus: Corpus) -> list[Candidate]:
    """What was heard not to be music, or is said to be speech; the newest first."""
    return _newest(feed, corpus, Reason.VOICE, lambda track: not _may_be_music(track))


def find_deep_cuts(feed: Feed, corpus: Corpus, *, now_us: int) -> list[Candidate]:
    """Music known for 30 days that few have liked, the most overlooked first."""
    found = []
    for place, track in enumerate(corpus.tracks):
        age_days = (now_us - now_us % SLOT_US - track.first_seen_us) / DAY_US
        if track.music and age_days >= _OLD_DAYS and suits(feed, track):
            score = measure_depth(age_days, int(corpus.likes[place])) + _HINT * _is_shown(track)
            found.append(Candidate(place, track, Parts(mood=score, weight=score), Reason.DEEP))
    return by_weight(found)


def measure_depth(age_days: float, likes: int) -> float:
    """0..1 in hundredths: nearly 1 for what is old and unheard (FEEDS 4).

    Finer steps would rank what was found in the same weeks by the hour it was found in, and show the same for ever.
    """
    return round((1.0 - math.exp(-age_days / _OLD_DAYS)) / (1.0 + math.log1p(likes)), 2)


def take_turns(newest: Sequence[Candidate]) -> list[Candidate]:
    """The newest first, but whoever has two within 24 hours lets the next other artist go ahead of each further one.

    Nobody is hidden: what waited comes right behind the track that it waited for.
    """
    order: list[Candidate] = []
    waiting: deque[Candidate] = deque()
    times: defaultdict[str, list[int]] = defaultdict(list)
    for one in newest:
        artist, seen_us = one.track.did, one.track.first_seen_us
        times[artist] = [*(at for at in times[artist] if at - seen_us < DAY_US), seen_us]
        if len(times[artist]) > _AT_ONCE or any(late.track.did == artist for late in waiting):
            waiting.append(one)
            continue
        order.append(one)
        if waiting:  # of others: whoever has one waiting waits as well
            order.append(waiting.popleft())
    return [*order, *waiting]


def _newest(feed: Feed, corpus: Corpus, reason: Reason, belongs: Callable[[RankableTrack], bool]) -> list[Candidate]:
    """By when we first saw them; the score says how far from the end of the line a track stands, 0..1."""
    places = [place for place, track in enumerate(corpus.tracks) if belongs(track) and suits(feed, track)]
    places.sort(key=lambda place: (-corpus.tracks[place].first_seen_us, corpus.tracks[place].uri))
    shares = np.linspace(1.0, 0.0, len(places), endpoint=False).tolist()
    return [
        Candidate(place, corpus.tracks[place], Parts(mood=share, weight=share), reason)
        for place, share in zip(places, shares, strict=True)
    ]


def _may_be_music(track: RankableTrack) -> bool:
    """Nothing says otherwise: neither what was heard nor the collection that the record is of."""
    return track.music is not False and track.role != "speech"


def _is_shown(track: RankableTrack) -> bool:
    """Whether its artist shows it with a card."""
    return any(link.card and link.post_did == track.did for link in track.links)
