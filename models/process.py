"""One child process: started, asked under a deadline, killed when in doubt, started again.

Parent and child talk over a Unix socket, the child's stdin: it carries open files, and nothing that prints can end up
in it. A second one is its stderr. A child that floods either is held up, not us.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from core.analysis import PackName
from core.errors import ChildCrashed, Misconfigured, NoChild
from models.wire import (
    LENGTH,
    Answer,
    BadFrame,
    Ready,
    Request,
    Unfit,
    decode_answer,
    encode,
    read_length,
)

_log = logging.getLogger("models.process")

_START_SECONDS = 60.0  # cold disk, a handful of sessions and a first run; a warm machine needs one to three
_LAST_WORDS_SECONDS = 1.0
_STDERR_LINES, _STDERR_COLUMNS = 12, 300
_STDERR_CHUNK = 4096
_STDERR_PAUSE_SECONDS = 0.01  # after a full chunk, so that a flood costs the child and not us
# Everything else stays with the parent: tokens, keys, database addresses. Python's own variables would be ignored (-I).
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# onnxruntime's own reporting is switched off where it is loaded, in models.child.session.
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        # glibc would hand a model's large buffers back after each patch and fault them in again: 5 to 10 % of the time.
        "MALLOC_MMAP_THRESHOLD_": "32000000",
        "MALLOC_TRIM_THRESHOLD_": "64000000",
    }
)


class ChildProcess:
    """`start` it (again, after it died), `ask` it one thing at a time, `kill` it."""

    def __init__(self, python: str, role: Literal["listen", "text"], folders: Mapping[PackName, Path]) -> None:
        packs = (f"{name}={folder.absolute()}" for name, folder in folders.items())
        self._command = (python, "-I", "-m", "models.child", role, *packs)
        self._proven = False  # whether a start ever went well
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None  # our end, which the streams below use
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._last_words: deque[str] = deque(maxlen=_STDERR_LINES)

    @property
    def pid(self) -> int | None:
        """None when there is no living process."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def start(self) -> None:
        """Spawn and wait until it is warm.

        Raises Misconfigured with what it said on stderr, or which pack is unfit. Once a start went well the machine is
        to blame if the next does not (memory, processes), and that passes: NoChild.
        """
        try:
            await self._spawn()
            async with asyncio.timeout(_START_SECONDS):
                answer = await self._read_answer()
        except (ConnectionError, EOFError, BadFrame, TimeoutError) as error:
            fate = str(error) if isinstance(error, BadFrame | TimeoutError) else await self._learn_fate()
            await self.kill()
            said = self._words() or fate or f"silence for {_START_SECONDS:.0f} s"
            raise self._failure("models", f"the listening child does not start: {said}") from error
        except BaseException:
            await self.kill()
            raise
        if not isinstance(answer, Ready):
            await self.kill()
            raise _explain(answer)
        self._proven = True

    async def ask(self, request: Request, deadline_seconds: float, *, audio: int | None = None) -> Answer:
        """One request, with the descriptor of an open file or not; one answer.

        After any exception (ChildCrashed, BadFrame, TimeoutError, a cancel) the process is dead.
        """
        assert self._socket is not None
        assert self._writer is not None
        frame = encode(request)
        try:
            async with asyncio.timeout(deadline_seconds):
                # The child has read everything before this request: four bytes find room at once.
                socket.send_fds(self._socket, [frame[: LENGTH.size]], [] if audio is None else [audio])
                self._writer.write(frame[LENGTH.size :])
                await self._writer.drain()
                return await self._read_answer()
        except (ConnectionError, EOFError) as error:
            raise ChildCrashed(await self._learn_fate()) from error
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """End the process, if any, with all that it may have started, and wait until it is gone. Idempotent."""
        process, listener = self._process, self._listener
        if self._writer is not None:
            self._writer.transport.abort()
        if process is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if listener is not None:
            await asyncio.wait([listener], timeout=_LAST_WORDS_SECONDS)
            listener.cancel()

    async def _spawn(self) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | dict(SETTINGS)
        await self.kill()
        self._last_words.clear()
        ours, theirs = socket.socketpair()
        stderr, their_stderr = socket.socketpair()
        with theirs, their_stderr:
            try:
                # Its own session: a terminal's Ctrl-C reaches the parent only, which then decides.
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=their_stderr.fileno(),
                    env=environment,
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                stderr.close()
                raise self._failure("models", f"{self._command[0]} cannot be run ({error.strerror})") from error
        self._listener = asyncio.create_task(self._hear(stderr, process.pid), name="child's stderr")
        self._socket = ours
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours)

    def _failure(self, key: str, what: str) -> Misconfigured | NoChild:
        return NoChild(what) if self._proven else Misconfigured(key, what)

    async def _read_answer(self) -> Answer:
        assert self._reader is not None
        length = read_length(await self._reader.readexactly(LENGTH.size))
        return decode_answer(await self._reader.readexactly(length))

    async def _learn_fate(self) -> str:
        """How it died, which it is about to do: a kill now may make asyncio lose its own exit status."""
        process = self._process
        assert process is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await process.wait()
        await self.kill()
        return f"the listening child died ({self._fate(process)})"

    def _fate(self, process: asyncio.subprocess.Process) -> str:
        code = process.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit {code}"
        return f"{how}: {self._words()}" if self._last_words else how

    def _words(self) -> str:
        return " / ".join(list(self._last_words)[-3:])

    async def _hear(self, stderr: socket.socket, pid: int) -> None:
        """Keep the last lines for error messages and pass them on at debug level, cut to a sane width."""
        rest = b""
        stderr.setblocking(False)
        with stderr:
            while chunk := await asyncio.get_running_loop().sock_recv(stderr, _STDERR_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines[-_STDERR_LINES:]:
                    self._note(pid, line)
                rest = rest[:_STDERR_COLUMNS]
                if len(chunk) == _STDERR_CHUNK:
                    await asyncio.sleep(_STDERR_PAUSE_SECONDS)
        self._note(pid, rest)

    def _note(self, pid: int, line: bytes) -> None:
        if text := line[:_STDERR_COLUMNS].decode(errors="replace").strip():
            self._last_words.append(text)
            _log.debug("child %d: %s", pid, text)


def _explain(answer: Answer) -> Misconfigured:
    if isinstance(answer, Unfit):
        return Misconfigured(
            "listening.packs",
            f"the pack {answer.pack!r} fails its self-test ({answer.message}); "
            f"run: earmark models verify, then: earmark models pull {answer.pack}",
        )
    return Misconfigured("models", "the listening child speaks another protocol; install Earmark again")
