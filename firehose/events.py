"""What happens on the network, as one type of event whatever the wire, and which of it is of interest.

Records are in the JSON form of the data model (`{"$link"}`, `{"$bytes"}`), so that readers see one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.types import Account, AtUri, Cid, Did, Nsid, Tid

MAX_FRAME_BYTES = 5_000_000  # P137, as are the next, the record's and the number of operations
MAX_BLOCKS_BYTES = 2_000_000
MAX_SYNC_BYTES = 10_000  # P136: the blocks of a #sync hold a commit only
MAX_RECORD_BYTES = 1_000_000
MAX_OPS = 200
MAX_POSITION = 2**63 - 1  # what the store can keep


class Operation(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """A record was written or deleted. `record` is None for a delete, when it cannot be read as a map, and for
    an update that no longer holds a needle (Interest).

    `verified`: the commit's signature and tree were checked (never so from Jetstream, P169).
    """

    did: Did
    collection: Nsid
    rkey: str
    rev: Tid
    operation: Operation
    cid: Cid | None
    record: Mapping[str, Any] | None
    position: int
    verified: bool = False

    @property
    def uri(self) -> AtUri:
        return AtUri(self.did, self.collection, self.rkey)


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """What the emitting host says of an account now (P151-P153). `time_us`: when it said so, if the event tells."""

    did: Did
    active: bool
    status: str | None
    position: int
    time_us: int | None = None

    @property
    def account(self) -> Account:
        return Account(self.did, self.active, self.status)


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """Something about a DID may have changed (P154)."""

    did: Did
    position: int


@dataclass(frozen=True, slots=True)
class CommitEvent:
    """A verified commit of a followed repository, whatever it changed (P145); its records' events come after it.

    `since`: the revision that it says it follows; `prev_data`: the root of the tree before it; None: not said.
    """

    did: Did
    rev: Tid
    since: str | None
    data: Cid
    prev_data: Cid | None
    position: int


@dataclass(frozen=True, slots=True)
class SyncEvent:
    """A followed repository was set to a state without saying how (`#sync`, verified)."""

    did: Did
    rev: Tid
    data: Cid
    position: int


@dataclass(frozen=True, slots=True)
class DoubtEvent:
    """A message of a followed repository could not be used, so something in it may have changed unseen (P137, P164)."""

    did: Did
    reason: str
    position: int


@dataclass(frozen=True, slots=True)
class GapEvent:
    """Events after `position` were missed: OutdatedCursor, FutureCursor, or a frame that had to be skipped.

    `starts_over`: the positions of what comes next are others, and may be smaller.
    """

    position: int
    reason: str
    detail: str = ""
    starts_over: bool = False


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """Nothing of interest up to here: moves the cursor."""

    position: int


Event = RecordEvent | AccountEvent | IdentityEvent | CommitEvent | SyncEvent | DoubtEvent | GapEvent | SeenEvent


@dataclass(frozen=True, slots=True)
class Interest:
    """Which collections matter, by exact name, tested before a record is decoded (P134).

    In a collection with `needles`, a record that is written matters only if its bytes hold one of them; an update
    without says that what was known of the record is over. Where `prefilters` has a function, it decides instead.
    """

    collections: frozenset[str]
    needles: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    prefilters: Mapping[str, Callable[[bytes], bool]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()  # of these, only records of accounts in `followed` matter
    followed: Container[str] = frozenset()  # grows while we listen; their every commit is checked (P145)
    identities: bool = True  # False: another reader of the same upstream acts on `#identity`

    def concerns(self, collection: str, did: str) -> bool:
        """Whether anything that this account does to its records of this collection may matter."""
        return collection in self.collections and (collection not in self.own or did in self.followed)

    def sifts(self, collection: str) -> bool:
        """Whether only some of this collection's records matter: then a delete is most likely any stranger's."""
        return collection in self.needles or collection in self.prefilters

    def admits(self, collection: str, raw: bytes, did: str) -> bool:
        """Whether a written record of this collection, or the blocks around it, deserves decoding."""
        if not self.concerns(collection, did):
            return False
        prefilter = self.prefilters.get(collection)
        if prefilter is not None:
            return prefilter(raw)
        needles = self.needles.get(collection)
        return needles is None or any(needle in raw for needle in needles)
