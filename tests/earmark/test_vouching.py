"""What is asked of an account's host before anything is said of its tracks (P153, P156, P174, P177)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.clock import SystemClock
from core.dagcbor import RAW, cid_of
from core.errors import AccountAway, OptedOut, UnknownDid, Unproven, Unreachable, Withdrawn
from core.job import JobState
from core.keys import SigningKey
from core.log import Log
from core.types import Account, AtUri, Cid, Did, TrackState, make_tid
from earmark.demo import DemoAccount, Network
from earmark.vouching import Vouching
from firehose.apply import Applier
from firehose.control import OPTOUT, PROFILE, ControlRecords
from firehose.events import AccountEvent, Event, Operation, RecordEvent
from firehose.guard import Guard
from firehose.identity import DidDirectory
from firehose.listings import Listings
from firehose.mapping import load_mapping
from firehose.proof import RecordProver
from firehose.pulse import Pulse
from firehose.repostatus import RepoStatus
from firehose.safehttp import GuardedHttp
from store import Store, jobs, tracks, wishes
from store.tracks import StoredTrack

TRACK = "fm.plyr.track"
AUDIO = b"sound" * 100
NO_LABELS = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "no-auto-label"}]}


def record(title: str = "A title") -> dict[str, Any]:
    blob = {"$type": "blob", "ref": {"$link": cid_of(AUDIO, RAW)}, "mimeType": "audio/mpeg", "size": len(AUDIO)}
    return {"title": title, "artist": "A", "fileType": "mp3", "createdAt": "2026-11-20T10:00:00Z", "audioBlob": blob}


class Place:
    """A test network with one artist, a store that hears of it without proof, and the one who vouches."""

    def __init__(self, network: Network, store: Store) -> None:
        self.network, self.store, self.clock = network, store, SystemClock()
        self.artist: DemoAccount = network.create_account("artist.test")
        self.http = GuardedHttp(Guard(allow_loopback=True), clock=self.clock, user_agent="earmark-test")
        self.directory = DidDirectory(self.http, clock=self.clock, plc_url=network.url, allow_loopback=True)
        log = Log(logging.getLogger("earmark.test"))
        control = ControlRecords(["did:plc:" + "2" * 24], log=log)
        readers = [Listings(load_mapping(), log=log), control]
        self.applier = Applier(readers, directory=self.directory, log=log, pulse=Pulse(self.clock))
        self.repo_status = RepoStatus(self.http, self.directory)
        self.vouching = Vouching(
            store,
            prover=RecordProver(self.http, self.directory, clock=self.clock),
            repo_status=self.repo_status,
            applier=self.applier,
            control=control.of_artists,
            clock=self.clock,
        )

    async def hear_of(self, uri: AtUri, **changes: Any) -> StoredTrack:
        """As a Jetstream would tell of the record that is there now, or of something else."""
        found = self.artist.repo.records.get(f"{uri.collection}/{uri.rkey}")
        told = RecordEvent(
            uri.did, uri.collection, uri.rkey, self.artist.repo.head.rev, Operation.CREATE, None, record(), position=1
        )
        if found is not None:
            told = replace(told, cid=found.cid_text, record=found.value)
        await self.apply(replace(told, **changes))
        return await self.stored(uri)

    async def apply(self, event: Event) -> None:
        async with self.store.write() as tx:
            await self.applier.apply(tx, [event], now_us=self.clock.now_us())

    async def stored(self, uri: AtUri) -> StoredTrack:
        async with self.store.read() as reader:
            found = await tracks.get(reader, str(uri))
        assert found is not None
        return found

    async def open_version(self, uri: AtUri) -> str | None:
        """The version that waits to be heard."""
        async with self.store.read() as reader:
            job = await jobs.latest(reader, str(uri))
        return job.cid if job is not None and job.state is JobState.READY else None


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    async with Network() as network:
        made = Place(network, store)
        yield made
        await made.http.close()
    await store.close()


async def test_P174_what_was_told_without_proof_is_proven_once(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    told = await place.hear_of(uri)
    assert not told.track.verified
    await place.vouching.vouch(told)
    proven = await place.stored(uri)
    assert (proven.track, proven.state) == (replace(told.track, verified=True), TrackState.QUEUED)
    await place.network.stop()  # nobody is asked again
    await place.vouching.vouch(proven)


async def test_P174_another_version_by_now_takes_the_place_of_the_one_that_was_told(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    old = await place.hear_of(uri)
    place.network.update_record(place.artist, TRACK, uri.rkey, record("Another title"))
    with pytest.raises(Withdrawn):
        await place.vouching.vouch(old)
    new = await place.stored(uri)
    assert (new.track.title, new.track.verified, new.track.cid != old.track.cid) == ("Another title", True, True)
    assert await place.open_version(uri) == new.track.cid
    await place.vouching.vouch(new)


async def test_P177_a_record_that_is_gone_is_withdrawn(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    told = await place.hear_of(uri)
    place.network.delete_record(place.artist, TRACK, uri.rkey)
    with pytest.raises(Withdrawn):
        await place.vouching.vouch(told)
    assert (await place.stored(uri)).state is TrackState.WITHDRAWN
    assert await place.open_version(uri) is None


async def test_P174_what_its_account_never_signed_is_not_believed(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    invented = Cid(cid_of(b"something else"))
    told = await place.hear_of(uri, cid=invented)  # at the very revision that its host shows
    with pytest.raises(Withdrawn):
        await place.vouching.vouch(told)
    signed = await place.stored(uri)
    assert (signed.track.cid, signed.track.verified) == (await place.open_version(uri), True)
    assert signed.track.cid == place.artist.repo.records[f"{TRACK}/{uri.rkey}"].cid_text
    never = AtUri(uri.did, uri.collection, make_tid(1_700_000_000_000_000))
    with pytest.raises(Withdrawn):
        await place.vouching.vouch(await place.hear_of(never, cid=invented))
    assert (await place.stored(never)).state is TrackState.WITHDRAWN


async def test_a_host_that_is_behind_the_stream_is_asked_again_later(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    ahead = make_tid(place.clock.now_us() + 1_000_000)
    told = await place.hear_of(uri, cid=Cid(cid_of(b"the next version")), rev=ahead)
    with pytest.raises(Unreachable):
        await place.vouching.vouch(told)
    assert await place.stored(uri) == told


async def test_P142_P174_a_tree_that_another_key_signed_proves_nothing(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    told = await place.hear_of(uri)
    place.artist.key = SigningKey(b"\x07" * 32)  # the document names it; the tree is signed with the old one
    with pytest.raises(Unproven):
        await place.vouching.vouch(told)
    assert await place.stored(uri) == told


@pytest.mark.parametrize(("collection", "wish"), [(PROFILE, {"labels": NO_LABELS}), (OPTOUT, {})])
async def test_artists_who_said_no_before_we_came_are_heeded(
    place: Place, collection: str, wish: dict[str, Any]
) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    place.network.create_record(place.artist, collection, "self", wish)
    with pytest.raises(OptedOut):
        await place.vouching.vouch(await place.hear_of(uri))
    refused = await place.stored(uri)
    assert (refused.state, refused.reason, refused.track.title) == (TrackState.REFUSED, "opted_out", "")
    assert await place.open_version(uri) is None


async def test_the_profile_is_fetched_once_whether_there_is_one_or_not(place: Place) -> None:
    first, second = (place.network.create_record(place.artist, TRACK, None, record(title)) for title in "ab")
    await place.vouching.vouch(await place.hear_of(first))
    async with place.store.read() as reader:
        assert await wishes.profile_known(reader, place.artist.did)
    # From now on the stream would tell: nobody asks any more.
    place.network.create_record(place.artist, PROFILE, "self", {"labels": NO_LABELS})
    await place.vouching.vouch(await place.hear_of(second))


@pytest.mark.parametrize("status", ["takendown", "suspended", "deactivated", "deleted"])
async def test_P151_P177_an_account_that_is_away_is_noted(place: Place, status: Any) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    told = await place.hear_of(uri)
    place.network.set_account_status(place.artist, active=False, status=status)
    with pytest.raises(AccountAway) as caught:
        await place.vouching.vouch(told)
    assert caught.value.patient
    away = await place.stored(uri)
    assert (away.account_active, away.state) == (False, TrackState.QUEUED)
    with pytest.raises(AccountAway):
        await place.vouching.vouch(away)


async def test_P153_a_host_that_lost_an_account_hides_it_and_destroys_nothing(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    told = await place.hear_of(uri)
    place.network.set_account_status(place.artist, active=False, status="deleted")  # as its host has it: RepoNotFound
    with pytest.raises(AccountAway, match="not_found"):
        await place.vouching.vouch(told)
    assert await place.stored(uri) == replace(told, account_active=False)


@pytest.mark.parametrize(
    ("status", "returns"), [("deactivated", True), ("not_found", True), ("takendown", False), ("suspended", False)]
)
async def test_P153_its_hosts_word_ends_what_is_its_own_doing_and_no_takedown(
    place: Place, status: str, returns: bool
) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    await place.hear_of(uri)
    await place.apply(AccountEvent(place.artist.did, False, status, 2))
    away = await place.stored(uri)
    if returns:
        await place.vouching.vouch(away)
    else:
        await place.network.stop()  # it is not even asked
        with pytest.raises(AccountAway, match=status):
            await place.vouching.vouch(away)
    assert (await place.stored(uri)).account_active == returns


async def test_P153_a_takedown_that_the_stream_tells_of_meanwhile_stands(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    await place.hear_of(uri)
    await place.apply(AccountEvent(place.artist.did, False, "deactivated", 2))
    away, ask = await place.stored(uri), place.repo_status.ask

    async def slow(did: Did) -> Account:
        said = await ask(did)
        await place.apply(AccountEvent(did, False, "takendown", 3))
        return said

    place.repo_status.ask = slow  # type: ignore[method-assign]
    with pytest.raises(AccountAway, match="takendown"):
        await place.vouching.vouch(away)
    assert not (await place.stored(uri)).account_active


async def test_P153_trouble_at_the_host_is_no_state_of_the_account(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    told = await place.hear_of(uri)
    place.network.switches.pds_down = True
    with pytest.raises(Unreachable):
        await place.vouching.vouch(told)
    assert await place.stored(uri) == told


async def test_P156_a_did_that_its_directory_does_not_know_is_refused_and_not_called_deleted(place: Place) -> None:
    uri = place.network.create_record(place.artist, TRACK, None, record())
    told = await place.hear_of(uri)
    place.network._world.accounts.clear()  # the directory answers 404: only 410 says that it was given up
    with pytest.raises(UnknownDid):
        await place.vouching.vouch(told)
    assert await place.stored(uri) == told
