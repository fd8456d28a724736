"""The label of `com.atproto.label.defs` as a value (P1). Strings are kept verbatim (P11)."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

VERSION = 1
MAX_VAL_BYTES = 128  # P16: bytes of UTF-8, not characters
# P1: all that is signed; the signature itself is not.
FIELD_TYPES: Mapping[str, type] = {
    "ver": int,
    "src": str,
    "uri": str,
    "cid": str,
    "val": str,
    "neg": bool,
    "cts": str,
    "exp": str,
}


class Label(NamedTuple):
    """One label. `sig` is 64 raw bytes r||s, or None before signing (P7).

    A tuple, because many are made: a frozen dataclass takes four times as long.
    """

    src: str
    uri: str
    val: str
    cts: str
    cid: str | None = None
    neg: bool = False
    exp: str | None = None
    ver: int = VERSION
    sig: bytes | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """State is kept by (src, uri, cid or "", val) (P32, P35)."""
        return (self.src, self.uri, self.cid or "", self.val)

    def fields(self) -> dict[str, Any]:
        """The specified fields for the wire, `sig` as bytes if present; absent optionals omitted (P3, P4)."""
        src, uri, val, cts, cid, neg, exp, ver, sig = self
        out: dict[str, Any] = {"ver": ver, "src": src, "uri": uri}
        if cid is not None:
            out["cid"] = cid
        out["val"] = val
        if neg:
            out["neg"] = True
        out["cts"] = cts
        if exp is not None:
            out["exp"] = exp
        if sig is not None:
            out["sig"] = sig
        return out

    def json_form(self) -> dict[str, Any]:
        """The JSON form of a signed label: `sig` as `$bytes` in standard base64 without padding (P2, P13)."""
        fields = self.fields()
        fields["sig"] = {"$bytes": b2a_base64(fields["sig"], newline=False).rstrip(b"=").decode("ascii")}
        return fields

    def signed(self, sig: bytes) -> Label:
        """The same label with this signature."""
        return Label(self.src, self.uri, self.val, self.cts, self.cid, self.neg, self.exp, self.ver, sig)


@dataclass(frozen=True, slots=True)
class NumberedLabel:
    """A stored label with its place in the stream (P66)."""

    seq: int
    label: Label
    key_id: str  # did:key that made the signature (P41)
