"""What artists wish, from their own records to what is stored (POSTS.md section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from core.analysis import VerdictStatus
from core.errors import Misconfigured
from core.link import Link, LinkRule
from core.types import TrackState, make_tid
from firehose.control import BLOCK, OPTOUT, PROFILE, ControlRecords
from firehose.events import Operation, RecordEvent
from store import analyses, jobs, labels, links, repos, tracks, wishes
from store.wishes import Scope, Standing

DID = "did:plc:artist222222222222222222"
OTHER = "did:plc:other2222222222222222222"
LABELER = "did:plc:labeler22222222222222222"
TRACK = "fm.plyr.track"
OWN_OPTOUT = "com.example.optout"
CID = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454"
NO_LABELS = {"labels": {"values": [{"val": "no-auto-label"}, {"val": 5}, "x"]}}
LOGGED_IN = {"labels": {"values": [{"val": "!no-unauthenticated"}]}}
BOTH = {"labels": {"values": [{"val": "!no-unauthenticated"}, {"val": "no-auto-label"}]}}
US = {"subject": LABELER}


def rev(number: int) -> str:
    return make_tid(1_700_000_000_000_000 + number)


def said(number: int, collection: str, record: Any, *, rkey: str = "self", did: str = DID) -> RecordEvent:
    """A record was written; `...`: deleted."""
    operation = Operation.DELETE if record is ... else Operation.CREATE
    cid = None if record is ... else CID
    return RecordEvent(did, collection, rkey, rev(number), operation, cid, None if record is ... else record, number)


@pytest.fixture
def place(artists: Any, log: Any) -> Any:
    artists.control = ControlRecords([LABELER], optout_collections=(OWN_OPTOUT,), log=log)
    artists.read_with(artists.control)
    return artists


@pytest.mark.parametrize(
    ("event", "scope", "logged_in_only"),
    [
        (said(1, PROFILE, NO_LABELS), Scope.ALL, False),
        (said(1, PROFILE, LOGGED_IN), Scope.NONE, True),
        (said(1, PROFILE, BOTH), Scope.ALL, True),
        (said(1, PROFILE, {"displayName": "no-auto-label"}), Scope.NONE, False),
        (said(1, PROFILE, None), Scope.NONE, False),
        (said(1, PROFILE, {"labels": ["no-auto-label"]}), Scope.NONE, False),
        (said(1, PROFILE, NO_LABELS, rkey="other"), Scope.NONE, False),
        (said(1, OPTOUT, {}), Scope.ALL, False),
        (said(1, OPTOUT, None), Scope.ALL, False),
        (said(1, OPTOUT, {"scope": "all"}), Scope.ALL, False),
        (said(1, OPTOUT, {"scope": "feeds"}), Scope.FEEDS, False),
        (said(1, OPTOUT, {"scope": "something new"}), Scope.ALL, False),
        (said(1, OPTOUT, {"scope": ["feeds"]}), Scope.ALL, False),
        (said(1, OPTOUT, {}, rkey="other"), Scope.NONE, False),
        (said(1, OWN_OPTOUT, {}), Scope.ALL, False),
        (said(1, BLOCK, US, rkey="3kaaaaaaaaaa2"), Scope.ALL, False),
        (said(1, BLOCK, {"subject": OTHER, "note": LABELER}, rkey="3kaaaaaaaaaa2"), Scope.NONE, False),
        (said(1, BLOCK, {"subject": [LABELER]}, rkey="3kaaaaaaaaaa2"), Scope.NONE, False),
        (said(1, BLOCK, None, rkey="3kaaaaaaaaaa2"), Scope.NONE, False),
    ],
)
async def test_what_a_record_says(place: Any, event: RecordEvent, scope: Scope, logged_in_only: bool) -> None:
    await place.apply(event)
    assert await place.stands() == Standing(scope, logged_in_only)
    assert await place.stands(OTHER) == Standing()


async def test_the_strongest_wish_counts_until_all_are_taken_back(place: Any) -> None:
    block = said(2, BLOCK, US, rkey="3kaaaaaaaaaa2")
    await place.apply(said(1, OPTOUT, {"scope": "feeds"}), block, said(3, PROFILE, BOTH))
    await place.apply(said(4, PROFILE, {}))
    assert await place.stands() == Standing(Scope.ALL)
    await place.apply(said(5, BLOCK, ..., rkey="3kaaaaaaaaaa2"))
    assert await place.stands() == Standing(Scope.FEEDS)
    await place.apply(said(6, OPTOUT, ...))
    assert await place.stands() == Standing()
    await place.apply(block, said(3, PROFILE, BOTH), said(1, OPTOUT, {}))  # old news
    assert await place.stands() == Standing()


async def test_an_update_that_blocks_somebody_else_takes_the_block_back(place: Any) -> None:
    """Its bytes no longer hold our DID, so it comes without its record (Interest.needles)."""
    await place.apply(said(1, BLOCK, US, rkey="b"))
    await place.apply(RecordEvent(DID, BLOCK, "b", rev(2), Operation.UPDATE, CID, None, 2))
    assert await place.stands() == Standing()


async def test_strangers_who_lift_blocks_leave_no_trace(place: Any) -> None:
    await place.apply(said(1, BLOCK, ..., rkey="b"), said(2, BLOCK, {"subject": OTHER}, rkey="c"))
    async with place.store.read() as reader:
        assert await wishes.said(reader, f"at://{DID}/{BLOCK}/b") is None
        assert await wishes.said(reader, f"at://{DID}/{BLOCK}/c") is None


@pytest.mark.parametrize("record", [{}, NO_LABELS, ...])
async def test_a_profile_is_known_once_it_was_seen_or_looked_for(place: Any, record: Any) -> None:
    async with place.store.read() as reader:
        assert not await wishes.profile_known(reader, DID)
    await place.apply(said(1, PROFILE, record))
    async with place.store.read() as reader:
        assert await wishes.profile_known(reader, DID)


def test_what_is_asked_for_and_what_is_looked_for_in_the_stream(place: Any) -> None:
    assert place.control.of_artists == {PROFILE, OPTOUT, OWN_OPTOUT}
    assert place.control.collections == {PROFILE, OPTOUT, OWN_OPTOUT, BLOCK}
    assert place.control.needles == (LABELER.encode(),)


def test_an_optout_collection_needs_a_name(log: Any) -> None:
    with pytest.raises(Misconfigured, match="optout_collections"):
        ControlRecords([LABELER], optout_collections=("no collection",), log=log)


OPT_OUTS: Mapping[str, RecordEvent] = {
    "profile": said(9, PROFILE, NO_LABELS),
    "record": said(9, OPTOUT, {}),
    "block": said(9, BLOCK, US, rkey="b"),
}


@pytest.mark.parametrize("way", OPT_OUTS)
async def test_opting_out_takes_everything_back_in_one_transaction(place: Any, way: str) -> None:
    await place.apply(place.wrote(1), place.wrote(2, "waiting", b"other"), place.wrote(3, did=OTHER))
    key = await place.heard()
    await place.heard(OTHER)
    await place.apply(OPT_OUTS[way])
    async with place.store.read() as reader:
        verdict = (await labels.get_verdict(reader, f"at://{DID}/{TRACK}/a")).verdict
        waiting = await jobs.latest(reader, f"at://{DID}/{TRACK}/waiting")
        vectors = await analyses.vector_log(reader, place.generation, after_seq=0, limit=10)
        shared = await analyses.get(reader, key, place.generation)
    assert (verdict.status, verdict.labels, verdict.reason) == (VerdictStatus.REFUSED, (), "opted_out")
    assert waiting.state == "done"
    assert [(row.track_id, row.vector is None) for row in vectors] == [(3, False), (1, True)]
    assert shared is not None  # another artist's record names the same audio
    for rkey in ("a", "waiting"):
        stored = await place.stored(rkey)
        assert (stored.state, stored.reason) == (TrackState.REFUSED, "opted_out")
        assert (stored.track.title, stored.track.artist, stored.track.cid, stored.track.audio_key) == (
            "",
            None,
            "",
            None,
        )
    assert await place.rankable() == [f"at://{OTHER}/{TRACK}/a"]


async def test_what_was_heard_goes_unless_another_record_names_the_same_audio(place: Any) -> None:
    await place.apply(place.wrote(1))
    key = await place.heard()
    await place.apply(OPT_OUTS["record"])
    async with place.store.read() as reader:
        assert await analyses.get(reader, key, place.generation) is None


async def test_new_records_of_who_opted_out_are_turned_away(place: Any) -> None:
    await place.apply(said(1, OPTOUT, {}), place.wrote(2))
    stored = await place.stored()
    assert (stored.state, stored.reason, stored.track.title) == (TrackState.REFUSED, "opted_out", "")
    async with place.store.read() as reader:
        assert await jobs.latest(reader, str(stored.track.uri)) is None
        assert await repos.get(reader, DID) is not None  # its profile is listened to
    await place.apply(said(3, TRACK, ..., rkey="a"))
    assert (await place.stored()).state is TrackState.WITHDRAWN


@pytest.mark.parametrize("way", OPT_OUTS)
async def test_undone_everything_comes_back_with_a_walk(place: Any, way: str) -> None:
    await place.apply(place.wrote(1))
    event = OPT_OUTS[way]
    await place.apply(event)
    async with place.store.read() as reader:
        assert not (await repos.get(reader, DID)).in_doubt
    await place.apply(said(10, event.collection, ..., rkey=event.rkey))
    async with place.store.read() as reader:
        repo = await repos.get(reader, DID)
    assert (repo.in_doubt, repo.reason) == (True, "wish_undone")
    await place.apply(place.wrote(11))  # what the walk finds has the newest revision
    stored = await place.stored()
    assert (stored.state, stored.reason, stored.track.title) == (TrackState.QUEUED, None, "A piece")


async def test_who_wants_no_feeds_keeps_labels(place: Any) -> None:
    await place.apply(place.wrote(1), place.wrote(2, did=OTHER))
    await place.heard()
    await place.heard(OTHER)
    link = Link(f"at://{DID}/app.bsky.feed.post/p", DID, f"at://{OTHER}/{TRACK}/a", LinkRule.EMBED_RECORD, 2 * 10**15)
    async with place.store.write() as tx:
        await links.put(tx, [link], now_us=place.clock.now_us())
        assert [len(track.links) for track in await tracks.rankable(tx)] == [0, 1]
    await place.apply(said(9, OPTOUT, {"scope": "feeds"}))
    async with place.store.read() as reader:
        verdict = (await labels.get_verdict(reader, f"at://{DID}/{TRACK}/a")).verdict
        (shown,) = await tracks.rankable(reader)
    assert (verdict.labels, (await place.stored()).state) == (("techno",), TrackState.READY)
    assert (shown.did, shown.links) == (OTHER, ())  # and its posts stand for nobody's track
    await place.apply(said(10, OPTOUT, ...))
    assert len(await place.rankable()) == 2


async def test_a_wish_that_changes_what_is_shown_rings_the_bell(place: Any) -> None:
    await place.apply(place.wrote(1))
    bell = place.store.bell
    rung = bell.count("link")
    await place.apply(said(2, OPTOUT, {"scope": "feeds"}))
    assert bell.count("link") == rung + 1
    await place.apply(said(3, OPTOUT, {"scope": "feeds"}), said(4, OPTOUT, {}, did=OTHER))  # the same; a stranger's
    assert bell.count("link") == rung + 1


async def test_who_may_be_seen_when_logged_out(place: Any) -> None:
    await place.apply(said(1, PROFILE, LOGGED_IN), said(1, PROFILE, {}, did=OTHER))
    async with place.store.read() as reader:
        assert await wishes.all_logged_in_only(reader) == {DID}
        assert (await wishes.logged_in_only(reader, DID), await wishes.logged_in_only(reader, OTHER)) == (True, False)
