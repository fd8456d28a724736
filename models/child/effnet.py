"""Discogs-EffNet: 400 styles and an embedding of each patch, and the small heads that read the embedding.

The patches overlap by half, as its makers' do; all of a track up to three and a half minutes are heard, then 200 evenly
spaced ones. A head is applied to each patch's embedding. Heads are optional: the scores of one that is not installed
are missing, not zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from models.child.patches import Patch, PatchReservoir
from models.child.selftest import Outputs, PackUnfit, check_interface, check_outputs, make_probe
from models.child.session import open_session
from models.child.spectra import BANDS
from models.child.tagged import Rows, Tagged

FRAMES, HOP = 128, 62
BUDGET = 200
STYLES, EMBEDDING, MOODS = 400, 1280, 56
_CAPACITY = 2 * BUDGET  # 20 MB
_BATCH = 8  # no faster beyond, and 8 patches need 60 MB
_STYLE_MODEL = "discogs-effnet-bsdynamic-1.onnx"
_HEAD_MODEL = "{}-discogs-effnet-1.onnx"
_MOOD_HEAD = "mtg_jamendo_moodtheme"


class _Head(NamedTuple):
    """A head of two classes: its file, which class is the positive one, and what its description may call that."""

    file: str
    positive: int
    word: str


# In the order of tag_names("heads"); the classes' order differs from head to head (their model cards).
_HEADS = (
    _Head("danceability", 0, "danceable"),
    _Head("mood_aggressive", 0, "aggressive"),
    _Head("mood_happy", 0, "happy"),
    _Head("mood_party", 1, "party"),
    _Head("mood_relaxed", 1, "relaxed"),
    _Head("mood_sad", 1, "sad"),
    _Head("voice_instrumental", 1, "voice"),
)


class _Card(msgspec.Struct):
    """What we read of the description that may lie beside a head."""

    classes: list[str]


class Effnet:
    """The style session and those of the heads that are installed."""

    def __init__(self, folder: Path) -> None:
        """Raises PackUnfit."""
        self._styles = open_session(folder / _STYLE_MODEL)
        self._heads = {
            name: open_session(path)
            for name in (_MOOD_HEAD, *(head.file for head in _HEADS))
            if (path := folder / _HEAD_MODEL.format(name)).is_file()
        }
        self._positive = {head.file: _find_positive(folder, head) for head in _HEADS}

    def reserve(self) -> PatchReservoir:
        """What to feed one track's log-mel to."""
        return PatchReservoir(frames=FRAMES, hop=HOP, capacity=_CAPACITY)

    def tag(self, patches: Sequence[Patch]) -> Tagged:
        """Hear patches of 128 frames, of which there must be one at least."""
        activations, embeddings = self._run_styles([patch.spectrum for patch in patches])
        two_class = np.full((len(patches), len(_HEADS)), np.nan, np.float32)
        for column, head in enumerate(_HEADS):
            if head.file in self._heads:
                two_class[:, column] = self._run_head(head.file, embeddings)[:, self._positive[head.file]]
        tagged = Tagged(
            centres=np.array([patch.centre_seconds for patch in patches]),
            scores={"discogs": activations, "heads": two_class},
            embeddings={"effnet": embeddings},
        )
        if _MOOD_HEAD not in self._heads:
            return tagged
        moods = self._run_head(_MOOD_HEAD, embeddings)
        return Tagged(
            tagged.centres, {"discogs": activations, "moodtheme": moods, "heads": two_class}, tagged.embeddings
        )

    def self_test(self) -> None:
        """Raises PackUnfit."""
        check_interface(
            self._styles,
            "effnet",
            inputs={"melspectrogram": (None, FRAMES, BANDS)},
            outputs={"activations": (None, STYLES), "embeddings": (None, EMBEDDING)},
        )
        shapes = {"activations": (2, STYLES), "embeddings": (2, EMBEDDING)}
        probe = list(make_probe(2, FRAMES, BANDS))
        check_outputs("effnet", lambda: dict(zip(shapes, self._run_styles(probe), strict=True)), shapes)
        _, embeddings = self._run_styles(probe)
        for name, session in self._heads.items():
            classes = MOODS if name == _MOOD_HEAD else 2
            check_interface(
                session, "effnet", inputs={"embeddings": (None, EMBEDDING)}, outputs={"activations": (None, classes)}
            )

            def run(name: str = name) -> Outputs:
                return {"activations": self._run_head(name, embeddings)}

            check_outputs("effnet", run, {"activations": (2, classes)})

    def _run_styles(self, spectra: Sequence[Rows]) -> tuple[Rows, Rows]:
        batches = [
            self._styles.run(["activations", "embeddings"], {"melspectrogram": np.stack(spectra[at : at + _BATCH])})
            for at in range(0, len(spectra), _BATCH)
        ]
        return np.concatenate([styles for styles, _ in batches]), np.concatenate([rows for _, rows in batches])

    def _run_head(self, name: str, embeddings: Rows) -> Rows:
        (activations,) = self._heads[name].run(["activations"], {"embeddings": embeddings})
        rows: Rows = activations
        return rows


def _find_positive(folder: Path, head: _Head) -> int:
    """By the head's own description if it is there. Raises PackUnfit if that knows no such class."""
    path = folder / _HEAD_MODEL.format(head.file).replace(".onnx", ".json")
    if not path.is_file():
        return head.positive
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Card).classes.index(head.word)
    except (msgspec.DecodeError, ValueError) as error:
        raise PackUnfit("effnet", f"{path.name} does not say which class is {head.word!r} ({error})") from error
