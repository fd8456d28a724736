"""The two musicnn taggers on onnxruntime: one thread, one patch at a time.

A batch gains no time and costs memory; more threads would make results depend on the number of children.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.child.patches import FRAMES
from models.child.spectra import BANDS, Spectrum
from models.wire import TaggerMeans

if TYPE_CHECKING:
    import onnxruntime as ort

TAGGERS = ("msd", "mtt")


class Taggers:
    """Both sessions, warm."""

    def __init__(self, folder: Path) -> None:
        # Since 1.29 onnxruntime reports to its maker unless this is set before it is loaded: hashes of models, a device
        # id, a database in the home folder, threads. A listening child tells nobody anything.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime as ort  # noqa: PLC0415  (only after the line above)

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Without the arena a child is 50 MB smaller and no slower: one patch needs few and equal buffers.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = 3  # errors only
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions = {
            name: ort.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
            for name in TAGGERS
        }
        self.tag([np.zeros((FRAMES, BANDS), np.float32)])

    def tag(self, patches: list[Spectrum]) -> dict[str, TaggerMeans]:
        """Means over log-mel patches f32 [187, 96], of which there must be one at least."""
        return {name: _mean(session, patches) for name, session in self._sessions.items()}


def _mean(session: ort.InferenceSession, patches: list[Spectrum]) -> TaggerMeans:
    scores: list[NDArray[np.float32]] = []
    embeddings: list[NDArray[np.float32]] = []
    for patch in patches:
        activation, embedding = session.run(["activations", "embeddings"], {"melspectrogram": patch[None]})
        scores.append(activation[0])
        embeddings.append(embedding[0])
    return TaggerMeans(scores=_average(scores), embedding=_average(embeddings))


def _average(rows: list[NDArray[np.float32]]) -> list[float]:
    mean: list[float] = np.stack(rows).mean(axis=0, dtype=np.float64).tolist()
    return mean
