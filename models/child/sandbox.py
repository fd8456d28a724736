"""What the child may do once it is warm: little, so that a hostile file can only kill a process that nobody misses."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

_HEADROOM_BYTES = 1 << 30  # beyond the warm process: libav's buffers for absurd but legal headers
_OPEN_FILES = 64
_NICENESS = 5
_PR_SET_PDEATHSIG = 1


def take_pipe() -> BinaryIO:
    """Keep stdout for frames alone: from now on whatever prints to fd 1, in any language, lands on stderr."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def die_with_parent() -> None:
    """On Linux the kernel kills us with the parent, even in the middle of a request; elsewhere EOF on stdin ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def confine() -> None:
    """Set the limits. Called after the warm-up, when everything that needs files and memory is loaded."""
    os.nice(_NICENESS)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)  # nothing of the audio is ever written
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    if sys.platform == "linux":  # macOS accepts the limit and ignores it
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + _HEADROOM_BYTES)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))
