"""Reads a TensorFlow 1 tensor bundle (`.index` + `.data-00000-of-00001`) without TensorFlow.

The index is a LevelDB table: data blocks of prefix-compressed keys, an index block, a 48-byte footer. Each value is a
BundleEntryProto (dtype 1, shape 2, shard 3, offset 4, size 5, CRC32C 6). Only what a float32, single-shard,
uncompressed bundle needs is read; everything else is refused. Every block and tensor read has its CRC32C checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from core.errors import Corrupt

_TABLE_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_BLOCK_TRAILER_BYTES = 5  # compression type, masked CRC32C
_CASTAGNOLI = 0x82F63B78  # reflected polynomial of CRC32C
_FLOAT32 = 1  # DataType.DT_FLOAT

Tensor = NDArray[np.float32]


def read_bundle(index: bytes, shard: bytes, names: frozenset[str]) -> dict[str, Tensor]:
    """The named tensors of a bundle. Raises Corrupt for a bad table, a missing tensor or a checksum that disagrees."""
    crc_table = _make_crc_table()
    try:
        found = {
            name: _read_tensor(name, value, shard, crc_table)
            for name, value in _read_table(index, crc_table)
            if name in names
        }
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise Corrupt(f"tensor bundle index is malformed ({error})") from error
    if missing := sorted(names - found.keys()):
        raise Corrupt(f"tensor bundle lacks {', '.join(missing)}")
    return found


def _read_table(table: bytes, crc_table: list[int]) -> Iterator[tuple[str, bytes]]:
    if len(table) < _FOOTER_BYTES or struct.unpack_from("<Q", table, len(table) - 8)[0] != _TABLE_MAGIC:
        raise Corrupt("not a tensor bundle index")
    footer = table[-_FOOTER_BYTES:]
    _, at = _read_varint(footer, 0)  # the metaindex block's handle is of no use here
    _, at = _read_varint(footer, at)
    for _, handle in _read_block(table, footer[at:], crc_table):
        for key, value in _read_block(table, handle, crc_table):
            if key:  # the empty key holds the bundle's header
                yield key.decode(), value


def _read_block(table: bytes, handle: bytes, crc_table: list[int]) -> Iterator[tuple[bytes, bytes]]:
    offset, at = _read_varint(handle, 0)
    size, _ = _read_varint(handle, at)
    block = table[offset : offset + size]
    compression, stored_crc = struct.unpack_from("<BI", table, offset + size)
    if compression != 0:
        raise Corrupt("tensor bundle index is compressed")
    if stored_crc != _mask(_crc32c(table[offset : offset + size + 1], crc_table)):
        raise Corrupt("tensor bundle index fails its checksum")
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    end = size - 4 - 4 * restarts
    at, key = 0, b""
    while at < end:
        shared, at = _read_varint(block, at)
        fresh, at = _read_varint(block, at)
        length, at = _read_varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


def _read_tensor(name: str, entry: bytes, shard: bytes, crc_table: list[int]) -> Tensor:
    fields = dict(_read_fields(entry))
    # Proto3 leaves zeros out: shard 0 and offset 0 are absent.
    offset, size, crc = fields.get(4, 0), fields.get(5, 0), fields.get(6, 0)
    shape_bytes = fields.get(2, b"")
    if fields.get(1) != _FLOAT32 or fields.get(3, 0) != 0 or not isinstance(shape_bytes, bytes):
        raise Corrupt(f"tensor {name} is not a float32 of shard 0")
    assert isinstance(offset, int)
    assert isinstance(size, int)
    shape = [_read_size(dimension) for number, dimension in _read_fields(shape_bytes) if number == 2]
    raw = shard[offset : offset + size]
    if len(raw) != size or size != 4 * int(np.prod(shape, dtype=np.int64)):
        raise Corrupt(f"tensor {name} is cut short")
    if crc != _mask(_crc32c(raw, crc_table)):
        raise Corrupt(f"tensor {name} fails its checksum")
    return np.frombuffer(raw, "<f4").reshape(shape)


def _read_size(dimension: int | bytes) -> int:
    if not isinstance(dimension, bytes):
        raise Corrupt("tensor bundle index has a malformed shape")
    value = dict(_read_fields(dimension)).get(1, 0)
    assert isinstance(value, int)
    return value


def _read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protobuf message: varints, fixed32 and bytes are all that a bundle uses."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        match tag & 7:
            case 0:
                value, at = _read_varint(message, at)
                yield tag >> 3, value
            case 2:
                length, at = _read_varint(message, at)
                yield tag >> 3, message[at : at + length]
                at += length
            case 5:
                yield tag >> 3, struct.unpack_from("<I", message, at)[0]
                at += 4
            case _:
                raise Corrupt("tensor bundle index has an unknown field type")


def _read_varint(text: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = text[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _mask(crc: int) -> int:
    """LevelDB stores checksums rotated and offset, so that a checksum of checksums stays meaningful."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _make_crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_CASTAGNOLI if crc & 1 else 0)
        table.append(crc)
    return table


def _crc32c(text: bytes, table: list[int]) -> int:
    """About 0.07 us a byte: half a second for a whole pack, once in its life."""
    crc = 0xFFFFFFFF
    for byte in text:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF
