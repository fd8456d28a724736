"""Whatever happens to a child: its file is refused or a crash, the next one is analysed, the event loop goes on."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from core.errors import ChildCrashed, Deadline, Permanent, TooLong
from models.crew import Crew

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="lowers the limits of a living process"),
]
HOURS = 3 * 3_600


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def brief(pack_home: Path) -> AsyncIterator[Crew]:
    """One child, for ten minutes of audio at most."""
    async for crew in _begin(pack_home, deadline_seconds=60.0):
        yield crew


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(pack_home: Path) -> AsyncIterator[Crew]:
    """One child with a deadline of three seconds."""
    async for crew in _begin(pack_home, deadline_seconds=3.0):
        yield crew


async def _begin(pack_home: Path, deadline_seconds: float) -> AsyncIterator[Crew]:
    crew = Crew(home=pack_home, packs=("musicnn",), deadline_seconds=deadline_seconds, max_seconds=600)
    await crew.start()
    yield crew
    await crew.close()


@pytest_asyncio.fixture(loop_scope="module")
async def ticks() -> AsyncIterator[list[float]]:
    """A list that grows every ten milliseconds as long as the event loop is free."""
    seen: list[float] = []

    async def tick() -> None:
        while True:
            seen.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    yield seen
    ticking.cancel()


@pytest.fixture
def short(make_signal: Any, write_wav: Any) -> Path:
    return write_wav(make_signal(16_000, 4), 16_000, name="short.wav")


@pytest.fixture
def long(make_signal: Any, write_wav: Any) -> Path:
    """Half a second of work and more."""
    return write_wav(np.tile(make_signal(16_000), 15), 16_000, subtype="PCM_16", name="long.wav")


async def _goes_on(crew: Crew, short: Path, victim: int) -> None:
    assert (await crew.analyse(short)).duration_seconds == 4.0
    assert victim not in crew.pids


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT, signal.SIGBUS])
async def test_a_signal_in_the_middle_of_a_file(brief: Crew, short: Path, long: Path, number: signal.Signals) -> None:
    (victim,) = brief.pids
    request = asyncio.create_task(brief.analyse(long))
    await asyncio.sleep(0.2)
    os.kill(victim, number)
    with pytest.raises(ChildCrashed, match=rf"long\.wav: the listening child died \(signal {number.value}"):
        await request
    await _goes_on(brief, short, victim)


async def test_a_hang(hasty: Crew, short: Path, long: Path, ticks: list[float]) -> None:
    (victim,) = hasty.pids
    os.kill(victim, signal.SIGSTOP)
    before = len(ticks)
    with pytest.raises(Deadline):
        await hasty.analyse(long)
    assert len(ticks) - before > 20, "the parent did other things meanwhile"
    await _goes_on(hasty, short, victim)


async def test_a_hang_that_ends_by_itself_costs_nothing(brief: Crew, short: Path) -> None:
    (pid,) = brief.pids
    os.kill(pid, signal.SIGSTOP)
    asyncio.get_running_loop().call_later(0.3, os.kill, pid, signal.SIGCONT)
    assert (await brief.analyse(short)).duration_seconds == 4.0
    assert brief.pids == (pid,)


async def test_out_of_memory(brief: Crew, short: Path, write_wav: Any) -> None:
    """The child holds more than its limit and gets nothing more: that ends it, not the machine."""
    (victim,) = brief.pids
    large = write_wav(np.zeros((8, 4 * 768_000), np.float32), 768_000, subtype="PCM_16", name="large.wav")
    resource.prlimit(victim, resource.RLIMIT_AS, (50 << 20, 50 << 20))
    with pytest.raises(ChildCrashed, match=r"large\.wav: the listening child died"):
        await brief.analyse(large)
    await _goes_on(brief, short, victim)


def _claim_hours(path: Path, kind: str) -> Path:
    """Make a short file's header promise three hours or more."""
    content = bytearray(path.read_bytes())
    if kind == "wav":
        at = content.index(b"data") + 4
        struct.pack_into("<I", content, at, HOURS * 48_000 * 2 % 2**32)
    elif kind == "flac":  # 36 bits of sample count, all set, in STREAMINFO
        content[21] |= 0x0F
        content[22:26] = b"\xff" * 4
    elif kind == "mp3":
        at = max(content.find(b"Xing"), content.find(b"Info"))
        struct.pack_into(">I", content, at + 8, 0xFFFFFFFF)
    elif kind == "m4a":
        for box in (b"mvhd", b"mdhd"):
            at = content.index(box)
            struct.pack_into(">I", content, at + 20, 0x7FFFFFFF)
        at = content.index(b"stts")
        struct.pack_into(">II", content, at + 12, 0x7FFFFFFF, 0x7FFFFFFF)  # two thousand million frames
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "m4a"])
async def test_a_tiny_file_that_claims_hours(brief: Crew, make_signal: Any, encode: Any, kind: str) -> None:
    (pid,) = brief.pids
    path = _claim_hours(encode(make_signal(48_000, 10), 48_000, "wav-s16" if kind == "wav" else kind), kind)
    assert path.stat().st_size < 2_000_000
    try:
        analysis = await brief.analyse(path)
    except Permanent:
        pass
    else:
        assert analysis.duration_seconds < 11
    assert brief.pids == (pid,), "it did not even cost the child"


@pytest.mark.parametrize("kind", ["flac", "opus", "mp3"])
async def test_hours_of_silence_in_a_small_file(
    brief: Crew, short: Path, encode: Any, ticks: list[float], kind: str, tmp_path: Path
) -> None:
    """Twelve minutes that compress to almost nothing, without a header that says so: decoding stops at the cap."""
    path = encode(
        np.zeros((2, 12 * 60 * 48_000), np.float32), 48_000, kind, **({"write_xing": "0"} if kind == "mp3" else {})
    )
    if kind == "flac":
        content = bytearray(path.read_bytes())
        content[21] &= 0xF0
        content[22:26] = bytes(4)  # a sample count of 0: unknown
        path.write_bytes(content)
    before = len(ticks)
    with pytest.raises(TooLong):
        await brief.analyse(path)
    assert len(ticks) > before
    assert (await brief.analyse(short)).duration_seconds == 4.0


async def test_memory_stays_bounded_whatever_the_length(
    pack_home: Path, stand_in_home: tuple[Path, Path], encode: Any, make_signal: Any
) -> None:
    """An hour and a half of stereo through all three packs; three times the length costs at most half as much again."""
    home, catalogue = stand_in_home
    crew = Crew(home=home, catalogue=catalogue, packs=("musicnn", "effnet", "clap"))
    await crew.start()
    try:
        highest = []
        for hours in (0.5, 1.5):
            pcm = np.tile(make_signal(8_000), int(hours * 300)).reshape(1, -1)
            analysis = await crew.analyse(encode(np.vstack([pcm, pcm]), 8_000, "flac", name=f"{hours}.flac"))
            assert analysis.duration_seconds == hours * 3_600
            status = Path(f"/proc/{crew.pids[0]}/status").read_text()
            highest.append(int(status.split("VmHWM:")[1].split()[0]))
        assert highest[1] < 1.5 * highest[0]
        assert highest[1] < 500_000, "kB at the highest"
        assert len(analysis.segments) == 18
    finally:
        await crew.close()
