"""Where the declared files come from: their publishers, pip for a wheel, a mirror, or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.errors import Corrupt, Misconfigured
from models.catalogue import Download, Pack, Wheel
from models.download import Fetcher, NotThere, is_safe, shown
from models.partial import Partial
from models.wheel import download_wheel

_CHUNK_BYTES = 1 << 20


class Sources:
    """Gets the files of one pack into a workshop folder. `progress` hears one sentence a file."""

    def __init__(
        self, pack: Pack, source: str | Path | None, fetcher: Fetcher, progress: Callable[[str], None]
    ) -> None:
        """`source`: the address of a mirror or a folder; None: the publishers. Raises Misconfigured."""
        self._pack = pack
        self._mirror = source.rstrip("/") if isinstance(source, str) else None
        self._folder = source if isinstance(source, Path) else None
        self._fetcher = fetcher
        self._progress = progress
        if self._mirror is not None and not is_safe(self._mirror, start=self._mirror):
            raise Misconfigured("--from", f"{shown(self._mirror)}: a mirror is an https address, or a folder")
        if self._folder is not None and not self._folder.is_dir():
            raise Misconfigured("--from", f"{self._folder} is not a folder")

    def get(self, download: Download, workshop: Path) -> None:
        """Have the verified file in the workshop. An optional one that nobody has is left out and told.

        Raises as Fetcher.fetch does; Misconfigured when the folder lacks it or nothing says where it comes from.
        """
        try:
            if self._folder is not None:
                self._take_from_folder(download, self._folder, workshop)
            elif self._mirror is None and isinstance(download, Wheel):
                self._take_with_pip(download, workshop)
            else:
                self._take_from_web(download, workshop)
        except (NotThere, Misconfigured) as absence:
            if not download.optional:
                raise
            self._progress(f"left out, the pack works without it: {absence}")
        except Corrupt as difference:
            if not (download.optional and download.unconfirmed):
                raise
            self._progress(f"left out, only one source told its hash: {difference}")

    def _take_from_folder(self, download: Download, folder: Path, workshop: Path) -> None:
        for place in (folder / self._pack.name / download.path, folder / download.path):
            if place.is_file():
                self._progress(f"verifying {place}")
                copy(download, place, workshop)
                return
        raise Misconfigured("--from", f"{folder} holds no {download.path} (nor {self._pack.name}/{download.path})")

    def _take_with_pip(self, wheel: Wheel, workshop: Path) -> None:
        self._progress(f"downloading {wheel.path} ({_megabytes(wheel)}) with pip")
        found = download_wheel(wheel, workshop / "pip")
        self._progress(f"verifying {wheel.path}")
        copy(wheel, found, workshop)

    def _take_from_web(self, download: Download, workshop: Path) -> None:
        if self._mirror is not None:
            places = [f"{self._mirror}/{self._pack.name}/{download.path}", f"{self._mirror}/{download.path}"]
        elif download.url is not None:
            places = [download.url]
        else:
            raise Misconfigured("--from", f"nothing says where {download.path} comes from; name a folder or mirror")
        self._progress(f"downloading {download.path} ({_megabytes(download)})")
        for place in places[:-1]:
            with suppress(NotThere):
                self._fetcher.fetch(download, place, workshop)
                return
        self._fetcher.fetch(download, places[-1], workshop)


def is_whole(download: Download, path: Path) -> bool:
    """Whether the declared bytes lie there."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == download.sha256


def copy(download: Download, place: Path, workshop: Path) -> None:
    """A verified copy in the workshop. Raises Misconfigured (cannot be read), Corrupt, OSError (the disk)."""
    try:
        stream = place.open("rb")
    except OSError as error:
        raise Misconfigured("--from", f"{place} cannot be read ({error.strerror})") from error
    with stream, Partial(download, workshop) as part:
        part.restart()
        while chunk := stream.read(_CHUNK_BYTES):
            part.write(chunk)
        part.finish()


def _megabytes(download: Download) -> str:
    return "size unknown" if download.size is None else f"{download.size / 1e6:.1f} MB"
