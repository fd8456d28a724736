"""Real music for `earmark eval`: `python -m bench.game_music FOLDER`, then `earmark eval FOLDER` (docs/evaluation.md).

Free game music from Debian's packages, by `apt-get download`; nothing is installed, and none of it belongs into a
repository. What is said of each track comes from the file's own tags or from the package, and `source` says which.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

# With the name that stands for artist and album where a file's tags give none: its game's.
PACKAGES = {
    "0ad-data": "0 A.D.",
    "colobot-common-sounds": "Colobot",
    "drascula-music": "Drascula",
    "extremetuxracer-data": "Extreme Tux Racer",
    "fillets-ng-data": "Fish Fillets",
    "flare-game": "Flare",
    "freedroidrpg-data": "FreedroidRPG",
    "fretsonfire-songs-muldjord": "Muldjord",
    "fretsonfire-songs-sectoid": "Sectoid",
    "hedgewars-data": "Hedgewars",
    "hyperrogue-music": "HyperRogue",
    "lincity-ng-data": "LinCity",
    "marsshooter-data": "M.A.R.S.",
    "megaglest-data": "MegaGlest",
    "singularity-music": "Singularity",
    "supertux-data": "SuperTux",
    "warzone2100-music": "Warzone 2100",
    "wesnoth-1.16-music": "Wesnoth",
}
# Words of a path, title or genre tag that say a mood: only where the author's word is about how it sounds.
MOODS = {
    "peace": ("calm",),
    "calm": ("calm",),
    "relaxing": ("calm",),
    "ambient": ("calm",),
    "sad": ("melancholy",),
    "battle": ("high-energy",),
    "combat": ("high-energy",),
    "fight": ("high-energy",),
    "metal": ("heavy", "high-energy"),
    "techno": ("dance-floor",),
}
COLUMNS = ("file", "genres", "artist", "album", "title", "moods", "source")
MOST_OF_PACKAGE = 20  # so that no game is half of the corpus
_STEMS = ("guitar", "rhythm")  # of songs that are there whole
_SUFFIXES = (".ogg", ".mp3", ".wav", ".flac", ".opus")
_LEAST_BYTES = 400_000  # smaller ones are sounds
_SECONDS = (45.0, 600.0)
_PUBLIC = "usr/share/games/0ad/mods/public/public.zip"  # where 0 A.D. keeps its music


def main(folder: Path) -> int:
    """Fetch, unpack what is new, and write the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Mapping[str, str]] = []
    seen: set[str] = set()
    for package, game in PACKAGES.items():
        if not (folder / package).exists():
            _fetch(folder, package)
        moods = _said_by_0ad(folder / package)
        some = [
            row for file in _audio(folder / package) if (row := _describe(file, folder, package, game, moods, seen))
        ]
        rows += some
        print(f"{package}: {len(some)} tracks", file=sys.stderr)
    with (folder / "genres.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    print(f"{len(rows)} tracks of {len(PACKAGES)} packages; genres: {Counter(row['genres'] for row in rows)}")
    return 0


def _fetch(folder: Path, package: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        subprocess.run(["apt-get", "-q", "download", package], cwd=place, check=True, capture_output=True)
        archive = next(place.glob("*.deb"))
        whole = place / package
        subprocess.run(["dpkg-deb", "-x", archive, whole], check=True)
        zipped = whole / _PUBLIC
        if zipped.exists():
            with zipfile.ZipFile(zipped) as public:
                wanted = ("audio/music/", "simulation/data/civs/")
                public.extractall(whole, [one for one in public.namelist() if one.startswith(wanted)])
            zipped.unlink()
        for file in whole.rglob("*"):
            if file.is_symlink() or (file.is_file() and file.suffix not in (*_SUFFIXES, ".json")):
                file.unlink()
        whole.rename(folder / package)


def _audio(place: Path) -> list[Path]:
    """Music of a game; of much of it as much as is wanted, whatever its names."""
    files = [
        file
        for file in place.rglob("*")
        if file.suffix in _SUFFIXES and file.stem not in _STEMS and file.stat().st_size > _LEAST_BYTES
    ]
    files.sort(key=lambda file: hashlib.sha256(str(file.relative_to(place)).encode()).digest())
    return files[:MOST_OF_PACKAGE]


def _describe(
    file: Path, folder: Path, package: str, game: str, moods: Mapping[str, str], seen: set[str]
) -> dict[str, str] | None:
    """A row of the table; None for what is no track, or is there already."""
    import av

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    try:
        with av.open(str(file)) as container:
            tags = {
                key.lower(): value.strip()
                for key, value in (container.metadata | container.streams.audio[0].metadata).items()
            }
            seconds = (container.duration or 0) / 1_000_000
    except (av.error.FFmpegError, IndexError):
        return None
    if digest in seen or not _SECONDS[0] <= seconds <= _SECONDS[1]:
        return None
    seen.add(digest)
    said = f"{moods.get(file.name, '')} {file.stem} {tags.get('title', '')} {tags.get('genre', '')}"
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", said).lower())
    found = sorted({mood for word in words for mood in MOODS.get(word, ())})
    artist = tags.get("artist") or game
    return {
        "file": str(file.relative_to(folder)),
        "genres": tags.get("genre", ""),
        "artist": artist,
        "album": tags.get("album") or game,
        "title": tags.get("title") or file.stem,
        "moods": ";".join(found),
        "source": f"{'tags' if tags.get('artist') else 'names'} in Debian's {package}",
    }


def _said_by_0ad(place: Path) -> Mapping[str, str]:
    """File name -> "peace" or "battle": when 0 A.D. plays it."""
    said: dict[str, str] = {}
    for civilisation in sorted((place / "simulation/data/civs").glob("*.json")):
        for music in json.loads(civilisation.read_text(encoding="utf-8")).get("Music", []):
            said[music["File"]] = music["Type"]
    return said


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
