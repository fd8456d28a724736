"""Replays the Dockerfile where no container engine runs: its RUN lines in an empty folder, as a non-root user.

The image itself is not built. What is shown: the build steps work from nothing but the files they copy, the pack
is inside, and the entry point with the image's environment starts a service that its own HEALTHCHECK finds healthy.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
NOBODY = 65534


def instructions(text: str) -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def python_for(user: list[str]) -> str:
    """A supported Python that the non-root user can start too."""
    for name in ("python3.13", "python3.12", "python3.11", "/usr/bin/python3", sys.executable):
        found = shutil.which(name)
        check = "import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
        if (
            found
            and not subprocess.run([*user, found, "-c", check], capture_output=True, cwd="/", check=False).returncode
        ):
            return found
    sys.exit("image: no Python 3.11 to 3.13 that a non-root user can start")


def main() -> None:
    root = Path(tempfile.mkdtemp(prefix="earmark-image-"))
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    try:
        replay(root, user)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def replay(root: Path, user: list[str]) -> None:
    for folder in ("src", "opt", "data", "bin", "tmp"):
        (root / folder).mkdir()
    (root / "bin" / "python").symlink_to(python_for(user))
    if user:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(root)], check=True)
    keep = {key: value for key, value in os.environ.items() if key.startswith("PIP_") or key.endswith("_proxy")}
    environment = keep | {"HOME": str(root / "data"), "TMPDIR": str(root / "tmp"), "PATH": f"{root}/bin:/usr/bin:/bin"}
    final: dict[str, str] = {}
    health, entry, command, stage = "", [], [], 0

    def inside(text: str) -> str:
        return re.sub(r"(?<![\w/])/(opt|data|src)\b", rf"{root}/\1", text)

    for word, rest in instructions((REPOSITORY / "Dockerfile").read_text()):
        if word == "FROM":
            stage += 1
        elif word == "COPY" and stage == 1:
            *sources, target = rest.split()
            for source in sources:
                copy(REPOSITORY / source, root / "src" / target, user)
        elif word == "RUN" and stage == 1:
            print(f"image: RUN {rest}", flush=True)
            subprocess.run([*user, "sh", "-ec", inside(rest)], cwd=root / "src", env=environment, check=True)
        elif word == "ENV":
            for pair in shlex.split(rest):
                key, _, value = pair.partition("=")
                final[key] = inside(value).replace("$PATH", environment["PATH"])
        elif word == "HEALTHCHECK":
            health = rest[rest.index("CMD ") + 4 :]
        elif word == "ENTRYPOINT":
            entry = json.loads(rest)
        elif word == "CMD":
            command = json.loads(rest)
    serve(root, user, environment | final, entry + command, json.loads(health))


def copy(source: Path, target: Path, user: list[str]) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    else:
        target = target / source.name
        shutil.copy(source, target)
    if user:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(target)], check=True)


def serve(root: Path, user: list[str], environment: dict[str, str], command: list[str], health: list[str]) -> None:
    """Starts the entry point as the image would (on a free loopback port) and asks its HEALTHCHECK."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment |= {"EARMARK_SERVICE__HOST": "127.0.0.1", "EARMARK_SERVICE__PORT": port}
    health = [part.replace("8420", port) for part in health]
    print(f"image: {' '.join(command)}", flush=True)
    for words in (command, health):
        words[0] = shutil.which(words[0], path=environment["PATH"]) or words[0]
    log = root / "log.txt"
    with log.open("w") as sink:
        process = subprocess.Popen([*user, *command], cwd=root / "data", env=environment, stderr=sink)
    try:
        for _ in range(120):
            time.sleep(0.5)
            if process.poll() is not None:
                sys.exit(f"image: the service ended with {process.returncode}:\n{log.read_text()}")
            if (
                subprocess.run([*user, *health], env=environment, cwd="/", capture_output=True, check=False).returncode
                == 0
            ):
                print("image: healthy; the image itself was not built, no container engine was used", flush=True)
                return
        sys.exit("image: not healthy within 60 s")
    finally:
        process.terminate()
        process.wait(20)


if __name__ == "__main__":
    main()
