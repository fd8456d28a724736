"""What a file is by its bytes, how long it claims to be, and whether its end is missing.

Names and MIME types lie, so the container is found by content, and only the ones below are ever opened. Durations are
taken from headers that count (frames, samples, bytes), never from a guess by bitrate: a wrong guess would call a whole
file truncated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import BinaryIO

_SEARCH_BYTES = 64 * 1024  # how much leading rubbish an MPEG stream may have
_PAGE_SEARCH_BYTES = 128 * 1024  # an Ogg page has at most 65 307 bytes
_ID3_HEADER_BYTES = 10
_WAV_OPEN_END = 0x7FFF0000  # bytes; a data chunk that claims more than this and is not there is a placeholder
_MAX_CHUNKS = 1000  # of a RIFF, boxes of an MP4: more is an attack on our patience

_IMAGE_BRANDS = frozenset({b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"})  # pictures in the same boxes
_CONSTANT_RATE_WAVE_FORMATS = frozenset({1, 3, 6, 7, 0xFFFE})  # PCM, float, A-law, mu-law, extensible
_MPEG_BITRATES = {  # kbit/s by (MPEG-1?, layer), ISO 11172-3 and 13818-3; index 0 (free format) and 15 are not read
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = (44_100, 48_000, 32_000)  # MPEG-1; halved for MPEG-2, quartered for 2.5


class Container(StrEnum):
    """A container that we read. The value is what an Analysis shows."""

    MP3 = "mp3"
    AAC = "aac"
    MP4 = "m4a"
    OGG = "ogg"
    FLAC = "flac"
    WAV = "wav"
    AIFF = "aiff"
    MATROSKA = "webm"


class _MpegFrame:
    """The header of one MPEG audio frame."""

    __slots__ = ("length", "mono", "rate", "samples", "signature", "version1")

    def __init__(self, header: int) -> None:
        version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)
        self.version1 = version == 3
        self.rate = _MPEG_RATES[header >> 10 & 3] >> {3: 0, 2: 1, 0: 2}[version]
        bitrate = _MPEG_BITRATES[self.version1, layer][(header >> 12 & 15) - 1] * 1000
        self.mono = header >> 6 & 3 == 3
        self.samples = {1: 384, 2: 1152, 3: 1152 if self.version1 else 576}[layer]
        slot = 4 if layer == 1 else 1
        self.length = (self.samples // 8 // slot * bitrate // self.rate + (header >> 9 & 1)) * slot
        self.signature = header & 0xFFFE0C00  # what all frames of a stream share: sync, version, layer, rate


def sniff(stream: BinaryIO) -> Container | None:
    """The container of a file, None when it is none of ours."""
    head = _read(stream, 0, 32)
    if head.startswith(b"OggS"):
        return Container.OGG
    if head[:4] in {b"RIFF", b"RF64", b"BW64"} and head[8:12] == b"WAVE":
        return Container.WAV
    if head.startswith(b"FORM") and head[8:12] in {b"AIFF", b"AIFC"}:
        return Container.AIFF
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return Container.MATROSKA
    if head[4:8] in {b"ftyp", b"moov"}:
        return None if head[8:12] in _IMAGE_BRANDS else Container.MP4
    return _sniff_frames(stream)


def declared_seconds(stream: BinaryIO, container: Container) -> float | None:
    """What the header of a WAV or MP3 counts; None when it does not say (libav knows for the other containers)."""
    if container is Container.WAV:
        return _wav_seconds(stream)
    if container is Container.MP3:
        return _mp3_seconds(stream)
    return None


def ends_early(stream: BinaryIO, container: Container) -> bool:
    """Whether the last structure of the file is cut in its middle, where a container's structure shows that."""
    size = stream.seek(0, 2)
    match container:
        case Container.OGG:
            return _ogg_ends_early(stream, size)
        case Container.MP4:
            boxes = list(_boxes(stream, size))
            kinds = {kind for kind, _ in boxes}
            # With fragments, the header's duration covers what is there; without, it tells by itself.
            return b"moov" not in kinds or (b"moof" in kinds and boxes[-1][1] > size)
        case Container.MP3 | Container.AAC | Container.FLAC:
            return _skip_id3(stream) >= size
        case _:
            return False


def _read(stream: BinaryIO, at: int, count: int) -> bytes:
    stream.seek(at)
    return stream.read(count)


def _skip_id3(stream: BinaryIO) -> int:
    """Offset behind the ID3v2 tags at the head of a file (there may be several)."""
    at = 0
    for _ in range(_MAX_CHUNKS):
        header = _read(stream, at, _ID3_HEADER_BYTES)
        if len(header) < _ID3_HEADER_BYTES or not header.startswith(b"ID3"):
            break
        a, b, c, d = header[6:10]  # seven bits each
        footer = _ID3_HEADER_BYTES if header[5] & 0x10 else 0
        at += _ID3_HEADER_BYTES + (a << 21 | b << 14 | c << 7 | d) + footer
    return at


