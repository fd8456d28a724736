"""What becomes of an artist's tracks when its account changes (P151-P156)."""

from __future__ import annotations

from typing import Any

import pytest

from core.analysis import VerdictStatus
from core.errors import UnknownDid
from core.job import JobState
from core.link import Link, LinkRule
from core.ports import HttpAnswer
from core.types import AtUri, TrackState, make_tid
from firehose.control import OPTOUT, PROFILE, ControlRecords
from firehose.events import AccountEvent, IdentityEvent, Operation, RecordEvent
from firehose.identity import DidDirectory
from firehose.repostatus import RepoStatus
from store import accounts, analyses, jobs, labels, links, repos, signals, wishes
from store.signals import Signal, SignalKind
from store.wishes import Scope, Standing

DID = "did:plc:artist222222222222222222"
FAN = "did:plc:fan222222222222222222222"
TRACK = "fm.plyr.track"
URI = f"at://{DID}/{TRACK}/a"
POST = f"at://{FAN}/app.bsky.feed.post/p"
START_US = 1_700_000_000_000_000
AWAY = ("takendown", "suspended", "deactivated", "something new", None)


def away(status: str | None, did: str = DID, *, time_us: int | None = None) -> AccountEvent:
    return AccountEvent(did, False, status, 5, time_us)


def back(did: str = DID) -> AccountEvent:
    return AccountEvent(did, True, None, 6)


