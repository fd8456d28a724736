"""One recording, one place: duplicates by two signals, never by sound alone (FEEDS section 3)."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from core.analysis import Space, Vector
from feedgen.candidates import Candidate
from feedgen.posts import PostRules, preference
from feedgen.ranking import Ledger, Why
from feedgen.sounds import Sounds
from store.tracks import RankableTrack

_MAX_TITLE = 300
_SECONDS = 3.0  # between uploads of one song by one account
_ALIKE = 0.98  # cosine of one recording (FEEDS 3)
_LENGTHS = 0.02  # relative
_TITLES = 0.85  # similarity, 0..1
_MOST_COMPARED = 12  # that sound the same
_TITLE_COMPARED = 80  # characters: comparing takes their square
_POST_KINDS = 3  # of feedgen.posts.preference: whose post, how surely it names the track, a card; then times
_VERSION_WORDS = r"\b(?:re-?master(?:ed)?|live|demo|edit|feat|ft|featuring)\b"
_VERSION = re.compile(
    rf"[(\[][^()\[\]]*{_VERSION_WORDS}[^()\[\]]*[)\]]"  # (2011 Remaster), [feat. someone]
    rf"|\s[-–—]\s[^-–—]*{_VERSION_WORDS}[^-–—]*\Z"  # - live in Berlin
    r"|\s(?:feat|ft|featuring)\b.*\Z"
)


def normalise_title(title: str) -> str:
    """A title without case, punctuation and version words: what two uploads of one song share."""
    plain = unicodedata.normalize("NFKC", title[:_MAX_TITLE]).casefold().strip()
    bare = "".join(char for char in _VERSION.sub(" ", f" {plain}") if char.isalnum())
    return bare or plain


def drop_duplicates(
    candidates: Iterable[Candidate],
    rules: PostRules,
    ledger: Ledger,
    *,
    sound: Sounds,
    space: Space | None,
    head: str | None = None,
) -> list[Candidate]:
    """The best of each recording, in the order given; the one with the best post stays, but for the head of a slot.

    Two records are one recording if they share audio or ISRC; or account, title and length (within 3 s: a live take has
    its studio version's title and another length); or if they sound the same (`sound` is aligned to the corpus, in
    `space`) and a second signal agrees. So are two that one post stands for: the second claims the page of the first.
    """
    order = list(candidates)
    known = _Known(space)
    vectors = sound[[one.place for one in order]]
    alike = vectors @ vectors.T
    kept = np.zeros(len(order), bool)
    for place in sorted(
        range(len(order)), key=lambda place: (order[place].track.uri != head, _quality(order[place], rules))
    ):
        track, post = order[place].track, order[place].post
        post_uri = None if post is None else post.post_uri
        near = (order[other].track for other in _nearest(np.where(kept, alike[place], 0.0)))
        twin = known.twin_of(track, near, post_uri)
        if twin is not None:
            ledger.note(track.uri, Why.DUPLICATE, twin.uri)
            continue
        kept[place] = True
        known.add(track, post_uri)
    return [candidate for place, candidate in enumerate(order) if kept[place]]


def find_twins(
    of: Sequence[int], among: Sequence[int], tracks: Sequence[RankableTrack], *, sound: Sounds, space: Space | None
) -> set[int]:
    """Which of `among` are the same recordings as some of `of`, or the very tracks: all places in the corpus."""
    known = _Known(space)
    for place in of:
        known.add(tracks[place])
    alike = sound[list(among)] @ sound[list(of)].T
    return {
        place
        for row, place in enumerate(among)
        if known.twin_of(tracks[place], (tracks[of[other]] for other in _nearest(alike[row]))) is not None
    }


class _Known:
    """Tracks by what tells that another one is the same recording."""

    def __init__(self, space: Space | None) -> None:
        self._space = space
        self._owners: dict[str, RankableTrack] = {}  # of audio, ISRCs and posts
        self._songs: defaultdict[tuple[str, str], list[RankableTrack]] = defaultdict(list)

    def add(self, track: RankableTrack, post_uri: str | None = None) -> None:
        self._owners |= dict.fromkeys(_signatures(track, post_uri), track)
        self._songs[_song(track)].append(track)

    def twin_of(
        self, track: RankableTrack, near: Iterable[RankableTrack], post_uri: str | None = None
    ) -> RankableTrack | None:
        """`near`: those that sound the same."""
        owned = (self._owners[name] for name in _signatures(track, post_uri) if name in self._owners)
        same_title = (one for one in self._songs.get(_song(track), ()) if _as_long(one, track))
        same_sound = (one for one in near if _agrees(one, track, self._space))
        return next(chain(owned, same_title, same_sound), None)


def _quality(candidate: Candidate, rules: PostRules) -> tuple[object, ...]:
    """Sort key: the best post, then whom we saw first. Times that records claim come last: a thief would claim any."""
    track, post = candidate.track, candidate.post
    rank = () if post is None else preference(track, post, rules)
    return (*rank[:_POST_KINDS], track.first_seen_us, *rank[_POST_KINDS:], track.uri)


def _signatures(track: RankableTrack, post_uri: str | None) -> list[str]:
    named = (track.uri, track.audio_key, track.isrc and f"isrc:{track.isrc}", post_uri)
    return [name for name in named if name]


def _song(track: RankableTrack) -> tuple[str, str]:
    return track.did, normalise_title(track.title)


def _as_long(one: RankableTrack, other: RankableTrack) -> bool:
    first, second = one.duration_seconds, other.duration_seconds
    return first is None or second is None or abs(first - second) <= _SECONDS


def _nearest(likeness: Vector) -> list[int]:
    """Where the likeness is that of one recording, the nearest first: so many that a flood of copies with titles and
    lengths of their own costs no more than a few comparisons each.
    """
    near = np.flatnonzero(likeness >= _ALIKE)
    found: list[int] = near[np.argsort(-likeness[near], kind="stable")[:_MOST_COMPARED]].tolist()
    return found


def _agrees(one: RankableTrack, other: RankableTrack, space: Space | None) -> bool:
    """The second signal. In musicnn's space different songs of a band lie as near as one recording (POLICY-MUSICNN):
    there the title has to agree as well as the length.
    """
    first, second = one.duration_seconds, other.duration_seconds
    lasts = first is not None and second is not None and abs(first - second) <= _LENGTHS * max(first, second)
    named = _reads_the_same(normalise_title(one.title), normalise_title(other.title))
    return lasts or named if space is Space.EFFNET_SOUND else lasts and named


def _reads_the_same(one: str, other: str) -> bool:
    """Titles that differ in a number are of different pieces: Prelude 10 is not Prelude 11."""
    numbers = [re.findall(r"\d+", title) for title in (one, other)]
    if numbers[0] != numbers[1]:
        return False
    compared = difflib.SequenceMatcher(a=one[:_TITLE_COMPARED], b=other[:_TITLE_COMPARED], autojunk=False)
    return compared.quick_ratio() >= _TITLES and compared.ratio() >= _TITLES  # the quick one is never smaller
