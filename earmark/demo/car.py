"""CAR v1: blocks in a row, each with its length and CID."""

from __future__ import annotations

from collections.abc import Mapping

from core.dagcbor import encode


def write_car(root: bytes, blocks: Mapping[bytes, bytes]) -> bytes:
    """A CAR with one root (binary CID) and these blocks, in this order."""
    header = encode({"version": 1, "roots": [root]})
    sections = [_varint(len(header)), header]
    for cid, block in blocks.items():
        sections += (_varint(len(cid) + len(block)), cid, block)
    return b"".join(sections)


def _varint(number: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