async def test_P153_a_slower_reader_does_not_undo_what_was_said_since(artists: Any) -> None:
    now_us = artists.clock.now_us()
    hour_us = 3_600_000_000
    await artists.apply(artists.wrote(1))
    await artists.heard()
    active_again = AccountEvent(DID, True, None, 9, now_us - 2 * hour_us)
    await artists.apply(AccountEvent(DID, False, "takendown", 7, now_us - hour_us), active_again)
    assert await artists.rankable() == []
    await artists.apply(AccountEvent(DID, True, None, 8, now_us - hour_us // 2))
    assert await artists.rankable() == [URI]
    await artists.apply(away("deleted", time_us=now_us - hour_us))
    assert await artists.rankable() == [URI]


async def link(place: Any, author: str = FAN, target: str = URI) -> None:
    post = f"at://{author}/app.bsky.feed.post/p"
    async with place.store.write() as tx:
        await links.put(tx, [Link(post, author, target, LinkRule.EMBED_RECORD, 2 * 10**15)], now_us=10)


async def like(place: Any, author: str, subject: str) -> None:
    record = AtUri.parse(f"at://{author}/fm.plyr.like/x")
    async with place.store.write() as tx:
        await signals.put(tx, [Signal(record, subject, SignalKind.LIKE, 10)])


async def wait(place: Any, reason: str) -> None:
    """The job of the track waits an hour for this reason."""
    now_us = place.clock.now_us()
    async with place.store.write() as tx:
        lease = await jobs.claim(tx, "w", now_us=now_us, lease_seconds=60)
        await jobs.retry(tx, lease, reason=reason, run_after_us=now_us + 3_600_000_000, now_us=now_us)


async def job_of(place: Any, uri: str = URI) -> Any:
    async with place.store.read() as reader:
        return await jobs.latest(reader, uri)


@pytest.mark.parametrize("status", AWAY)
async def test_P151_an_account_that_is_away_is_shown_nowhere_and_comes_back_as_it_was(
    artists: Any, status: str | None
) -> None:
    await artists.apply(artists.wrote(1))
    key = await artists.heard()
    await artists.apply(away(status))
    assert (await artists.rankable(), (await artists.stored()).account_active) == ([], False)
    async with artists.store.read() as reader:  # kept, and its labels stay: who hides the record hides them
        assert (await labels.get_verdict(reader, URI)).verdict.labels == ("techno",)
        assert await analyses.get(reader, key, artists.generation) is not None
        assert await accounts.get(reader, DID) == away(status).account
    await artists.apply(back())
    assert (await artists.rankable(), (await artists.stored()).state) == ([URI], TrackState.READY)


@pytest.mark.parametrize("status", ["desynchronized", "throttled", None])
async def test_P152_an_active_account_is_shown_whatever_troubles_its_host(artists: Any, status: str | None) -> None:
    await artists.apply(artists.wrote(1))
    await artists.heard()
    await artists.apply(AccountEvent(DID, True, status, 5))
    assert await artists.rankable() == [URI]


@pytest.mark.parametrize("status", AWAY)
async def test_P151_posts_of_an_account_that_is_away_stand_for_nothing(artists: Any, status: str | None) -> None:
    await artists.apply(artists.wrote(1))
    await link(artists)
    await artists.apply(away(status, FAN))
    async with artists.store.read() as reader:
        assert await links.of_track(reader, URI) == []
    await artists.apply(back(FAN))
    async with artists.store.read() as reader:
        assert [found.post_uri for found in await links.of_track(reader, URI)] == [POST]


@pytest.mark.parametrize(("reason", "is_due"), [("account_inactive", True), ("unreachable", False), ("held", False)])
async def test_P151_on_return_jobs_that_waited_for_it_are_due_and_no_others(
    artists: Any, reason: str, is_due: bool
) -> None:
    await artists.apply(artists.wrote(1))
    await wait(artists, reason)
    await artists.apply(away("deactivated"))
    await artists.apply(back())
    job = await job_of(artists)
    assert (job.run_after_us <= artists.clock.now_us(), job.state) == (is_due, JobState.READY)


async def test_only_accounts_that_are_shown_ring_the_bell(artists: Any) -> None:
    await artists.apply(artists.wrote(1))
    rung = artists.store.bell.count("link")
    await artists.apply(away("suspended", FAN), away("suspended", FAN))
    assert artists.store.bell.count("link") == rung
    await artists.apply(away("suspended"))
    assert artists.store.bell.count("link") == rung + 1


async def test_P151_of_a_deleted_account_nothing_derived_stays(artists: Any, log: Any) -> None:
    artists.read_with(ControlRecords([], log=log))
    await artists.apply(artists.wrote(1), artists.wrote(2, "waiting", b"other"))
    await artists.apply(RecordEvent(DID, PROFILE, "self", make_tid(START_US), Operation.CREATE, "x", {}, 1))
    key = await artists.heard()
    await link(artists)
    await link(artists, DID, "https://plyr.fm/track/7")
    await like(artists, FAN, URI)
    await like(artists, DID, "at://did:web:other.example.com/fm.plyr.track/b")
    await artists.apply(away("deleted"))
    async with artists.store.read() as reader:
        verdict = (await labels.get_verdict(reader, URI)).verdict
        vectors = await analyses.vector_log(reader, artists.generation, after_seq=0, limit=9)
        assert (verdict.status, verdict.labels) == (VerdictStatus.WITHDRAWN, ())
        assert [row.vector for row in vectors] == [None]
        assert await analyses.get(reader, key, artists.generation) is None
        assert not await links.is_linked(reader, POST)
        assert not await links.is_linked(reader, f"at://{DID}/app.bsky.feed.post/p")
        assert await signals.counts(reader, [URI]) == {URI: {}}
        assert await signals.counts(reader, ["at://did:web:other.example.com/fm.plyr.track/b"]) == {
            "at://did:web:other.example.com/fm.plyr.track/b": {}
        }
        assert not await wishes.profile_known(reader, DID)
    for rkey in ("a", "waiting"):
        stored = await artists.stored(rkey)
        assert (stored.state, stored.track.title, stored.track.audio_key) == (TrackState.WITHDRAWN, "", None)
    assert (await job_of(artists, f"at://{DID}/{TRACK}/waiting")).state is JobState.DONE
    before = await artists.stored()
    await artists.apply(away("deleted"))
    assert await artists.stored() == before


@pytest.mark.parametrize("held", ["takendown", "suspended", "something new"])
async def test_P153_no_word_of_its_own_host_but_deletion_ends_a_takedown(artists: Any, held: str) -> None:
    """Not by a detour either: a host may say that its account is deactivated, and active after that."""
    await artists.apply(artists.wrote(1), away(held))
    for active, status in ((True, None), (False, "deactivated"), (False, "not_found"), (True, None)):
        await artists.apply(AccountEvent(DID, active, status, 0))  # asked
        async with artists.store.read() as reader:
            assert await accounts.get(reader, DID) == away(held).account
    await artists.apply(AccountEvent(DID, False, "deleted", 0))
    assert (await artists.stored()).state is TrackState.WITHDRAWN


async def test_P151_audio_that_somebody_else_published_too_stays_heard(artists: Any) -> None:
    await artists.apply(artists.wrote(1), artists.wrote(2, did=FAN))
    key = await artists.heard()
    await artists.apply(away("deleted"))
    async with artists.store.read() as reader:
        assert await analyses.get(reader, key, artists.generation) is not None
    await artists.apply(away("deleted", FAN))
    async with artists.store.read() as reader:
        assert await analyses.get(reader, key, artists.generation) is None


async def test_P151_an_account_that_was_deleted_by_mistake_comes_back_with_a_walk(artists: Any) -> None:
    """Also at the very revision that it had: there may have been no commit since."""
    await artists.apply(artists.wrote(1))
    await artists.apply(away("deleted"))
    await artists.apply(back())
    async with artists.store.read() as reader:
        repo = await repos.get(reader, DID)
    assert (repo.in_doubt, repo.reason) == (True, "account_back")
    await artists.apply(artists.wrote(1))
    assert (await artists.stored()).state is TrackState.QUEUED


async def test_P151_a_replayed_deletion_spares_tracks_and_wishes_that_are_newer(artists: Any, log: Any) -> None:
    artists.read_with(ControlRecords([], log=log))
    optout = RecordEvent(DID, OPTOUT, "self", make_tid(START_US + 4), Operation.CREATE, "x", {"scope": "feeds"}, 1)
    gone = away("deleted", time_us=START_US + 2)
    await artists.apply(artists.wrote(1, "old"), gone, back(), artists.wrote(3), optout)
    await link(artists)
    await like(artists, FAN, URI)
    await artists.apply(gone, back())
    async with artists.store.read() as reader:
        assert await links.is_linked(reader, POST)
        assert await signals.counts(reader, [URI]) == {URI: {SignalKind.LIKE: 1}}
    assert (await artists.stored()).state is TrackState.QUEUED
    assert (await artists.stored("old")).state is TrackState.WITHDRAWN
    assert await artists.stands() == Standing(Scope.FEEDS)


async def test_P154_P156_after_an_identity_event_known_accounts_are_asked_and_no_others(artists: Any) -> None:
    await artists.apply(artists.wrote(1))
    rung = artists.store.bell.count("doubt")
    await artists.apply(IdentityEvent(FAN, 7))
    assert artists.store.bell.count("doubt") == rung
    await artists.apply(IdentityEvent(DID, 7))
    async with artists.store.read() as reader:
        assert (await repos.get(reader, DID)).in_doubt


async def test_P156_a_did_that_was_given_up_is_a_deleted_account_and_one_that_nobody_knows_is_not(clock: Any) -> None:
    class Directory:
        """A PLC directory that answers everything alike."""

        def __init__(self, status: int) -> None:
            self.status = status

        async def get(self, url: str, **_: Any) -> HttpAnswer:
            return HttpAnswer(self.status, {}, b"{}", url)

    gone, confused = Directory(410), Directory(404)
    account = await RepoStatus(gone, DidDirectory(gone, clock=clock)).ask(DID)
    assert (account.active, account.status) == (False, "deleted")
    with pytest.raises(UnknownDid):
        await RepoStatus(confused, DidDirectory(confused, clock=clock)).ask(DID)
