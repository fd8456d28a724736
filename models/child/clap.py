"""CLAP: audio and text in one space of 512 dimensions, each tower on onnxruntime.

One window or one prompt at a time: the quantised towers scale their 8-bit numbers by the largest of a whole call, so
company would change the result; it would not be faster either.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.analysis import SILENCE_DBFS
from core.errors import TooShort
from models.child.clap_mel import BANDS, FRAMES, WINDOW, LogMel, Samples, fill_window, log_mel
from models.child.reservoir import Reservoir
from models.child.selftest import Outputs, PackUnfit, check_interface, check_outputs, make_probe
from models.child.session import open_session
from models.child.tagged import as_embeddings
from models.child.tokens import Tokens

Embedding = NDArray[np.float32]

DIMENSIONS = 512
BUDGET = 30  # windows of ten seconds that are listened to: all of a track up to five minutes, then evenly spaced ones
_CAPACITY = 2 * BUDGET  # 15 MB of log-mel
FAST_MODEL, PUBLISHED_MODEL = "audio_model_fast.onnx", "audio_model_quantized.onnx"  # the former: models.quantise
_TEXT_MODEL = "text_model_quantized.onnx"

# Eight texts that no sound tower may confuse. In a collapsed one all pairs are above .99.
_PROMPTS = (
    "a dog barking",
    "upbeat techno with hard drums",
    "calm solo piano",
    "a man giving a speech",
    "heavy metal with distorted guitars",
    "rain and thunder",
    "a children's choir singing",
    "slow dark ambient drones",
)
_MOST_ALIKE = 0.98  # cosine of any two of them


class ClapAudio:
    """The audio tower, the faster derived graph where the pack has one."""

    def __init__(self, folder: Path) -> None:
        """Raises PackUnfit."""
        fast = folder / FAST_MODEL
        self._session = open_session(fast if fast.is_file() else folder / PUBLISHED_MODEL)
        takes = {value.name for value in self._session.get_inputs()}
        # Exports of the fused variant's code ask whether a clip is longer than its window. Ours never are.
        self._also = {"is_longer": np.zeros((1, 1), np.bool_)} if "is_longer" in takes else {}

    def listen(self) -> ClapListener:
        """What to feed one track to."""
        return ClapListener(self)

    def embed(self, window: LogMel) -> Embedding:
        """f32 [512], not normalised, of a log-mel f32 [1001, 64]."""
        given = {"input_features": window[None, None], **self._also}
        embedding: Embedding = self._session.run(["audio_embeds"], given)[0][0]
        return embedding

    def self_test(self) -> None:
        """Raises PackUnfit."""
        shapes = {"audio_embeds": (2, DIMENSIONS)}
        check_interface(
            self._session,
            "clap",
            inputs={"input_features": (None, 1, FRAMES, BANDS), **dict.fromkeys(self._also, (None, 1))},
            outputs={"audio_embeds": (None, DIMENSIONS)},
        )
        probe = 30 * make_probe(2, FRAMES, BANDS) - 90  # dB
        check_outputs("clap", lambda: {"audio_embeds": np.stack([self.embed(window) for window in probe])}, shapes)


class _Window(NamedTuple):
    """A window that was kept, and whether it is more than silence."""

    mel: LogMel
    sounds: bool


class ClapListener:
    """Feed one track's samples in order, then `finish`. Memory is bounded, and so is work, whatever its length."""

    def __init__(self, tower: ClapAudio) -> None:
        self._tower = tower
        self._window, self._filled = np.empty(WINDOW, np.float32), 0
        self._windows: Reservoir[_Window] = Reservoir(_CAPACITY)

    def feed(self, samples: Samples) -> None:
        """Take mono samples f32 [n] at 48 kHz, n as it comes."""
        while len(samples):
            taken = samples[: WINDOW - self._filled]
            self._window[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            samples = samples[len(taken) :]
            if self._filled == WINDOW:
                self._windows.offer(lambda: _hear_window(self._window))
                self._filled = 0

    def finish(self) -> Embedding:
        """f32 [512]: the mean of the windows' embeddings, not normalised.

        Silent windows do not count where others sound. What remains behind the last whole window is dropped, unless it
        is all there is. Raises TooShort (no sample), Undecodable.
        """
        if not self._windows.offered:
            if not self._filled:
                raise TooShort("0 samples")
            self._windows.offer(lambda: _hear_window(fill_window(self._window[: self._filled])))
        kept = self._windows.kept
        sounding = [window.mel for window in kept if window.sounds] or [window.mel for window in kept]
        chosen = np.rint(np.linspace(0, len(sounding) - 1, min(BUDGET, len(sounding)))).astype(int)
        rows = as_embeddings(np.stack([self._tower.embed(sounding[i]) for i in chosen]))
        mean: Embedding = rows.mean(axis=0, dtype=np.float64)
        return mean.astype(np.float32)


def _hear_window(samples: Samples) -> _Window:
    sounds = float(np.dot(samples, samples)) >= len(samples) * 10 ** (SILENCE_DBFS / 10)
    return _Window(log_mel(samples), sounds)


class ClapText:
    """The text tower and its tokenizer."""

    def __init__(self, folder: Path) -> None:
        """Raises PackUnfit."""
        self._tokens = Tokens(folder / "tokenizer.json")
        self._session = open_session(folder / _TEXT_MODEL)
        self._asks_for_mask = "attention_mask" in {value.name for value in self._session.get_inputs()}

    def embed(self, texts: Sequence[str]) -> Embedding:
        """f32 [n, 512], L2-normalised rows. A text counts up to its 77th token."""
        rows = self._run(texts)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def self_test(self) -> None:
        """Raises PackUnfit, also for a tower that says much the same of everything."""
        inputs = ("input_ids", "attention_mask") if self._asks_for_mask else ("input_ids",)
        check_interface(
            self._session,
            "clap",
            inputs=dict.fromkeys(inputs, (None, None)),
            outputs={"text_embeds": (None, DIMENSIONS)},
        )

        def run() -> Outputs:
            return {"text_embeds": self._run(_PROMPTS)}

        check_outputs("clap", run, {"text_embeds": (len(_PROMPTS), DIMENSIONS)})
        rows = self.embed(_PROMPTS)
        alike = float((rows @ rows.T)[np.triu_indices(len(rows), 1)].max())
        if not alike < _MOST_ALIKE:
            raise PackUnfit("clap", f"the text model has collapsed: two different texts have a cosine of {alike:.4f}")

    def _run(self, texts: Sequence[str]) -> Embedding:
        rows = [np.empty((0, DIMENSIONS), np.float32)]
        for text in texts:
            ids = self._tokens.encode(text)
            mask = {"attention_mask": np.ones_like(ids)} if self._asks_for_mask else {}
            rows += self._session.run(["text_embeds"], {"input_ids": ids, **mask})
        return np.concatenate(rows)
