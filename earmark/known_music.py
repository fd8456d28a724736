"""A folder of audio whose genres somebody knows: by the names of its subfolders, or by a table beside it.

`Jazz/Bebop/one.mp3` is Jazz and Bebop: every folder on the way counts whose name is a genre of the taxonomy. If the
folder holds a `genres.csv` with the columns `file` and `genres` (several parted by `;`), the table alone counts.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import Permanent
from core.taxonomy import Taxonomy

TABLE = "genres.csv"
MAX_FILES = 100_000
MAX_TABLE_BYTES = 64 * 1024 * 1024
_AUDIO = frozenset({".mp3", ".m4a", ".aac", ".mp4", ".ogg", ".oga", ".opus", ".flac", ".wav", ".aif", ".aiff", ".webm"})


class BadFolder(Permanent):
    """The folder or its table cannot be used."""

    reason = "bad_folder"


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """`genres` by file; `unplaced` is audio of which no genre is known, `unknown` names that no genre has."""

    genres: dict[Path, frozenset[str]]
    unplaced: tuple[Path, ...]
    unknown: tuple[str, ...]


def read_folder(folder: Path, taxonomy: Taxonomy) -> KnownFolder:
    """Raises BadFolder."""
    if not folder.is_dir():
        raise BadFolder(f"{folder} is not a folder")
    table = folder / TABLE
    named = _read_table(folder, table) if table.exists() else _name_by_folders(folder)
    genres, unplaced, unknown = {}, [], set()
    for file, names in named.items():
        found = {name: taxonomy.identify(name) for name in names}
        unknown |= {name for name, identifier in found.items() if identifier is None}
        identifiers = frozenset(identifier for identifier in found.values() if identifier is not None)
        if identifiers:
            genres[file] = identifiers
        else:
            unplaced.append(file)
    return KnownFolder(genres, tuple(unplaced), tuple(sorted(unknown)))


def _name_by_folders(folder: Path) -> dict[Path, list[str]]:
    named: dict[Path, list[str]] = {}
    for place, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        on_the_way = list(Path(place).relative_to(folder).parts)
        for name in sorted(files):
            if Path(name).suffix.lower() in _AUDIO and not name.startswith("."):
                named[Path(place) / name] = on_the_way
        if len(named) > MAX_FILES:
            raise BadFolder(f"{folder} holds more than {MAX_FILES} audio files")
    return named


def _read_table(folder: Path, table: Path) -> dict[Path, list[str]]:
    if table.stat().st_size > MAX_TABLE_BYTES:
        raise BadFolder(f"{table} is larger than {MAX_TABLE_BYTES} bytes")
    named = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"file", "genres"} <= set(rows.fieldnames or ()):
                raise BadFolder(f"{table} needs the columns file and genres")
            for row in rows:
                names = [name.strip() for name in (row["genres"] or "").split(";")]
                named[folder / (row["file"] or "")] = [name for name in names if name]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadFolder(f"{table}: {error}") from None
    if len(named) > MAX_FILES:
        raise BadFolder(f"{table} names more than {MAX_FILES} files")
    return named
