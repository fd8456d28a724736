"""What a strict reader would say of a label that somebody served, held against every rule for its form (P1-P18).

Reading is lenient (labeler.signing.verify takes what others write); this is not. It is for operators who want to know
what others may stumble over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.clock import parse_datetime
from core.dagcbor import cid_binary
from core.label import FIELD_TYPES, MAX_VAL_BYTES, VERSION
from labeler.signing import BadLabel, check_subject, signature_bytes

MAX_FAULTS = 1_000  # that are kept; all are counted
AHEAD_US = 300_000_000  # a clock may be wrong by so much
_REQUIRED = ("ver", "src", "uri", "val", "cts", "sig")  # P2: more than the lexicon says
_DEFINABLE = re.compile(r"[a-z]+(-[a-z]+)*", re.ASCII)
_PLAIN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


class Weight(StrEnum):
    BROKEN = "broken"  # some reader drops or misreads it
    ODD = "odd"  # legal, and yet not as we would do it


@dataclass(frozen=True, slots=True)
class Fault:
    """What breaks which rule, by its number in docs and tests; `seq` and `uri` where there are any."""

    rule: str
    what: str
    weight: Weight = Weight.BROKEN
    seq: int | None = None
    uri: str = ""

    def __str__(self) -> str:
        at = f" (seq {self.seq})" if self.seq is not None else ""
        return f"{self.rule} {self.what}{at}" + (f" on {self.uri}" if self.uri else "")


@dataclass(slots=True)
class Outcome:
    """What was found of a labeler. `newest` is a number of its stream, `compared` counts rows of queryLabels."""

    did: str
    endpoint: str
    faults: list[Fault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # of all faults, by rule
    events: int = 0
    labels: int = 0
    gaps: int = 0
    newest: int = 0
    compared: int = 0
    complete: bool = True  # the stream was read to its end

    @property
    def broken(self) -> bool:
        """Whether some reader drops or misreads what this labeler says."""
        return any(fault.weight is Weight.BROKEN for fault in self.faults)

    def note(self, *faults: Fault) -> None:
        for fault in faults:
            self.counts[fault.rule] += 1
            if len(self.faults) < MAX_FAULTS:
                self.faults.append(fault)
            elif fault.weight is Weight.BROKEN and not self.broken:
                self.faults[-1] = fault


def scrutinise(label: Mapping[str, Any], *, src: str, now_us: int) -> list[Fault]:
    """What is wrong with a label in CBOR or JSON form, but for whether its signature holds. `src`: whose it has to be.

    Text of others in a fault is cut short.
    """
    faults = [
        Fault("P1", f"a field that labels do not have: {str(name)[:40]!r}")
        for name in label
        if name not in FIELD_TYPES and name != "sig"
    ]
    faults += [Fault("P2", f"no {name}") for name in _REQUIRED if name not in label]
    typed: dict[str, Any] = {}
    for name, kind in FIELD_TYPES.items():
        if name in label:
            if type(label[name]) is kind:
                typed[name] = label[name]
            else:
                faults.append(Fault("P3", f"{name} is {type(label[name]).__name__} instead of {kind.__name__}"))
    if typed.get("neg") is False:
        faults.append(Fault("P4", "neg is false instead of absent", Weight.ODD))  # P5: a reader has to take it
    if typed.get("ver", VERSION) != VERSION:
        faults.append(Fault("P1", f"version {typed['ver']}"))
    if typed.get("src", src) != src:
        faults.append(Fault("P15", f"src is {typed['src'][:80]!r} instead of {src}"))
    if "sig" in label:
        faults += _of_signature(label["sig"])
    if "uri" in typed:
        faults += _of_subject(typed["uri"])
    if "cid" in typed:
        faults += _of_cid(typed["cid"])
    if "val" in typed:
        faults += _of_value(typed["val"])
    return faults + _of_times(typed, now_us)


def _of_signature(sig: object) -> list[Fault]:
    try:
        length = len(signature_bytes(sig))
    except BadLabel:
        return [Fault("P13", "sig is neither bytes nor {$bytes: base64}")]
    return [] if length == 64 else [Fault("P7", f"a signature of {length} bytes instead of 64")]


def _of_subject(uri: str) -> list[Fault]:
    try:
        check_subject(uri)
    except BadLabel as error:
        return [Fault("P14", f"uri is neither a record's with a DID nor a DID: {error}"[:200])]
    return []


def _of_cid(cid: str) -> list[Fault]:
    try:
        cid_binary(cid)
    except ValueError:
        return [Fault("P1", f"cid is none: {cid[:40]!r}")]
    return []


def _of_value(val: str) -> list[Fault]:
    size = len(val.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= MAX_VAL_BYTES:
        return [Fault("P16", f"val has {size} bytes, not 1 to {MAX_VAL_BYTES}")]
    if val.startswith("!"):
        return [Fault("P18", f"{val[:40]!r} is a command to clients", Weight.ODD)]
    if not _DEFINABLE.fullmatch(val):
        return [Fault("P17", f"no client can look up a definition of {val[:40]!r}", Weight.ODD)]
    return []


def _of_times(typed: Mapping[str, Any], now_us: int) -> list[Fault]:
    faults, read = [], {}
    for name in ("cts", "exp"):
        if name in typed:
            try:
                read[name] = parse_datetime(typed[name])
            except ValueError:
                faults.append(Fault("P12", f"{name} is no datetime: {typed[name][:40]!r}"))
            else:
                if not _PLAIN_TIME.fullmatch(typed[name]):
                    faults.append(Fault("P12", f"{name} is not in UTC with milliseconds", Weight.ODD))
    if "cts" in read and read["cts"] > now_us + AHEAD_US:
        ahead = (read["cts"] - now_us) // 1_000_000
        faults.append(Fault("P12", f"cts lies {ahead} s ahead of our clock", Weight.ODD))
    if len(read) == 2 and read["exp"] <= read["cts"]:
        faults.append(Fault("P37", "exp is not later than cts"))
    return faults
