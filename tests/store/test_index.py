"""The vector index follows the log, and its checkpoint is whole or ignored."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import math

import numpy as np
import orjson
import pytest

from core.analysis import Space
from core.errors import Unstored
from store import analyses, tracks
from store.index import VectorIndex
from store.rows import Rows

TAGS, SOUND = Space.MUSICNN_TAGS, Space.MUSICNN_SOUND
SPACES = {TAGS: 8, SOUND: 4}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


async def _fill(store, make, numbers, seed=0):
    async with store.write() as tx:
        for number in numbers:
            stored = await tracks.get(tx, make.uri(number))
            track_id = stored.track_id if stored else await make.stored(tx, make.track(number))
            vectors = {TAGS: make.vector(seed + number, 8), SOUND: make.vector(seed + number, 4)}
            await analyses.put_vectors(tx, track_id, "p", vectors)


async def _truth(store, space, query):
    """Inner products straight from the log."""
    async with store.read() as r:
        rows = await analyses.vector_log(r, "p", after_seq=0, limit=10_000)
    return {row.track_id: float(row.vector @ query) for row in rows if row.space is space and row.vector is not None}


def _scores(index, space, query, track_ids=range(1, 1000)):
    present, products = index.products(space, query[None], list(track_ids))
    return dict(zip(present, products[:, 0].tolist(), strict=True))


async def _assert_true(index, store, make):
    for space, size in SPACES.items():
        query = make.vector(99, size)
        truth = await _truth(store, space, query)
        assert _scores(index, space, query) == pytest.approx(truth, rel=1e-5, abs=1e-6)
        best = sorted(truth, key=lambda track_id: -truth[track_id])
        found = index.search(space, query, 5)
        assert [track_id for track_id, _ in found] == best[:5]
        assert [score for _, score in found] == pytest.approx([truth[track_id] for track_id in best[:5]], rel=1e-5)
        assert index.size(space) == len(truth)


async def test_products_with_several_queries_are_those_with_each(store, make, folder, monkeypatch):
    monkeypatch.setattr("store.index._BATCH_OF_PRODUCTS", 7)
    await _fill(store, make, range(20))
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    truths = [await _truth(store, TAGS, make.vector(seed, 8)) for seed in (1, 2)]
    wanted = [*sorted(truths[0], reverse=True)[:16], 12_345]
    present, products = index.products(TAGS, np.stack([make.vector(1, 8), make.vector(2, 8)]), wanted)
    assert present == wanted[:-1]
    for column, truth in enumerate(truths):
        np.testing.assert_allclose(products[:, column], [truth[track_id] for track_id in present], rtol=1e-5, atol=1e-6)
    nobody, nothing = index.products(TAGS, np.zeros((3, 8), np.float32), [12_345])
    assert (nobody, nothing.shape) == ([], (0, 3))
    assert index.products(TAGS, np.zeros((3, 8), np.float32), [])[1].shape == (0, 3)
    with pytest.raises(ValueError, match="8 finite numbers"):
        index.products(TAGS, np.zeros((1, 9), np.float32), wanted)


async def test_the_index_follows_the_log(store, make, folder):
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    assert await index.follow() == 0
    assert index.search(TAGS, make.vector(1, 8), 5) == []
    assert _scores(index, TAGS, make.vector(1, 8)) == {}
    await _fill(store, make, range(20))
    assert await index.follow() == 40
    await _assert_true(index, store, make)
    await _fill(store, make, [3, 4], seed=500)  # replaced
    async with store.write() as tx:
        await analyses.drop_vectors(tx, 6)
    assert await index.follow() == 6
    await _assert_true(index, store, make)
    assert 6 not in dict(index.search(TAGS, make.vector(2, 8), 100))
    assert sorted(_scores(index, TAGS, make.vector(2, 8), [5, 6, 7, 9999])) == [5, 7]


async def test_spaces_that_nobody_asked_for_are_passed_over(store, make, folder):
    await _fill(store, make, range(3))
    index = await VectorIndex.open(store, folder, spaces={SOUND: 4}, generation="p")
    assert index.size(SOUND) == 3
    with pytest.raises(KeyError):
        index.size(TAGS)


@pytest.mark.parametrize("query", [np.full(8, math.nan), np.full(8, math.inf), np.zeros(7), np.zeros((1, 8))])
async def test_queries_that_cannot_be_compared_are_refused(store, folder, query):
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    for ask in (lambda: index.search(TAGS, query, 5), lambda: index.products(TAGS, query[None], [1])):
        with pytest.raises(ValueError, match="8 finite numbers"):
            ask()


async def test_a_vector_of_another_length_counts_as_none(store, make, folder):
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    await _fill(store, make, range(2))
    await index.follow()
    async with store.write() as tx:
        await analyses.put_vectors(tx, 1, "p", {TAGS: make.vector(1, 9)})
    await index.follow()
    assert sorted(_scores(index, TAGS, make.vector(1, 8))) == [2]


async def test_a_checkpoint_saves_reading_the_log_again(store, make, folder):
    await _fill(store, make, range(20))
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    await index.checkpoint()
    await _fill(store, make, [25])
    async with store.write() as tx:
        await analyses.drop_vectors(tx, 1)
    again = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    await _assert_true(again, store, make)
    assert again._watermark == 44
    await again.checkpoint()
    assert sorted(path.name for path in (folder / "p").iterdir()) == [
        "manifest.json",
        "musicnn-sound.44.rows",
        "musicnn-tags.44.rows",
    ]


def _truncate(folder):
    path = next((folder / "p").glob("musicnn-tags.*.rows"))
    path.write_bytes(path.read_bytes()[:-10])


def _flip(folder):
    path = next((folder / "p").glob("musicnn-tags.*.rows"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x40  # the exponent of the last number
    path.write_bytes(content)


def _lose(folder):
    next((folder / "p").glob("musicnn-sound.*.rows")).unlink()


def _swap(folder):
    sound, tags = (next((folder / "p").glob(f"{space}.*.rows")) for space in (SOUND, TAGS))
    sound.write_bytes(tags.read_bytes())


def _halve_manifest(folder):
    path = folder / "p" / "manifest.json"
    path.write_bytes(path.read_bytes()[:80])


def _edit(**changes):
    """As if it had been written so: with the right sum."""

    def edit(folder):
        path = folder / "p" / "manifest.json"
        manifest = orjson.loads(path.read_bytes()) | changes
        del manifest["sha256"]
        manifest["sha256"] = hashlib.sha256(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)).hexdigest()
        path.write_bytes(orjson.dumps(manifest))

    return edit


def _scribble(before, after):
    def scribble(folder):
        path = folder / "p" / "manifest.json"
        assert before in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(before, after))

    return scribble


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _flip,
        _lose,
        _swap,
        _halve_manifest,
        _edit(format=0),
        _edit(store="another"),
        _edit(watermark="x"),
        _scribble(b'"watermark": 20', b'"watermark": 22'),  # past what was applied: a removed track would stay
        _scribble(b"{", b"["),
        _edit(watermark=10**6),  # ahead of the log: the database came back from a backup
        _edit(spaces={}),
    ],
)
async def test_a_checkpoint_that_is_not_whole_is_rebuilt_from_the_log(store, make, folder, damage):
    await _fill(store, make, range(10))
    await (await VectorIndex.open(store, folder, spaces=SPACES, generation="p")).checkpoint()
    damage(folder)
    async with store.write() as tx:
        await analyses.drop_vectors(tx, 2)
    await _assert_true(await VectorIndex.open(store, folder, spaces=SPACES, generation="p"), store, make)


async def test_a_checkpoint_of_another_store_is_ignored(store, place, make, folder, clock):
    await _fill(store, make, range(10))
    await (await VectorIndex.open(store, folder, spaces=SPACES, generation="p")).checkpoint()
    clock.pass_seconds(1)
    other_place = type(place)(place.path.parent / "other", clock)
    other = await other_place.open()
    await _fill(other, make, range(10), seed=50)
    await _assert_true(await VectorIndex.open(other, folder, spaces=SPACES, generation="p"), other, make)
    await other.close()


async def test_a_crash_while_a_checkpoint_is_written_leaves_the_older_one(store, make, folder, monkeypatch):
    await _fill(store, make, range(10))
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    await index.checkpoint()
    await _fill(store, make, [11])
    await index.follow()
    monkeypatch.setattr("store.checkpoint.orjson.dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await index.checkpoint()
    monkeypatch.undo()
    again = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    await _assert_true(again, store, make)


async def test_what_a_killed_child_left_goes_before_the_next_one_writes(store, make, folder, monkeypatch):
    """It may be what fills the disk: with it in the way nothing would ever be stored again."""
    await _fill(store, make, range(10))
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    await index.checkpoint()
    whole = {path.name for path in (folder / "p").iterdir()}
    (folder / "p" / "musicnn-tags.99.rows.4711.part").write_bytes(b"half")
    (folder / "p" / "of-a-stranger").mkdir()

    def fill_up(path, rows):
        assert {one.name for one in path.parent.iterdir()} == whole, "the older one is there, and nothing else"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("store.checkpoint._write_rows", fill_up)
    with pytest.raises(Unstored, match="No space left"):
        await index.checkpoint()
    monkeypatch.undo()
    await _assert_true(await VectorIndex.open(store, folder, spaces=SPACES, generation="p"), store, make)


async def test_a_folder_that_cannot_be_written_is_named(store, make, folder):
    folder.write_bytes(b"a file")
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    with pytest.raises(Unstored, match="index"):
        await index.checkpoint()


async def test_searches_go_on_while_the_log_is_followed(store, make, folder):
    await _fill(store, make, range(300))
    index = VectorIndex(store, folder, SPACES, "p")
    following = asyncio.create_task(index.follow())
    while not following.done():
        found = index.search(TAGS, make.vector(1, 8), 10)
        assert all(math.isfinite(score) for _, score in found)
        await asyncio.sleep(0)
    assert await following == 600
    await _assert_true(index, store, make)


async def test_vectors_come_in_the_order_asked_for(store, make, folder):
    await _fill(store, make, range(5))
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    present, vectors = index.vectors(SOUND, [4, 99, 2])
    assert present == [4, 2]
    np.testing.assert_array_equal(vectors, [make.vector(3, 4), make.vector(1, 4)])
    assert index.vectors(SOUND, [])[1].shape == (0, 4)
    assert index.sound is SOUND


async def test_a_filter_is_exact_over_what_passes(store, make, folder):
    await _fill(store, make, range(30))
    index = await VectorIndex.open(store, folder, spaces=SPACES, generation="p")
    query = make.vector(5, 8)
    truth = await _truth(store, TAGS, query)
    passing = {3, 7, 20, 21, 29, 12_345}
    found = index.search(TAGS, query, 4, among=passing)
    assert [track_id for track_id, _ in found] == sorted(passing & set(truth), key=lambda n: -truth[n])[:4]
    assert index.search(TAGS, query, 4, among=[]) == []


def test_rows_are_dense_after_any_changes(monkeypatch):
    """Against a plain dictionary: blocks fill, empty and fill again, and the last row takes the place of a lost one."""
    monkeypatch.setattr("store.rows._BLOCK", 64)
    rows, truth, random = Rows(3), {}, np.random.default_rng(1)
    for step in range(9_000):
        track_id = int(random.integers(1, 2_600))
        if random.random() < (0.15 if step < 5_000 else 0.7):
            rows.drop(track_id)
            truth.pop(track_id, None)
        else:
            truth[track_id] = random.standard_normal(3).astype(np.float32)
            rows.put(track_id, truth[track_id])
    assert 0 < len(rows) == len(truth) < 2_600
    assert sorted(rows.keys.tolist()) == sorted(truth)
    wanted = np.arange(0, 4_000)
    present = rows.present(wanted)
    assert present.tolist() == sorted(truth)
    np.testing.assert_array_equal(rows.take(present), [truth[track_id] for track_id in sorted(truth)])
    query = np.ones(3, np.float32)
    np.testing.assert_allclose(
        rows.products(query), [truth[key].sum() for key in rows.keys.tolist()], rtol=1e-4, atol=1e-5
    )