def _sniff_frames(stream: BinaryIO) -> Container | None:
    """FLAC, AAC or MP3, perhaps behind ID3 tags or rubbish."""
    start = _skip_id3(stream)
    window = _read(stream, start, _SEARCH_BYTES)
    if window.startswith(b"fLaC"):
        return Container.FLAC
    if _adts_chain(window):
        return Container.AAC
    if start and not window:
        return Container.MP3  # a tag and nothing behind it: an upload that broke off
    return Container.MP3 if _find_mpeg(window) is not None else None


def _adts_chain(window: bytes, frames: int = 3) -> bool:
    at = 0
    for _ in range(frames):
        if len(window) < at + 7 or window[at] != 0xFF or window[at + 1] & 0xF6 != 0xF0:
            return False
        length = (window[at + 3] & 3) << 11 | window[at + 4] << 3 | window[at + 5] >> 5
        if length < 7:
            return False
        at += length
    return True


def _mpeg_frame(window: bytes, at: int) -> _MpegFrame | None:
    if at + 4 > len(window):
        return None
    (header,) = struct.unpack_from(">I", window, at)
    synced = header >> 21 == 0x7FF and header >> 19 & 3 != 1 and header >> 17 & 3 != 0
    if not synced or header >> 12 & 15 in {0, 15} or header >> 10 & 3 == 3:
        return None
    return _MpegFrame(header)


def _find_mpeg(window: bytes, frames: int = 4) -> int | None:
    """Offset of the first of some MPEG audio frames that follow each other and agree; fewer do at the window's end."""
    at = window.find(b"\xff")
    while at >= 0:
        if (first := _mpeg_frame(window, at)) is not None:
            following, seen = at, 0
            frame: _MpegFrame | None = first
            while frame is not None and frame.signature == first.signature and seen < frames:
                following += frame.length
                seen += 1
                frame = _mpeg_frame(window, following)
            if seen == frames or (seen >= 2 and following >= len(window) - 4):
                return at
        at = window.find(b"\xff", at + 1)
    return None


def _mp3_seconds(stream: BinaryIO) -> float | None:
    """From the frame count of a Xing, Info or VBRI header, which sits in the first frame instead of sound."""
    start = _skip_id3(stream)
    window = _read(stream, start, _SEARCH_BYTES)
    at = _find_mpeg(window)
    frame = None if at is None else _mpeg_frame(window, at)
    if at is None or frame is None:
        return None
    side = (17 if frame.mono else 32) if frame.version1 else (9 if frame.mono else 17)
    xing = window[at + 4 + side : at + 4 + side + 12]
    count = None
    if len(xing) == 12 and xing[:4] in {b"Xing", b"Info"} and xing[7] & 1:
        (count,) = struct.unpack_from(">I", xing, 8)
    vbri = window[at + 36 : at + 54]
    if len(vbri) == 18 and vbri.startswith(b"VBRI"):
        (count,) = struct.unpack_from(">I", vbri, 14)
    return count * frame.samples / frame.rate if count else None


def _wav_seconds(stream: BinaryIO) -> float | None:
    """Bytes of the data chunk by bytes a second; None for streamed files, which leave the size open."""
    at, bytes_per_second, size64 = 12, 0, 0
    for _ in range(_MAX_CHUNKS):
        header = _read(stream, at, 8)
        if len(header) < 8:
            return None
        kind, size = header[:4], struct.unpack_from("<I", header, 4)[0]
        body = stream.read(24)
        if kind == b"ds64" and len(body) >= 16:
            (size64,) = struct.unpack_from("<Q", body, 8)
        elif kind == b"fmt " and len(body) >= 16:
            # The header's own byte rate is often wrong, and an estimate where the codec is not PCM.
            wave_format, _, rate, _, block = struct.unpack_from("<HHIIH", body)
            bytes_per_second = rate * block if wave_format in _CONSTANT_RATE_WAVE_FORMATS else 0
        elif kind == b"data":
            if size == 0xFFFFFFFF:
                size = size64
            elif size >= _WAV_OPEN_END and at + 8 + size > stream.seek(0, 2):
                return None  # who wrote to a pipe could not know: some put nearly the largest number
            return size / bytes_per_second if size and bytes_per_second else None
        at += 8 + size + (size & 1)
    return None


def _ogg_ends_early(stream: BinaryIO, size: int) -> bool:
    tail = _read(stream, max(0, size - _PAGE_SEARCH_BYTES), _PAGE_SEARCH_BYTES)
    at = tail.rfind(b"OggS\x00")
    if at < 0:
        return True  # not one page start in twice the size of a page
    segments = tail[at + 26] if at + 26 < len(tail) else 0
    lacing = tail[at + 27 : at + 27 + segments]
    return at + 27 + segments + sum(lacing) > len(tail) or len(lacing) < segments


def _boxes(stream: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """(kind, offset of the end) of each top-level MP4 box."""
    at = 0
    for _ in range(_MAX_CHUNKS * 100):
        header = _read(stream, at, 16)
        if len(header) < 8:
            return
        length = struct.unpack_from(">I", header)[0]
        if length == 1 and len(header) == 16:
            length = struct.unpack_from(">Q", header, 8)[0]
        end = size if length == 0 else at + length
        yield header[4:8], end
        if end <= at + 7 or end >= size:
            return
        at = end
