"""A signal that anyone can synthesise, files of every kind made from it, and a crew that listens."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio
import soundfile
from numpy.typing import NDArray

from models.crew import Crew

Pcm = NDArray[np.float32]
Encode = Callable[..., Path]


@pytest.fixture(scope="session")
def synthetic_reference() -> dict[str, Any]:
    """What musicnn says of `synthetic`: our own measurement, with the recipe inside."""
    path = Path(__file__).with_name("data") / "musicnn_synthetic_reference.json"
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The project's data folder beside the clone, which a fresh clone does not have."""
    folder = Path(os.environ.get("EARMARK_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}: parity on real audio is not checked (set EARMARK_SHARED_DATA)")
    return folder


@cache
def synthesise(rate: int, seconds: float = 12.0) -> Pcm:
    """The recipe of musicnn_synthetic_reference.json, which is meant for 16 kHz; mono f32."""
    t = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(20_261_121).standard_normal(len(t))
    turn = 2 * np.pi
    x = 0.25 * np.sin(turn * 110 * t) + 0.15 * np.sin(turn * 220 * t + 0.3)
    x += 0.1 * np.sin(turn * (440 + 3 * np.sin(turn * 0.5 * t)) * t)
    beat = (t * 2) % 1.0
    x += 0.5 * np.exp(-beat * 18) * np.sin(turn * 55 * beat / 2 * (1 + 3 * np.exp(-beat * 30)))
    x += 0.08 * np.exp(-((t * 4 + 0.5) % 1.0) * 25) * noise
    signal = (x / np.abs(x).max() * 0.9).astype(np.float32)
    signal.setflags(write=False)
    return signal


@pytest.fixture(scope="session")
def synthetic(synthetic_reference: dict[str, Any]) -> Pcm:
    """12 s at 16 kHz, checked against the recipe's own samples."""
    signal = synthesise(16_000)
    np.testing.assert_allclose(signal[:8], synthetic_reference["recipe"]["first_8_samples"], atol=1e-6)
    assert signal[16_000] == pytest.approx(synthetic_reference["recipe"]["sample_16000"], abs=1e-6)
    return signal


@pytest.fixture
def make_signal() -> Callable[..., Pcm]:
    """`synthesise` for other rates and lengths (another signal, because its noise falls otherwise)."""
    return synthesise


@pytest.fixture
def write_wav(tmp_path: Path) -> Encode:
    """`write_wav(pcm, rate, subtype="FLOAT", name=...)` -> path."""

    def write(pcm: Pcm, rate: int, subtype: str = "FLOAT", name: str = "clip.wav") -> Path:
        path = tmp_path / name
        soundfile.write(path, pcm.T, rate, subtype=subtype)
        return path

    return write


# name -> libav's format, codec, sample format, bit rate; vorbis comes from libsndfile.
KINDS: dict[str, tuple[str, str, str, int]] = {
    "mp3": ("mp3", "libmp3lame", "fltp", 192_000),
    "m4a": ("ipod", "aac", "fltp", 192_000),
    "aac": ("adts", "aac", "fltp", 192_000),
    "opus": ("ogg", "libopus", "flt", 160_000),
    "webm": ("webm", "libopus", "flt", 160_000),
    "flac": ("flac", "flac", "s16", 0),
    "flac24": ("flac", "flac", "s32", 0),
    "wav-u8": ("wav", "pcm_u8", "u8", 0),
    "wav-s16": ("wav", "pcm_s16le", "s16", 0),
    "wav-s24": ("wav", "pcm_s24le", "s32", 0),
    "wav-s32": ("wav", "pcm_s32le", "s32", 0),
    "wav-float": ("wav", "pcm_f32le", "flt", 0),
    "wav-double": ("wav", "pcm_f64le", "dbl", 0),
    "aiff": ("aiff", "pcm_s16be", "s16", 0),
    "alac": ("ipod", "alac", "s16p", 0),
}


@pytest.fixture
def encode(tmp_path: Path) -> Encode:
    """`encode(pcm, rate, kind, **options)` -> path; pcm f32 [n] or [channels, n], kind one of KINDS or "vorbis"."""

    def write(pcm: Pcm, rate: int, kind: str, name: str | None = None, **options: str) -> Path:
        path = tmp_path / (name or f"{kind}.bin")
        pcm = np.atleast_2d(pcm)
        if kind == "vorbis":
            with soundfile.SoundFile(path, "w", rate, len(pcm), format="OGG", subtype="VORBIS") as vorbis:
                for start in range(0, pcm.shape[1], 4096):  # libsndfile overflows its stack on a long block
                    vorbis.write(pcm[:, start : start + 4096].T)
            return path
        container, codec, sample_format, bit_rate = KINDS[kind]
        layout = "mono" if len(pcm) == 1 else "stereo"
        with av.open(str(path), "w", format=container, options=options) as out:
            stream = out.add_stream(codec, rate=rate, layout=layout, format=sample_format)
            if bit_rate:
                stream.bit_rate = bit_rate
            convert = av.AudioResampler(format=sample_format, layout=layout, rate=rate)
            for start in range(0, pcm.shape[1], 4096):
                frame = av.AudioFrame.from_ndarray(pcm[:, start : start + 4096].copy(), format="fltp", layout=layout)
                frame.sample_rate, frame.pts = rate, start
                for part in convert.resample(frame):
                    out.mux(stream.encode(part))
            for part in convert.resample(None):
                out.mux(stream.encode(part))
            out.mux(stream.encode(None))
        return path

    return write


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crew(pack_home: Path) -> AsyncIterator[Crew]:
    """One warm child for all tests of a module (which run in the module's event loop)."""
    crew = Crew(home=pack_home, packs=("musicnn",), max_seconds=3_600)
    await crew.start()
    yield crew
    await crew.close()


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the musicnn wheel, got the way `pull` gets it."""
    from models.catalogue import get_pack
    from models.wheel import download_wheel

    wheel = get_pack("musicnn").wheel
    assert wheel is not None
    folder = tmp_path_factory.mktemp("wheel")
    download_wheel(wheel, folder)
    return folder
