"""The Merkle search tree of a repository, built whole from its keys (repositories here are tiny)."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from core.dagcbor import cid_bytes, encode


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a node, and the subtree of the keys between it and the next entry."""

    key: str
    value: bytes  # binary CID of the record
    right: Node | None


@dataclass(frozen=True, slots=True)
class Node:
    """One node in its canonical encoding (P144): sorted keys, prefixes compressed, null for no subtree."""

    left: Node | None
    entries: tuple[Entry, ...]
    block: bytes = field(init=False, repr=False)
    cid: bytes = field(init=False)

    def __post_init__(self) -> None:
        encoded, before = [], ""
        for entry in self.entries:
            shared = _shared_length(before, entry.key)
            encoded.append(
                {
                    "p": shared,
                    "k": entry.key[shared:].encode("ascii"),
                    "v": entry.value,
                    "t": entry.right and entry.right.cid,
                }
            )
            before = entry.key
        block = encode({"l": self.left and self.left.cid, "e": encoded})
        object.__setattr__(self, "block", block)
        object.__setattr__(self, "cid", cid_bytes(block))

    def child_towards(self, key: str) -> Node | None:
        """The subtree in which `key` is or would be; None at the bottom and at the key itself."""
        child = self.left
        for entry in self.entries:
            if entry.key == key:
                return None
            if entry.key > key:
                break
            child = entry.right
        return child

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for child in (self.left, *(entry.right for entry in self.entries)):
            if child is not None:
                yield from child.walk()


def _shared_length(one: str, other: str) -> int:
    """How many characters two keys have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (left, right) in pairs if left != right), min(len(one), len(other)))


def key_depth(key: str) -> int:
    """Layer of a key: leading zero bits of its SHA-256, two bits a layer (P144)."""
    digest = hashlib.sha256(key.encode("ascii")).digest()
    return (256 - int.from_bytes(digest, "big").bit_length()) // 2


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of a set of records: keys are `collection/rkey`, values binary CIDs."""

    root: Node
    keys: tuple[str, ...]  # sorted

    @classmethod
    def of(cls, records: Mapping[str, bytes]) -> Tree:
        """The one tree that these records have."""
        keyed = [(key, records[key], key_depth(key)) for key in sorted(records)]
        root = _node(keyed, max((depth for _, _, depth in keyed), default=0))
        return cls(root or Node(None, ()), tuple(key for key, _, _ in keyed))

    def blocks(self) -> dict[bytes, bytes]:
        """All nodes: binary CID to bytes."""
        return {node.cid: node.block for node in self.root.walk()}

    def path(self, key: str) -> dict[bytes, bytes]:
        """The nodes that prove that `key` is there, or that it is not."""
        found: dict[bytes, bytes] = {}
        node: Node | None = self.root
        while node is not None:
            found[node.cid] = node.block
            node = node.child_towards(key)
        return found

    def covering_proof(self, keys: Iterable[str]) -> dict[bytes, bytes]:
        """The nodes with which a reader can undo changes of `keys` (P143).

        Undoing a create merges the subtrees on both sides of the key, and their facing edges are exactly the
        paths to the neighbouring keys; undoing a delete splits nodes on the path of the key itself.
        """
        found: dict[bytes, bytes] = {}
        for key in keys:
            place = bisect_left(self.keys, key)
            after = place + 1 if place < len(self.keys) and self.keys[place] == key else place
            for near in (key, *self.keys[max(0, place - 1) : place], *self.keys[after : after + 1]):
                found |= self.path(near)
        return found


def _node(keyed: list[tuple[str, bytes, int]], layer: int) -> Node | None:
    """The subtree of these keys with its top at `layer`; a layer without keys has a node with only a left link."""
    if not keyed:
        return None
    places = [place for place, (_, _, depth) in enumerate(keyed) if depth == layer]
    ends = [*places[1:], len(keyed)]
    return Node(
        _node(keyed[: places[0] if places else len(keyed)], layer - 1),
        tuple(
            Entry(keyed[place][0], keyed[place][1], _node(keyed[place + 1 : end], layer - 1))
            for place, end in zip(places, ends, strict=True)
        )
        if places
        else (),
    )
