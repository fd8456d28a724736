"""Beyond the exact size a graph finds candidates: made by a child, read by the service, never trusted with scores."""

from __future__ import annotations

import asyncio
import resource

import numpy as np
import pytest

from bench.embeddings import heard, near
from core.analysis import Space
from core.errors import Unstored
from earmark.demo.music import PIECES
from store import analyses, tracks
from store.graph import Graph, Precision
from store.index import VectorIndex
from store.nearest import Nearest
from store.rows import Rows

CLAP = Space.CLAP
SIZE = 64
EXACT_BELOW = 300
COUNT = 600


def clustered(count, size=SIZE, seed=1, clusters=None):
    """Vectors of length 1 around some middles, as music lies: f32 [count, size]."""
    random = np.random.default_rng(seed)
    middles = random.standard_normal((clusters or max(1, count // 60), size))
    vectors = middles[random.integers(0, len(middles), count)] + 0.7 * random.standard_normal((count, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = clustered(COUNT)


def recall(searched, vectors, queries, k=50):
    """The share of the `k` best by exact products that `searched(query, k)` finds."""
    hits = 0
    for query in queries:
        best = set(np.argsort(-(vectors @ query))[:k].tolist())
        hits += len(best & {track_id - 1 for track_id, _ in searched(query, k)})
    return hits / (k * len(queries))


async def fill(store, make, numbers, vectors=VECTORS):
    """Track number n has track id n + 1 and the n-th vector."""
    async with store.write() as tx:
        for number in numbers:
            stored = await tracks.get(tx, make.uri(number))
            track_id = stored.track_id if stored else await make.stored(tx, make.track(number))
            assert track_id == number + 1
            await analyses.put_vectors(tx, track_id, "p", {CLAP: vectors[number]})


async def drop(store, numbers):
    async with store.write() as tx:
        for number in numbers:
            await analyses.drop_vectors(tx, number + 1)


@pytest.fixture
async def index(store, make, tmp_path):
    """A corpus beyond the exact size, with its graph."""
    await fill(store, make, range(COUNT))
    opened = await open_index(store, tmp_path)
    assert opened._spaces[CLAP].graph is None
    assert await opened.tend()
    return opened


async def open_index(store, tmp_path):
    return await VectorIndex.open(
        store, tmp_path / "index", spaces={CLAP: SIZE}, generation="p", exact_below=EXACT_BELOW
    )


def graph_of(index):
    graph = index._spaces[CLAP].graph
    assert graph is not None
    return graph


async def test_a_child_makes_the_graph_and_the_service_reads_it(index, store, make, tmp_path):
    assert len(graph_of(index)) == COUNT
    queries = near(VECTORS, 50)
    assert recall(lambda query, k: index.search(CLAP, query, k), VECTORS, queries) >= 0.99
    found = index.search(CLAP, queries[0], 20)
    assert [score for _, score in found] == pytest.approx(sorted((VECTORS @ queries[0]).tolist())[:-21:-1], rel=1e-5)
    assert not await index.tend(), "nothing is new"
    again = await open_index(store, tmp_path)
    assert len(graph_of(again)) == COUNT
    assert again.search(CLAP, queries[0], 20) == found


async def test_what_changed_since_the_graph_is_found_as_it_is_now(index, store, make):
    """Before any graph is made anew: removed tracks are never returned, new and changed ones at once."""
    changed = VECTORS.copy()
    changed[10:20] = clustered(10, seed=3)
    await drop(store, range(40))
    await fill(store, make, range(10, 20), changed)
    await index.follow()
    assert len(graph_of(index)) == COUNT
    gone = {number + 1 for number in range(40)} - {number + 1 for number in range(10, 20)}
    for query in np.concatenate([VECTORS[:40], changed[10:20]]):
        found = dict(index.search(CLAP, query, 100))
        assert not gone & set(found)
        for track_id, score in found.items():
            assert score == pytest.approx(float(changed[track_id - 1] @ query), rel=1e-4, abs=1e-6)
    for number in range(10, 20):
        assert index.search(CLAP, changed[number], 1)[0][0] == number + 1


async def test_after_removals_the_graph_is_built_anew(index, store, make):
    """40 % removed (PERFORMANCE): no gaps are left behind, no removed track is returned, recall is what it was."""
    gone = set(np.random.default_rng(4).choice(COUNT, 240, replace=False).tolist())
    await drop(store, gone)
    await index.follow()
    assert await index.tend()
    assert len(graph_of(index)) == COUNT - 240
    assert index._spaces[CLAP].gaps == 0
    vectors = VECTORS.copy()
    vectors[list(gone)] = -1.0 / SIZE  # far from every query
    queries = VECTORS[::12]
    assert recall(lambda query, k: index.search(CLAP, query, k), vectors, queries) >= 0.99
    returned = {track_id - 1 for query in queries for track_id, _ in index.search(CLAP, query, 300)}
    assert not returned & gone


async def test_a_few_changes_go_into_the_graph_that_is_there(index, store, make, tmp_path):
    await drop(store, range(30))
    await fill(store, make, range(20, 30), clustered(COUNT, seed=5))
    await index.checkpoint()
    again = await open_index(store, tmp_path)
    assert (len(graph_of(again)), again._spaces[CLAP].gaps) == (COUNT - 20, 30)
    assert again._spaces[CLAP].changed == set()
    assert {track_id for track_id, _ in again.search(CLAP, VECTORS[0], COUNT)}.isdisjoint(range(1, 21))


async def test_a_selective_filter_is_exact_and_a_wide_one_is_filled(index):
    query = VECTORS[7]
    truth = VECTORS @ query
    for passing in (range(1, COUNT + 1, 40), range(1, COUNT - 100)):
        wanted = sorted(passing, key=lambda track_id: -truth[track_id - 1])[:10]
        assert [track_id for track_id, _ in index.search(CLAP, query, 10, among=passing)] == wanted
    nobody_near = np.argsort(truth)[:350] + 1  # wide, but all that the graph proposes is outside
    found = index.search(CLAP, query, 10, among=nobody_near.tolist())
    assert [track_id for track_id, _ in found] == nobody_near[:-11:-1].tolist()


@pytest.mark.parametrize("kind", ["rows", "graph"])
async def test_a_truncated_file_is_rebuilt_from_the_log(index, store, make, tmp_path, kind):
    (path,) = (tmp_path / "index" / "p").glob(f"*.{kind}")
    path.write_bytes(path.read_bytes()[:-100])
    again = await open_index(store, tmp_path)
    assert again.size(CLAP) == COUNT
    query = VECTORS[3]
    assert again.search(CLAP, query, 5)[0][0] == 4  # exactly, until there is a graph again
    assert await again.tend()
    assert len(graph_of(again)) == COUNT


async def test_searches_go_on_while_a_child_works(store, make, tmp_path):
    await fill(store, make, range(COUNT))
    index = await open_index(store, tmp_path)
    tending = asyncio.create_task(index.tend())
    while not tending.done():
        assert index.search(CLAP, VECTORS[5], 1)[0][0] == 6
        await asyncio.sleep(0.001)
    assert await tending


async def test_a_child_that_fails_leaves_what_was_there(index, store, make, tmp_path, monkeypatch):
    await drop(store, range(200))
    await index.follow()
    monkeypatch.setattr(type(store), "address", str(tmp_path / "absent.db"))
    with pytest.raises(Unstored, match="no database"):
        await index.tend()
    monkeypatch.undo()
    assert {track_id for track_id, _ in index.search(CLAP, VECTORS[3], 300)}.isdisjoint(range(1, 201))
    assert len(graph_of(await open_index(store, tmp_path))) == COUNT


async def test_a_child_that_cannot_be_run_leaves_what_was_there(index, tmp_path, monkeypatch):
    """No memory for another process ends neither the service nor the index."""
    await drop(index._store, range(200))
    await index.follow()
    monkeypatch.setattr("sys.executable", str(tmp_path / "absent"))
    with pytest.raises(Unstored, match="cannot be run"):
        await index.tend()
    monkeypatch.undo()
    assert await index.tend()


@pytest.mark.parametrize("precision", list(Precision))
def test_recall_on_clustered_vectors(precision, monkeypatch):
    """10 000 of 128 numbers; `python -m bench index` measures 100 000 of 512."""
    monkeypatch.setattr("store.nearest.SIGNS_FROM", 0 if precision is Precision.SIGNS else 10**9)
    vectors = clustered(10_000, size=128)
    rows = Rows(128)
    for number, vector in enumerate(vectors):
        rows.put(number + 1, vector)
    nearest = Nearest(CLAP, rows, exact_below=1)
    nearest.renew()
    assert nearest.graph is not None
    assert nearest.graph.precision is precision
    assert recall(lambda query, k: nearest.search(query, k, None), vectors, vectors[::200]) >= 0.99
    if precision is Precision.BF16:
        strangers = clustered(60, size=128, seed=9)  # far from every cluster, as a text among sounds
        assert recall(lambda query, k: nearest.search(query, k, None), vectors, strangers) >= 0.9


@pytest.mark.parametrize("precision", list(Precision))
def test_recall_on_what_was_heard(real_vectors, precision, monkeypatch):
    """Windows of the demo's music (and of the clips, if they are there), with the graph forced. `python -m bench index`
    listens to all of it.
    """
    monkeypatch.setattr("store.nearest.SIGNS_FROM", 0 if precision is Precision.SIGNS else 10**9)
    nearest = Nearest(Space.MUSICNN_SOUND, Rows(400), exact_below=1)
    for number, vector in enumerate(real_vectors):
        nearest.put(number + 1, vector)
    nearest.renew()
    assert nearest.graph is not None
    assert len(real_vectors) > 100
    queries = near(real_vectors, 100)
    assert recall(lambda query, k: nearest.search(query, k, None), real_vectors, queries) >= 0.99


@pytest.fixture(scope="module")
def real_vectors(pack_home):
    """Every second piece, for composing them takes most of the time; of each so much more."""
    return heard(pack_home, hop_seconds=0.8, pieces=[piece.title for piece in PIECES[1::2]])


def test_a_graph_that_cannot_be_written_is_an_error_of_the_system(tmp_path):
    """Also where the disk is full just before its end, which usearch does not notice."""
    rows = Rows(SIZE)
    for number, vector in enumerate(VECTORS):
        rows.put(number + 1, vector)
    graph, path = Graph.build(rows, Precision.BF16), tmp_path / "graph"
    with pytest.raises(OSError, match="cannot be written"):
        graph.save(tmp_path / "absent" / "graph")
    graph.save(path)
    size = path.stat().st_size
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (size - 1, size // 2, 0):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, usual[1]))
        try:
            with pytest.raises(OSError, match="cannot be written"):
                graph.save(tmp_path / "part")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@pytest.mark.parametrize("number", [0.0, np.nan, np.inf])
def test_a_vector_without_direction_is_none(number):
    nearest = Nearest(CLAP, Rows(4), exact_below=1)
    for track_id in (1, 2):
        nearest.put(track_id, np.eye(4, dtype=np.float32)[track_id])
    nearest.put(1, np.full(4, number, np.float32))
    nearest.renew()
    assert nearest.graph is not None
    assert len(nearest.graph) == 1
    assert nearest.search(np.ones(4, np.float32), 5, None) == [(2, 1.0)]


def test_no_graph_where_the_greatest_product_need_not_be_near():
    """Mood vectors have no common length: they are always compared one by one."""
    nearest = Nearest(Space.MUSICNN_TAGS, Rows(4), exact_below=1)
    nearest.put(1, np.ones(4, np.float32))
    assert not nearest.wants_graph
    nearest.renew()
    assert nearest.graph is None
