"""What kind of picture some bytes are, and how large it is, by its first bytes: nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BYTES = 1_000_000  # of an avatar in app.bsky.feed.generator, of a thumb in app.bsky.embed.external
MAX_PIXELS = 25_000_000  # larger than any camera's: a few bytes may say that they are a thousand times that
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_NO_SIZE = frozenset({0xC4, 0xC8, 0xCC})  # tables, among the markers of frames
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # JPEG's markers without a length


@dataclass(frozen=True, slots=True)
class Picture:
    """`mime` is image/png, image/jpeg or image/webp; the sides in pixels, together at most MAX_PIXELS."""

    content: bytes
    mime: str
    width: int
    height: int


def look_at_picture(content: bytes) -> Picture | None:
    """None for anything else, for more than MAX_BYTES or MAX_PIXELS, and for a head that is damaged."""
    mime, (width, height) = _read_head(content)
    small = len(content) <= MAX_BYTES and 0 < width * height <= MAX_PIXELS
    return Picture(content, mime, width, height) if small else None


def _read_head(content: bytes) -> tuple[str, tuple[int, int]]:
    if content.startswith(_PNG):
        whole = content[12:16] == b"IHDR" and len(content) >= 24
        return "image/png", (_big(content[16:20]), _big(content[20:24])) if whole else (0, 0)
    if content.startswith(_JPEG):
        return "image/jpeg", _jpeg_size(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP" and len(content) >= 30:
        return "image/webp", _webp_size(content)
    return "", (0, 0)


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """From its first frame; each step goes on, so that no bytes can hold it."""
    at = len(_JPEG)
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            return _big(content[at + 7 : at + 9]), _big(content[at + 5 : at + 7])
        else:
            at += 2 + max(2, _big(content[at + 2 : at + 4]))
    return 0, 0


def _webp_size(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8X":
        return _little(content[24:27]) + 1, _little(content[27:30]) + 1
    if kind == b"VP8L" and content[20] == 0x2F:
        packed = _little(content[21:25])
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        return _little(content[26:28]) & 0x3FFF, _little(content[28:30]) & 0x3FFF
    return 0, 0


def _big(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def _little(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
