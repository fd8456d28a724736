"""Likes, reposts and playlists of every app: what they say, of what, and how it is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.link import Link, LinkRule
from core.types import AtUri, make_tid
from firehose.events import Operation, RecordEvent
from firehose.links import LinkRules
from firehose.signals import BLUESKY_LIKES, MAX_SUBJECTS, SIGNALS, Signals, subjects_of
from store import Store, links, signals
from store.signals import SignalKind

NOW_US = 1_750_000_000_000_000
FAN = "did:plc:fan222222222222222222222"
ARTIST = "did:plc:artist222222222222222222"
TRACK = f"at://{ARTIST}/fm.plyr.track/3kbbbbbbbbbb2"
POST = f"at://{ARTIST}/app.bsky.feed.post/3kaaaaaaaaaa2"
REF = {"uri": TRACK, "cid": "x"}
RULES = LinkRules(frozenset({"fm.plyr.track"}), frozenset())


def event(collection: str, record: Any, operation: Operation = Operation.CREATE, did: str = FAN) -> RecordEvent:
    at = AtUri.parse(f"at://{did}/{collection}/3kcccccccccc2")
    return RecordEvent(at.did, at.collection, at.rkey, make_tid(NOW_US), operation, None, record, 1)


@pytest.fixture
def counted(store: Store) -> Any:
    """What is counted of a subject after these events."""

    async def run(subject: str, *events: RecordEvent) -> dict[SignalKind, int]:
        reader = Signals(RULES, likes_of_posts=True)
        async with store.write() as tx:
            for one in events:
                await reader.apply(tx, one, now_us=NOW_US)
            return (await signals.counts(tx, [subject]))[subject]

    return run


@pytest.mark.parametrize(
    ("collection", "record", "kind"),
    [
        ("fm.plyr.like", {"subject": REF, "createdAt": "2025-01-01T00:00:00Z"}, SignalKind.LIKE),
        ("fm.plyr.list", {"items": [{"subject": REF}], "listType": "playlist"}, SignalKind.PLAYLIST),
        ("fm.plyr.list", {"items": [{"subject": REF}], "listType": "album"}, SignalKind.ALBUM),
        ("fm.plyr.list", {"items": [{"subject": REF}], "listType": "liked"}, SignalKind.LIKE),
        ("fm.plyr.list", {"items": [7, {"subject": REF}, {"subject": REF}]}, SignalKind.PLAYLIST),
        ("app.musicsky.temp.like", {"subject": REF}, SignalKind.LIKE),
        ("app.musicsky.temp.repost", {"subject": REF}, SignalKind.REPOST),
        ("app.musicsky.temp.playlist", {"name": "x", "tracks": [REF]}, SignalKind.PLAYLIST),
        ("sh.comet.v0.feed.like", {"subject": TRACK}, SignalKind.LIKE),
        ("sh.comet.v0.feed.playlistTrack", {"track": TRACK, "playlist": "at://x"}, SignalKind.PLAYLIST),
    ],
)
async def test_each_app(counted: Any, collection: str, record: Any, kind: SignalKind) -> None:
    written = event(collection, record)
    assert await counted(TRACK, written) == {kind: 1}
    assert await counted(TRACK, written) == {kind: 1}  # a replay
    assert await counted(TRACK, event(collection, record, did="did:plc:fam222222222222222222222")) == {kind: 2}
    assert await counted(TRACK, event(collection, None, Operation.UPDATE)) == {kind: 1}
    assert await counted(TRACK, written, event(collection, None, Operation.DELETE)) == {kind: 1}


@pytest.mark.parametrize("collection", sorted(BLUESKY_LIKES))
async def test_likes_of_posts_count_if_the_post_links_a_track(counted: Any, store: Store, collection: str) -> None:
    like = event(collection, {"subject": {"uri": POST, "cid": "x"}})
    assert await counted(POST, like) == {}
    async with store.write() as tx:
        at = AtUri.parse(POST)
        await links.put(tx, [Link(POST, at.did, TRACK, LinkRule.EMBED_RECORD, NOW_US)], now_us=NOW_US)
    assert await counted(POST, like) == {SignalKind(collection.rpartition(".")[2]): 1}


async def test_nobody_counts_for_their_own_record_or_for_something_else(counted: Any) -> None:
    other = f"at://{ARTIST}/fm.plyr.comment/3kbbbbbbbbbb2"
    assert await counted(TRACK, event("fm.plyr.like", {"subject": REF}, did=ARTIST)) == {}
    assert await counted(other, event("fm.plyr.like", {"subject": {"uri": other}})) == {}


def test_likes_of_posts_are_read_only_when_asked_for() -> None:
    """They are a tenth of everything that happens on the network."""
    assert Signals(RULES, likes_of_posts=True).collections - Signals(RULES, likes_of_posts=False).collections == (
        BLUESKY_LIKES
    )


def test_lists_are_bounded() -> None:
    items = [{"subject": {"uri": f"at://{ARTIST}/fm.plyr.track/t{number}"}} for number in range(2 * MAX_SUBJECTS)]
    assert len(list(subjects_of("fm.plyr.list", {"items": items}))) == MAX_SUBJECTS


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=9) | st.just(TRACK),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["subject", "uri", "items", "tracks", "track"]), inner, max_size=3)
    ),
)


@given(
    record=st.dictionaries(st.sampled_from(["subject", "items", "tracks", "track"]), JSON),
    name=st.sampled_from(sorted(SIGNALS)),
)
def test_any_record_is_a_list_of_subjects(record: Any, name: str) -> None:
    assert {str(uri) for uri in subjects_of(name, record)} <= {TRACK}
