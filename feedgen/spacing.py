"""Who stands how near to whom: the caps on artists, albums, versions of a song and styles (FEEDS section 3)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from feedgen.candidates import Candidate
from feedgen.duplicates import normalise_title
from feedgen.ranking import Ledger, Why
from feedgen.rules import Rules


def space_out(order: Sequence[Candidate], rules: Rules, ledger: Ledger) -> list[Candidate]:
    """The same order, spaced out: who comes too soon waits for the next place that is free.

    Whoever finds no place any more is left out: what is promised of artists, albums and songs holds at the end of a
    feed as well. Only the cap on styles yields where nothing else is left: a feed of drones should not end early for
    being all drones. At most `rules.max_entries`.
    """
    caps = [
        _Cap(Why.ARTIST, *rules.near),
        _Cap(Why.ARTIST, *rules.far),
        _Cap(Why.ALBUM, *rules.album),
        _Cap(Why.SONG, *rules.song),
        _Cap(Why.STYLE, *rules.style),
    ]
    waiting = [(one, _kinds(one)) for one in order]
    moved: dict[str, Why] = {}
    placed: list[Candidate] = []
    while len(placed) < rules.max_entries:
        place = _first_free(waiting, caps, moved)
        if place is None:
            place = _first_free(waiting, caps[:-1], moved)
        if place is None:
            break
        chosen, kinds = waiting.pop(place)
        for cap, kind in zip(caps, kinds, strict=True):
            cap.note(kind)
        if chosen.track.uri in moved:
            ledger.note(chosen.track.uri, moved[chosen.track.uri], place=len(placed))
        placed.append(chosen)
    if len(placed) < rules.max_entries:
        for one, _ in waiting:
            ledger.note(one.track.uri, moved[one.track.uri])
    return placed


@dataclass(slots=True)
class _Cap:
    """At most `most` entries of a kind in any `width` consecutive ones. A kind of None is under no cap."""

    why: Why
    most: int
    width: int
    _window: deque[Hashable] = field(default_factory=deque)
    _counts: Counter[Hashable] = field(default_factory=Counter)

    def closes(self, kind: Hashable) -> bool:
        return kind is not None and self._counts[kind] >= self.most

    def note(self, kind: Hashable) -> None:
        """One more entry stands."""
        self._window.append(kind)
        self._counts[kind] += 1
        if len(self._window) >= self.width:
            self._counts[self._window.popleft()] -= 1


def _kinds(one: Candidate) -> tuple[Hashable, ...]:
    """What each cap counts it as."""
    track = one.track
    artist, album = track.did, track.album and (track.did, track.album.casefold())
    return artist, artist, album, (artist, normalise_title(track.title)), track.style


def _first_free(
    waiting: Sequence[tuple[Candidate, tuple[Hashable, ...]]], caps: Sequence[_Cap], moved: dict[str, Why]
) -> int | None:
    """The place of the first that no cap closes. Those before it have been passed over: `moved` says why."""
    for place, (one, kinds) in enumerate(waiting):
        closed = next((cap.why for cap, kind in zip(caps, kinds, strict=False) if cap.closes(kind)), None)
        if closed is None:
            return place
        moved.setdefault(one.track.uri, closed)
    return None
