"""Discogs-EffNet: 400 styles and an embedding of each patch, and the small heads that read the embedding.

The patches overlap by half, as its makers' do; all of a track up to three and a half minutes are heard, then 200 evenly
spaced ones. A head is applied to each patch's embedding. Heads are optional: the scores of one that is not installed,
or that fails its self-test, are missing, not zero.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.child.patches import Patch, PatchReservoir
from models.child.selftest import Outputs, PackUnfit, check_interface, check_outputs, make_probe
from models.child.session import open_session
from models.child.spectra import BANDS
from models.child.tagged import Rows, Tagged, as_embeddings, as_scores

FRAMES, HOP = 128, 62
BUDGET = 200
STYLES, EMBEDDING, MOODS = 400, 1280, 56
_CAPACITY = 2 * BUDGET  # 20 MB
_BATCH = 8  # no faster beyond, and 8 patches need 60 MB
_STYLE_MODEL = "discogs-effnet-bsdynamic-1.onnx"
_HEAD_MODEL = "{}-discogs-effnet-1.onnx"
_MOOD_HEAD = "mtg_jamendo_moodtheme"


class _Head(NamedTuple):
    """A head of two classes: its file, and which class is the positive one."""

    file: str
    positive: int


# In the order of tag_names("heads"). The classes' order differs from head to head: `classes` in the model cards, as
# https://essentia.upf.edu/models/classification-heads/danceability/danceability-discogs-effnet-1.json.
_HEADS = (
    _Head("danceability", 0),
    _Head("mood_aggressive", 0),
    _Head("mood_happy", 0),
    _Head("mood_party", 1),
    _Head("mood_relaxed", 1),
    _Head("mood_sad", 1),
    _Head("voice_instrumental", 1),
)


class Effnet:
    """The style session and those of the heads that are installed and fit."""

    def __init__(self, folder: Path) -> None:
        """Raises PackUnfit, for the style model only."""
        self._styles = open_session(folder / _STYLE_MODEL)
        self._heads = {}
        for name in (_MOOD_HEAD, *(head.file for head in _HEADS)):
            if (path := folder / _HEAD_MODEL.format(name)).is_file():
                try:
                    self._heads[name] = open_session(path)
                except PackUnfit as unfit:
                    _tell_left_out(name, unfit)

    def reserve(self) -> PatchReservoir:
        """What to feed one track's log-mel to."""
        return PatchReservoir(frames=FRAMES, hop=HOP, capacity=_CAPACITY)

    def tag(self, patches: Sequence[Patch]) -> Tagged:
        """Hear patches of 128 frames, of which there must be one at least. Raises Undecodable."""
        activations, embeddings = self._run_styles([patch.spectrum for patch in patches])
        two_class = np.full((len(patches), len(_HEADS)), np.nan, np.float32)
        for column, head in enumerate(_HEADS):
            if head.file in self._heads:
                two_class[:, column] = self._run_head(head.file, embeddings)[:, head.positive]
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
        """Raises PackUnfit, for the style model only; a head that fails is left out from now on."""
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
        for name in tuple(self._heads):
            try:
                self._test_head(name, embeddings)
            except PackUnfit as unfit:
                del self._heads[name]
                _tell_left_out(name, unfit)

    def _test_head(self, name: str, embeddings: Rows) -> None:
        classes = MOODS if name == _MOOD_HEAD else 2
        shapes = {"embeddings": (None, EMBEDDING)}, {"activations": (None, classes)}
        check_interface(self._heads[name], "effnet", inputs=shapes[0], outputs=shapes[1])

        def run() -> Outputs:
            return {"activations": self._run_head(name, embeddings)}

        check_outputs("effnet", run, {"activations": (2, classes)})

    def _run_styles(self, spectra: Sequence[Rows]) -> tuple[Rows, Rows]:
        batches = [
            self._styles.run(["activations", "embeddings"], {"melspectrogram": np.stack(spectra[at : at + _BATCH])})
            for at in range(0, len(spectra), _BATCH)
        ]
        styles, embeddings = (np.concatenate(rows) for rows in zip(*batches, strict=True))
        return as_scores(styles), as_embeddings(embeddings)

    def _run_head(self, name: str, embeddings: Rows) -> Rows:
        (activations,) = self._heads[name].run(["activations"], {"embeddings": embeddings})
        return as_scores(activations)


def _tell_left_out(head: str, unfit: PackUnfit) -> None:
    print(f"the head {head} is left out: {unfit.message}", file=sys.stderr)  # noqa: T201  (the parent's debug log)
