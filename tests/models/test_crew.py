"""Supervision of the listening children: crashes, deadlines, secrets, limits, lifetimes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import ChildCrashed, Deadline, NotAudio, Transient
from models.crew import Crew
from models.process import SETTINGS

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@asynccontextmanager
async def _crew(home: Path, **settings: Any) -> AsyncIterator[Crew]:
    crew = Crew(home=home, **{"packs": ("musicnn",), **settings})
    await crew.start()
    try:
        yield crew
    finally:
        await crew.close()


@pytest.fixture
def short(make_signal: Any, write_wav: Any) -> Path:
    """A file that is analysed in less than a tenth of a second."""
    return write_wav(make_signal(16_000, 4), 16_000, name="short.wav")


@pytest.fixture
def long(make_signal: Any, write_wav: Any) -> Path:
    """A file that keeps a child busy for more than half a second."""
    return write_wav(np.tile(make_signal(16_000), 15), 16_000, subtype="PCM_16", name="long.wav")


async def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z"):
                return True
        except OSError:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_killed_child_is_a_crash_and_the_next_request_works(pack_home: Path, short: Path, long: Path) -> None:
    async with _crew(pack_home) as crew:
        (victim,) = crew.pids
        request = asyncio.create_task(crew.analyse(long))
        await asyncio.sleep(0.3)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(ChildCrashed, match=r"long\.wav: the listening child died \(signal 9\)"):
            await request
        assert crew.pids == ()
        assert (await crew.analyse(short)).duration_seconds == 4.0
        assert crew.pids != (victim,)


async def test_a_child_that_dies_idle_costs_at_most_one_request(pack_home: Path, short: Path) -> None:
    async with _crew(pack_home) as crew:
        os.kill(crew.pids[0], signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert (await crew.analyse(short)).duration_seconds == 4.0


async def test_the_deadline_kills(pack_home: Path, short: Path, long: Path) -> None:
    async with _crew(pack_home, deadline_seconds=0.4) as crew:
        (slow,) = crew.pids
        with pytest.raises(Deadline, match=r"long\.wav"):
            await crew.analyse(long)
        assert await _gone(slow)
        assert (await crew.analyse(short)).duration_seconds == 4.0


async def test_a_cancelled_request_does_not_leave_its_answer_to_the_next(
    pack_home: Path, short: Path, long: Path
) -> None:
    async with _crew(pack_home) as crew:
        request = asyncio.create_task(crew.analyse(long))
        await asyncio.sleep(0.2)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (await crew.analyse(short)).duration_seconds == 4.0


async def test_callers_queue_for_the_children(pack_home: Path, make_signal: Any, write_wav: Any) -> None:
    files = [write_wav(make_signal(16_000, 3 + i), 16_000, name=f"{i}.wav") for i in range(7)]
    async with _crew(pack_home, children=2) as crew:
        before = crew.pids
        found = await asyncio.gather(
            *(crew.analyse(file) for file in files), crew.analyse(Path(__file__)), return_exceptions=True
        )
        assert [a.duration_seconds for a in found[:-1] if not isinstance(a, BaseException)] == [
            3.0 + i for i in range(7)
        ]
        assert isinstance(found[-1], NotAudio)
        assert crew.pids == before
        assert len(set(before)) == 2


async def test_results_do_not_depend_on_the_child_or_on_what_it_heard_before(
    pack_home: Path, short: Path, long: Path
) -> None:
    async with _crew(pack_home) as one, _crew(pack_home) as other:
        first = await one.analyse(short)
        await other.analyse(long)
        assert (await other.analyse(short)).tags == first.tags


async def test_close_ends_children_and_callers(pack_home: Path, short: Path, long: Path) -> None:
    crew = Crew(home=pack_home, packs=("musicnn",))
    await crew.start()
    pids = crew.pids
    requests = [asyncio.create_task(crew.analyse(path)) for path in (long, short, short)]
    await asyncio.sleep(0.2)
    await crew.close()
    for outcome in await asyncio.gather(*requests, return_exceptions=True):
        assert type(outcome) is Transient, "neither a crash that counts against the audio nor a hang"
    assert all([await _gone(pid) for pid in pids])
    await crew.close()


@linux_only
async def test_a_child_knows_no_secret_and_talks_to_nobody(pack_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARMARK_LABELER_KEY", "s3cret-key")
    monkeypatch.setenv("DATABASE_URL", "postgres://s3cret")
    monkeypatch.setenv("PYTHONPATH", "/tmp/s3cret")
    async with _crew(pack_home) as crew:
        (pid,) = crew.pids
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        names = {entry.split(b"=")[0].decode() for entry in environment.split(b"\0") if entry}
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        descriptors = {int(path.name): str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert b"s3cret" not in environment
    assert names <= {
        *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *SETTINGS,
    }
    # To the parent and nowhere else: no database, no terminal.
    assert sorted(descriptors) == [0, 1, 2]
    assert descriptors[0].startswith("socket:")
    assert descriptors[1] == "/dev/null"
    assert descriptors[2].startswith("socket:")
    assert threads == 1, "nobody else is at work inside"


@linux_only
async def test_a_child_is_confined(pack_home: Path) -> None:
    async with _crew(pack_home) as crew:
        lines = Path(f"/proc/{crew.pids[0]}/limits").read_text().splitlines()
        niceness = os.getpriority(os.PRIO_PROCESS, crew.pids[0])
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max open files"] == ["64", "64"]
    soft, hard = limits["Max address space"]
    assert soft == hard != "unlimited"
    assert int(soft) < 6 << 30
    assert niceness >= 5


@linux_only
async def test_children_die_with_a_parent_that_is_killed(pack_home: Path, long: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from models.crew import Crew
async def main():
    crew = Crew(home=Path(sys.argv[1]), packs=("musicnn",))
    await crew.start()
    print(*crew.pids, flush=True)
    while True:
        await crew.analyse(Path(sys.argv[2]))
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(pack_home), str(long), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    await asyncio.sleep(0.2)
    parent.kill()
    await parent.wait()
    assert await _gone(child)


@linux_only
async def test_memory_is_returned_and_twenty_minutes_fit(pack_home: Path, make_signal: Any, write_wav: Any) -> None:
    """Twenty minutes at 44.1 kHz would be 212 MB as floats: the child must not hold them."""
    path = write_wav(np.tile(make_signal(44_100), 100), 44_100, subtype="PCM_16")
    async with _crew(pack_home) as crew:
        analysis = await crew.analyse(path)
        status = Path(f"/proc/{crew.pids[0]}/status").read_text()
    assert analysis.duration_seconds == 1_200
    assert int(status.split("VmHWM:")[1].split()[0]) < 300_000, "kB at the highest"


def test_the_parent_side_imports_nothing_heavy() -> None:
    program = "import sys, models.crew, models.pull, models.moods, models.prompts; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    heavy = {"onnxruntime", "onnx", "av", "soxr", "librosa", "numba", "scipy", "soundfile", "tokenizers"}
    assert not heavy & set(answer.stdout.split())
