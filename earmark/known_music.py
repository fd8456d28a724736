"""A folder of audio of which somebody knows something: genres, artist, album, moods, and who says so.

`Jazz/Bebop/one.mp3` is Jazz and Bebop: every folder on the way counts whose name is a genre of the taxonomy. If the
folder holds a `genres.csv`, the table alone counts. It needs the columns `file` and `genres`; `artist`, `album`,
`title`, `moods` (rkeys of feeds that the track belongs in) and `source` (who says all this: the file's tags, a
package's credits) may stand there too. Genres and moods are parted by `;`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import Permanent
from core.taxonomy import Taxonomy

TABLE = "genres.csv"
BY_FOLDERS = "names of folders"
MAX_FILES = 100_000
MAX_TABLE_BYTES = 64 * 1024 * 1024
_AUDIO = frozenset({".mp3", ".m4a", ".aac", ".mp4", ".ogg", ".oga", ".opus", ".flac", ".wav", ".aif", ".aiff", ".webm"})


class BadFolder(Permanent):
    """The folder or its table cannot be used."""

    reason = "bad_folder"


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says of a file; empty where nobody says anything."""

    genres: frozenset[str] = frozenset()  # identifiers
    moods: frozenset[str] = frozenset()  # rkeys, as they are written
    artist: str = ""
    album: str = ""
    title: str = ""
    source: str = ""

    @property
    def tells(self) -> bool:
        """Whether there is anything to measure against."""
        return bool(self.genres or self.moods or self.album)


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """`said` by file; `unplaced` is audio of which nothing is known, `unknown` names that no genre has."""

    said: dict[Path, Said]
    unplaced: tuple[Path, ...]
    unknown: tuple[str, ...]


def read_folder(folder: Path, taxonomy: Taxonomy) -> KnownFolder:
    """Raises BadFolder."""
    if not folder.is_dir():
        raise BadFolder(f"{folder} is not a folder")
    table = folder / TABLE
    rows = _read_table(folder, table) if table.exists() else _name_by_folders(folder)
    said, unplaced, unknown = {}, [], set()
    for place, (file, row) in enumerate(rows):
        if place == MAX_FILES:
            raise BadFolder(f"{folder} has more than {MAX_FILES} audio files")
        found = {name: taxonomy.identify(name) for name in _part(row.get("genres"))}
        unknown |= {name for name, identifier in found.items() if identifier is None}
        one = Said(
            genres=frozenset(identifier for identifier in found.values() if identifier is not None),
            moods=frozenset(_part(row.get("moods"))),
            artist=(row.get("artist") or "").strip(),
            album=(row.get("album") or "").strip(),
            title=(row.get("title") or "").strip(),
            source=(row.get("source") or "").strip(),
        )
        if one.tells:
            said[file] = one
        else:
            unplaced.append(file)
    return KnownFolder(said, tuple(unplaced), tuple(sorted(unknown)))


def _name_by_folders(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    for place, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        on_the_way = ";".join(Path(place).relative_to(folder).parts)
        for name in sorted(files):
            if Path(name).suffix.lower() in _AUDIO and not name.startswith("."):
                yield Path(place) / name, {"genres": on_the_way, "source": BY_FOLDERS}


def _read_table(folder: Path, table: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    if table.stat().st_size > MAX_TABLE_BYTES:
        raise BadFolder(f"{table} is larger than {MAX_TABLE_BYTES} bytes")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"file", "genres"} <= set(rows.fieldnames or ()):
                raise BadFolder(f"{table} needs the columns file and genres")
            for row in rows:
                yield folder / (row["file"] or ""), row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadFolder(f"{table}: {error}") from None


def _part(names: str | None) -> list[str]:
    return [name for part in (names or "").split(";") if (name := part.strip())]
