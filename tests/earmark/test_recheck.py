"""Tracks whose app was asked long ago are asked again; what is on its way, gone or gated is left alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from core.analysis import Verdict, VerdictStatus
from core.clock import SystemClock
from core.types import Account, AtUri, BlobRef, Cid, Did, Tid, Track, TrackState, Visibility, make_tid
from earmark.recheck import AGAIN_AFTER_SECONDS, enqueue_stale
from store import Store, accounts, jobs, labels, tracks

DID = "did:plc:" + "a" * 24
WEEK_US = int(AGAIN_AFTER_SECONDS * 1e6)
NOW_US = 1_800_000_000_000_000


def track(number: int) -> Track:
    rkey = make_tid(1_700_000_000_000_000 + number)
    return Track(
        uri=AtUri.parse(f"at://{DID}/fm.plyr.track/{rkey}"),
        cid=Cid(f"bafy{number}"),
        rev=Tid(rkey),
        title="T",
        created_us=1,
        blob=BlobRef(Cid("bafkrei"), "audio/wav", 10),
        visibility_check="plyr",
    )


async def test_only_old_answers_are_asked_for_again(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    states = {
        0: (TrackState.READY, Visibility.PUBLIC, NOW_US - WEEK_US - 1),
        1: (TrackState.READY, Visibility.PUBLIC, NOW_US - WEEK_US + 60_000_000),
        2: (TrackState.REFUSED, Visibility.HIDDEN, NOW_US - 2 * WEEK_US),  # it may have become public
        3: (TrackState.REFUSED, Visibility.PUBLIC, NOW_US - 2 * WEEK_US),  # broken audio: asking changes nothing
        4: (TrackState.QUEUED, Visibility.UNKNOWN, NOW_US - 2 * WEEK_US),
    }
    try:
        async with store.write() as tx:
            for number, (state, visibility, asked_us) in states.items():
                uri = str(track(number).uri)
                assert await tracks.put(tx, track(number), state=state, reason=None, now_us=asked_us)
                await tracks.set_visibility(tx, uri, visibility, page_url=None, now_us=asked_us)
        assert await enqueue_stale(store, now_us=NOW_US) == 2
        async with store.read() as reader:
            waiting = [n for n in states if await jobs.latest(reader, str(track(n).uri)) is not None]
        assert waiting == [0, 2]
    finally:
        await store.close()


async def test_what_is_new_and_hidden_is_asked_for_after_pauses_that_double(tmp_path: Path) -> None:
    """Its app may not have known of it yet."""
    store, uri = await Store.open(tmp_path / "earmark.db", clock=SystemClock()), str(track(0).uri)
    seconds, asked = 5, []  # after it was first seen
    try:
        async with store.write() as tx:
            assert await tracks.put(tx, track(0), state=TrackState.REFUSED, reason="not_public", now_us=NOW_US)
        while seconds < 60 * 86_400:
            asked.append(seconds)
            now_us = NOW_US + seconds * 1_000_000
            async with store.write() as tx:
                await tracks.set_visibility(tx, uri, Visibility.HIDDEN, page_url=None, now_us=now_us)
            while not await enqueue_stale(store, now_us=NOW_US + seconds * 1_000_000):
                seconds += 600
    finally:
        await store.close()
    pauses = [after - before for before, after in pairwise(asked)]
    assert pauses[:4] == [600, 1200, 2400, 4800]
    assert max(pauses) <= AGAIN_AFTER_SECONDS + 600
    assert pauses[-1] >= AGAIN_AFTER_SECONDS


async def test_p151_verdicts_on_tracks_of_accounts_that_are_away_wait(tmp_path: Path) -> None:
    """Nothing new is said of them; retractions are not held back."""
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    try:
        async with store.write() as tx:
            for number, names in ((0, ("jazz",)), (1, ())):
                one = track(number)
                await tracks.put(tx, one, state=TrackState.READY, reason=None, now_us=NOW_US)
                verdict = Verdict(VerdictStatus.OK, labels=names)
                await labels.put_verdict(tx, str(one.uri), verdict, now_us=NOW_US)
            await accounts.put(tx, Account(Did(DID), active=False, status="takendown"), now_us=NOW_US)
        async with store.read() as reader:
            assert [row.uri for row in await labels.pending(reader, 10)] == [str(track(1).uri)]
        async with store.write() as tx:
            await accounts.put(tx, Account(Did(DID), active=True), now_us=NOW_US + 1)
            assert len(await labels.pending(tx, 10)) == 2
    finally:
        await store.close()
