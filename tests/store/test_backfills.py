"""The lists of accounts that backfills work off: taken up again, added to once, counted."""

from __future__ import annotations

from core.types import Did, TrackState
from store import backfills, repos, tracks, wishes
from store.backfills import BackfillProgress
from store.wishes import Scope, Wish, WishKind

A, B, C = (Did(f"did:plc:{letter * 24}") for letter in "abc")


async def test_the_same_wish_is_taken_up_again_until_it_ends(store):
    async with store.write() as tx:
        first = await backfills.begin(tx, "all", {"left": ["x"], "cursor": None}, now_us=1)
        await backfills.note_listing(tx, first.backfill_id, {"left": ["x"], "cursor": "c"})
        again = await backfills.begin(tx, "all", None, now_us=2)
        other = await backfills.begin(tx, "one", None, now_us=3)
    assert (again.backfill_id, again.started_us, again.listing) == (
        first.backfill_id,
        1,
        {"left": ["x"], "cursor": "c"},
    )
    assert other.backfill_id != first.backfill_id
    async with store.write() as tx:
        await backfills.finish(tx, first.backfill_id, "done", now_us=4)
        fresh = await backfills.begin(tx, "all", None, now_us=5)
        newest = await backfills.latest(tx)
    assert fresh.backfill_id not in (first.backfill_id, other.backfill_id)
    assert newest == fresh


async def test_the_lists_of_ended_backfills_are_forgotten_and_those_of_others_are_not(store):
    async with store.write() as tx:
        ended = await backfills.begin(tx, "ended", None, now_us=1)
        running = await backfills.begin(tx, "running", None, now_us=1)
        for one in (ended, running):
            await backfills.add(tx, one.backfill_id, [A, B])
        await backfills.finish(tx, ended.backfill_id, "limited", now_us=2)
        await backfills.begin(tx, "new", None, now_us=3)
        assert await backfills.progress(tx, ended.backfill_id) == BackfillProgress()
        assert (await backfills.progress(tx, running.backfill_id)).waiting == 2


async def test_an_account_is_listed_once_and_the_longest_due_comes_first(store):
    async with store.write() as tx:
        number = (await backfills.begin(tx, "all", None, now_us=1)).backfill_id
        await backfills.add(tx, number, [A, B, C])
        await backfills.put_off(tx, number, A, reason="unreachable", attempts=2, due_us=50)
        await backfills.settle(tx, number, C, "done", found=1)
        await backfills.add(tx, number, [A, C])
        assert await backfills.due(tx, number, now_us=49, limit=9) == [(B, 0)]
        assert await backfills.due(tx, number, now_us=50, limit=9) == [(B, 0), (A, 2)]
        assert await backfills.due(tx, number, now_us=50, limit=1) == [(B, 0)]
        assert await backfills.next_due_us(tx, number) == 0
        for did in (A, B):
            await backfills.settle(tx, number, did, "failed", reason="unreachable")
        assert await backfills.next_due_us(tx, number) is None


async def test_progress_counts_repositories_records_and_reasons(store):
    async with store.write() as tx:
        number = (await backfills.begin(tx, "all", None, now_us=1)).backfill_id
        assert await backfills.changed(tx, number) == 0
        await backfills.add(tx, number, [A, B, C])
        for changed, withdrawn in ((3, 0), (1, 2)):
            await backfills.count(tx, number, A, changed=changed, withdrawn=withdrawn)
        await backfills.settle(tx, number, A, "done", found=7)
        await backfills.settle(tx, number, B, "failed", reason="unknown_did")
        await backfills.put_off(tx, number, C, reason="crowded", attempts=0, due_us=9)
        assert await backfills.changed(tx, number) == 4
        assert await backfills.progress(tx, number) == BackfillProgress(
            waiting=1,
            done=1,
            failed=1,
            found=7,
            changed=4,
            withdrawn=2,
            failures={"unknown_did": 1},
            put_off={"crowded": 1},
        )


async def test_what_is_known_of_a_repository_leaves_tombstones_out(store, make):
    kept, gone, foreign = make.track(1), make.track(2), make.track(3, by=9)
    async with store.write() as tx:
        for track in (kept, gone, foreign):
            await tracks.put(tx, track, state=TrackState.QUEUED, reason=None, now_us=1)
        await tracks.withdraw(tx, str(gone.uri), gone.rev, now_us=2)
        optout, silent = (f"at://{kept.did}/example.earmark.optout/{key}" for key in ("self", "other"))
        for uri, scope in ((optout, Scope.FEEDS), (silent, Scope.NONE)):
            await wishes.put(tx, Wish(uri, kept.did, WishKind.OPTOUT, kept.rev, scope), now_us=2)
        assert await repos.known(tx, kept.did) == {str(kept.uri): kept.cid, optout: ""}
        assert await backfills.accounts(tx) == sorted({kept.did, foreign.did})
