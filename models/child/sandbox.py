"""What the child may do once it is warm: little, so that a hostile file can only kill a process that nobody misses."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import sysconfig
from pathlib import Path

from models.child.landlock import give_up_files

_HEADROOM_BYTES = 1 << 30  # beyond the warm process: libav's buffers for absurd but legal headers
_OPEN_FILES = 64
_NICENESS = 5
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """On Linux the kernel kills us with the parent, even in the middle of a request; elsewhere EOF on stdin ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def confine() -> bool:
    """Set the limits and give up the file system; whether the kernel could do the latter.

    Called after the warm-up, when everything that needs files and memory is loaded. What stays readable is Python and
    our own code (something may be imported late): no key, no database, no audio but the file that a request brings.
    """
    os.nice(_NICENESS)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)  # nothing of the audio is ever written
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    if sys.platform == "linux":  # macOS accepts the limit and ignores it
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + _HEADROOM_BYTES)
    ours = Path(__file__).parents[2]
    installed = (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return give_up_files([*installed, ours / "core", ours / "models"])


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))
