"""Which packs are installed, whether they are whole, and which of them listen.

    $EARMARK_HOME (or the platform's user data folder for "earmark")
      models/musicnn/    msd.onnx  mtt.onnx  labels.json  LICENSE.md  manifest.json
      models/effnet/     discogs-effnet-bsdynamic-1.onnx  ...  manifest.json
      models/clap/       ...

A pack appears there by one rename of a complete folder, so a folder without a manifest is not a pack.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from core.analysis import PackName, Space, generation_of
from core.errors import Corrupt, Misconfigured
from models.catalogue import Pack, get_pack, read_catalogue, tag_names

__all__ = [
    "MANIFEST",
    "PACK_NAMES",
    "Consent",
    "InstalledFile",
    "InstalledPack",
    "Manifest",
    "PackSet",
    "choose",
    "consents",
    "is_installed",
    "pack_folder",
    "read_manifest",
    "select",
    "survey",
    "tag_names",
    "verify",
]

MANIFEST = "manifest.json"
PACK_NAMES: tuple[PackName, ...] = get_args(PackName)


class Consent(msgspec.Struct, frozen=True):
    """That the operator accepted a licence: which (Pack.licence), when (RFC 3339), told by which Earmark."""

    licence: str
    accepted: str
    earmark: str


class InstalledFile(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 (hex) of one installed file."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What `pull` wrote. `made_from` is that of the declaration it followed."""

    pack: str
    made_from: str
    files: dict[str, InstalledFile]
    consent: Consent | None = None

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
    consent: Consent | None
    left_out: tuple[str, ...]  # optional files that could not be had


@dataclass(frozen=True, slots=True)
class PackSet:
    """The packs that listen, whole, in the order musicnn, effnet, clap; and which of them does what."""

    installed: tuple[InstalledPack, ...]

    @property
    def hashes(self) -> dict[str, str]:
        """Pack name -> hash, as an analysis carries them."""
        return {one.pack.name: one.pack_hash for one in self.installed}

    @property
    def folders(self) -> dict[PackName, Path]:
        """Where each pack's files are."""
        return {one.pack.name: one.folder for one in self.installed}

    @property
    def generation(self) -> str:
        """What tells this set's analyses from others."""
        return generation_of(self.hashes)

    @property
    def genres(self) -> PackName:
        """The pack whose tags become labels."""
        return "effnet" if "effnet" in self.hashes else "musicnn"

    @property
    def sound(self) -> Space:
        """The space of sound-alikes."""
        return Space.EFFNET_SOUND if "effnet" in self.hashes else Space.MUSICNN_SOUND

    @property
    def moods(self) -> Space:
        """The space that moods are asked in."""
        return Space.CLAP if "clap" in self.hashes else Space.MUSICNN_TAGS

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Every space that these packs fill; `sound` and `moods` are two of them."""
        return tuple(space for one in self.installed for space in one.pack.spaces)


def choose(wanted: Collection[PackName], installed: Collection[PackName]) -> tuple[PackName, ...]:
    """The packs that listen: those wanted, or all installed ones when nothing in particular is wanted.

    musicnn joins unless effnet and clap together replace all that it gives; then it listens only if it is asked to.
    """
    names = set(wanted or installed)
    if "musicnn" not in wanted:
        names = names - {"musicnn"} if {"effnet", "clap"} <= names else names | {"musicnn"}
    return tuple(name for name in PACK_NAMES if name in names)


def select(home: Path, wanted: Sequence[PackName] = (), *, catalogue: Path | None = None) -> PackSet:
    """Verify the packs that listen, some 10 to 200 ms. Raises Misconfigured (with the remedy) and Corrupt."""
    installed = [name for name in read_catalogue(catalogue) if is_installed(home, name)]
    return PackSet(tuple(verify(home, name, catalogue=catalogue) for name in choose(wanted, installed)))


def pack_folder(home: Path, name: str) -> Path:
    """Where the pack is, or would be, installed."""
    return home / "models" / name


def is_installed(home: Path, name: str) -> bool:
    """Whether something is installed under that name; `verify` says whether it is whole. Raises Misconfigured."""
    path = pack_folder(home, name) / MANIFEST
    try:
        return path.is_file()
    except PermissionError as error:
        raise Misconfigured("EARMARK_HOME", f"{path} cannot be read ({error.strerror})") from error


def read_manifest(home: Path, name: str) -> Manifest | None:
    """What is said to be installed; None when nothing is or when it cannot be read."""
    try:
        return msgspec.json.decode((pack_folder(home, name) / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def verify(home: Path, name: str, *, catalogue: Path | None = None) -> InstalledPack:
    """Hash every file of an installed pack. Raises Misconfigured (not installed, no consent), Corrupt (not whole)."""
    pack = get_pack(name, catalogue)
    folder = pack_folder(home, name)
    remedy = f"run: earmark models pull {name}"
    if not is_installed(home, name):
        raise Misconfigured("listening.packs", f"the pack {name!r} is not installed in {folder}; {remedy}")
    manifest = read_manifest(home, name)
    if manifest is None or manifest.pack != name:
        raise Corrupt(f"{folder}: its {MANIFEST} is damaged; {remedy}")
    if manifest.made_from != pack.made_from:
        raise Corrupt(f"{folder}: made by another version of Earmark, or from another catalogue; {remedy}")
    try:
        found = survey(folder)
    except OSError as error:
        raise Corrupt(f"{folder}: {error}; {remedy}") from error
    if found != manifest.files:
        changed = sorted(
            file for file in found.keys() | manifest.files.keys() if found.get(file) != manifest.files.get(file)
        )
        raise Corrupt(f"{folder}: changed since it was pulled ({', '.join(changed)}); {remedy}")
    if not consents(pack, manifest.consent):
        raise Misconfigured(
            "listening.packs", f"nobody accepted the licence of {name!r} ({pack.licence}); {remedy} --accept-license"
        )
    return InstalledPack(
        pack,
        folder,
        manifest.pack_hash,
        sum(file.size for file in found.values()),
        manifest.consent,
        tuple(file.path for file in pack.files if file.optional and file.path not in found),
    )


def consents(pack: Pack, consent: Consent | None) -> bool:
    """Whether the pack may be used: its licence needs no consent, or this is one to it."""
    return not pack.consent or (consent is not None and consent.licence == pack.licence)


def survey(folder: Path) -> Mapping[str, InstalledFile]:
    """The files that lie in a folder, hashed; the manifest and hidden files do not count. Raises OSError."""
    described = {}
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST or path.name.startswith("."):
            continue
        with path.open("rb") as stream:
            described[path.name] = InstalledFile(path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())
    return described
