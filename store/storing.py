"""The parent's end of the child that stores a vector index with graphs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from core.analysis import Space
from core.errors import Unstored

_CHILD_SECONDS = 3600.0  # a million vectors take less
_LAST_WORDS = 300  # characters
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # no secrets of ours


async def have_child_store(
    database: str, folder: Path, generation: str, exact_below: int, dimensions: Mapping[Space, int]
) -> None:
    """Have `store.indexing` write a checkpoint. It is killed when nobody waits for it any more. Raises Unstored."""
    spaces = [f"{space.value}={size}" for space, size in dimensions.items()]
    arguments = (database, str(folder), generation, str(exact_below), *spaces)
    nothing, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "store.indexing", *arguments),
            stdin=nothing,
            stdout=nothing,
            stderr=pipe,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
    except OSError as error:  # no memory or no process left just now
        raise Unstored(f"the child that stores the vector index cannot be run: {error.strerror}") from None
    try:
        async with asyncio.timeout(_CHILD_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        raise Unstored(f"storing the vector index took longer than {_CHILD_SECONDS:.0f} s") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        words = said.decode("utf-8", "replace").strip()[-_LAST_WORDS:]
        raise Unstored(f"the child that stores the vector index ended with {process.returncode}: {words}")
