"""The demo network's tree and commits against vectors that other implementations made."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from core.dagcbor import cid_binary, cid_text
from earmark.demo.mst import Tree, key_depth

SHARED = Path(os.environ.get("EARMARK_SHARED_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
INTEROP = SHARED / "protocol" / "interop" / "atproto-interop-tests"


def load_interop(name: str) -> list[Any]:
    path = INTEROP / name
    if not path.exists():
        pytest.skip(f"the shared interop data is not beside this clone: {path} (set EARMARK_SHARED_DATA)")
    return json.loads(path.read_text())


def test_p144_key_depths_equal_the_interop_table() -> None:
    for row in load_interop("mst/key_heights.json"):
        assert key_depth(row["key"]) == row["height"], row["key"]


def test_p144_depths_of_known_keys() -> None:
    # The letter-digit names of the public example keys end their first part in the depth: "C2/014073" is at 2.
    assert [key_depth(key) for key in ("A0/374913", "A1/076595", "C2/014073", "A5/518415", "")] == [0, 1, 2, 5, 0]


def test_p143_trees_and_covering_proofs_equal_the_interop_fixtures() -> None:
    for case in load_interop("firehose/commit-proof-fixtures.json"):
        value = cid_binary(case["leafValue"])
        before = Tree.of(dict.fromkeys(case["keys"], value))
        after = Tree.of(dict.fromkeys(set(case["keys"]) - set(case["dels"]) | set(case["adds"]), value))
        assert cid_text(before.root.cid) == case["rootBeforeCommit"], case["comment"]
        assert cid_text(after.root.cid) == case["rootAfterCommit"], case["comment"]
        proof = after.covering_proof(case["adds"] + case["dels"])
        assert {cid_text(cid) for cid in proof} == set(case["blocksInProof"]), case["comment"]


def test_an_empty_tree_is_one_empty_node() -> None:
    tree = Tree.of({})
    # The CID of {"e": [], "l": null}, which every implementation gives to a new repository.
    assert cid_text(tree.root.cid) == "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"
    assert len(tree.blocks()) == 1


def test_the_tree_depends_on_its_keys_only_and_proves_each() -> None:
    source = random.Random(7)
    value = cid_binary("bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454")
    keys = [f"fm.plyr.track/{source.randrange(10**9):09d}" for _ in range(300)]
    tree = Tree.of(dict.fromkeys(keys, value))
    assert Tree.of(dict.fromkeys(reversed(keys), value)).root.cid == tree.root.cid
    listed = [entry.key for node in tree.root.walk() for entry in node.entries]
    assert sorted(listed) == sorted(keys)
    for key in keys:
        path = tree.path(key)
        assert path.keys() <= tree.blocks().keys()
        assert any(key.encode()[-3:] in block for block in path.values())
