"""A file on its way to this disk: hashed as it grows, never longer than declared, kept when it is cut short.

It is called NAME.part until its size and SHA-256 are those declared; only then does one rename give it its name.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import Corrupt
from models.catalogue import Download


class Partial:
    """`with Partial(download, folder) as part:` write what comes, then `finish`; leaving earlier keeps what came."""

    def __init__(self, download: Download, folder: Path) -> None:
        self._download = download
        self._target = folder / download.path
        self._path = folder / f"{download.path}.part"
        self._origin = folder / f"{download.path}.origin"
        self._file = self._path.open("ab", buffering=0)  # a full disk is told by the write itself
        self._digest = hashlib.sha256()
        self.size = self._path.stat().st_size  # bytes that are there
        if self.size > download.limit_bytes:
            self.restart()
        elif self.size:
            with self._path.open("rb") as stream:
                self._digest = hashlib.file_digest(stream, hashlib.sha256)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self.size == 0:
            self.discard()

    def write(self, chunk: bytes) -> None:
        """Append. Raises Corrupt (longer than declared) and OSError (a full disk); the bytes are gone then."""
        if self.size + len(chunk) > self._download.limit_bytes:
            self.discard()
            raise Corrupt(f"{self._download.path} is longer than the {self._download.limit_bytes} bytes expected")
        try:
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self.discard()  # a full disk: somebody else may need the room more
            raise
        self._digest.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        """Forget what there is."""
        self._file.truncate(0)
        self._origin.unlink(missing_ok=True)
        self._digest, self.size = hashlib.sha256(), 0

    def discard(self) -> None:
        """Delete what there is, for good."""
        self._path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def finish(self) -> Path:
        """Give it its name. Raises Corrupt, with what was found and what was expected; the bytes are gone then."""
        expected, name = self._download, self._download.path
        problem = ""
        if expected.size is not None and self.size != expected.size:
            problem = f"{name} has {self.size} bytes, expected {expected.size}"
        elif self._digest.hexdigest() != expected.sha256:
            problem = f"{name} has SHA-256 {self._digest.hexdigest()}, expected {expected.sha256}"
        if problem:
            self.discard()
            raise Corrupt(f"{problem}; what was fetched is deleted")
        os.fsync(self._file.fileno())
        self._path.rename(self._target)
        self._origin.unlink(missing_ok=True)
        return self._target

    def remember_origin(self, url: str, etag: str | None) -> None:
        """Note which version of which address the bytes are of. A weak ETag promises nothing about bytes."""
        if etag and etag.startswith('"'):
            self._origin.write_text(f"{url}\n{etag}\n", "utf-8")
        else:
            self._origin.unlink(missing_ok=True)

    def etag_of(self, url: str) -> str | None:
        """The version that the bytes are of, if they came from this address."""
        try:
            origin, etag = self._origin.read_text("utf-8").splitlines()
        except (OSError, ValueError):
            return None
        return etag if origin == url else None
