"""Every container and codec that we promise to read, made here with real encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from core.analysis import Analysis
from models.crew import Crew

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOSSLESS = ["flac", "flac24", "wav-s16", "wav-s24", "wav-s32", "wav-float", "wav-double", "aiff", "alac"]
LOSSY = ["mp3", "m4a", "aac", "vorbis", "opus", "webm"]
CONTAINERS = {"flac24": "flac", "alac": "m4a", "vorbis": "ogg", "opus": "ogg"}


def _distance(one: Analysis, other: Analysis) -> float:
    """The largest difference of any of the 100 tag means."""
    return max(abs(a.score - b.score) for a, b in zip(one.tags, other.tags, strict=True))


async def _reference(crew: Crew, pcm: Any, rate: int, write_wav: Any) -> Analysis:
    return await crew.analyse(write_wav(pcm, rate, name=f"reference-{rate}.wav"))


@pytest.mark.parametrize(
    ("kind", "rate"),
    [(kind, 48_000) for kind in (*LOSSLESS, "wav-u8", *LOSSY)]
    + [(kind, 44_100) for kind in ("wav-s16", "flac", "mp3", "m4a", "vorbis")],
)
async def test_tags_stay_near(crew: Crew, make_signal: Any, encode: Any, write_wav: Any, kind: str, rate: int) -> None:
    left = make_signal(rate)
    pcm = np.stack([left, 0.6 * np.roll(left, 400)])
    expected = await _reference(crew, pcm, rate, write_wav)
    found = await crew.analyse(encode(pcm, rate, kind))
    # 16 bits are all but exact; 8 bits hiss; codecs change a synthetic signal a little.
    limit = 0.001 if kind in LOSSLESS else 0.1
    assert _distance(found, expected) <= limit
    assert found.container == CONTAINERS.get(kind, kind.split("-", maxsplit=1)[0])
    assert found.duration_seconds == pytest.approx(12.0, abs=0.1)
    assert found.rms_dbfs == pytest.approx(expected.rms_dbfs, abs=0.3)
    assert found.warnings == ()


async def test_mono_is_the_mean_of_the_channels(crew: Crew, synthetic: Any, write_wav: Any) -> None:
    """Opposite channels cancel to silence; a sum or the left channel alone would be loud."""
    analysis = await crew.analyse(write_wav(np.stack([synthetic, -synthetic]), 16_000))
    assert analysis.rms_dbfs == -200.0
    halves = await crew.analyse(write_wav(np.stack([synthetic, np.zeros_like(synthetic)]), 16_000))
    whole = await crew.analyse(write_wav(synthetic, 16_000))
    assert halves.rms_dbfs == pytest.approx(whole.rms_dbfs - 6.02, abs=0.01)


async def test_the_sample_rate_is_honoured(crew: Crew, make_signal: Any, write_wav: Any) -> None:
    """44.1 kHz is resampled: the tags are those of 16 kHz. The same samples called 16 kHz sound like another piece."""
    signal = make_signal(44_100)
    expected = await crew.analyse(write_wav(make_signal(48_000), 48_000, name="other-rate.wav"))
    right = await crew.analyse(write_wav(signal, 44_100, name="right.wav"))
    wrong = await crew.analyse(write_wav(signal, 16_000, name="wrong.wav"))
    assert _distance(right, expected) < 0.05
    assert _distance(wrong, expected) > 0.15


async def test_a_stream_may_change_its_rate(
    crew: Crew, make_signal: Any, encode: Any, write_wav: Any, tmp_path: Path
) -> None:
    """What follows is neither slower nor lower."""
    one, other = make_signal(16_000, 6), make_signal(44_100, 18)
    first = encode(one, 16_000, "aac", name="first").read_bytes()
    second = encode(other, 44_100, "aac", name="second").read_bytes()
    both = tmp_path / "both.aac"
    both.write_bytes(first + second)
    analysis = await crew.analyse(both)
    assert analysis.duration_seconds == pytest.approx(24.0, abs=0.2)
    right = np.concatenate([one, make_signal(16_000, 18)])
    expected = await crew.analyse(write_wav(right, 16_000, name="right.wav"))
    wrong = await crew.analyse(write_wav(np.concatenate([one, other]), 16_000, name="wrong.wav"))
    assert _distance(analysis, expected) < 0.05
    assert _distance(analysis, wrong) > 0.15
    assert analysis.rms_dbfs == pytest.approx(expected.rms_dbfs, abs=0.1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_345, 22_050, 37_800, 96_000, 192_000])
async def test_odd_sample_rates(crew: Crew, make_signal: Any, write_wav: Any, rate: int) -> None:
    analysis = await crew.analyse(write_wav(make_signal(rate), rate, subtype="PCM_16"))
    assert analysis.duration_seconds == pytest.approx(12.0, abs=1e-3)
    assert analysis.acoustics is not None
    assert analysis.acoustics.sample_rate == rate
    assert analysis.warnings == ()


def _write_surround(path: Path, pcm: Any) -> Path:
    """5.1 FLAC of 24 bits and 16 kHz; f32 [6, n] in the order FL FR FC LFE BL BR."""
    with av.open(str(path), "w", format="flac") as out:
        stream = out.add_stream("flac", rate=16_000, layout="5.1", format="s32")
        for start in range(0, pcm.shape[1], 4096):
            whole = (pcm[:, start : start + 4096] * (2**31 - 129)).astype(np.int32)
            frame = av.AudioFrame.from_ndarray(whole.T.reshape(1, -1).copy(), format="s32", layout="5.1")
            frame.sample_rate, frame.pts = 16_000, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


async def test_surround_is_heard_as_its_stereo_is(crew: Crew, synthetic: Any, write_wav: Any, tmp_path: Path) -> None:
    """What is in the front pair alone is as loud as in a stereo file, and rumble in the LFE is not heard."""
    pcm = np.zeros((6, len(synthetic)), np.float32)
    pcm[:2] = synthetic
    pcm[3] = 0.9 * np.sin(2 * np.pi * 60 / 16_000 * np.arange(len(synthetic)))
    stereo = await crew.analyse(write_wav(pcm[:2], 16_000, name="stereo.wav"))
    found = await crew.analyse(_write_surround(tmp_path / "surround.flac", pcm))
    assert found.acoustics is not None
    assert found.acoustics.channels == 6
    assert found.rms_dbfs == pytest.approx(stereo.rms_dbfs, abs=1e-3)
    assert _distance(found, stereo) < 0.001


@pytest.mark.parametrize("kind", ["wav", "flac"])
async def test_loudness_of_surround(crew: Crew, synthetic: Any, write_wav: Any, tmp_path: Path, kind: str) -> None:
    """Six channels that all hold the same: surrounds count more, the LFE not.

    This WAV does not say which is which: the usual order is assumed.
    """
    pcm = np.repeat(synthetic[None] / 4, 6, axis=0)
    path = tmp_path / "surround.flac"
    path = write_wav(pcm, 16_000, name="surround.wav") if kind == "wav" else _write_surround(path, pcm)
    mono = (await crew.analyse(write_wav(synthetic / 4, 16_000, name="mono.wav"))).acoustics
    found = (await crew.analyse(path)).acoustics
    assert found is not None
    assert mono is not None
    assert found.loudness_lufs == pytest.approx(mono.loudness_lufs + 10 * np.log10(3 + 2 * 1.41), abs=0.02)


PICTURE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x10\x00\x00\x00\x10\x00\x08\x02\x00\x00\x00" + bytes(200_000)


async def test_embedded_cover_art(crew: Crew, synthetic: Any, encode: Any) -> None:
    """A picture is a video stream to libav; it is neither decoded nor taken for the track."""
    path = encode(synthetic, 16_000, "mp3")
    plain = await crew.analyse(path)
    frame = b"\x00image/png\x00\x03\x00" + PICTURE
    size = len(frame) + 10
    syncsafe = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    tag = b"ID3\x03\x00\x00" + syncsafe + b"APIC" + len(frame).to_bytes(4, "big") + b"\x00\x00" + frame
    path.write_bytes(tag + path.read_bytes())
    covered = await crew.analyse(path)
    assert covered.container == "mp3"
    assert covered.tags == plain.tags
    assert covered.warnings == ()
    flac = encode(synthetic, 16_000, "flac")
    whole = flac.read_bytes()
    block = (3).to_bytes(4, "big") + (9).to_bytes(4, "big") + b"image/png" + bytes(20) + len(PICTURE).to_bytes(4, "big")
    body = block + PICTURE
    flac.write_bytes(whole[:42] + b"\x06" + len(body).to_bytes(3, "big") + body + whole[42:])
    covered = await crew.analyse(flac)
    assert (covered.container, covered.duration_seconds, covered.warnings) == ("flac", 12.0, ())


async def test_the_name_of_the_file_does_not_matter(crew: Crew, synthetic: Any, encode: Any) -> None:
    for name in ("clip.txt", "concat:clip", "-version", "a b'c\".mp3"):
        analysis = await crew.analyse(encode(synthetic, 16_000, "flac", name=name))
        assert analysis.container == "flac"


async def test_tags_and_rubbish_before_the_first_mpeg_frame(crew: Crew, synthetic: Any, encode: Any) -> None:
    path = encode(synthetic, 16_000, "mp3")
    body = path.read_bytes()
    assert body.startswith(b"ID3")
    latin = b"ID3\x03\x00\x00\x00\x00\x00\x0fTIT2\x00\x00\x00\x05\x00\x00\xff\xfe\xe9\xe8"
    for head in (b"", latin, bytes(3000)):
        path.write_bytes(head + body)
        analysis = await crew.analyse(path)
        assert analysis.container == "mp3"
        assert analysis.duration_seconds == pytest.approx(12.0, abs=0.2)
