"""Pictures are told by their heads, and none is taken that is no picture or would burst whoever opens it."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.pictures import MAX_BYTES, MAX_PIXELS, look_at_picture


def png(width: int, height: int) -> bytes:
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    body = b"\x00\x00\x00\x0d" + head + zlib.crc32(head).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg(width: int, height: int) -> bytes:
    """With a comment, a filling byte and a table before its frame."""
    frame = b"\xff\xc2\x00\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes(12)
    return b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + b"\xff\xff\xfe\x00\x04hi\xff\xc4\x00\x03\x00" + frame


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + bytes(4) + b"WEBP" + kind + bytes(4) + body + bytes(20)


def side(number: int) -> bytes:
    return (number - 1).to_bytes(3, "little")


EXTENDED = webp(b"VP8X", bytes(4) + side(640) + side(480))
LOSSLESS = webp(b"VP8L", b"\x2f" + (639 | 479 << 14).to_bytes(4, "little"))
LOSSY = webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + (640).to_bytes(2, "little") + (480).to_bytes(2, "little"))


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        (png(640, 480), "image/png"),
        (jpeg(640, 480), "image/jpeg"),
        (EXTENDED, "image/webp"),
        (LOSSLESS, "image/webp"),
        (LOSSY, "image/webp"),
    ],
)
def test_kind_and_size(content: bytes, mime: str) -> None:
    picture = look_at_picture(content)
    assert picture is not None
    assert (picture.mime, picture.width, picture.height) == (mime, 640, 480)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<!doctype html>",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        png(0, 10),
        png(1_000_000, 1_000_000),
        png(2**32 - 1, 1),
        jpeg(60_000, 60_000),
        jpeg(640, 480)[:-15],
        b"\xff\xd8\xff\xda" + bytes(100),
        webp(b"VP8X", bytes(4) + b"\xff" * 6),
        webp(b"ALPH", bytes(40)),
        png(640, 480) + bytes(MAX_BYTES),
    ],
)
def test_what_is_no_picture_or_too_large(content: bytes) -> None:
    assert look_at_picture(content) is None


def test_the_largest() -> None:
    assert look_at_picture(png(5_000, MAX_PIXELS // 5_000)) is not None
    assert look_at_picture(png(5_000, MAX_PIXELS // 5_000 + 1)) is None


@given(st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF\0\0\0\0WEBP"]), st.binary(max_size=400))
def test_any_bytes_are_looked_at(head: bytes, rest: bytes) -> None:
    """Bytes 0xFF without an end among them."""
    look_at_picture(head + rest)
    look_at_picture(head + b"\xff" * len(rest))
