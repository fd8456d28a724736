"""A strict reader of somebody's label stream: every frame, every label, their order and what they say together.

Knows no network: frames come in, faults go out. The key comes from the issuer's DID document, which is read once more
when a signature does not hold (P42).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.clock import Clock, parse_datetime
from core.dagcbor import SEAL, decode_multi, encode, encode_signed
from core.errors import Permanent, Transient
from core.frames import BadFrame
from core.keys import PublicKey
from core.ports import Directory
from core.types import Did
from labeler.frames import LabelsFrame, read_frame
from labeler.scrutiny import Fault, Weight, scrutinise
from labeler.signing import verify

MAX_SEQ = 2**53 - 1  # P66
MAX_FRAME_BYTES = 1_000_000  # P78
MAX_KEYS = 1_000_000  # (uri, cid, val) whose state is kept; later ones are checked by themselves alone
REFRESH_SECONDS = 60.0  # P42: between two questions for a new key
_HEADERS = ({"op": 1, "t": "#labels"}, {"op": 1, "t": "#info"})
_BODIES: Mapping[str, Sequence[set[str]]] = {
    "#labels": ({"seq", "labels"},),
    "#info": ({"name"}, {"name", "message"}),
}


class Issuer:
    """Whose labels: a DID and the key in its document, asked for again when a signature does not hold (P42)."""

    def __init__(self, did: Did, key: PublicKey, *, directory: Directory, clock: Clock) -> None:
        self.did, self.key = did, key
        self._directory, self._clock = directory, clock
        self._asked_at: float | None = None

    async def signed(self, label: Mapping[str, Any]) -> bool:
        """Whether a label as received is the issuer's, by the key of now: never by another of its keys (P40)."""
        if verify(label, self.key):
            return True
        now = self._clock.monotonic()
        if self._asked_at is not None and now - self._asked_at < REFRESH_SECONDS:
            return False
        self._asked_at = now
        try:
            found = (await self._directory.resolve(self.did, refresh=True)).label_key
        except (Permanent, Transient):  # then the key that we have is all there is
            return False
        if found is None or found == self.key:
            return False
        self.key = found
        return verify(label, found)


@dataclass(slots=True)
class _State:
    """The newest label of a key."""

    seq: int
    cts: str
    cts_us: int
    neg: bool


class Verifier:
    """Reads the stream of one issuer from any point on. `seq`: of the last event; the rest are counts."""

    def __init__(self, issuer: Issuer, *, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._states: dict[tuple[str, str], dict[str, _State]] = {}  # (uri, val) -> cid or "" -> newest
        self.keys = self.frames = self.labels = self.gaps = self.seq = 0

    async def read(self, frame: bytes) -> list[Fault]:
        """What is wrong with the next frame. Raises ErrorFrame when it is the server's own error."""
        self.frames += 1
        try:
            read = read_frame(frame)
        except BadFrame as error:
            return [Fault("P63", f"a frame that readers drop the connection for: {error}")]
        faults = _of_encoding(frame)
        if not isinstance(read, LabelsFrame):
            return faults
        before, self.seq = self.seq, max(self.seq, read.seq)
        if not 0 < read.seq <= MAX_SEQ:
            faults.append(Fault("P66", "a number that is not 1 to 2^53-1", seq=read.seq))
        elif read.seq <= before:
            faults.append(Fault("P66", f"a number that does not follow {before}", seq=read.seq))
        elif before and read.seq > before + 1:
            self.gaps += 1
        for label in read.labels:
            self.labels += 1
            faults += [_at(fault, read.seq, label) for fault in await self._judge(label, read.seq)]
        return faults

    async def _judge(self, label: Mapping[str, Any], seq: int) -> list[Fault]:
        faults = scrutinise(label, src=self._issuer.did, now_us=self._clock.now_us())
        if "sig" in label and not isinstance(label["sig"], bytes):
            faults.append(Fault("P65", "sig is not a byte string"))
        if not await self._issuer.signed(label):
            faults.append(Fault("P7", "the signature does not hold with the key #atproto_label"))
        if not any(fault.weight is Weight.BROKEN for fault in faults):
            faults += self._follow(label, seq)
        return faults

    def _follow(self, label: Mapping[str, Any], seq: int) -> list[Fault]:
        """What a label that is right by itself says after those before it."""
        cid, neg, cts_us = label.get("cid") or "", bool(label.get("neg")), parse_datetime(label["cts"])
        states = self._states.get((label["uri"], label["val"]), {})
        last, faults = states.get(cid), []
        others = [other for other, state in states.items() if other != cid and not state.neg]
        if last is not None and cts_us <= last.cts_us:
            faults.append(Fault("P36", f"cts {label['cts']} is not later than {last.cts} of the same key"))
        if neg and others and (last is None or last.neg):
            faults.append(Fault("P32", "the negation does not repeat the cid of the label that is live"))
        elif neg and (last is None or last.neg):
            faults.append(Fault("P31", "negates what is not live here", Weight.ODD))
        if not neg and others:
            faults.append(Fault("P33", "live with and without a cid, or with two", Weight.ODD))
        if last is not None or self.keys < MAX_KEYS:
            self.keys += last is None
            self._states.setdefault((label["uri"], label["val"]), {})[cid] = _State(seq, label["cts"], cts_us, neg)
        return faults

    async def compare(self, rows: Sequence[Mapping[str, Any]], *, asked_at_seq: int) -> list[Fault]:
        """What queryLabels said of everything (`uriPatterns=*`) against what the stream says (P55, P58, P59).

        Keys that have changed after `asked_at_seq`, when the question began, are left out.
        """
        faults: list[Fault] = []
        seen: set[tuple[str, str, str]] = set()
        last_seq = 0
        for row in rows:
            found = scrutinise(row, src=self._issuer.did, now_us=self._clock.now_us())
            found += [Fault("P59", f"{name} is empty instead of absent") for name in row if row[name] in ("", None)]
            if isinstance(row.get("sig"), bytes) or not await self._issuer.signed(row):
                found.append(Fault("P59", "the signature does not hold in the form that queryLabels gives"))
            if not any(fault.weight is Weight.BROKEN for fault in found):
                key = (row["uri"], row["val"], row.get("cid", ""))
                state = self._states.get(key[:2], {}).get(key[2])
                if key in seen:
                    found.append(Fault("P58", "more than one row of a key"))
                elif state is None and self.keys < MAX_KEYS:
                    found.append(Fault("P58", "queryLabels has what the stream never said"))
                elif state is not None and state.seq <= asked_at_seq:
                    if (state.cts, state.neg) != (row["cts"], bool(row.get("neg"))):
                        found.append(Fault("P58", "queryLabels has another row than the newest of its key"))
                    if state.seq < last_seq:
                        found.append(Fault("P55", "queryLabels is not in the order of the stream", Weight.ODD))
                    last_seq = state.seq
                seen.add(key)
            faults += [_at(fault, None, row) for fault in found]
        missing = [(state, key) for key, state in self._all() if state.seq <= asked_at_seq and key not in seen]
        for weight, what, those in (
            (Weight.BROKEN, "live labels", [key for state, key in missing if not state.neg]),
            (Weight.ODD, "negations", [key for state, key in missing if state.neg]),
        ):
            if those:
                faults.append(Fault("P58", f"queryLabels lacks {len(those)} {what}", weight, uri=those[0][0]))
        return faults

    def _all(self) -> list[tuple[tuple[str, str, str], _State]]:
        return [((uri, val, cid), state) for (uri, val), of in self._states.items() for cid, state in of.items()]


def _of_encoding(frame: bytes) -> list[Fault]:
    """What is wrong with the bytes of a frame that can be read (P6, P64, P65, P78)."""
    faults = []
    header, body = decode_multi(frame)
    if header not in _HEADERS:
        faults.append(Fault("P64", f"a header other than the two of this stream: {str(header)[:80]}"))
    elif set(body) not in _BODIES[header["t"]]:
        faults.append(Fault("P65", f"{header['t']} has the fields {sorted(map(str, body))}"[:200]))
    if not _is_canonical(frame, header, body):
        faults.append(Fault("P6", "not the one encoding that DAG-CBOR has for this"))
    if len(frame) > MAX_FRAME_BYTES:
        faults.append(Fault("P78", f"a frame of {len(frame)} bytes", Weight.ODD))
    return faults


def _is_canonical(frame: bytes, header: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether encoding it again gives the same; a link in place of a signature becomes a byte string by that."""
    again, sigs = dict(body), []
    if header["t"] == "#labels":
        again["labels"] = []
        for label in body["labels"]:
            if isinstance(sig := label.get("sig"), bytes) and len(sig) == len(SEAL):
                sigs.append(sig)
                again["labels"].append({**label, "sig": SEAL})
            else:
                again["labels"].append(label)
    try:
        return encode(header) + encode_signed(again, sigs) == frame
    except ValueError:  # the mark itself is in it, at another place
        return False


def _at(fault: Fault, seq: int | None, label: Mapping[str, Any]) -> Fault:
    uri = str(label.get("uri", ""))[:300]
    return Fault(fault.rule, fault.what, fault.weight, seq, uri if uri.isprintable() else repr(uri))
