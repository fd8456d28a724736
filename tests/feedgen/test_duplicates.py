"""One recording, one place: by two signals, never by sound alone (FEEDS section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import Space, Vector
from core.feed import Parts, Reason
from feedgen.candidates import Candidate
from feedgen.duplicates import drop_duplicates, find_twins, normalise_title
from feedgen.posts import PostRules
from feedgen.ranking import Ledger, Why
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]


def unlike(count: int) -> Vector:
    return np.eye(count, dtype=np.float32)


def kept(
    tracks: Sequence[RankableTrack],
    *,
    sound: Vector | None = None,
    space: Space | None = Space.EFFNET_SOUND,
    ledger: Ledger | None = None,
    head: str | None = None,
) -> list[int]:
    """Which are kept, in the order given."""
    candidates = [
        Candidate(place, one, Parts(weight=-place), Reason.MOOD, one.links[0]) for place, one in enumerate(tracks)
    ]
    vectors = unlike(len(tracks)) if sound is None else sound
    found = drop_duplicates(candidates, PostRules(), ledger or Ledger(), sound=vectors, space=space, head=head)
    return [one.track.track_id for one in found]


def test_the_same_audio_is_shown_once_with_the_best_post(track: MakeTrack) -> None:
    other = track(1, audio_key="same", posts=[{"post_did": "did:plc:" + "z" * 24}])
    own = track(2, audio_key="same")
    ledger = Ledger()
    assert kept([other, own], ledger=ledger) == [2]
    assert [(one.track_uri, one.why, one.detail) for one in ledger.rows] == [(other.uri, Why.DUPLICATE, own.uri)]
    assert kept([track(1, audio_key=None), track(2, audio_key=None)]) == [1, 2]


def test_the_head_of_a_slot_stays_whoever_turns_up_with_a_better_post(track: MakeTrack) -> None:
    """P113: position 0 does not change because somebody uploads it again."""
    other = track(1, audio_key="same", posts=[{"post_did": "did:plc:" + "z" * 24}])
    own = track(2, audio_key="same")
    assert kept([other, own], head=other.uri) == [1]


def test_the_same_isrc_is_one_recording(track: MakeTrack) -> None:
    assert kept([track(1, isrc="CH1234567890"), track(2, isrc="CH1234567890")]) == [1]
    assert kept([track(1, isrc="CH1234567890"), track(2, isrc="CH1234567891")]) == [1, 2]


def test_one_post_stands_for_one_track(track: MakeTrack) -> None:
    """Somebody else's record that claims the page of a song does not get the song's post a second time."""
    song = track(1)
    thief = track(2, posts=[{"post_uri": song.links[0].post_uri, "post_did": song.did}])
    assert kept([thief, song]) == [1]


@pytest.mark.parametrize(
    ("title", "seconds", "duplicate"),
    [
        ("SONG", 182.0, True),
        ("Song (2011 Remaster)", 178.0, True),
        ("Song - Remastered", 180.0, True),
        ("Song [feat. Somebody]", 180.0, True),
        ("Song feat. Somebody", 180.0, True),
        ("Song (live in Bern)", 240.0, False),
        ("Song", 240.0, False),
        ("Song (Part 2)", 180.0, False),
        ("Songs", 180.0, False),
        ("Song", None, True),
    ],
)
def test_the_same_title_of_an_account_at_the_same_length(
    track: MakeTrack, title: str, seconds: float | None, duplicate: bool
) -> None:
    song = track(1, artist=1, title="Song")
    again = track(2, artist=1, title=title, duration_seconds=seconds)
    assert kept([song, again]) == ([1] if duplicate else [1, 2])
    assert kept([song, track(3, artist=3, title=title)]) == [1, 3], "of another account it is another song"


@pytest.mark.parametrize(
    ("cosine", "changes", "duplicate"),
    [
        (0.981, {"title": "Something else", "duration_seconds": 183.0}, True),
        (0.981, {"title": "Something else", "duration_seconds": 190.0}, False),
        (0.981, {"title": "Songs 1", "duration_seconds": 300.0}, True),
        (0.981, {"title": "Song 2", "duration_seconds": 300.0}, False),  # another number is another piece
        (0.981, {"title": "Something else", "duration_seconds": None}, False),
        (0.979, {"title": "Song 1", "duration_seconds": 180.0}, False),
    ],
)
def test_the_same_sound_of_another_account_needs_a_second_signal(
    track: MakeTrack, cosine: float, changes: dict[str, Any], duplicate: bool
) -> None:
    """AudioMuse merged a third of its songs by the embedding alone."""
    sound = np.array([[1.0, 0.0], [cosine, np.sqrt(1 - cosine**2)]], np.float32)
    pair = [track(1), track(2, **changes)]
    assert kept(pair, sound=sound) == ([1] if duplicate else [1, 2])


@pytest.mark.parametrize(
    ("title", "seconds", "duplicate"),
    [("Song 1", 181.0, True), ("Another", 181.0, False), ("Song 1", 240.0, False)],
)
def test_in_musicnns_space_both_signals_are_needed(
    track: MakeTrack, title: str, seconds: float, duplicate: bool
) -> None:
    """There different songs of one band reached .989, one recording .980 (POLICY-MUSICNN)."""
    sound = np.array([[1.0, 0.0], [0.989, np.sqrt(1 - 0.989**2)]], np.float32)
    pair = [track(1), track(2, title=title, duration_seconds=seconds)]
    assert kept(pair, sound=sound, space=Space.MUSICNN_SOUND) == ([1] if duplicate else [1, 2])


@given(shared=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=12))
def test_no_two_that_are_kept_share_audio_and_one_of_each_is_kept(
    track: MakeTrack, shared: list[tuple[int, int]]
) -> None:
    tracks = [track(number, audio_key=f"audio-{audio}") for number, (audio, _) in enumerate(shared)]
    found = [tracks[number].audio_key for number in kept(tracks)]
    assert len(found) == len(set(found))
    assert set(found) == {one.audio_key for one in tracks}


@given(sounds=st.lists(st.integers(0, 3), min_size=2, max_size=8))
def test_never_by_sound_alone(track: MakeTrack, sounds: list[int]) -> None:
    """However many tracks sound exactly the same: titles and lengths that differ are different tracks."""
    words = ("Morning", "Quarry", "Zephyr", "Bluff", "Ohm", "Vines", "Kettle", "Fjord")
    tracks = [
        track(number, title=words[number], duration_seconds=100.0 + 10 * number) for number, _ in enumerate(sounds)
    ]
    assert len(kept(tracks, sound=unlike(4)[sounds])) == len(sounds)


def test_of_a_flood_of_copies_one_is_left(track: MakeTrack) -> None:
    """Other audio, titles and accounts, but the same sound and length: whichever is the best, and however many."""
    copies = [track(number, posts=[{"card": number >= 50}]) for number in range(60)]
    assert kept(copies, sound=np.ones((60, 1), np.float32)) == [50]


def test_twins_of_what_a_viewer_knows(track: MakeTrack) -> None:
    tracks = [track(1), track(2, audio_key="audio-1"), track(3, title="Song 1"), track(4)]
    sound = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    found = find_twins([0], [0, 1, 2, 3], tracks, sound=sound, space=Space.EFFNET_SOUND)
    assert found == {0, 1, 2}
    assert find_twins([], [0, 1], tracks, sound=sound, space=None) == set()
    assert find_twins([0], [], tracks, sound=sound, space=None) == set()


@pytest.mark.parametrize(
    ("title", "plain"),
    [
        ("Delivery (Live)", "delivery"),
        ("Alive", "alive"),
        ("(live)", "(live)"),
        ("???", "???"),
        ("", ""),
        ("Ｗｉｄｅ", "wide"),
        ("A - B - 2009 Remaster", "ab"),
        ("(" * 300, "(" * 300),
    ],
)
def test_normalise_title(title: str, plain: str) -> None:
    assert normalise_title(title) == plain
