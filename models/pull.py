"""Brings a model pack onto this machine: fetch the wheel, verify it, convert it, install it by one rename.

The wheel comes through the person's own pip, so that their index, proxy and certificates hold; no host is named here.
Whatever fails, nothing half-made stays behind: all work happens in a folder beside the target that is always removed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from core.errors import AppError, Corrupt, Misconfigured, Unreachable
from models.pack import (
    MANIFEST,
    InstalledPack,
    Pack,
    get_pack,
    is_installed,
    pack_folder,
    read_tag_names,
    survey,
    verify,
)

Progress = Callable[[str], None]

_PIP_DEADLINE_SECONDS = 900.0
_CONVERT_DEADLINE_SECONDS = 300.0


def pull(name: str, home: Path, *, source: Path | None = None, progress: Progress = lambda step: None) -> InstalledPack:
    """Install a pack and return it; does nothing when it is installed and whole.

    `source` is a folder that holds the wheel; without it pip downloads. `progress` hears one short sentence a step.
    Raises Unreachable (pip cannot get it), Misconfigured (no pip, wrong folder) and Corrupt (not the declared bytes).
    """
    pack = get_pack(name)
    if is_installed(home, name):
        try:
            return verify(home, name)
        except Corrupt as damage:
            progress(f"pulling again: {damage}")
    target = pack_folder(home, name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise Misconfigured("EARMARK_HOME", f"cannot write to {target.parent} ({error.strerror})") from error
    with workshop as work:
        wheel = _find_wheel(pack, source) if source else _download_wheel(pack, Path(work), progress)
        progress(f"verifying {wheel.name}")
        _check_wheel(pack, wheel)
        progress("converting to ONNX")
        made = Path(work, "made")
        made.mkdir()
        _convert(wheel, made)
        _check_labels(made)
        (made / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(survey(made, pack))))
        progress(f"installing into {target}")
        _install(made, target, Path(work, "replaced"))
    return verify(home, name)


def _find_wheel(pack: Pack, source: Path) -> Path:
    wheel = source / pack.wheel.filename
    if not wheel.is_file():
        raise Misconfigured("source", f"{source} holds no {pack.wheel.filename}")
    return wheel


def _download_wheel(pack: Pack, work: Path, progress: Progress) -> Path:
    progress(f"downloading {pack.wheel.filename} ({pack.wheel.size_bytes / 1e6:.0f} MB) with pip")
    arguments = [
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-binary=:none:",
        "--disable-pip-version-check",
        "--no-input",
    ]
    arguments += ["--progress-bar=off", "--dest", str(work), pack.wheel.requirement]
    try:
        answer = _run(arguments, _PIP_DEADLINE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"pip did not download {pack.wheel.requirement} in {_PIP_DEADLINE_SECONDS:.0f} s") from error
    wheel = work / pack.wheel.filename
    if answer.returncode == 0 and wheel.is_file():
        return wheel
    if "No module named pip" in answer.stderr:
        raise Misconfigured("pip", f"{sys.executable} has no pip; run: {sys.executable} -m ensurepip")
    raise Unreachable(
        f"pip could not download {pack.wheel.requirement}: {_tail(answer.stderr)}; check the package index of your pip "
        f"settings, or get {pack.wheel.filename} elsewhere and give its folder as the source"
    )


def _check_wheel(pack: Pack, wheel: Path) -> None:
    size = wheel.stat().st_size
    if size != pack.wheel.size_bytes:
        raise Corrupt(f"{wheel.name} has {size} bytes, expected {pack.wheel.size_bytes}")
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != pack.wheel.sha256:
        raise Corrupt(f"{wheel.name} has SHA-256 {found}, expected {pack.wheel.sha256}")


def _convert(wheel: Path, made: Path) -> None:
    try:
        answer = _run(["-I", "-m", "models.convert", str(wheel.absolute()), str(made)], _CONVERT_DEADLINE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AppError("the conversion to ONNX did not end") from error
    if answer.returncode != 0:
        raise Corrupt(f"the conversion to ONNX failed: {_tail(answer.stderr)}")


def _check_labels(made: Path) -> None:
    """The names in the wheel are those that moods and policy were written for."""
    declared = {tagger: list(names) for tagger, names in read_tag_names().items()}
    if msgspec.json.decode((made / "labels.json").read_bytes()) != declared:
        raise Corrupt("the wheel names other tags than expected")


def _install(made: Path, target: Path, replaced: Path) -> None:
    """Rename into place; what lay there (damaged) moves into the workshop and goes with it."""
    if target.exists():
        target.rename(replaced)
    try:
        made.rename(target)
    except OSError:
        # Someone else pulled the same pack at the same moment; `verify` will judge theirs.
        if not target.exists():
            raise


def _run(arguments: Sequence[str], deadline_seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=deadline_seconds,
        check=False,
    )


def _tail(stderr: str, lines: int = 3) -> str:
    kept = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("WARNING: There was")]
    return " / ".join(kept[-lines:])[-600:] or "no output"
