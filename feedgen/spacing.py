"""Who stands how near to whom: the caps on artists, albums, versions of a song and styles (FEEDS section 3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from feedgen.candidates import Candidate
from feedgen.duplicates import normalise_title
from feedgen.ranking import Ledger, Why
from feedgen.rules import Rules

_NONE = -1  # was passed over by no cap


def space_out(order: Sequence[Candidate], rules: Rules, ledger: Ledger) -> list[Candidate]:
    """The same order, spaced out: who comes too soon waits for the next place that is free.

    Whoever finds no place any more is left out: what is promised of artists, albums and songs holds at the end of a
    feed as well. Only the cap on styles yields where nothing else is left: a feed of drones should not end early for
    being all drones. At most `rules.max_entries`.
    """
    widths = (
        (Why.ARTIST, rules.near),
        (Why.ARTIST, rules.far),
        (Why.ALBUM, rules.album),
        (Why.SONG, rules.song),
        (Why.STYLE, rules.style),
    )
    kinds = zip(*map(_kinds, order), strict=True)
    caps = [_Cap(why, *cap, _number(column)) for (why, cap), column in zip(widths, kinds, strict=bool(order))]
    waits = np.ones(len(order), bool)
    closer = np.full(len(order), _NONE)  # of whoever was passed over: the cap that did it first
    placed: list[Candidate] = []
    while len(placed) < rules.max_entries and waits.any():
        closed = np.array([cap.closes() for cap in caps])
        free = waits & ~closed.any(axis=0)
        if not free.any():
            free = waits & ~closed[:-1].any(axis=0)
        place = int(np.argmax(free)) if free.any() else len(order)
        if place != np.argmax(waits):  # somebody was passed over
            passed = np.flatnonzero(waits[:place] & (closer[:place] == _NONE))
            closer[passed] = np.argmax(closed[:, passed], axis=0)
        if place == len(order):
            break
        waits[place] = False
        for cap in caps:
            cap.note(place)
        if closer[place] != _NONE:
            ledger.note(order[place].track.uri, caps[closer[place]].why, place=len(placed))
        placed.append(order[place])
    if len(placed) < rules.max_entries:
        for place in np.flatnonzero(waits).tolist():
            ledger.note(order[place].track.uri, caps[closer[place]].why)
    return placed


class _Cap:
    """At most `most` entries of a kind in any `width` consecutive ones. `kinds` int [candidates]; 0 is under no cap."""

    def __init__(self, why: Why, most: int, width: int, kinds: NDArray[np.intp]) -> None:
        self.why = why
        self._most = most
        self._width = width
        self._kinds = kinds
        self._counts = [0] * (int(kinds.max(initial=0)) + 1)
        self._full = np.zeros(len(self._counts), bool)
        self._window: deque[int] = deque()

    def closes(self) -> NDArray[np.bool_]:
        """To which candidates: bool [candidates]."""
        return self._full[self._kinds]

    def note(self, place: int) -> None:
        """This candidate stands next."""
        kind = int(self._kinds[place])
        self._window.append(kind)
        self._count(kind, 1)
        if len(self._window) >= self._width:
            self._count(self._window.popleft(), -1)

    def _count(self, kind: int, change: int) -> None:
        if kind:
            self._counts[kind] += change
            self._full[kind] = self._counts[kind] >= self._most


def _number(kinds: Sequence[Hashable]) -> NDArray[np.intp]:
    """Each kind by a number of its own, None by 0."""
    numbers: dict[Hashable, int] = {None: 0}
    return np.array([numbers.setdefault(kind, len(numbers)) for kind in kinds], np.intp)


def _kinds(one: Candidate) -> tuple[Hashable, ...]:
    """What each cap counts it as."""
    track = one.track
    artist, album = track.did, track.album and (track.did, track.album.casefold())
    return artist, artist, album, (artist, normalise_title(track.title)), track.style
