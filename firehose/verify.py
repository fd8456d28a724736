"""Whether a commit, and the message that brings it, say what their account signed (P140, P142, P143, P146). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.dagcbor import encode, is_cid
from core.keys import PublicKey
from core.types import Tid, is_tid, tid_microseconds
from firehose.car import BadCar, Car
from firehose.events import MAX_OPS
from firehose.mst import BadTree, Tree, invert

FUTURE_TOLERANCE_US = 300_000_000  # P146: 5 minutes
COMMIT_VERSION = 3

Operation = tuple[bytes, bytes | None, bytes | None]  # key, CID now, CID before


class BadCommit(ValueError):
    """The proof fails. `step` is a short word for counters: sig, rev, repo, cid, tree, blocks, shape."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step


@dataclass(frozen=True, slots=True)
class SignedCommit:
    """A commit object that its account signed. `data` is the root of its tree."""

    rev: Tid
    data: bytes


def read_signed_commit(car: Car, key: PublicKey, *, did: object, now_us: int | None = None) -> SignedCommit:
    """The archive's root, as a commit of this account under this key. Raises BadCommit."""
    try:
        commit = car.value(car.root)
    except BadCar as error:
        raise BadCommit("blocks", str(error)) from None
    if not isinstance(commit, dict) or commit.get("version") != COMMIT_VERSION or not is_cid(commit.get("data")):
        raise BadCommit("shape", "the root is not a commit of version 3")
    if commit.get("did") != did:
        raise BadCommit("repo", "the commit is of another repository")
    rev = commit.get("rev")
    if not isinstance(rev, str) or not is_tid(rev):
        raise BadCommit("rev", "the revision is not a TID")
    if now_us is not None and tid_microseconds(rev) > now_us + FUTURE_TOLERANCE_US:
        raise BadCommit("rev", "the revision lies in the future")
    sig = commit.get("sig")
    unsigned = {name: value for name, value in commit.items() if name != "sig"}
    if not isinstance(sig, bytes) or not key.verify(encode(unsigned), sig):
        raise BadCommit("sig", "the signature is not by the account's key")
    return SignedCommit(Tid(rev), commit["data"])


def verify_commit(message: Mapping[str, Any], car: Car, key: PublicKey, *, now_us: int | None = None) -> SignedCommit:
    """The commit of a `#commit` message. Raises BadCommit unless signature, block hashes, message and tree agree.

    `message` is the decoded body with CID links as bytes. Without `prevData` (older hosts) the tree cannot be turned
    back; then each operation is only looked up in the new tree.
    """
    if message.get("commit") != car.root:
        raise BadCommit("cid", "the message names another commit")
    commit = read_signed_commit(car, key, did=message.get("repo"), now_us=now_us)
    if message.get("rev") != commit.rev:
        raise BadCommit("rev", "the message names another revision")
    operations = _operations(message)
    try:
        for _, cid, _ in operations:
            if cid is not None:
                car.block(cid)
        _check_tree(message, car, commit.data, operations)
    except BadCar as error:
        raise BadCommit("blocks", str(error)) from None
    except BadTree as error:
        raise BadCommit("tree", str(error)) from None
    return commit


def verify_sync(message: Mapping[str, Any], car: Car, key: PublicKey, *, now_us: int) -> SignedCommit:
    """The commit that a `#sync` message sets its repository to (P136). Raises BadCommit."""
    commit = read_signed_commit(car, key, did=message.get("did"), now_us=now_us)
    if message.get("rev") != commit.rev:
        raise BadCommit("rev", "the message names another revision")
    return commit


def _operations(message: Mapping[str, Any]) -> list[Operation]:
    ops = message.get("ops")
    if not isinstance(ops, list) or len(ops) > MAX_OPS:
        raise BadCommit("shape", "ops is not a list of at most 200")
    out: list[Operation] = []
    for op in ops:
        if not isinstance(op, dict) or not isinstance(op.get("path"), str):
            raise BadCommit("shape", "an operation has no path")
        action, cid, prev = op.get("action"), op.get("cid"), op.get("prev")
        if any(link is not None and not is_cid(link) for link in (cid, prev)):
            raise BadCommit("shape", "an operation's CID is not a link")
        if action not in ("create", "update", "delete") or (cid is None) != (action == "delete"):
            raise BadCommit("shape", "an operation's action and CID disagree")
        if action == "create" and prev is not None:
            raise BadCommit("shape", "a create has no previous version")
        out.append((op["path"].encode(), cid, prev))
    if len({key for key, _, _ in out}) != len(out):
        raise BadCommit("shape", "two operations on one path")
    return out


def _check_tree(message: Mapping[str, Any], car: Car, data: bytes, operations: Sequence[Operation]) -> None:
    before = message.get("prevData")
    if not operations:  # an empty commit need not carry the tree (P141)
        if before not in (None, data):
            raise BadCommit("tree", "the data changed without an operation")
        return
    tree = Tree(car, data)
    for key, cid, _ in operations:
        if cid is not None and tree.get(key) != cid:
            raise BadCommit("tree", "the tree does not hold what an operation says")
    if before is not None and invert(tree, operations) != before:
        raise BadCommit("tree", "undoing the operations does not lead to prevData")
