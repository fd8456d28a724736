"""A crew of listening children: each takes one file at a time, has a deadline, and is replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.analysis import Analysis, Space, Tag, TaggerName
from core.errors import (
    ChildCrashed,
    Deadline,
    Misconfigured,
    NotAudio,
    Permanent,
    TooLong,
    TooShort,
    Transient,
    Truncated,
    Undecodable,
)
from models.moods import sound_vector, tag_vector
from models.pack import InstalledPack, read_tag_names, verify
from models.wire import (
    LENGTH,
    Answer,
    BadFrame,
    Heard,
    Listen,
    Ready,
    Refused,
    TaggerMeans,
    decode_answer,
    encode,
    read_length,
)

_log = logging.getLogger("models.crew")

_REFUSALS: Mapping[str, type[Permanent]] = {
    error.reason: error for error in (NotAudio, Undecodable, Truncated, TooShort, TooLong)
}
_START_SECONDS = 60.0  # cold disk, two sessions and a first run; a warm machine needs one
_LAST_WORDS_SECONDS = 1.0
_STDERR_LINES, _STDERR_COLUMNS = 12, 300
# Everything else stays with the parent: tokens, keys, database addresses. Python's own variables would be ignored (-I).
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# onnxruntime's own reporting is switched off where it is loaded, in models.child.musicnn.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Crew:
    """The Analyst of core.ports. `start` it, then `analyse` from as many tasks as you like; `close` it."""

    def __init__(
        self,
        *,
        home: Path,
        pack: str = "musicnn",
        children: int = 1,
        deadline_seconds: float = 120.0,
        max_seconds: float = 10_800.0,
        python: str = sys.executable,
    ) -> None:
        self.pack = pack
        self._home = home
        self._deadline_seconds = deadline_seconds
        self._max_seconds = max_seconds
        self._python = python
        self._size = children
        self._children: list[_Child] = []
        self._idle: asyncio.Queue[_Child] = asyncio.Queue()
        self._installed: InstalledPack | None = None
        self._closed = False

    @property
    def pack_hash(self) -> str:
        """Identity of the verified pack; known once started."""
        return self._pack.pack_hash

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the living children, for whoever watches their memory."""
        return tuple(pid for child in self._children if (pid := child.pid) is not None)

    @property
    def _pack(self) -> InstalledPack:
        if self._installed is None:
            raise RuntimeError("the crew has not been started")
        return self._installed

    async def start(self) -> None:
        """Verify the pack and warm every child. Raises Misconfigured (with the remedy) and Corrupt."""
        self._installed = await asyncio.to_thread(verify, self._home, self.pack)
        self._children = [_Child(self._python, self._installed.folder) for _ in range(self._size)]
        try:
            async with asyncio.TaskGroup() as starting:
                for child in self._children:
                    starting.create_task(child.start())
        except* Misconfigured as failures:
            await self.close()
            raise failures.exceptions[0] from None
        for child in self._children:
            self._idle.put_nowait(child)

    async def analyse(self, path: Path) -> Analysis:
        """Listen to one local file, waiting for a free child first.

        Raises NotAudio, Undecodable, Truncated, TooShort, TooLong; ChildCrashed; Deadline (counted from when a child
        begins); Transient when the crew is closed meanwhile; Misconfigured when no child will start any more.
        """
        request = Listen(os.fsencode(path.absolute()), self._max_seconds)
        child = await self._idle.get()
        try:
            self._refuse_closed()
            if child.pid is None:
                await child.start()
            answer = await child.ask(request, self._deadline_seconds)
        except (ChildCrashed, BadFrame) as crash:
            self._refuse_closed()
            raise ChildCrashed(f"{path.name}: {crash}") from crash
        except TimeoutError as late:
            raise Deadline(f"{path.name}: not analysed in {self._deadline_seconds:.0f} s") from late
        finally:
            self._idle.put_nowait(child)
        match answer:
            case Heard():
                return self._describe(answer)
            case Refused(reason, message):
                raise _REFUSALS.get(reason, Undecodable)(message)
            case Ready():
                raise ChildCrashed(f"{path.name}: the child answered out of turn")

    async def close(self) -> None:
        """End every child now. Callers that still wait get a Transient error."""
        self._closed = True
        await asyncio.gather(*(child.kill() for child in self._children))

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Transient("listening has stopped")

    def _describe(self, heard: Heard) -> Analysis:
        names = read_tag_names()
        heard_by: dict[TaggerName, TaggerMeans] = {"msd": heard.msd, "mtt": heard.mtt}
        tags = tuple(
            Tag(name, tagger, score)
            for tagger, means in heard_by.items()
            for name, score in zip(names[tagger], means.scores, strict=True)
        )
        embeddings = (np.asarray(means.embedding, np.float32) for means in heard_by.values())
        return Analysis(
            pack=self.pack,
            pack_hash=self.pack_hash,
            duration_seconds=heard.duration_seconds,
            rms_dbfs=heard.rms_dbfs,
            tags=tags,
            vectors={Space.MUSICNN_SOUND: sound_vector(*embeddings), Space.MUSICNN_TAGS: tag_vector(tags)},
            warnings=tuple(heard.warnings),
            container=heard.container,
        )


