"""What a confined process can still reach, tried from inside of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, os, resource, socket, sys
from pathlib import Path
from models.child.sandbox import confine

def outcome(attempt):
    try:
        attempt()
    except Exception as error:
        return type(error).__name__
    return "done"

secret, target, opened, port, parent = sys.argv[1], sys.argv[2], open(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])
import models.wire
told = confine()
print(json.dumps({
    "told": told,
    "open": opened.read(),
    "secret": outcome(lambda: Path(secret).read_text()),
    "listing": outcome(lambda: os.listdir(Path(secret).parent)),
    "environment": outcome(lambda: Path(f"/proc/{parent}/environ").read_bytes()),
    "write": outcome(lambda: Path(target).write_text("x")),
    "remove": outcome(lambda: os.unlink(secret)),
    "connect": outcome(lambda: socket.create_connection(("127.0.0.1", port), 2)),
    "signal": outcome(lambda: os.kill(parent, 0)),
    "execute": outcome(lambda: os.execv("/bin/true", ["true"])),
    "code": outcome(lambda: Path(models.wire.__file__).read_text()),
    "import": outcome(lambda: __import__("numpy.polynomial")),
    "limits": [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)],
}))
"""


@pytest.fixture
def attempts(tmp_path: Path) -> dict[str, Any]:
    """What became of each attempt; skipped where the kernel cannot help."""
    (tmp_path / "key").write_text("s3cret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        arguments = [str(tmp_path / "key"), str(tmp_path / "made"), str(port), str(os.getpid())]
        answer = subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM, *arguments], capture_output=True, check=True, cwd="/", text=True
        )
    found: dict[str, Any] = json.loads(answer.stdout)
    if not found["told"]:
        pytest.skip("this kernel has no Landlock: what a confined child can reach is not checked")
    return found


def test_nothing_of_the_parents_can_be_reached(attempts: dict[str, Any]) -> None:
    for attempt in ("secret", "listing", "environment", "remove", "execute"):
        assert attempts[attempt] == "PermissionError", attempt
    assert attempts["write"] in {"PermissionError", "OSError"}


def test_neither_can_the_network_nor_other_processes_be(attempts: dict[str, Any]) -> None:
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    if release < (6, 12):
        pytest.skip("Landlock knows networks since 6.7 and signals since 6.12")
    assert attempts["connect"] == attempts["signal"] == "PermissionError"


def test_what_listening_needs_is_there(attempts: dict[str, Any]) -> None:
    assert attempts["open"] == "s3cret", "a file that came open stays readable"
    assert attempts["code"] == attempts["import"] == "done"


def test_limits(attempts: dict[str, Any]) -> None:
    assert attempts["limits"] == [0, 0]
