"""Music made here, so that the figures need no foreign audio, in the formats that people upload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
FORMATS = {  # file suffix -> container, libav encoder, sample format, bits a second (0: lossless), sample rate
    "mp3": ("mp3", "libmp3lame", "fltp", 192_000, RATE),
    "m4a": ("mp4", "aac", "fltp", 192_000, RATE),
    "ogg": ("ogg", "libopus", "flt", 128_000, 48_000),
    "flac": ("flac", "flac", "s16", 0, RATE),
}


def compose(seconds: int, rate: int = RATE) -> NDArray[np.float32]:
    """f32 [2, n] of a four-chord loop at 120 beats a minute with bass, kick, snare and hi-hat."""
    return np.concatenate(list(_play(seconds, rate)), axis=1)


def write(path: Path, seconds: int) -> Path:
    """The same in the format that the suffix names, a second at a time; the path again."""
    import av

    container, encoder, kind, bits, rate = FORMATS[path.suffix[1:]]
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(encoder, rate=rate, layout="stereo", format=kind)
        if bits:
            stream.bit_rate = bits
        if encoder == "libmp3lame":
            stream.codec_context.options = {"compression_level": "9"}  # the encoder's speed; decoding does not notice
        for second, pcm in enumerate(_play(seconds, rate)):
            block = np.rint(pcm * 32_767).astype(np.int16) if kind == "s16" else pcm
            planes = block if kind.endswith("p") else block.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), format=kind, layout="stereo")
            frame.sample_rate, frame.pts = rate, second * rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _play(seconds: int, rate: int) -> Iterator[NDArray[np.float32]]:
    """f32 [2, rate] a second, slowly swelling, so that no two passes of the loop are alike."""
    loop = _make_loop(rate)
    for second in range(seconds):
        swell = 0.6 + 0.2 * np.sin(2 * np.pi * np.arange(second * rate, (second + 1) * rate) / (rate * 37))
        start = second * rate % loop.shape[1]
        yield loop[:, start : start + rate] * swell.astype(np.float32)


def _make_loop(rate: int) -> NDArray[np.float32]:
    """f32 [2, 8 s]."""
    rng = np.random.default_rng(20_261_121)
    bar = np.arange(2 * rate) / rate  # four beats
    beat = bar % 0.5
    kick = 0.5 * np.exp(-beat * 14) * np.sin(2 * np.pi * (50 * beat + 4 * (1 - np.exp(-beat * 30))))
    snare = 0.25 * np.exp(-((bar + 0.5) % 1.0) * 20) * rng.standard_normal(len(bar))
    hat = 0.08 * np.exp(-(bar % 0.25) * 60) * rng.standard_normal(len(bar))
    bars = []
    for root in (110.0, 87.31, 130.81, 98.0):  # A F C G
        partials = [root * step * harmonic for step in (2, 2.52, 3) for harmonic in (1, 2, 3)]
        chord = sum(np.sin(2 * np.pi * hz * bar + i) / (2 + i % 3 * 2) for i, hz in enumerate(partials))
        bass = 0.25 * np.sin(2 * np.pi * root / 2 * bar) * (1 - np.exp(-beat * 40))
        shimmer = 0.1 * np.sin(2 * np.pi * root * 4 * bar) * np.sin(2 * np.pi * 3 * bar)
        middle = 0.08 * chord + bass + kick + snare
        bars.append(np.stack([middle + hat + shimmer, middle - shimmer + 0.5 * hat]))
    return np.concatenate(bars, axis=1).astype(np.float32)
