"""The two musicnn taggers, one patch at a time: a batch gains no time and costs memory.

At most 40 evenly spaced patches of a track are heard: on long tracks the mean scores differ from those of all patches
by .008 at most (MODELS section 2). A track that is cut into segments gets some more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.analysis import TaggerName
from models.child.patches import Patch, PatchReservoir
from models.child.selftest import Outputs, Shape, check_interface, check_outputs, make_probe
from models.child.session import open_session
from models.child.spectra import BANDS
from models.child.tagged import Rows, Tagged, as_embeddings, as_scores

if TYPE_CHECKING:
    import onnxruntime as ort

FRAMES = 187
BUDGET = 40
TAGS, EMBEDDING = 50, 200
_CAPACITY = 320  # patches, 16 minutes without a loss, 23 MB; half of it is enough for every segment there can be
_TAGGERS: tuple[TaggerName, ...] = ("msd", "mtt")


class Musicnn:
    """Both sessions."""

    def __init__(self, folder: Path) -> None:
        """Raises PackUnfit."""
        self._sessions = {name: open_session(folder / f"{name}.onnx") for name in _TAGGERS}

    def reserve(self) -> PatchReservoir:
        """What to feed one track's log-mel to."""
        return PatchReservoir(frames=FRAMES, hop=FRAMES, capacity=_CAPACITY)

    def tag(self, patches: Sequence[Patch]) -> Tagged:
        """Hear patches of 187 frames, of which there must be one at least. Raises Undecodable."""
        heard = {name: [_run(session, patch.spectrum) for patch in patches] for name, session in self._sessions.items()}
        return Tagged(
            centres=np.array([patch.centre_seconds for patch in patches]),
            scores={name: as_scores(np.concatenate([scores for scores, _ in rows])) for name, rows in heard.items()},
            embeddings={name: as_embeddings(np.concatenate([row for _, row in rows])) for name, rows in heard.items()},
        )

    def self_test(self) -> None:
        """Raises PackUnfit."""
        for session in self._sessions.values():
            check_interface(
                session,
                "musicnn",
                inputs={"melspectrogram": (None, FRAMES, BANDS)},
                outputs={"activations": (None, TAGS), "embeddings": (None, EMBEDDING)},
            )
        probe = [Patch(0, spectrum) for spectrum in make_probe(2, FRAMES, BANDS)]

        def run() -> Outputs:
            tagged = self.tag(probe)
            return {**{f"scores of {name}": rows for name, rows in tagged.scores.items()}, **tagged.embeddings}

        scores: dict[str, Shape] = {f"scores of {name}": (2, TAGS) for name in _TAGGERS}
        check_outputs("musicnn", run, {**scores, **dict.fromkeys(_TAGGERS, (2, EMBEDDING))})


def _run(session: ort.InferenceSession, spectrum: Rows) -> tuple[Rows, Rows]:
    activations, embeddings = session.run(["activations", "embeddings"], {"melspectrogram": spectrum[None]})
    return activations, embeddings