class _Child:
    """One process at a time; `start` again after it died."""

    def __init__(self, python: str, pack_folder: Path) -> None:
        self._command = (python, "-I", "-m", "models.child", str(pack_folder.absolute()))
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._last_words: deque[str] = deque(maxlen=_STDERR_LINES)

    @property
    def pid(self) -> int | None:
        """None when there is no living process."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def start(self) -> None:
        """Spawn and wait until it is warm. Raises Misconfigured with what it said on stderr."""
        pipe = asyncio.subprocess.PIPE
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD
        self._last_words.clear()
        try:
            # Its own session: a terminal's Ctrl-C reaches the parent only, which then decides.
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd="/", start_new_session=True
            )
        except OSError as error:
            raise Misconfigured("models.python", f"{self._command[0]} cannot be run ({error.strerror})") from error
        self._listener = asyncio.create_task(self._hear_stderr(self._process), name="listening child's stderr")
        try:
            async with asyncio.timeout(_START_SECONDS):
                answer = await self._read_answer(self._process)
        except (ChildCrashed, BadFrame, TimeoutError) as error:
            await self.kill()
            said = self._words() or str(error) or f"silence for {_START_SECONDS:.0f} s"
            raise Misconfigured("models", f"the listening child does not start: {said}") from error
        except BaseException:
            await self.kill()
            raise
        if not isinstance(answer, Ready):
            await self.kill()
            raise Misconfigured("models", "the listening child speaks another protocol; install Earmark again")

    async def ask(self, request: Listen, deadline_seconds: float) -> Answer:
        """One request, one answer. After any exception (ChildCrashed, BadFrame, TimeoutError, a cancel) it is dead."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            async with asyncio.timeout(deadline_seconds):
                process.stdin.write(encode(request))
                await process.stdin.drain()
                return await self._read_answer(process)
        except ConnectionError as error:
            await self.kill()
            raise ChildCrashed(f"the listening child is gone ({self._fate(process)})") from error
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """End the process, if any, and wait until it is gone. Idempotent."""
        process, listener = self._process, self._listener
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()
        if listener is not None:
            await asyncio.wait([listener], timeout=_LAST_WORDS_SECONDS)
            listener.cancel()

    async def _read_answer(self, process: asyncio.subprocess.Process) -> Answer:
        assert process.stdout is not None
        try:
            prefix = await process.stdout.readexactly(LENGTH.size)
            return decode_answer(await process.stdout.readexactly(read_length(prefix)))
        except asyncio.IncompleteReadError as error:
            # It is on its way out: let it tell its own exit status (a kill now may make asyncio lose it).
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _LAST_WORDS_SECONDS)
            await self.kill()
            raise ChildCrashed(f"the listening child died ({self._fate(process)})") from error

    def _fate(self, process: asyncio.subprocess.Process) -> str:
        code = process.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit {code}"
        return f"{how}: {self._words()}" if self._last_words else how

    def _words(self) -> str:
        return " / ".join(list(self._last_words)[-3:])

    async def _hear_stderr(self, process: asyncio.subprocess.Process) -> None:
        """Keep the last lines for error messages and pass them on at debug level, cut to a sane width."""
        assert process.stderr is not None
        rest = b""
        while chunk := await process.stderr.read(4096):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._note(process.pid, line)
            rest = rest[:_STDERR_COLUMNS]
        self._note(process.pid, rest)

    def _note(self, pid: int, line: bytes) -> None:
        if text := line[:_STDERR_COLUMNS].decode(errors="replace").strip():
            self._last_words.append(text)
            _log.debug("listening child %d: %s", pid, text)
