"""CAR v1 (spec/repository): the blocks of a commit, each trusted only after its bytes hash to its CID (P140)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from core.dagcbor import BadCbor, decode, is_cid

_CID_BYTES = 36  # CIDv1, sha2-256: the only kind that repositories use


class BadCar(ValueError):
    """Not a CAR, or a block whose bytes are not what its CID says, or a block that is missing."""


class Car:
    """Root and blocks of one archive. Superfluous and repeated blocks are harmless (P141)."""

    __slots__ = ("_blocks", "root")

    def __init__(self, root: bytes, blocks: Mapping[bytes, memoryview]) -> None:
        self.root = root
        self._blocks = blocks

    def __contains__(self, cid: object) -> bool:
        return cid in self._blocks

    def block(self, cid: bytes) -> bytes:
        """The verified bytes of a block. Raises BadCar when it is missing or altered."""
        block = self._blocks.get(cid)
        if block is None:
            raise BadCar("a block is missing")
        if hashlib.sha256(block).digest() != cid[4:]:
            raise BadCar("a block does not hash to its CID")
        return bytes(block)

    def value(self, cid: bytes) -> Any:
        """The verified, decoded DAG-CBOR block. Raises BadCar."""
        try:
            return decode(self.block(cid))
        except BadCbor as error:
            raise BadCar(f"a block is not DAG-CBOR: {error}") from None


def read_car(archive: bytes) -> Car:
    """Index an archive without hashing or decoding a block yet. Raises BadCar."""
    view = memoryview(archive)
    start, end = _section(view, 0)
    try:
        header = decode(bytes(view[start:end]))
    except BadCbor:
        raise BadCar("the header is not DAG-CBOR") from None
    roots = header.get("roots") if isinstance(header, dict) else None
    if not isinstance(roots, list) or not roots or not is_cid(roots[0]) or header.get("version") != 1:
        raise BadCar("not a CAR v1 with a root")
    blocks: dict[bytes, memoryview] = {}
    while end < len(view):
        start, end = _section(view, end)
        cid = bytes(view[start : start + _CID_BYTES])
        if is_cid(cid) and start + _CID_BYTES <= end:
            blocks.setdefault(cid, view[start + _CID_BYTES : end])
    if roots[0] not in blocks:
        raise BadCar("the root is not among the blocks")
    return Car(roots[0], blocks)


def _section(view: memoryview, offset: int) -> tuple[int, int]:
    """Start and end of a length-prefixed section; the length is an unsigned LEB128 of at most 4 bytes here."""
    length = 0
    for index in range(4):
        if offset + index >= len(view):
            raise BadCar("the archive ends inside a length")
        byte = view[offset + index]
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            start = offset + index + 1
            if length == 0 or start + length > len(view):
                raise BadCar("a section is empty or longer than the archive")
            return start, start + length
    raise BadCar("a section is too long")
