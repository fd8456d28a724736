"""Thirty days of a mood feed over corpora made here: the share of its tracks that had a turn (goal: 0.9).

Every artist has ten tracks that sound related and fit the mood about equally well, so that the caps on artists and
albums bite; the ranking is the one that serves. `gini` is of how often artists were seen, beside that of how many
admitted tracks they have.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from core.analysis import Space
from core.feed import Feed
from feedgen.corpus import Corpus
from feedgen.fits import Fits
from feedgen.month import live_a_month
from feedgen.rules import DAY_US, Rules
from store.tracks import RankableTrack

_NOW_US = 20_000 * DAY_US
_OF_ARTIST = 10
_SIZE = 32
_FEED = Feed("calm", "Calm", "Calm music.")
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def run(*, short: bool) -> dict[str, Any]:
    """Seconds of the clock; the rest are shares and Gini's coefficients."""
    metrics: dict[str, Any] = {}
    for count in (200,) if short else (200, 1_000, 3_000, 20_000):
        corpus = _make(count)
        began = time.perf_counter()
        month = live_a_month(_FEED, corpus, now_us=_NOW_US, rules=Rules(), known={})
        metrics[f"tracks_{count}"] = {
            "admitted": month.admitted,
            "share_shown": round(month.share or 0.0, 3),
            "artists": month.artists,
            "gini": round(month.gini, 2),
            "gini_admitted": round(month.gini_admitted, 2),
            "seconds": round(time.perf_counter() - began, 1),
        }
    return {"metrics": metrics, "peer": {}, "ratio": {}}


def _make(count: int) -> Corpus:
    random = np.random.default_rng(1)
    artist = np.arange(count) // _OF_ARTIST
    mood = random.standard_normal(count)[artist] + 0.5 * random.standard_normal(count)
    sound = random.standard_normal((count, _SIZE))[artist] + 0.8 * random.standard_normal((count, _SIZE))
    sound /= np.linalg.norm(sound, axis=1, keepdims=True)
    nobody = np.empty(0, np.intp)
    return Corpus(
        tracks=tuple(_track(number) for number in range(count)),
        fits={_FEED.rkey: Fits(tags=mood)},
        likes=np.zeros(count, np.int64),
        sound=sound.astype(np.float32),
        space=Space.EFFNET_SOUND,
        people=nobody,
        liked=nobody,
    )


def _track(number: int) -> RankableTrack:
    artist = number // _OF_ARTIST
    did = "did:plc:" + "a" * 20 + "".join(_LETTERS[artist >> 5 * place & 31] for place in range(4))
    first_us = _NOW_US - 90 * DAY_US
    return RankableTrack(
        track_id=number,
        uri=f"at://{did}/fm.plyr.track/t{number}",
        did=did,
        title=f"Song {number}",
        created_us=first_us,
        first_seen_us=first_us,
        duration_seconds=180.0,
        audio_key=f"audio-{number}",
        explicit=False,
        labels=(),
        credits=(),
        links=(),
        album=f"Album {number // 5}",
    )
