"""The part of a Merkle search tree that a commit carries, and undoing operations in it (P143, P144).

A node at layer n holds sorted keys whose SHA-256 begins with n pairs of zero bits; between, before and after its keys
hang subtrees of layer n-1. A subtree that no operation touches stays a bare CID.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from core.dagcbor import cid_bytes, encode, is_cid
from firehose.car import BadCar, Car

MAX_KEY_BYTES = 1024  # collection, slash, record key (spec/repository)
MAX_ENTRIES = 2048  # of one node: honest ones have four on average, but keys can be mined (P144)


class BadTree(ValueError):
    """The tree breaks a rule, lacks a node that is needed, or does not hold what an operation says."""


@dataclass(frozen=True, slots=True)
class Node:
    """`children[i]` hangs before `keys[i]`, the last one after all keys: a CID, a loaded node, or nothing."""

    layer: int
    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]
    children: tuple[Child, ...]


Child = bytes | Node | None


def key_layer(key: bytes) -> int:
    """Leading zero bits of SHA-256 of the key, in pairs."""
    digest = int.from_bytes(hashlib.sha256(key).digest(), "big")
    return (256 - digest.bit_length()) // 2


def shared_length(one: bytes, other: bytes) -> int:
    """How many bytes two keys have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


class Tree:
    """A partial tree that starts as a commit's `data` and is edited backwards. Every method raises BadTree."""

    def __init__(self, car: Car, root: bytes) -> None:
        self._car = car
        self._parsed: dict[tuple[bytes, int | None], Node] = {}
        self._root: Node | None = _tidy(self._load(root, None))

    def root_cid(self, blocks: dict[bytes, bytes] | None = None) -> bytes:
        """The CID that the edited tree would have; `blocks` receives its loaded and edited nodes, encoded."""
        root = self._root
        while root is not None and not root.keys and root.children[0] is not None:
            root = self._load(root.children[0], root.layer - 1)  # a root that holds only a subtree is that subtree
        return _store(root or Node(0, (), (), (None,)), {} if blocks is None else blocks)

    def get(self, key: bytes) -> bytes | None:
        """The value now under a key."""
        node, layer = self._root, key_layer(key)
        while node is not None:
            index = _place(node, key)
            if index < len(node.keys) and node.keys[index] == key:
                return node.values[index]
            below = node.children[index] if node.layer > layer else None
            node = None if below is None else self._load(below, node.layer - 1)
        return None

    def insert(self, key: bytes, value: bytes) -> None:
        """Put back a key that must not be there."""
        layer = key_layer(_checked(key))
        root = self._root
        if root is None:
            self._root = Node(layer, (key,), (value,), (None, None))
        elif layer > root.layer:
            left, right = self._split(root, key, root.layer)
            for below in range(root.layer + 1, layer):
                left, right = _wrap(left, below), _wrap(right, below)
            self._root = Node(layer, (key,), (value,), (left, right))
        else:
            self._root = self._inserted(root, key, value, layer, root.layer)

    def replace(self, key: bytes, current: bytes, value: bytes) -> None:
        """Turn a key's value back, which must be `current` now."""
        self._root = self._changed(self._root, key, current, value)

    def remove(self, key: bytes, current: bytes) -> None:
        """Take out a key, whose value must be `current` now."""
        self._root = self._changed(self._root, key, current, None)

    def _inserted(self, child: Child, key: bytes, value: bytes, layer: int, at: int) -> Node:
        node = Node(at, (), (), (None,)) if child is None else self._load(child, at)
        index = _place(node, key)
        if index < len(node.keys) and node.keys[index] == key:
            raise BadTree("a deleted key is still in the tree")
        below = node.children[index]
        if node.layer == layer:
            left, right = self._split(below, key, layer - 1)
            return Node(
                layer,
                (*node.keys[:index], key, *node.keys[index:]),
                (*node.values[:index], value, *node.values[index:]),
                (*node.children[:index], left, right, *node.children[index + 1 :]),
            )
        return _with_child(node, index, self._inserted(below, key, value, layer, node.layer - 1))

    def _changed(self, node: Node | None, key: bytes, current: bytes, value: bytes | None) -> Node | None:
        if node is None:
            raise BadTree("an operation's key is not in the tree")
        layer, index = key_layer(_checked(key)), _place(node, key)
        if node.layer > layer:
            child = node.children[index]
            below = None if child is None else self._load(child, node.layer - 1)
            return _tidy(_with_child(node, index, self._changed(below, key, current, value)))
        if node.layer < layer or index == len(node.keys) or node.keys[index] != key or node.values[index] != current:
            raise BadTree("the tree does not hold what an operation says")
        if value is not None:
            values = (*node.values[:index], value, *node.values[index + 1 :])
            return Node(node.layer, node.keys, values, node.children)
        merged = self._merge(node.children[index], node.children[index + 1], layer - 1)
        return _tidy(
            Node(
                layer,
                node.keys[:index] + node.keys[index + 1 :],
                node.values[:index] + node.values[index + 1 :],
                (*node.children[:index], merged, *node.children[index + 2 :]),
            )
        )

    def _split(self, child: Child, key: bytes, layer: int) -> tuple[Child, Child]:
        if child is None:
            return None, None
        node = self._load(child, layer)
        index = _place(node, key)
        if index < len(node.keys) and node.keys[index] == key:
            raise BadTree("a key is in the tree twice")
        left, right = self._split(node.children[index], key, layer - 1)
        return (
            _tidy(Node(layer, node.keys[:index], node.values[:index], (*node.children[:index], left))),
            _tidy(Node(layer, node.keys[index:], node.values[index:], (right, *node.children[index + 1 :]))),
        )

    def _merge(self, left: Child, right: Child, layer: int) -> Child:
        if left is None or right is None:
            return right if left is None else left
        one, two = self._load(left, layer), self._load(right, layer)
        middle = self._merge(one.children[-1], two.children[0], layer - 1)
        children = (*one.children[:-1], middle, *two.children[1:])
        return Node(layer, one.keys + two.keys, one.values + two.values, children)

    def _load(self, child: bytes | Node, layer: int | None) -> Node:
        """A child as a node of this layer (None: whatever its keys say; only a root may be asked so)."""
        if isinstance(child, Node):
            return child
        node = self._parsed.get((child, layer))
        if node is None:
            try:
                node = self._parsed[child, layer] = _parse(self._car.value(child), layer)
            except BadCar as error:
                raise BadTree(str(error)) from None
        return node


