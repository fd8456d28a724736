"""Whether a repository's commits follow each other, and what is done when they do not (P145, P160, P164, P165)."""

from __future__ import annotations

from typing import Any

import pytest

from core.dagcbor import cid_of
from core.types import Did, Nsid, make_tid
from firehose.apply import Applier
from firehose.chain import DOUBT_DELAY_US, GAP_SPACING_US
from firehose.events import CommitEvent, DoubtEvent, Event, GapEvent, Operation, RecordEvent, SyncEvent
from firehose.listings import Listings
from firehose.mapping import load_mapping
from firehose.pulse import Pulse
from store import Store, repos, tracks

DID = Did("did:plc:artist222222222222222222")
NOW = 1_800_000_000_000_000
DATA = [cid_of(bytes([number])) for number in range(10)]


def rev(number: int) -> str:
    return make_tid(1_700_000_000_000_000 + number)


def commit(number: int, **changes: Any) -> CommitEvent:
    """The commit that follows the one before it."""
    fields = {"since": rev(number - 1), "data": DATA[number], "prev_data": DATA[number - 1]} | changes
    return CommitEvent(DID, rev(number), position=number, **fields)


@pytest.fixture
def apply(store: Store, kit: Any, clock: Any, log: Any) -> Any:
    """Applies events to a followed repository, and gives what is known of it then."""
    applier = Applier((), directory=kit.KnownIdentities(), log=log, pulse=Pulse(clock))

    async def run(*events: Event, now_us: int = NOW) -> repos.StoredRepo | None:
        async with store.write() as tx:
            await repos.follow(tx, DID, now_us=now_us)
            await applier.apply(tx, events, now_us=now_us)
            return await repos.get(tx, DID)

    return run


async def test_P145_commits_that_follow_each_other_move_the_repository_on(apply: Any) -> None:
    repo = await apply(commit(1), commit(2), commit(3))
    assert (repo.rev, repo.data, repo.in_doubt) == (rev(3), DATA[3], False)


async def test_P145_the_first_commit_that_is_seen_follows_anything(apply: Any) -> None:
    assert not (await apply(commit(7))).in_doubt


async def test_P145_older_and_repeated_commits_change_nothing(apply: Any) -> None:
    before = await apply(commit(1), commit(2), commit(3))
    assert await apply(commit(2), commit(3), commit(1, since=None)) == before


@pytest.mark.parametrize(
    "broken",
    [commit(4), commit(3, since=rev(1)), commit(3, prev_data=DATA[9]), commit(3, since=None, prev_data=DATA[9])],
)
async def test_P145_P164_a_commit_that_does_not_follow_puts_the_repository_in_doubt(apply: Any, broken: Any) -> None:
    repo = await apply(commit(1), commit(2), broken)
    assert (repo.in_doubt, repo.reason, repo.due_us) == (True, "missed_commits", NOW + DOUBT_DELAY_US)
    assert (repo.rev, repo.data) == (broken.rev, broken.data)


async def test_P145_hosts_that_say_less_are_not_doubted_for_it(apply: Any) -> None:
    repo = await apply(commit(1), commit(2, prev_data=None), commit(3, since=None, prev_data=None))
    assert (repo.rev, repo.in_doubt) == (rev(3), False)


async def test_P164_a_sync_to_the_state_that_is_known_is_ignored(apply: Any) -> None:
    repo = await apply(commit(1), SyncEvent(DID, rev(1), DATA[1], 2), SyncEvent(DID, rev(0), DATA[5], 3))
    assert (repo.rev, repo.in_doubt) == (rev(1), False)


async def test_P164_a_sync_to_the_revision_that_was_walked_is_ignored(store: Store, apply: Any) -> None:
    await apply()
    async with store.write() as tx:
        await repos.advance(tx, DID, rev=rev(1), data=None, now_us=NOW)
    assert not (await apply(SyncEvent(DID, rev(1), DATA[1], 2))).in_doubt


@pytest.mark.parametrize("sync", [SyncEvent(DID, rev(1), DATA[5], 2), SyncEvent(DID, rev(6), DATA[1], 2)])
async def test_P164_a_sync_to_another_state_is_doubt(apply: Any, sync: SyncEvent) -> None:
    repo = await apply(commit(1), sync)
    assert (repo.in_doubt, repo.reason) == (True, "sync")


async def test_P137_an_unusable_message_is_doubt(apply: Any) -> None:
    repo = await apply(commit(1), DoubtEvent(DID, "unusable", 2))
    assert (repo.in_doubt, repo.reason, repo.rev) == (True, "unusable", rev(1))


