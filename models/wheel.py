"""The wheel that musicnn is made from: fetched with the person's own pip, turned into ONNX in a process of its own.

pip knows their index, proxy and certificates; no host is named here. The wheel is read, never installed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from core.errors import AppError, Corrupt, Misconfigured, Unreachable
from models.catalogue import Wheel, tag_names

_PIP_DEADLINE_SECONDS = 900.0
_CONVERT_DEADLINE_SECONDS = 900.0  # 2 s for musicnn; quantising a large graph takes a minute on a slow machine
_PIP = ("-m", "pip", "download", "--no-deps", "--no-binary=:none:", "--disable-pip-version-check", "--no-input")


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Have pip put the wheel into the folder; it is not verified yet. Raises Unreachable and Misconfigured (no pip)."""
    try:
        answer = _run([*_PIP, "--progress-bar=off", "--dest", str(folder), wheel.requirement], _PIP_DEADLINE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"pip did not download {wheel.requirement} in {_PIP_DEADLINE_SECONDS:.0f} s") from error
    path = folder / wheel.path
    if answer.returncode == 0 and path.is_file():
        return path
    if "No module named pip" in answer.stderr:
        raise Misconfigured("pip", f"{sys.executable} has no pip; run: {sys.executable} -m ensurepip")
    raise Unreachable(
        f"pip could not download {wheel.requirement}: {_tail(answer.stderr)}; check the package index of your pip "
        f"settings, or get {wheel.path} elsewhere and say --from FOLDER"
    )


def convert_wheel(wheel: Path, made: Path) -> None:
    """Write the graphs, their labels and the licence into `made`. Raises Corrupt."""
    run_converter("models.convert", str(wheel.absolute()), str(made))
    declared = {tagger: list(tag_names(tagger)) for tagger in ("msd", "mtt")}
    if msgspec.json.decode((made / "labels.json").read_bytes()) != declared:
        # moods and policy were written for those
        raise Corrupt("the wheel names other tags than expected")


def run_converter(module: str, *arguments: str) -> str:
    """`python -I -m MODULE ...`, so that onnx stays out of this process; what it says.

    Raises Corrupt with its last words, and AppError if it does not end.
    """
    try:
        answer = _run(["-I", "-m", module, *arguments], _CONVERT_DEADLINE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AppError(f"the conversion ({module}) did not end in {_CONVERT_DEADLINE_SECONDS:.0f} s") from error
    if answer.returncode != 0:
        raise Corrupt(f"the conversion ({module}) failed: {_tail(answer.stderr)}")
    return answer.stdout.strip()


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