def _parse(value: Any, layer: int | None) -> Node:
    if not isinstance(value, dict) or not isinstance(value.get("e"), list):
        raise BadTree("not a tree node")
    if len(value["e"]) > MAX_ENTRIES:
        raise BadTree("a tree node has too many entries")
    keys: list[bytes] = []
    values: list[bytes] = []
    children: list[Child] = [_link(value.get("l"))]
    last = b""
    for entry in value["e"]:
        if not isinstance(entry, dict):
            raise BadTree("not a tree entry")
        shared, suffix, cid = entry.get("p"), entry.get("k"), entry.get("v")
        if type(shared) is not int or not isinstance(suffix, bytes) or not is_cid(cid) or not 0 <= shared <= len(last):
            raise BadTree("not a tree entry")
        key = _checked(last[:shared] + suffix)
        if shared != shared_length(last, key):
            raise BadTree("a key is not compressed")
        keys.append(key)
        last = key
        values.append(cid)
        children.append(_link(entry.get("t")))
    layers = {key_layer(key) for key in keys}
    if layer is None:
        layer = min(layers, default=0)
    if layer < 0 or layers - {layer} or any(a >= b for a, b in pairwise(keys)):
        raise BadTree("keys are unsorted or at the wrong layer")
    return Node(layer, tuple(keys), tuple(values), tuple(children))


def _link(cid: Any) -> bytes | None:
    if cid is None or is_cid(cid):
        return cid
    raise BadTree("a subtree is not a link")


def _store(child: bytes | Node, blocks: dict[bytes, bytes]) -> bytes:
    if isinstance(child, bytes):
        return child
    links = [None if below is None else _store(below, blocks) for below in child.children]
    entries, last = [], b""
    for index, key in enumerate(child.keys):
        shared = shared_length(last, key)
        entries.append({"p": shared, "k": key[shared:], "v": child.values[index], "t": links[index + 1]})
        last = key
    block = encode({"l": links[0], "e": entries})
    cid = cid_bytes(block)
    blocks[cid] = block
    return cid


def _checked(key: bytes) -> bytes:
    if not 0 < len(key) <= MAX_KEY_BYTES or not key.isascii():
        raise BadTree("not a key of a repository")
    return key


def _place(node: Node, key: bytes) -> int:
    """How many keys of the node sort before this one."""
    return bisect_left(node.keys, key)


def _with_child(node: Node, index: int, child: Child) -> Node:
    return Node(node.layer, node.keys, node.values, (*node.children[:index], child, *node.children[index + 1 :]))


def _tidy(node: Node) -> Node | None:
    """Nothing, for a node that holds nothing."""
    return node if node.keys or node.children[0] is not None else None


def _wrap(child: Child, layer: int) -> Child:
    return None if child is None else Node(layer, (), (), (child,))


def invert(tree: Tree, operations: Iterable[tuple[bytes, bytes | None, bytes | None]]) -> bytes:
    """Undo (key, cid now, cid before) operations and give the root CID of before. Raises BadTree."""
    for key, now, before in operations:
        if now is None and before is not None:
            tree.insert(key, before)
        elif now is not None and before is not None:
            tree.replace(key, now, before)
        elif now is not None:
            tree.remove(key, now)
        else:
            raise BadTree("an operation changes nothing")
    return tree.root_cid()
