"""Our entry in the PLC directory: what has to be added to it, merged with all that is there (P83, P86-P88). Pure.

A map in a PLC operation replaces the whole map, so that every change begins with what the directory has now. Nothing is
ever left out, and what the PDS signed is compared with what it was asked for before it is sent on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from core.dagcbor import encode
from core.errors import Misconfigured, Permanent
from core.keys import PublicKey
from core.types import Did

MAX_OPERATION_BYTES = 4000  # P88, like the next four; the server's bound, the specification says 7 500
MAX_KEYS = 10
MAX_SERVICES = 10
MAX_ID_CHARS = 32
MAX_ENDPOINT_CHARS = 512
LABELER = "AtprotoLabeler"
FEEDS = "BskyFeedGenerator"


class NotAsAsked(Permanent):
    """What the PDS signed is not what it was asked to sign, or the directory's entry cannot be understood."""

    reason = "not_as_asked"


class PlcService(msgspec.Struct, frozen=True):
    """One service of an entry."""

    type: str
    endpoint: str


class PlcEntry(msgspec.Struct, frozen=True, rename="camel"):
    """What the directory says of a DID now (`GET /DID/data`), or what an operation says."""

    rotation_keys: list[str]
    also_known_as: list[str]
    verification_methods: dict[str, str]  # id without # -> did:key
    services: dict[str, PlcService]

    @classmethod
    def read(cls, document: Any) -> Self:
        """Raises NotAsAsked."""
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise NotAsAsked(f"this is no entry of a PLC directory: {error}") from None

    def operation_bytes(self) -> int:
        """Size of an operation that says this, with its link to the one before and its signature."""
        operation = msgspec.to_builtins(self) | {"type": "plc_operation", "prev": "b" * 59, "sig": "s" * 86}
        return len(encode(operation))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the entry has to say for others to find and believe us."""

    label_key: PublicKey
    url: str
    certificate_key: PublicKey | None = None
    feeds: bool = False  # the same DID is our feed generator

    def keys(self) -> Mapping[str, str]:
        certificate = {"earmark_certificate": self.certificate_key.did_key} if self.certificate_key else {}
        return {"atproto_label": self.label_key.did_key, **certificate}

    def services(self) -> Mapping[str, PlcService]:
        feeds = {"bsky_fg": PlcService(FEEDS, self.url)} if self.feeds else {}
        return {"atproto_labeler": PlcService(LABELER, self.url), **feeds}


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the difference. `before` is None for an addition."""

    what: str
    before: str | None
    after: str

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.what}: {self.after}"
        return f"~ {self.what}: {self.after} instead of {self.before}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The entry as it is to be, and how that differs from now."""

    entry: PlcEntry
    changes: tuple[Change, ...]

    def to_sign(self) -> dict[str, Any]:
        """The two maps for `signPlcOperation`; the PDS keeps the rest as it is."""
        entry: dict[str, Any] = msgspec.to_builtins(self.entry)
        return {name: entry[name] for name in ("verificationMethods", "services")}

    def check_signed(self, operation: Any) -> None:
        """Whether the PDS signed what we asked for and nothing else. Raises NotAsAsked."""
        if not isinstance(operation, dict) or operation.get("type") != "plc_operation":
            raise NotAsAsked("the PDS answered with something that is no PLC operation")
        if PlcEntry.read(operation) != self.entry:
            raise NotAsAsked("the operation that the PDS signed says something else; nothing was sent to the directory")
        if (size := len(encode(operation))) > MAX_OPERATION_BYTES:
            raise NotAsAsked(f"the operation has {size} bytes, the directory takes {MAX_OPERATION_BYTES}")


def plan_change(did: Did, now: PlcEntry, wanted: Wanted) -> Plan:
    """Merge what we want into what is there; no changes if all of it is there. Raises Misconfigured (P88)."""
    entry = msgspec.structs.replace(
        now,
        verification_methods={**now.verification_methods, **wanted.keys()},
        services={**now.services, **wanted.services()},
    )
    changes = [
        *_changes("verification method", now.verification_methods, wanted.keys()),
        *_changes("service", _shown(now.services), _shown(wanted.services())),
    ]
    if changes:
        _check_limits(did, entry)
    return Plan(entry, tuple(changes))


def _shown(services: Mapping[str, PlcService]) -> Mapping[str, str]:
    return {name: f"{service.type} at {service.endpoint}" for name, service in services.items()}


def _changes(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    return [
        Change(f"{kind} {name}", before.get(name), value) for name, value in after.items() if before.get(name) != value
    ]


def _check_limits(did: Did, entry: PlcEntry) -> None:
    for kind, count, most in (
        ("verification methods", len(entry.verification_methods), MAX_KEYS),
        ("services", len(entry.services), MAX_SERVICES),
    ):
        if count > most:
            raise Misconfigured("labeler.did", f"{did} would have {count} {kind}, and {most} are allowed; remove some")
    if any(len(name) > MAX_ID_CHARS for name in (*entry.verification_methods, *entry.services)):
        raise Misconfigured("labeler.did", f"{did} has an entry whose name is longer than {MAX_ID_CHARS} characters")
    if any(len(service.endpoint) > MAX_ENDPOINT_CHARS for service in entry.services.values()):
        raise Misconfigured("service.public_url", f"a service's address may have {MAX_ENDPOINT_CHARS} characters")
    if (size := entry.operation_bytes()) > MAX_OPERATION_BYTES:
        raise Misconfigured(
            "labeler.did", f"the operation would have {size} bytes, the directory takes {MAX_OPERATION_BYTES}"
        )