async def test_strangers_leave_no_trace(store: Store, apply: Any) -> None:
    other = Did("did:plc:stranger2222222222222222")
    await apply(
        CommitEvent(other, rev(1), None, DATA[1], None, 1),
        SyncEvent(other, rev(2), DATA[2], 2),
        DoubtEvent(other, "x", 3),
    )
    async with store.read() as reader:
        assert await repos.get(reader, other) is None


async def test_P160_P165_a_gap_puts_every_followed_repository_in_doubt_spread_over_time(
    store: Store, apply: Any, kit: Any
) -> None:
    dids = [Did(f"did:plc:{number:024d}".replace("0", "a").replace("1", "b")) for number in range(40)]
    async with store.write() as tx:
        for did in dids:
            await repos.follow(tx, did, now_us=NOW)
    await apply(GapEvent(5, "OutdatedCursor"))
    async with store.read() as reader:
        assert await repos.counts(reader) == {"synchronised": 0, "desynchronised": 41}
        due = [repo.due_us - NOW for repo in await repos.due(reader, now_us=NOW + 10**12, limit=100)]
    assert min(due) >= 0
    assert max(due) <= 41 * GAP_SPACING_US
    assert len(set(due)) == 41
    before = await apply()
    assert await apply(GapEvent(6, "again"), now_us=NOW + 5) == before  # nobody loses a turn


async def test_more_doubt_hastens_a_walk_that_is_far_away_and_never_one_that_failed(store: Store, apply: Any) -> None:
    async with store.write() as tx:
        await repos.follow(tx, DID, now_us=NOW)
        await repos.doubt(tx, DID, reason="gap", now_us=NOW, delay_us=10**9)
    assert (await apply(DoubtEvent(DID, "tree", 1))).due_us == NOW + DOUBT_DELAY_US
    async with store.write() as tx:
        await repos.put_off(tx, DID, reason="unreachable", attempts=1, due_us=NOW + 10**9, now_us=NOW)
    repo = await apply(DoubtEvent(DID, "tree", 1))
    assert (repo.due_us, repo.attempts) == (NOW + 10**9, 1)


async def test_P164_a_walk_settles_only_doubts_from_before_it_began(store: Store, apply: Any) -> None:
    await apply(DoubtEvent(DID, "tree", 1), now_us=NOW)
    async with store.write() as tx:
        assert not await repos.settle(tx, DID, since_us=NOW - 1, now_us=NOW + 9)
        assert await repos.settle(tx, DID, since_us=NOW, now_us=NOW + 9)
        assert not (await repos.get(tx, DID)).in_doubt


async def test_an_owner_who_keeps_a_repository_in_doubt_has_it_walked_once_a_minute(store: Store, apply: Any) -> None:
    await apply(DoubtEvent(DID, "tree", 1), now_us=NOW)
    async with store.write() as tx:
        assert await repos.settle(tx, DID, since_us=NOW, now_us=NOW)
    assert (await apply(DoubtEvent(DID, "tree", 2), now_us=NOW + 1)).due_us == NOW + repos.REST_US


@pytest.mark.parametrize(("minutes", "taken"), [(4, True), (6, False)])
async def test_P146_a_record_of_a_revision_in_the_future_is_ignored_whoever_brings_it(
    store: Store, kit: Any, clock: Any, log: Any, minutes: int, taken: bool
) -> None:
    listings = Listings(load_mapping(only=frozenset({"fm.plyr.track"})), log=log)
    applier = Applier([listings], directory=kit.KnownIdentities(), log=log, pulse=Pulse(clock))
    ahead = make_tid(NOW + minutes * 60_000_000)
    event = RecordEvent(DID, Nsid("fm.plyr.track"), "a", ahead, Operation.CREATE, DATA[0], {"title": "x"}, 1)
    async with store.write() as tx:
        await applier.apply(tx, [event], now_us=NOW)
        assert (await tracks.get(tx, str(event.uri)) is not None) == taken


async def test_P146_commits_of_the_future_do_not_move_a_repository(apply: Any) -> None:
    ahead = make_tid(NOW + 360_000_000)
    repo = await apply(
        commit(1), CommitEvent(DID, ahead, rev(1), DATA[2], DATA[1], 2), SyncEvent(DID, ahead, DATA[3], 3)
    )
    assert (repo.rev, repo.in_doubt) == (rev(1), False)
