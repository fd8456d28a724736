"""One child process, played by scripts that misbehave: what does not start, and what never stops talking."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from core.errors import ChildCrashed, Deadline, Misconfigured, NoChild
from models.crew import Crew
from models.process import ChildProcess
from models.wire import Answer, BadFrame, Embed, Listen, Ready, Refused, Unfit, encode


def _say(message: Answer) -> str:
    """Shell that sends a frame to the parent."""
    return "printf '{}' >&0".format("".join(f"\\{byte:03o}" for byte in encode(message)))


READY = _say(Ready(7))


def _program(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo no such module >&2; exit 3", "no such module"),
        ("echo hello world, this is not a frame >&0", "too large"),
        ("exit 0", "exit 0"),
        ("printf '\\000\\000\\000\\001\\301' >&0; sleep 0.2", "."),
        ("yes >&0", "too large"),
    ],
)
async def test_a_child_that_does_not_start(pack_home: Path, tmp_path: Path, script: str, said: str) -> None:
    crew = Crew(home=pack_home, packs=("musicnn",), python=_program(tmp_path, script))
    with pytest.raises(Misconfigured, match=f"does not start: .*({said})"):
        await crew.start()
    assert crew.pids == ()


async def test_an_interpreter_that_is_not_there(pack_home: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be run"):
        await Crew(home=pack_home, packs=("musicnn",), python="/nonexistent/python").start()


async def test_without_the_pack_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="earmark models pull musicnn"):
        await Crew(home=tmp_path).start()


async def test_a_machine_that_cannot_start_it_again_is_passing_trouble(tmp_path: Path) -> None:
    """Out of memory or processes for a while: the service must not end, nor the audio be blamed."""
    mark = tmp_path / "started"
    script = f"if [ -e {mark} ]; then kill -9 $$; fi; touch {mark}; {READY}; exec sleep 100"
    child = ChildProcess(_program(tmp_path, script), "listen", {})
    await child.start()
    await child.kill()
    with pytest.raises(NoChild, match=r"does not start: .*signal 9"):
        await child.start()
    Path(child._command[0]).unlink()
    with pytest.raises(NoChild, match="cannot be run"):
        await child.start()


async def test_a_pack_that_has_become_unfit_is_told_all_the_same(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    unfit = _say(Unfit("effnet", "has no output"))
    script = f"if [ -e {mark} ]; then {unfit}; exit; fi; touch {mark}; {READY}; exec sleep 100"
    child = ChildProcess(_program(tmp_path, script), "listen", {})
    await child.start()
    await child.kill()
    with pytest.raises(Misconfigured, match="'effnet' fails its self-test"):
        await child.start()


async def test_a_child_of_another_version(tmp_path: Path) -> None:
    child = ChildProcess(_program(tmp_path, _say(Refused("not_audio", "la"))), "listen", {})
    with pytest.raises(Misconfigured, match="another protocol"):
        await child.start()


async def test_an_unfit_pack_is_named_with_its_remedy(tmp_path: Path) -> None:
    child = ChildProcess(_program(tmp_path, _say(Unfit("effnet", "has no output"))), "listen", {})
    with pytest.raises(Misconfigured, match=r"'effnet' fails its self-test \(has no output\).*models pull effnet"):
        await child.start()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("yes >&0", BadFrame),  # endless output where a frame should be
        ("yes >&2", TimeoutError),  # endless complaints
        ("tr '\\000' '\\n' < /dev/zero >&2", TimeoutError),  # endless empty lines
        (r"while :; do printf '\000\000\000\001\300' >&0; done", BadFrame),  # endless frames of nonsense
        (r"printf '\000\003\377\377' >&0; exec sleep 100", TimeoutError),  # the start of an answer
        ("exec 0>&-; exec sleep 100", ChildCrashed),  # hangs up and stays
        ("setsid sleep 5 & exit 0", ChildCrashed),  # leaves somebody behind who holds on to its stderr
        ("kill -SEGV $$", ChildCrashed),
        ("exit 0", ChildCrashed),
    ],
)
async def test_a_child_that_goes_mad_is_killed(tmp_path: Path, script: str, error: type[Exception]) -> None:
    child = ChildProcess(_program(tmp_path, f"{READY}; head -c 5 >/dev/null; {script}"), "listen", {})
    await child.start()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with pytest.raises(error), Path(__file__).open("rb") as audio:
        await child.ask(Listen(1.0), 0.5, audio=audio.fileno())
    assert child.pid is None
    if error is TimeoutError:
        assert ticks >= 10, "the event loop went on meanwhile"
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking


async def test_a_dead_child_can_be_started_again(tmp_path: Path) -> None:
    child = ChildProcess(_program(tmp_path, f"{READY}; exec sleep 100"), "text", {})
    await child.start()
    first = child.pid
    await child.kill()
    await child.kill()
    assert child.pid is None
    await child.start()
    assert child.pid not in {None, first}
    with pytest.raises(TimeoutError):
        await child.ask(Embed(["la"]), 0.1)
    assert child.pid is None


async def test_a_request_that_a_child_never_reads(tmp_path: Path) -> None:
    """More bytes than the socket holds: the deadline covers the sending too."""
    child = ChildProcess(_program(tmp_path, f"{READY}; exec sleep 100"), "text", {})
    await child.start()
    with pytest.raises(TimeoutError):
        await child.ask(Embed(["x" * 1_000] * 250), 0.2)
    assert child.pid is None


async def test_the_crew_names_the_file_and_goes_on(pack_home: Path, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"la")
    crew = Crew(
        home=pack_home,
        packs=("musicnn",),
        deadline_seconds=0.3,
        python=_program(tmp_path, f"{READY}; exec sleep 100"),
    )
    await crew.start()
    try:
        for _ in range(2):
            with pytest.raises(Deadline, match=r"song\.mp3: not analysed in 0 s"):
                await crew.analyse(tmp_path / "song.mp3")
    finally:
        await crew.close()
