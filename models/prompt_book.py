"""Where the prompts of feeds lie in the space of audio and text, kept on disk: embedding them takes seconds a start.

A cache: whatever is wrong with the file, it is made again. Only Earmark's and its operator's own prompts are kept,
never what a stranger searched for.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.analysis import DIMENSIONS, Space, Vector

_MOST = 4_096  # texts, 8 MB: prompts of many feeds; older ones go first
_LONGEST_BYTES = 64 << 20  # of a file that we would read


class PromptBook:
    """Text -> vector of length 1, of one version of the clap pack. Blocking: call it in a thread."""

    def __init__(self, home: Path, pack_hash: str) -> None:
        self._path = home / "cache" / f"prompts-{pack_hash[:16]}.npz"

    def read(self) -> dict[str, Vector]:
        """What is kept; nothing if that cannot be read."""
        try:
            if self._path.stat().st_size > _LONGEST_BYTES:
                return {}
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as book:
                texts, vectors = book["texts"].tolist(), book["vectors"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            return {}
        if vectors.shape != (len(texts), DIMENSIONS[Space.CLAP]) or vectors.dtype != np.float32:
            return {}
        if not np.isfinite(vectors).all():
            return {}
        return dict(zip(map(str, texts), vectors, strict=True))

    def add(self, news: Mapping[str, Vector]) -> None:
        """Keep these too. Without effect where nothing can be written, as in a read-only image."""
        kept = {text: vector for text, vector in self.read().items() if text not in news} | dict(news)
        texts = list(kept)[-_MOST:]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._path.parent, suffix=".part", delete=False) as part:
                try:
                    np.savez(part, texts=np.array(texts), vectors=np.stack([kept[text] for text in texts]))
                    part.flush()
                    Path(part.name).replace(self._path)
                except BaseException:
                    Path(part.name).unlink(missing_ok=True)
                    raise
        except OSError:
            return
