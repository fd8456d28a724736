"""`python -m store.indexing DATABASE FOLDER GENERATION EXACT_BELOW SPACE=LENGTH...`: follows the log from the newest
checkpoint, makes the graphs and stores the next one, beside a service that goes on. See `store.index`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from core.analysis import Space
from core.errors import AppError
from store.index import VectorIndex
from store.store import Store

_NICENESS = 10  # the service and whoever listens come first


async def store_index(
    database: Path, folder: Path, generation: str, exact_below: int, spaces: dict[Space, int]
) -> None:
    """Raises Misconfigured, Corrupt, StoreBusy, Unstored."""
    store = await Store.open_to_read(database)
    try:
        index = await VectorIndex.open(
            store, folder, spaces=spaces, generation=generation, exact_below=exact_below, to_read=False
        )
        index.renew()
        index.save()
    finally:
        await store.close()


def main(arguments: list[str]) -> int:
    """Exit code 0, or 1 with a reason on stderr."""
    os.nice(_NICENESS)
    database, folder, generation, exact_below, *spaces = arguments
    lengths = {Space(name): int(size) for name, _, size in (space.partition("=") for space in spaces)}
    try:
        asyncio.run(store_index(Path(database), Path(folder), generation, int(exact_below), lengths))
    except AppError as error:
        print(error, file=sys.stderr)  # noqa: T201 what the parent reports
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
