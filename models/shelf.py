"""The folder in which packs lie: one process at a time changes a pack, and each change is one rename.

models/NAME/             the pack
models/.NAME.pulling/    a pull at work, or one that was cut and will go on: verified files and *.part
models/.NAME.replaced/   on its way out
models/.NAME.lock        while somebody changes the pack
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import Misconfigured
from models.pack import pack_folder


def workshop_folder(home: Path, name: str) -> Path:
    """Where a pull of the pack works."""
    return pack_folder(home, name).with_name(f".{name}.pulling")


@contextmanager
def locked(home: Path, name: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the pack; `waiting` is called once if another process has it. Raises Misconfigured (cannot write there)."""
    path = pack_folder(home, name).with_name(f".{name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path, waiting)
    except OSError as error:
        raise Misconfigured("EARMARK_HOME", f"cannot write to {path.parent} ({error.strerror})") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # still ours: whoever waits for this file notices that it is gone
        os.close(descriptor)


def _acquire(path: Path, waiting: Callable[[], None]) -> int:
    told = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    waiting()
                told = True
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_still(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the one before us removed it: take the new file, like everybody else


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def put(made: Path, home: Path, name: str) -> None:
    """Rename a complete folder into the pack's place; what lay there goes. Call it while `locked`."""
    target = pack_folder(home, name)
    _move_away(target)
    made.rename(target)
    _delete_moved(target)


def take_away(home: Path, name: str) -> bool:
    """Delete the pack and what a cut pull left of it; whether there was anything. Call it while `locked`."""
    target, workshop = pack_folder(home, name), workshop_folder(home, name)
    found = target.exists() or workshop.exists()
    _move_away(target)
    _delete_moved(target)
    shutil.rmtree(workshop, ignore_errors=True)
    return found


def _replaced(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _move_away(target: Path) -> None:
    """One rename, so that nobody ever sees half a pack."""
    _delete_moved(target)  # of a process that was killed here
    if target.exists():
        target.rename(_replaced(target))


def _delete_moved(target: Path) -> None:
    shutil.rmtree(_replaced(target), ignore_errors=True)
