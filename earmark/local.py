"""Listening to files of this machine, for verbs that need neither network nor store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from core.analysis import Analysis
from core.config import Settings
from core.errors import AppError, Misconfigured, Permanent
from models.crew import Crew


class NoSuchFile(Permanent):
    """There is no such file, or it cannot be read."""

    reason = "no_such_file"


@asynccontextmanager
async def listeners(settings: Settings, files: int) -> AsyncIterator[Crew]:
    """A crew for so many files, started: all cores unless the settings say otherwise. Raises Misconfigured, Corrupt."""
    cores = settings.listening.children or os.cpu_count() or 1
    crew = Crew(
        home=settings.home,
        packs=settings.listening.packs,
        catalogue=settings.listening.pack_catalogue,
        children=min(cores, files),
        deadline_seconds=settings.listening.deadline_seconds,
        max_seconds=settings.listening.max_seconds,
    )
    await crew.start()
    try:
        yield crew
    finally:
        await crew.close()


async def listen(crew: Crew, files: Sequence[str]) -> list[Analysis | AppError]:
    """What each file yielded, in input order, with progress on stderr if that is a terminal.

    A file that cannot be analysed yields its error. Raises Misconfigured when no child will start any more.
    """
    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("listening", total=len(files))

        async def one(file: str) -> Analysis | AppError:
            path = Path(file)
            try:
                return await crew.analyse(_existing(path))
            except Misconfigured:
                raise
            except AppError as error:
                return error
            finally:
                progress.update(task, advance=1, description=escape(shown(path.name)))

        return list(await asyncio.gather(*(one(file) for file in files)))


def shown(name: str) -> str:
    """A file's name, or another argument, as text: bytes that are none (the system allows them) become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise NoSuchFile(f"{file} is not a file")
    if not os.access(file, os.R_OK):
        raise NoSuchFile(f"{file} cannot be read")
    return file
