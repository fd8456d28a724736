"""What is measured runs in a process of its own: `python -m bench.NAME ...` that answers JSON lines until EOF.

So each has its own peak memory, imports nothing of the others, and rounds of several can alternate on a busy machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from models.process import SETTINGS

_ENVIRONMENT = {
    **SETTINGS,  # as a listening child has it; peers get the same
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class Worker:
    """The parent's end of one such process; use it as a context."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=os.environ | _ENVIRONMENT, text=True)

    def ask(self, **request: Any) -> Any:
        """One request, one answer. Raises RuntimeError when the process has ended (its reason is on stderr)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{' '.join(self._process.args)} ended with {self._process.wait()}")
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(answer: Callable[..., Any]) -> None:
    """The worker's end: `answer` is called with each request's keywords. Call it before importing what prints."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints, in any language, must not garble the answers
    for line in sys.stdin:
        answers.write(json.dumps(answer(**json.loads(line))) + "\n")
        answers.flush()


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process, all its threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_resident_mb() -> float:
    """Of this process since it began."""
    if sys.platform == "linux":  # getrusage would count what the parent had when it forked
        status = Path("/proc/self/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)


def resident_mb() -> float:
    """Of this process now (on systems without /proc its peak)."""
    if sys.platform != "linux":
        return peak_resident_mb()
    return round(int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024, 1)
