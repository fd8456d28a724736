"""The crew: supervised children that listen. Each analyses one file at a time, within a deadline, and is replaced
when it dies."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.analysis import Analysis, PackName, Vector
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
from models.describe import describe
from models.pack import PackSet, select
from models.process import ChildProcess
from models.prompt_book import PromptBook
from models.texts import Texts
from models.wire import BadFrame, Heard, Listen, Refused

_REFUSALS: Mapping[str, type[Permanent]] = {
    error.reason: error for error in (NotAudio, Undecodable, Truncated, TooShort, TooLong)
}
_OUR_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # not the file's


class Crew:
    """The Analyst of core.ports. `start` it, then call it from as many tasks as you like; `close` it."""

    def __init__(
        self,
        *,
        home: Path,
        packs: Sequence[PackName] = (),
        catalogue: Path | None = None,
        children: int = 1,
        deadline_seconds: float = 180.0,
        max_seconds: float = 10_800.0,
        python: str = sys.executable,
    ) -> None:
        """`packs` empty: all that are installed (models.pack.select)."""
        self._home, self._wanted, self._catalogue = home, packs, catalogue
        self._deadline_seconds = deadline_seconds
        self._max_seconds = max_seconds
        self._python = python
        self._size = children
        self._children: list[ChildProcess] = []
        self._idle: asyncio.Queue[ChildProcess] = asyncio.Queue()
        self._texts: Texts | None = None
        self._selected: PackSet | None = None
        self._closed = False

    @property
    def pack_set(self) -> PackSet:
        """The verified packs and which of them does what; known once started."""
        if self._selected is None:
            raise RuntimeError("the crew has not been started")
        return self._selected

    @property
    def packs(self) -> Mapping[str, str]:
        """Name -> hash of the packs that listen; known once started."""
        return self.pack_set.hashes

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the living children, for whoever watches their memory; the text child's last."""
        return tuple(pid for child in self._everybody if (pid := child.pid) is not None)

    @property
    def _everybody(self) -> tuple[ChildProcess | Texts, ...]:
        return (*self._children, *(() if self._texts is None else (self._texts,)))

    async def start(self) -> None:
        """Verify the packs, warm every child and let it test its models. Raises Misconfigured (remedy), Corrupt."""
        self._selected = await asyncio.to_thread(select, self._home, self._wanted, catalogue=self._catalogue)
        folders = self._selected.folders
        self._children = [ChildProcess(self._python, "listen", folders) for _ in range(self._size)]
        if "clap" in folders:
            tower = ChildProcess(self._python, "text", {"clap": folders["clap"]})
            book = PromptBook(self._home, self._selected.hashes["clap"])
            self._texts = Texts(tower, book, deadline_seconds=self._deadline_seconds)
        try:
            async with asyncio.TaskGroup() as starting:
                for one in self._everybody:
                    starting.create_task(one.start())
        except* Misconfigured as failures:
            await self.close()
            raise failures.exceptions[0] from None
        for child in self._children:
            self._idle.put_nowait(child)

    async def analyse(self, path: Path) -> Analysis:
        """Listen to one local file, waiting for a free child first.

        Raises NotAudio, Undecodable, Truncated, TooShort, TooLong; ChildCrashed; Deadline (counted from when a child
        begins); NoChild; Transient when the crew is closed meanwhile; Misconfigured when a pack has become unfit.
        """
        child = await self._idle.get()
        try:
            self._refuse_closed()
            if child.pid is None:
                await child.start()
            audio = _open(path)
            try:
                answer = await child.ask(Listen(self._max_seconds), self._deadline_seconds, audio=audio)
            finally:
                os.close(audio)
            match answer:
                case Heard():
                    return describe(answer, self.packs)
                case Refused(reason, message):
                    raise _REFUSALS.get(reason, Undecodable)(message)
                case _:
                    raise BadFrame("the child answered out of turn")
        except (ChildCrashed, BadFrame) as crash:
            await child.kill()
            self._refuse_closed()
            raise ChildCrashed(f"{path.name}: {crash}") from crash
        except TimeoutError as late:
            raise Deadline(f"{path.name}: not analysed in {self._deadline_seconds:.0f} s") from late
        finally:
            self._idle.put_nowait(child)

    async def embed(self, texts: Sequence[str], *, keep: bool = False) -> Vector:
        """f32 [texts, 512] of length 1 each, in the space that clap's audio and text share; at most 256 texts.

        `keep` remembers them on disk: for an operator's prompts, never for what a stranger asks.
        Raises Misconfigured without the clap pack; ChildCrashed, Deadline; Transient when the crew is closed.
        """
        if self._texts is None:
            raise Misconfigured("listening.packs", "texts need the pack 'clap'; run: earmark models pull clap")
        return await self._texts.embed(texts, keep=keep)

    async def close(self) -> None:
        """End every child now. Callers that still wait get a Transient error."""
        self._closed = True
        await asyncio.gather(*(child.kill() for child in self._children))
        if self._texts is not None:
            await self._texts.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Transient("listening has stopped")


def _open(path: Path) -> int:
    """A descriptor for reading: the child may open no file itself. Raises NotAudio when there is nothing to read."""
    try:
        audio = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not make us wait
    except OSError as error:
        if error.errno in _OUR_TROUBLE:
            raise Transient(f"{path.name}: cannot be opened now ({error.strerror})") from error
        raise NotAudio(f"cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(audio).st_mode):
        os.close(audio)
        raise NotAudio("not a regular file")
    return audio
