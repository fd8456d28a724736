"""Commit verification against independently made vectors, and the tree against the interop fixtures (P140-P146)."""

from __future__ import annotations

import base64
import json
import os
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dagcbor import cid_binary, cid_bytes, cid_text, encode
from core.keys import PublicKey
from firehose.car import BadCar, Car, read_car
from firehose.mst import MAX_ENTRIES, BadTree, Tree, invert, key_layer, shared_length
from firehose.verify import BadCommit, verify_commit

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "commit-events.json").read_text())
SHARED = Path(os.environ.get("EARMARK_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
INTEROP = SHARED / "protocol" / "interop" / "atproto-interop-tests"
KEY = PublicKey.from_did_key(VECTORS["signingKey"])

STEP = {
    "op-omitted": "tree",
    "op-invented": "tree",
    "op-prev-wrong": "tree",
    "prevData-wrong": "tree",
    "rev-mismatch": "rev",
    "repo-mismatch": "repo",
    "commit-cid-mismatch": "cid",
    "op-cid-mismatch": ("tree", "blocks"),
    "block-bytes-tampered": "blocks",
    "wrong-signing-key": "sig",
}


def wire(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its CIDs as links, as a frame carries them."""
    out = dict(message)
    for name in ("commit", "prevData"):
        if out.get(name):
            out[name] = cid_binary(out[name])
    out["ops"] = [{k: cid_binary(v) if k in ("cid", "prev") and v else v for k, v in op.items()} for op in out["ops"]]
    return out


def archive(vector: dict[str, Any]) -> Car:
    return read_car(base64.b64decode(vector["blocksBase64"]))


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda v: v["name"])
def test_P142_P143_valid_commits_pass(vector: dict[str, Any]) -> None:
    verify_commit(wire(vector["message"]), archive(vector), KEY)


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda v: v["name"])
def test_P140_P142_P143_tampered_commits_fail_at_the_named_step(vector: dict[str, Any]) -> None:
    key = PublicKey.from_did_key(vector.get("signingKeyOverride", VECTORS["signingKey"]))
    with pytest.raises(BadCommit) as caught:
        verify_commit(wire(vector["message"]), archive(vector), key)
    assert caught.value.step in STEP[vector["name"]]


def test_P146_a_revision_in_the_future_fails() -> None:
    vector = VECTORS["valid"][0]
    with pytest.raises(BadCommit, match="future"):
        verify_commit(wire(vector["message"]), archive(vector), KEY, now_us=1_600_000_000_000_000)


def test_without_prev_data_operations_are_still_looked_up() -> None:
    vector = VECTORS["valid"][2]
    message = wire(vector["message"]) | {"prevData": None}
    verify_commit(message, archive(vector), KEY)
    message["ops"] = [
        dict(op, cid=message["ops"][0]["cid"]) if op["action"] == "update" else op for op in message["ops"]
    ]
    with pytest.raises(BadCommit, match="tree"):
        verify_commit(message, archive(vector), KEY)


@given(st.integers(0, 4), st.data())
def test_any_flipped_byte_of_the_archive_fails_typed_or_is_superfluous(which: int, data: st.DataObject) -> None:
    """Never an untyped error, and never a pass with a changed commit object or record (P140)."""
    vector = VECTORS["valid"][which]
    raw = bytearray(base64.b64decode(vector["blocksBase64"]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        verify_commit(wire(vector["message"]), read_car(bytes(raw)), KEY)
    except (BadCar, BadCommit):
        return
    car = read_car(bytes(raw))  # it passed: then everything that counts is untouched
    assert car.value(car.root) == archive(vector).value(car.root)


@given(st.binary(max_size=300))
def test_the_archive_reader_refuses_noise_typed(noise: bytes) -> None:
    try:
        car = read_car(noise)
        car.value(car.root)
    except BadCar:
        pass


class Forest:
    """A whole tree made by inserting in any order; its blocks serve as an archive."""

    def __init__(self, keys: dict[bytes, bytes]) -> None:
        empty = encode({"l": None, "e": []})
        tree = Tree(Car(b"", {cid_bytes(empty): memoryview(empty)}), cid_bytes(empty))
        for key, value in keys.items():
            tree.insert(key, value)
        self.root = tree.root_cid()
        self.tree = tree


@given(st.dictionaries(st.text("abc/0123", min_size=1, max_size=6), st.integers(0, 9), max_size=40), st.randoms())
def test_the_root_does_not_depend_on_the_order_of_edits(keys: dict[str, int], order: random.Random) -> None:
    plain = {key.encode(): cid_bytes(bytes([value])) for key, value in keys.items()}
    shuffled = list(plain.items())
    order.shuffle(shuffled)
    one, two = Forest(plain), Forest(dict(shuffled))
    assert one.root == two.root
    gone = {key: plain[key] for key in list(plain)[::2]}
    assert invert(one.tree, [(key, value, None) for key, value in gone.items()]) == (
        Forest({key: value for key, value in plain.items() if key not in gone}).root
    )
    assert invert(one.tree, [(key, None, value) for key, value in gone.items()]) == two.root


def test_edits_that_do_not_fit_the_tree_are_refused() -> None:
    value, other = cid_bytes(b"1"), cid_bytes(b"2")
    tree = Forest({b"a/1": value, b"a/2": value}).tree
    for operation in ((b"a/3", value, None), (b"a/1", other, None), (b"a/1", None, value), (b"a/1", None, None)):
        with pytest.raises(BadTree):
            invert(tree, [operation])


needs_interop = pytest.mark.skipif(not INTEROP.exists(), reason=f"interop files are not at {INTEROP}")


@needs_interop
def test_P144_key_layers_of_the_interop_file() -> None:
    for case in json.loads((INTEROP / "mst" / "key_heights.json").read_text()):
        assert key_layer(case["key"].encode()) == case["height"]


@needs_interop
def test_P144_layers_of_the_example_keys_and_common_prefixes_of_the_interop_files() -> None:
    keys = (INTEROP / "mst" / "example_keys.txt").read_text().split()
    assert len(keys) > 100
    for key in keys:
        assert key_layer(key.encode()) == int(key[1]), key
    for case in json.loads((INTEROP / "mst" / "common_prefix.json").read_text()):
        assert shared_length(case["left"].encode(), case["right"].encode()) == case["len"]


def one_node(entries: int, *, compressed: bool = True) -> Car:
    """One node of keys that all belong to the lowest layer, as can be mined."""
    value = cid_bytes(b"1")
    keys = [key for number in range(4 * entries) if key_layer(key := f"a/{number:07}".encode()) == 0][:entries]
    shared = [shared_length(one, other) if compressed else 0 for one, other in pairwise([b"", *keys])]
    links = [{"p": count, "k": key[count:], "v": value, "t": None} for key, count in zip(keys, shared, strict=True)]
    block = encode({"l": None, "e": links})
    return Car(cid_bytes(block), {cid_bytes(block): memoryview(block)})


def test_P144_a_node_with_mined_keys_is_refused() -> None:
    car = one_node(MAX_ENTRIES)
    assert Tree(car, car.root).root_cid() == car.root
    car = one_node(MAX_ENTRIES + 1)
    with pytest.raises(BadTree, match="too many"):
        Tree(car, car.root)


def test_P144_a_node_without_prefix_compression_is_refused() -> None:
    car = one_node(2, compressed=False)
    with pytest.raises(BadTree, match="compressed"):
        Tree(car, car.root)


@needs_interop
def test_P143_commit_proofs_of_the_interop_file() -> None:
    cases = json.loads((INTEROP / "firehose" / "commit-proof-fixtures.json").read_text())
    assert len(cases) == 6
    for case in cases:
        leaf = cid_binary(case["leafValue"])
        forest = Forest({key.encode(): leaf for key in case["keys"]})
        assert cid_text(forest.root) == case["rootBeforeCommit"], case["comment"]
        for key in case["adds"]:
            forest.tree.insert(key.encode(), leaf)
        for key in case["dels"]:
            forest.tree.remove(key.encode(), leaf)
        blocks: dict[bytes, bytes] = {}
        after = forest.tree.root_cid(blocks)
        assert cid_text(after) == case["rootAfterCommit"], case["comment"]
        proof = {cid: memoryview(block) for cid, block in blocks.items() if cid_text(cid) in case["blocksInProof"]}
        partial = Tree(Car(b"", proof), after)
        operations = [(key.encode(), leaf, None) for key in case["adds"]]
        operations += [(key.encode(), None, leaf) for key in case["dels"]]
        assert cid_text(invert(partial, operations)) == case["rootBeforeCommit"], case["comment"]


@needs_interop
def test_P140_P144_a_real_repository_is_read_whole() -> None:
    folder = SHARED / "protocol" / "interop" / "jetstream-corpus"
    car = read_car((folder / "repo.car").read_bytes())
    tree = Tree(car, car.value(car.root)["data"])
    rows = [line.split("\t") for line in (folder / "car_expected_records.tsv").read_text().splitlines() if line]
    assert rows
    for path, cid in rows:
        assert cid_text(tree.get(path.encode()) or b"") == cid
        car.value(cid_binary(cid))
    assert tree.get(b"fm.plyr.track/none") is None
    assert cid_text(tree.root_cid()) in (folder / "car_expected_commit.txt").read_text()
