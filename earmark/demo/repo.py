"""A repository: records under one signed tree, and the commits that change it (spec/repository, spec/sync)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.clock import TidClock
from core.dagcbor import SEAL, cid_bytes, cid_text, encode, encode_signed
from core.keys import SigningKey
from core.types import AtUri, Cid, Did, Nsid, Tid, parse_nsid, parse_rkey
from earmark.demo.car import write_car
from earmark.demo.datamodel import blobs_in, from_json
from earmark.demo.mst import Tree


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it is now: its JSON, its block, the blobs that it keeps alive."""

    value: dict[str, Any]
    block: bytes
    cid: bytes
    blobs: frozenset[Cid]

    @classmethod
    def of(cls, value: dict[str, Any]) -> StoredRecord:
        block = encode(from_json(value))
        return cls(value, block, cid_bytes(block), blobs_in(value))

    @property
    def cid_text(self) -> Cid:
        return cid_text(self.cid)


@dataclass(frozen=True, slots=True)
class Write:
    """One wish: the record that is to be at a path, or None to have it gone."""

    collection: Nsid
    rkey: str
    value: dict[str, Any] | None

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.rkey}"


@dataclass(frozen=True, slots=True)
class Op:
    """One change of a commit: what is at the path now, and what was."""

    action: Literal["create", "update", "delete"]
    collection: Nsid
    rkey: str
    record: StoredRecord | None
    prev: bytes | None

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.rkey}"

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"action": self.action, "path": self.path, "cid": self.record and self.record.cid}
        return wire if self.prev is None else wire | {"prev": self.prev}


@dataclass(frozen=True, slots=True)
class Commit:
    """A signed commit with what a sync 1.1 `#commit` says of it (P136)."""

    rev: Tid
    since: Tid | None
    cid: bytes
    block: bytes
    prev_data: bytes | None
    ops: tuple[Op, ...]
    blocks: dict[bytes, bytes]  # covering proof and record blocks, without the commit itself

    @property
    def car(self) -> bytes:
        return write_car(self.cid, {**self.blocks, self.cid: self.block})

    def to_wire(self, did: Did) -> dict[str, Any]:
        """The body of the message, but for `seq` and `time`."""
        wire: dict[str, Any] = {
            "repo": did,
            "commit": self.cid,
            "rev": self.rev,
            "since": self.since,
            "blocks": self.car,
            "ops": [op.to_wire() for op in self.ops],
            "blobs": [],
            "tooBig": False,
            "rebase": False,
        }
        return wire if self.prev_data is None else wire | {"prevData": self.prev_data}


class Repo:
    """The repository of one account. A new one has an empty commit."""

    def __init__(self, did: Did, key: SigningKey, tids: TidClock) -> None:
        self.did = did
        self.records: dict[str, StoredRecord] = {}
        self._key = key
        self._tids = tids
        self.tree = Tree.of({})
        self.head = self._sign(self.tree, since=None, prev_data=None, ops=())

    def apply(self, writes: Sequence[Write]) -> Commit | None:
        """One commit of all writes; None if they change nothing (no event then, as a real PDS does).

        Raises KeyError when asked to remove what is not there.
        """
        records = dict(self.records)
        ops = tuple(op for write in writes if (op := _take(records, write)) is not None)
        if not ops:
            return None
        tree = Tree.of({path: record.cid for path, record in records.items()})
        self.head = self._sign(tree, since=self.head.rev, prev_data=self.tree.root.cid, ops=ops)
        self.records, self.tree = records, tree
        return self.head

    def uri(self, path: str) -> AtUri:
        collection, rkey = path.split("/")
        return AtUri(self.did, Nsid(collection), rkey)

    def export(self) -> bytes:
        """The whole repository as a CAR."""
        records = {record.cid: record.block for record in self.records.values()}
        return write_car(self.head.cid, {self.head.cid: self.head.block, **self.tree.blocks(), **records})

    def prove(self, path: str) -> bytes:
        """A CAR that proves one record, or its absence (P174)."""
        record = self.records.get(path)
        blocks = {self.head.cid: self.head.block, **self.tree.path(path)}
        return write_car(self.head.cid, blocks if record is None else {**blocks, record.cid: record.block})

    def _sign(self, tree: Tree, *, since: Tid | None, prev_data: bytes | None, ops: tuple[Op, ...]) -> Commit:
        rev = self._tids.next()
        unsigned = {"did": self.did, "version": 3, "data": tree.root.cid, "rev": rev, "prev": None}
        block = encode_signed({**unsigned, "sig": SEAL}, [self._key.sign(encode(unsigned))])
        # An empty commit still carries its root node.
        blocks = {tree.root.cid: tree.root.block, **tree.covering_proof(op.path for op in ops)}
        blocks |= {op.record.cid: op.record.block for op in ops if op.record is not None}
        return Commit(rev, since, cid_bytes(block), block, prev_data, ops, blocks)


def _take(records: dict[str, StoredRecord], write: Write) -> Op | None:
    """Carry out one write on `records`; None if it changes nothing."""
    parse_nsid(write.collection)
    parse_rkey(write.rkey)
    before = records.get(write.path)
    if write.value is None:
        if before is None:
            raise KeyError(write.path)
        del records[write.path]
        return Op("delete", write.collection, write.rkey, None, before.cid)
    record = StoredRecord.of(write.value)
    if before is not None and before.cid == record.cid:
        return None
    records[write.path] = record
    if before is None:
        return Op("create", write.collection, write.rkey, record, None)
    return Op("update", write.collection, write.rkey, record, before.cid)
