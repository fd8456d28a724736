"""How well every track fits every mood feed, in standard deviations, and what bars it (FEEDS section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from core.feed import FeedQuery, Mode, Questions
from feedgen.checks import Checks, Trust
from feedgen.hearsay import Gate, Names, Scores, Texts
from feedgen.ranking import Why
from feedgen.rules import DAY_US
from store.index import VectorIndex
from store.tracks import RankableTrack


@dataclass(frozen=True, slots=True, eq=False)
class Fits:
    """How well each track of the corpus fits one mood feed: f64 [tracks] each, in standard deviations.

    None where nothing was asked or is not to be trusted; not a number where a track has no vector in that space.
    `checks` says whether the prompts mean anything here; None: too small a corpus to tell, or no prompts.
    """

    prompts: Scores | None = None
    tags: Scores | None = None
    gates: tuple[Gate, ...] = ()
    checks: Checks | None = None


@dataclass(slots=True)
class CheckBook:
    """The checks of one UTC day and index: computed anew every night, so that feeds do not flicker (FEEDS 2.4)."""

    _day: int = -1
    _index: VectorIndex | None = None
    _found: dict[str, Checks] = field(default_factory=dict)

    def open(self, index: VectorIndex, now_us: int) -> dict[str, Checks]:
        """By feed's rkey, what was found today."""
        day = now_us // DAY_US
        if day != self._day or index is not self._index:
            self._day, self._index, self._found = day, index, {}
        return self._found


def measure_fits(
    tracks: Sequence[RankableTrack], index: VectorIndex, questions: Questions, checked: CheckBook, *, now_us: int
) -> dict[str, Fits]:
    """Of each feed that asks something, by rkey; `tracks` come by their numbers, the lowest first.

    What is not music is no part of the corpus, unless a feed wants it.
    """
    wanted = {rkey: _wanted(tracks, query) for rkey, query in questions.feeds.items()}
    anybody = np.logical_or.reduce([np.zeros(len(tracks), bool), *wanted.values()])
    names = Names(index, tracks, anybody, questions)
    texts = Texts(index, tracks, anybody, questions)
    found = checked.open(index, now_us)
    fits: dict[str, Fits] = {}
    for rkey, query in questions.feeds.items():
        tags, prompts = names.score(query, wanted[rkey]), texts.score(rkey)
        if rkey not in found and prompts is not None and texts.may_be_checked(rkey):
            found[rkey] = texts.check(rkey, prompts, tags, seed=now_us // DAY_US)
        known = Fits(_only(prompts, wanted[rkey]), _only(tags, wanted[rkey]), names.bar(query), found.get(rkey))
        measured = _trust(known)
        by_styles = names.judge_by_styles(query, wanted[rkey])
        if query.mode is not None and measured.prompts is None and not by_styles:
            measured = replace(measured, gates=(*measured.gates, _by_mode(tracks, query.mode)))
        fits[rkey] = measured
    return fits


def _wanted(tracks: Sequence[RankableTrack], query: FeedQuery) -> NDArray[np.bool_]:
    """Music, and what else the feed takes."""
    return np.array([bool(track.music) or not query.non_music.isdisjoint(track.labels) for track in tracks], bool)


def _by_mode(tracks: Sequence[RankableTrack], mode: Mode) -> Gate:
    """Calm and sad correlate .93 in the tag space (POLICY-MUSICNN): they need another signal to be two feeds."""
    known = np.array([np.nan if track.minor is None else float(track.minor) for track in tracks])
    strength = known if mode == "minor" else 1.0 - known
    return Gate(Why.REQUIREMENT, f"{mode} key", strength, ~(strength >= 1.0))


def _only(scores: Scores | None, wanted: NDArray[np.bool_]) -> Scores | None:
    return None if scores is None else np.where(wanted, scores, np.nan)


def _trust(fits: Fits) -> Fits:
    """Without what the checks found to mean nothing; without anything the feed is paused."""
    if fits.checks is None or fits.checks.trust is Trust.BOTH:
        return fits
    if fits.checks.trust is Trust.TAGS:
        return replace(fits, prompts=None)
    return replace(fits, prompts=None, tags=None)
