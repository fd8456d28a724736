"""Brings a model pack onto this machine: get its files, verify them, convert them, install them by one rename.

Whatever fails, nothing half-made is usable: all work happens in a workshop folder beside the pack. Only verified files
and unfinished downloads stay there, so that the next pull goes on where this one stopped.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from core.errors import AppError, Corrupt, DiskFull, Misconfigured
from models.catalogue import Pack, get_pack
from models.download import Advance, Fetcher, Patience
from models.pack import (
    MANIFEST,
    Consent,
    InstalledPack,
    Manifest,
    consents,
    is_installed,
    pack_folder,
    read_manifest,
    survey,
    verify,
)
from models.shelf import locked, put, workshop_folder
from models.sources import Sources, copy, is_whole
from models.wheel import convert_wheel, run_converter

Progress = Callable[[str], None]

_SPARE_BYTES = 32 << 20  # for what is made of the downloads, and for the rest of the machine
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ROOM = "free some space, or set EARMARK_HOME to a folder on another disk"


def pull(
    name: str,
    home: Path,
    *,
    source: str | Path | None = None,
    catalogue: Path | None = None,
    consent: Consent | None = None,
    progress: Progress = lambda step: None,
    advance: Advance = lambda name, done, total: None,
    patience: Patience | None = None,
) -> InstalledPack:
    """Install a pack and return it; does nothing when all of it is installed and whole.

    `source` is a folder or the https address of a mirror, with the files in it or in a folder of the pack's name;
    without it they come from their publishers, and a wheel through pip. `progress` hears one sentence a step,
    `advance` the bytes. Raises Misconfigured (no consent, wrong folder, no pip), Unreachable (say it again and it goes
    on), Corrupt (not the declared bytes) and DiskFull.
    """
    pack = get_pack(name, catalogue)
    if whole := _find_whole(pack, home, catalogue, lambda damage: None):
        return whole
    consent = _settle_consent(pack, home, consent)
    with locked(home, name, lambda: progress(f"another process is changing {name}; waiting for it")):
        if whole := _find_whole(pack, home, catalogue, progress):
            return whole
        workshop = workshop_folder(home, name)
        try:
            with Fetcher(patience=patience, advance=advance) as fetcher:
                made = _gather(Sources(pack, source, fetcher, progress), pack, home)
            _convert(pack, workshop, made, progress)
            manifest = Manifest(pack.name, pack.made_from, dict(survey(made)), consent)
            (made / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
            progress(f"installing into {pack_folder(home, name)}")
            put(made, home, name)
        except BaseException as failure:
            _tidy(workshop, pack)
            if isinstance(failure, OSError):
                raise _told(failure, workshop.parent) from failure
            raise
        shutil.rmtree(workshop, ignore_errors=True)
        return verify(home, name, catalogue=catalogue)


def needs_consent(pack: Pack, home: Path) -> bool:
    """Whether a pull has to be given a consent: the licence wants one and none to it is on record."""
    manifest = read_manifest(home, pack.name)
    return not consents(pack, manifest.consent if manifest else None)


def _settle_consent(pack: Pack, home: Path, consent: Consent | None) -> Consent | None:
    """The consent to record: the installed pack's, or the given one. Raises Misconfigured."""
    if not pack.consent:
        return None
    manifest = read_manifest(home, pack.name)
    for given in (manifest.consent if manifest else None, consent):
        if given is not None and consents(pack, given):
            return given
    raise Misconfigured(
        "--accept-license",
        f"{pack.name} is under {pack.licence}: read {' or '.join(licence.url for licence in pack.licences)}; "
        f"if you accept it, run: earmark models pull {pack.name} --accept-license",
    )


def _find_whole(pack: Pack, home: Path, catalogue: Path | None, progress: Progress) -> InstalledPack | None:
    if not is_installed(home, pack.name):
        return None
    try:
        installed = verify(home, pack.name, catalogue=catalogue)
    except (Corrupt, Misconfigured) as damage:
        progress(f"pulling again: {damage}")
        return None
    if installed.left_out:
        progress(f"looking again for {', '.join(installed.left_out)}")
        return None
    return installed


def _gather(sources: Sources, pack: Pack, home: Path) -> Path:
    """A folder in the workshop with the pack's verified files."""
    workshop = workshop_folder(home, pack.name)
    made = workshop / "made"
    made.mkdir(parents=True, exist_ok=True)
    # What an earlier pull verified is used, and of a damaged or older pack whatever is still right.
    for download in pack.downloads:
        here = workshop / download.path
        if is_whole(download, here):
            continue
        here.unlink(missing_ok=True)
        for place in (made / download.path, pack_folder(home, pack.name) / download.path):
            if is_whole(download, place):
                copy(download, place, workshop)
                break
    shutil.rmtree(made)
    made.mkdir()
    _check_room(pack, workshop)
    for download in pack.downloads:
        if not (workshop / download.path).is_file():
            sources.get(download, workshop)
    for file in pack.files:
        with suppress(FileNotFoundError):  # an optional one
            (workshop / file.path).rename(made / file.path)
    return made


def _check_room(pack: Pack, workshop: Path) -> None:
    there = sum(path.stat().st_size for path in workshop.iterdir() if path.is_file())
    wanted = max(0, pack.download_bytes - there) + _SPARE_BYTES
    free = shutil.disk_usage(workshop).free
    if free < wanted:
        room = f"{free / 1e6:.0f} MB left and {pack.name} takes {wanted / 1e6:.0f} MB more"
        raise DiskFull(f"{workshop.parent} has {room}: {_ROOM}")


def _convert(pack: Pack, workshop: Path, made: Path, progress: Progress) -> None:
    if pack.wheel is not None:
        progress("converting to ONNX")
        convert_wheel(workshop / pack.wheel.path, made)
    if pack.convert is not None:
        progress(f"converting with {pack.convert}")
        given = set(made.iterdir())
        try:
            said = run_converter(pack.convert, str(made.absolute()))
        except AppError as failure:  # what it makes is faster, not needed
            for unfinished in set(made.iterdir()) - given:
                unfinished.unlink()
            said = f"the pack is installed without what that makes: {failure}"
        if said:
            progress(said)


def _tidy(workshop: Path, pack: Pack) -> None:
    """After a failure: what the next pull can use stays, all else goes."""
    if pack.wheel is not None:  # pip has its own cache
        shutil.rmtree(workshop, ignore_errors=True)
        return
    for file in pack.files:
        with suppress(OSError):
            (workshop / "made" / file.path).rename(workshop / file.path)
    shutil.rmtree(workshop / "made", ignore_errors=True)
    with suppress(OSError):
        workshop.rmdir()  # if empty


def _told(error: OSError, folder: Path) -> AppError:
    """What the disk says, as an error with a remedy."""
    if error.errno in _NO_ROOM:
        return DiskFull(f"{folder} has no room left: {_ROOM}")
    return Misconfigured("EARMARK_HOME", f"cannot write to {folder} ({error.strerror})")
