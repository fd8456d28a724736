"""What a model pack is, where an installed one lies, and whether it is whole.

    $EARMARK_HOME (or the platform's user data folder for "earmark")
      models/musicnn/    msd.onnx  mtt.onnx  labels.json  LICENSE.md  manifest.json

A pack appears there by one rename of a complete folder, so a folder without a manifest is not a pack.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from core.analysis import TaggerName
from core.errors import Corrupt, Misconfigured

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Wheel:
    """The Python wheel that a pack is made from, as any package index serves it."""

    requirement: str
    filename: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pack:
    """A declared pack: what it is, under which terms, what it is made from and which files it installs."""

    name: str
    licence: str
    gives: str
    wheel: Wheel
    files: tuple[str, ...]


MUSICNN = Pack(
    name="musicnn",
    licence="ISC",
    gives="50 MSD and 50 MTT tags, a sound-alike vector and tag-space moods",
    wheel=Wheel(
        requirement="musicnn==0.1.0",
        filename="musicnn-0.1.0-py3-none-any.whl",
        size_bytes=29_292_476,
        sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    ),
    files=("LICENSE.md", "labels.json", "msd.onnx", "mtt.onnx"),
)
PACKS: Mapping[str, Pack] = {MUSICNN.name: MUSICNN}


class InstalledFile(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 (hex) of one installed file."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What `pull` wrote. `made_from` is the SHA-256 of the wheel."""

    pack: str
    made_from: str
    files: dict[str, InstalledFile]

    @property
    def pack_hash(self) -> str:
        """SHA-256 (hex) over the sorted names and hashes of the files: the identity of everything that they compute."""
        lines = "".join(f"{name} {file.sha256}\n" for name, file in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class InstalledPack:
    """A pack that is whole on this machine."""

    pack: Pack
    folder: Path
    pack_hash: str
    size_bytes: int


def get_pack(name: str) -> Pack:
    """The declared pack. Raises Misconfigured with the nearest name."""
    if pack := PACKS.get(name):
        return pack
    near = difflib.get_close_matches(name, PACKS, n=1)
    raise Misconfigured(
        "listening.pack",
        f"no pack is called {name!r}; {'did you mean' if near else 'there is'} {(near or sorted(PACKS))[0]!r}",
    )


def pack_folder(home: Path, name: str) -> Path:
    """Where the pack is, or would be, installed."""
    return home / "models" / name


def is_installed(home: Path, name: str) -> bool:
    """Whether something is installed under that name; `verify` says whether it is whole."""
    return (pack_folder(home, name) / MANIFEST).is_file()


def verify(home: Path, name: str) -> InstalledPack:
    """Hash every file of an installed pack, some 10 ms. Raises Misconfigured (not installed), Corrupt (not whole)."""
    pack = get_pack(name)
    folder = pack_folder(home, name)
    if not is_installed(home, name):
        raise Misconfigured(
            "listening.pack", f"the pack {name!r} is not installed in {folder}; run: earmark models pull {name}"
        )
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        found = survey(folder, pack)
    except (OSError, msgspec.DecodeError) as error:
        raise Corrupt(f"{folder}: {error}; run: earmark models pull {name}") from error
    if manifest.pack != name or manifest.made_from != pack.wheel.sha256 or manifest.files != found.files:
        changed = [file for file in pack.files if manifest.files.get(file) != found.files.get(file)]
        what = (
            f"changed since it was pulled ({', '.join(changed)})" if changed else "made by another version of Earmark"
        )
        raise Corrupt(f"{folder}: {what}; run: earmark models pull {name}")
    return InstalledPack(pack, folder, manifest.pack_hash, sum(file.size for file in manifest.files.values()))


def survey(folder: Path, pack: Pack) -> Manifest:
    """The manifest that the files of a folder deserve. Raises OSError when one is missing."""
    described = {}
    for name in pack.files:
        content = (folder / name).read_bytes()
        described[name] = InstalledFile(len(content), hashlib.sha256(content).hexdigest())
    return Manifest(pack.name, pack.wheel.sha256, described)


@cache
def read_tag_names() -> Mapping[TaggerName, tuple[str, ...]]:
    """Tag names of both musicnn taggers in output order, as the wheel's configuration has them (checked by `pull`)."""
    source = Path(__file__).with_name("musicnn_labels.json").read_bytes()
    return msgspec.json.decode(source, type=dict[TaggerName, tuple[str, ...]])
