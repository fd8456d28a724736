"""One generation serves; the next is built beside it, switched to at once, and what it replaced is deleted."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from core.analysis import Space, generation_of
from core.types import Account, TrackState
from store import Store, Tx, accounts, analyses, generations, labels, tracks
from store.checkpoint import sweep_checkpoints
from store.generations import GenerationState
from store.index import VectorIndex
from tests.store.test_crash import Crash, FailingEngine

NOW = 1_800_000_000_000_000
OLD = {"musicnn": "pack-1"}  # what `make.analysis` was heard with
NEW = {"musicnn": "pack-1", "effnet": "pack-2"}
TAGS, SOUND, EFFNET = Space.MUSICNN_TAGS, Space.MUSICNN_SOUND, Space.EFFNET_SOUND


async def decided(tx: Tx, make: Any, number: int, packs: dict[str, str], **changes: Any) -> int:
    """A track that was heard with these packs, judged, and has its vectors; its number."""
    track = make.track(number, **changes)
    stored = await tracks.get(tx, str(track.uri))
    track_id: int = stored.track_id if stored else await make.stored(tx, track, TrackState.READY)
    analysis = make.analysis(number, packs=packs)
    await analyses.put(tx, track.audio_key, analysis, now_us=NOW)
    await analyses.put_vectors(tx, track_id, analysis.generation, analysis.vectors)
    grounds = {"audio_key": track.audio_key, "generation": analysis.generation}
    await labels.put_verdict(tx, str(track.uri), make.verdict("ambient"), now_us=NOW, **grounds)
    return track_id


async def unheard(tx: Tx, now_us: int = NOW) -> list[str]:
    coming = (await generations.living(tx)).building
    assert coming is not None
    return [uri for _, uri, _ in await generations.next_unheard(tx, coming, after=0, now_us=now_us, limit=100)]


async def test_the_first_packs_serve_at_once_and_again(store):
    async with store.write() as tx:
        with pytest.raises(LookupError):
            await generations.living(tx)
        first = await generations.arrange(tx, OLD, now_us=NOW)
        assert (first.serving.name, first.serving.packs, first.coming) == (generation_of(OLD), OLD, None)
        assert first.serving.spaces == {SOUND: 400, TAGS: 100}
        assert await generations.arrange(tx, OLD, now_us=NOW + 1) == first


async def test_other_packs_are_built_beside_it_and_a_third_set_replaces_them(store):
    third = {"clap": "c"}
    async with store.write() as tx:
        await generations.arrange(tx, OLD, now_us=NOW)
        both = await generations.arrange(tx, NEW, now_us=NOW + 1)
        assert both.serving.packs == OLD
        assert both.building is not None
        assert both.building.packs == NEW
        assert await generations.arrange(tx, NEW, now_us=NOW + 2) == both
        assert (await generations.arrange(tx, third, now_us=NOW + 3)).building.packs == third
        assert (await generations.get(tx, generation_of(NEW))).state is GenerationState.RETIRED
        back = await generations.arrange(tx, OLD, now_us=NOW + 4)
        assert (back.serving.packs, back.coming) == (OLD, None)


async def test_the_database_itself_lets_only_one_serve(store, place):
    async with store.write() as tx:
        await generations.arrange(tx, OLD, now_us=NOW)
    connection = sqlite3.connect(place.path)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO generation VALUES ('x', '{}', 'serving', NULL, 1, NULL)")
    connection.close()


async def test_what_has_to_be_heard_again(store, make):
    async with store.write() as tx:
        await generations.arrange(tx, OLD, now_us=NOW)
        for number in range(8):
            await decided(tx, make, number, OLD, by=number, gated=number == 1)
        await tracks.withdraw(tx, make.uri(2, 2), make.track(2, rev=9).rev, now_us=NOW)
        await accounts.put(tx, Account(make.did(3), active=False), now_us=NOW)
        await tracks.set_state(tx, make.uri(4, 4), TrackState.QUEUED, None, now_us=NOW)  # the worker's
        await labels.put_verdict(tx, make.uri(5, 5), make.verdict(), now_us=NOW)  # nothing was heard for it
        coming = (await generations.arrange(tx, NEW, now_us=NOW)).building
        assert await unheard(tx) == [make.uri(0, 0), make.uri(6, 6), make.uri(7, 7)]
        assert (await generations.measure(tx, coming)).left == 3
        await decided(tx, make, 0, NEW, by=0)
        await generations.note_unheard(tx, coming, "audio-6", "unreachable", attempts=1, due_us=NOW + 10, now_us=NOW)
        await generations.note_unheard(tx, coming, "audio-7", "blob_gone", attempts=1, due_us=None, now_us=NOW)
        assert await unheard(tx) == []
        assert await unheard(tx, NOW + 10) == [make.uri(6, 6)]
        assert await generations.next_due_us(tx, coming, now_us=NOW) == NOW + 10
        progress = await generations.measure(tx, coming)
        assert (progress.heard, progress.left, progress.total) == (1, 1, 3)
        assert (progress.waiting, progress.given_up) == ({"unreachable": 1}, {"blob_gone": 1})
        assert [await generations.tried(tx, coming, key) for key in ("audio-6", "audio-0")] == [(1, NOW), None]
        overdue = [await generations.count_overdue(tx, coming, since_us=NOW + late) for late in (-1, 0)]
        assert overdue == [0, 1]  # what was given up waits for nothing
        await generations.note_unheard(tx, coming, "audio-6", "deadline", attempts=2, due_us=NOW + 30, now_us=NOW + 10)
        assert await generations.tried(tx, coming, "audio-6") == (2, NOW)
        await generations.forget_unheard(tx, coming, "audio-6")
        await accounts.put(tx, Account(make.did(3), active=True), now_us=NOW)
        assert await unheard(tx) == [make.uri(3, 3), make.uri(6, 6)]


async def test_a_generation_that_failed_waits_for_retry(store, make):
    async with store.write() as tx:
        await generations.arrange(tx, OLD, now_us=NOW)
        await decided(tx, make, 0, OLD)
        coming = (await generations.arrange(tx, NEW, now_us=NOW)).building
        await generations.note_unheard(tx, coming, "audio-0", "unreachable", attempts=1, due_us=None, now_us=NOW)
        await generations.fail(tx, coming, "one of one", now_us=NOW)
        failed = await generations.arrange(tx, NEW, now_us=NOW)
        assert (failed.serving.packs, failed.building, failed.coming.reason) == (OLD, None, "one of one")
        assert not await generations.switch(tx, coming, now_us=NOW)
        assert await generations.retry(tx, now_us=NOW)
        assert await unheard(tx) == [make.uri(0)]
        assert not await generations.retry(tx, now_us=NOW)


async def test_the_switch_once(store, make):
    async with store.write() as tx:
        await generations.arrange(tx, OLD, now_us=NOW)
        coming = (await generations.arrange(tx, NEW, now_us=NOW)).building
        assert await generations.switch(tx, coming, now_us=NOW + 5)
        after = await generations.living(tx)
        assert (after.serving.packs, after.serving.finished_us, after.coming) == (NEW, NOW + 5, None)
        assert not await generations.switch(tx, coming, now_us=NOW + 6)
        await generations.fail(tx, coming, "too late", now_us=NOW + 7)
        assert (await generations.living(tx)).serving.packs == NEW


async def test_tracks_are_judged_anew_once(store, make):
    async with store.write() as tx:
        await generations.arrange(tx, OLD, now_us=NOW)
        for number in range(3):
            await decided(tx, make, number, OLD)
        serving = (await generations.living(tx)).serving
        assert await generations.next_unjudged(tx, serving, after=0, limit=10) == []
        coming = (await generations.arrange(tx, NEW, now_us=NOW)).building
        for number in range(2):
            await analyses.put(tx, f"audio-{number}", make.analysis(number, packs=NEW), now_us=NOW)
        await generations.switch(tx, coming, now_us=NOW)
        found = await generations.next_unjudged(tx, coming, after=0, limit=10)
        assert [uri for _, uri in found] == [make.uri(0), make.uri(1)]
        assert len(await generations.next_unjudged(tx, coming, after=found[0][0], limit=10)) == 1
        version = (await labels.get_verdict(tx, make.uri(0))).version
        await labels.put_verdict(
            tx, make.uri(0), make.verdict("ambient"), now_us=NOW, audio_key="audio-0", generation=coming.name
        )
        again = await labels.get_verdict(tx, make.uri(0))
        assert (again.version, again.generation) == (version, coming.name)  # no news for the publisher
        assert [uri for _, uri in await generations.next_unjudged(tx, coming, after=0, limit=10)] == [make.uri(1)]


async def test_a_retired_generation_is_deleted_bit_by_bit_and_nothing_else(store, make, place):
    async with store.write() as tx:
        await generations.arrange(tx, OLD, now_us=NOW)
        for number in range(5):
            await decided(tx, make, number, OLD)
        coming = (await generations.arrange(tx, NEW, now_us=NOW)).building
        for number in range(4):
            await decided(tx, make, number, NEW)
        await generations.note_unheard(tx, coming, "audio-4", "blob_gone", attempts=1, due_us=None, now_us=NOW)
        assert not await generations.has_leftovers(tx)
        await generations.switch(tx, coming, now_us=NOW)
    kept = [row for row in place.content()["vector"] if row[1] == coming.name]
    rounds = 0
    while True:
        async with store.write() as tx:
            if not await generations.has_leftovers(tx):
                break
            await generations.clear_retired(tx, limit=2)
        rounds += 1
        content = place.content()
        heard = {row[0] for row in content["analysis"] if row[1] == generation_of(OLD)}
        with_vectors = {f"audio-{row[0] - 1}" for row in content["vector"] if row[1] == generation_of(OLD)}
        assert heard <= with_vectors  # never an analysis without its vectors
    assert rounds == 8  # 5 analyses and 10 vectors, two at a time
    assert place.content()["vector"] == kept
    assert {row[1] for row in place.content()["analysis"]} == {coming.name}
    assert len(place.content()["unheard"]) == 1


async def test_an_index_sees_its_generation_only_and_not_an_earlier_life(store, make, tmp_path):
    folder = tmp_path / "index"
    async with store.write() as tx:
        await generations.arrange(tx, OLD, now_us=NOW)
        await decided(tx, make, 0, OLD)
        await decided(tx, make, 1, OLD)
        coming = (await generations.arrange(tx, NEW, now_us=NOW)).building
        await decided(tx, make, 0, NEW)
    old = await VectorIndex.open(store, folder, spaces={TAGS: 100}, generation=generation_of(OLD))
    new = await VectorIndex.open(store, folder, spaces={TAGS: 100}, generation=coming.name)
    assert (old.size(TAGS), new.size(TAGS)) == (2, 1)
    await old.checkpoint()
    await new.checkpoint()
    (folder / "manifest.json").write_bytes(b"{}")  # as session 1 laid it out
    sweep_checkpoints(folder, [generation_of(OLD), coming.name])
    assert sorted(path.name for path in folder.iterdir()) == sorted([generation_of(OLD)[:16], coming.name[:16]])

    async with store.write() as tx:  # it is given up, deleted, and chosen again
        await generations.arrange(tx, OLD, now_us=NOW + 1)
        while await generations.has_leftovers(tx):
            await generations.clear_retired(tx, limit=10)
        await generations.arrange(tx, NEW, now_us=NOW + 2)
    again = await VectorIndex.open(store, folder, spaces={TAGS: 100}, generation=coming.name)
    assert again.size(TAGS) == 0
    sweep_checkpoints(folder, [])
    assert list(folder.iterdir()) == []


async def test_a_crash_at_any_statement_of_the_switch_leaves_the_old_one_or_the_new_one(place: Any, make: Any) -> None:
    cut: list[Any] = []
    engine = FailingEngine(await place.open_engine(), at_failure=lambda: cut.append(place.cut_power()))
    store = Store(engine)
    async with store.write() as tx:
        await generations.arrange(tx, OLD, now_us=NOW)
        await decided(tx, make, 0, OLD)
        coming = (await generations.arrange(tx, NEW, now_us=NOW)).building
        await decided(tx, make, 0, NEW)
    assert coming is not None
    for fail_at in range(1, 50):
        engine.fail_at = fail_at
        try:
            async with store.write() as tx:
                assert await generations.switch(tx, coming, now_us=NOW)
        except Crash:
            left = await cut[-1].open()
            async with left.read() as r:
                living = await generations.living(r)
            assert (living.serving.packs, living.building) == (OLD, coming)
            await left.close()
        else:
            break
    assert fail_at > 3
    after = place.cut_power()
    await store.close()
    left = await after.open()
    async with left.read() as r:
        living = await generations.living(r)
    assert (living.serving.name, living.coming) == (coming.name, None)
    await left.close()
