"""From an open file to float blocks, streamed, whatever the file claims about itself."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import av.error
import av.logging
import numpy as np
from numpy.typing import NDArray

from core.errors import NotAudio, TooLong, Truncated, Undecodable
from models.child.block import Block, Samples, to_float
from models.child.containers import Container, declared_seconds, ends_early, sniff

_DEMUXERS = {
    Container.MP3: "mp3",
    Container.AAC: "aac",
    Container.MP4: "mov",
    Container.OGG: "ogg",
    Container.FLAC: "flac",
    Container.WAV: "wav",
    Container.AIFF: "aiff",
    Container.MATROSKA: "matroska",
}
_CODECS = frozenset({"mp1", "mp2", "mp3", "aac", "alac", "vorbis", "opus", "flac"})  # and pcm_*
_RATES = range(2_000, 768_001)  # Hz
_MOST_SAMPLES_A_SECOND = (
    8 * 768_000
)  # of all channels; 128 at 48 kHz. A second takes 25 MB and the meters four times that
_LOUDEST = 16.0  # full scale is 1.0; beyond this a sample is damage, and its power would overflow
_MAX_DEMUX_ERRORS = 100
_GAP_SECONDS = 0.02  # a jump of the clock from frame to frame that rounding does not explain
_MAX_PLANES = 8  # AV_NUM_DATA_POINTERS; PyAV reads beyond its table of planes when damage makes up more channels
_QUIET = -8  # AV_LOG_QUIET
_LEAST_BYTES_PER_SECOND = 500  # a duration that would need less than 4 kbit/s is not believed

# What is left of a broken file is worth analysing (issue 2, "Bad input").
_LEAST_SECONDS_LEFT = 30.0
_LEAST_SHARE_LEFT = 0.5
_SLACK_SECONDS, _SLACK_SHARE = 1.0, 0.02  # encoder padding and rounding that do not count as missing


@dataclass(frozen=True, slots=True)
class _Kind:
    """What frames must agree on to become one block."""

    format: str
    rate: int
    layout: tuple[str, ...]


class Decoder:
    """One file on its way to samples. Use once: iterate `blocks`, then `judge_end`.

    The file comes open: this process may open none (models.child.sandbox), and libav is allowed none but this one.
    """

    container: Container
    declared_seconds: float | None

    def __init__(self, audio: BinaryIO, *, max_seconds: float) -> None:
        """Look at a regular file; the caller closes it. Raises NotAudio, Undecodable, Truncated, TooLong."""
        self._max_seconds = max_seconds
        self._samples: Counter[int] = Counter()  # by sample rate, which may change on the way
        self._reached_seconds = 0.0  # by the container's clock, which goes on where sound is lost in the middle
        self._gaps = 0
        self._damaged_packets = 0
        self._cleaned_samples = 0
        try:
            container = sniff(audio)
            if container is None:
                raise NotAudio("the bytes are no audio container that we read")
            self.container = container
            self.declared_seconds = declared_seconds(audio, container)
            self._ends_early = ends_early(audio, container)
            size = audio.seek(0, os.SEEK_END)
            os.lseek(audio.fileno(), 0, os.SEEK_SET)
        except OSError as error:
            raise NotAudio(f"cannot be read ({error.strerror})") from error
        self._libav = self._open(audio.fileno())
        self._stream = self._choose_stream()
        self._start = self._stream.start_time or 0
        self._tick = float(self._stream.time_base or 0.0)  # seconds; asked once, for libav's fractions are slow
        self._refuse_declared_too_long(size)

    @property
    def seconds(self) -> float:
        """Decoded so far."""
        return sum(count / rate for rate, count in self._samples.items())

    def blocks(self) -> Iterator[Block]:
        """Everything, in blocks of about a second. Raises TooLong past `max_seconds`, Undecodable (far too dense)."""
        pending: list[NDArray[Any]] = []
        kind: _Kind | None = None
        waiting = 0
        for frame in self._frames():
            found = _Kind(
                frame.format.name, frame.sample_rate, tuple(channel.name for channel in frame.layout.channels)
            )
            if kind is not None and (found != kind or waiting >= kind.rate):
                yield self._finish(pending, kind)
                pending, waiting = [], 0
            kind = found
            pending.append(frame.to_ndarray())
            waiting += frame.samples
        if kind is not None:
            yield self._finish(pending, kind)

    def judge_end(self) -> list[str]:
        """Warnings about what was decoded. Raises Truncated or Undecodable when too little was."""
        seconds, declared = self.seconds, self.declared_seconds
        missing = 0.0 if declared is None else declared - seconds
        slack = _SLACK_SECONDS if declared is None else max(_SLACK_SECONDS, _SLACK_SHARE * declared)
        lost_at_end = 0.0 if declared is None else declared - max(seconds, self._reached_seconds)
        truncated = self._ends_early or lost_at_end > slack
        promised = "" if declared is None else f" of {declared:.1f}"
        too_little = seconds < _LEAST_SECONDS_LEFT or seconds < _LEAST_SHARE_LEFT * (declared or 0.0)
        if truncated and too_little:
            raise Truncated(f"the file ends early: {seconds:.1f}{promised} s can be decoded")
        if seconds == 0.0:
            raise Undecodable(f"no sound in this {self.container} file can be decoded")
        warnings = []
        if truncated:
            warnings.append(f"truncated: {seconds:.1f}{promised} s decoded")
        elif missing > slack:
            warnings.append(f"damaged: {seconds:.1f}{promised} s decoded")
        if self._damaged_packets:
            warnings.append(f"damaged packets skipped: {self._damaged_packets}")
        if self._gaps:
            warnings.append(f"damaged, gaps in the sound: {self._gaps}")
        if self._cleaned_samples:
            warnings.append(f"damaged samples silenced: {self._cleaned_samples}")
        return warnings

    def close(self) -> None:
        """Let go of libav's part."""
        self._libav.close()

    def _open(self, descriptor: int) -> Any:
        demuxer = _DEMUXERS[self.container]
        # libav must neither guess another demuxer nor follow a reference out of this file.
        options = {"fd": str(descriptor), "protocol_whitelist": "fd", "format_whitelist": demuxer}
        if self.container is Container.MP4:
            options["format_whitelist"] = "mov,mp4,m4a,3gp,3g2,mj2"
        elif self.container is Container.MATROSKA:
            options["format_whitelist"] = "matroska,webm"
        try:
            return av.open("fd:", format=demuxer, container_options=options, metadata_errors="replace")
        except av.error.FFmpegError as error:
            if self._ends_early:
                raise Truncated("the file ends before its header does") from error
            raise Undecodable(f"the {self.container} container is damaged ({error.strerror})") from error

    def _choose_stream(self) -> Any:
        streams = self._libav.streams
        if not streams.audio:
            self.close()
            raise NotAudio(f"the {self.container} file has no audio track")
        stream = streams.audio[0]
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
        if codec not in _CODECS and not codec.startswith("pcm_"):
            self.close()
            raise Undecodable(f"the codec {codec} is not one that we read")
        stream.codec_context.thread_count = 1
        if self.declared_seconds is None and self.container in {Container.FLAC, Container.AIFF, Container.MP4}:
            if stream.duration is not None:
                self.declared_seconds = float(stream.duration * stream.time_base)
        elif self.container is Container.MATROSKA and self._libav.duration is not None and not streams.video:
            self.declared_seconds = self._libav.duration / av.time_base  # of the longest track
        return stream

    def _refuse_declared_too_long(self, size: int) -> None:
        declared = self.declared_seconds
        if declared is not None and declared > self._max_seconds and size >= declared * _LEAST_BYTES_PER_SECOND:
            self.close()
            raise TooLong(f"{declared:.0f} s, the limit is {self._max_seconds:.0f} s")

    def _frames(self) -> Iterator[Any]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._damaged_packets += 1
                continue
            for frame in frames:
                if frame.layout.nb_channels * frame.sample_rate > _MOST_SAMPLES_A_SECOND:
                    raise Undecodable(
                        f"{frame.layout.nb_channels} channels at {frame.sample_rate} Hz, "
                        f"the limit is {_MOST_SAMPLES_A_SECOND} samples a second"
                    )
                if frame.format.is_planar and frame.layout.nb_channels > _MAX_PLANES:
                    self._damaged_packets += 1
                elif frame.samples and frame.sample_rate in _RATES:
                    self._note_position(frame)
                    yield frame

    def _packets(self) -> Iterator[Any]:
        for _ in range(_MAX_DEMUX_ERRORS):
            try:
                yield from self._libav.demux(self._stream)
            except av.error.FFmpegError:
                self._damaged_packets += 1
            else:
                return

    def _finish(self, pending: list[NDArray[Any]], kind: _Kind) -> Block:
        block = pending[0] if len(pending) == 1 else np.concatenate(pending, axis=1)
        if not kind.format.endswith("p"):
            block = block.reshape(-1, len(kind.layout)).T
        channels = self._clean(to_float(block))
        self._samples[kind.rate] += channels.shape[1]
        if self.seconds > self._max_seconds:
            raise TooLong(f"more than {self._max_seconds:.0f} s")
        return Block(kind.rate, channels, kind.layout)

    def _note_position(self, frame: Any) -> None:
        if frame.pts is None or self._tick == 0.0:
            return
        start = (frame.pts - self._start) * self._tick
        if start - self._reached_seconds > _GAP_SECONDS and self._reached_seconds:
            self._gaps += 1
        self._reached_seconds = start + frame.samples / frame.sample_rate

    def _clean(self, channels: Samples) -> Samples:
        # One pass over good audio: a NaN makes both comparisons false.
        if channels.max(initial=0.0) <= _LOUDEST and channels.min(initial=0.0) >= -_LOUDEST:
            return channels
        wrong = ~(np.abs(channels) <= _LOUDEST)
        self._cleaned_samples += int(wrong.any(axis=0).sum())
        return np.where(wrong, np.float32(0), channels)


def silence_libav() -> None:
    """libav talks to stderr about every damaged packet; our warnings say it once."""
    av.logging.set_libav_level(_QUIET)
