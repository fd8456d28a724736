"""The numbers that leave the real child process are those of the reference implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.analysis import Space, TaggerName
from models.child.musicnn import Musicnn
from models.child.spectra import MelStream
from models.child.tagged import average
from models.crew import Crew
from models.pack import pack_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOLERANCE = 1e-4
ROUNDING = 5e-4  # mtt of the clips is written down with three digits
CLIPS = ["vibe-ace", "sugar-plum-fairy", "solo-trumpet", "humpback", "speech-a", "speech-b"]


def _worst(found: dict[str, float], expected: dict[str, float]) -> float:
    assert list(found) == list(expected), "tags in the pack's order"
    return max(abs(found[name] - score) for name, score in expected.items())


async def test_the_synthetic_signal(crew: Crew, synthetic: Any, synthetic_reference: Any, write_wav: Any) -> None:
    analysis = await crew.analyse(write_wav(synthetic, 16_000))
    taggers: tuple[TaggerName, ...] = ("msd", "mtt")
    for tagger in taggers:
        assert _worst(analysis.scores(tagger), synthetic_reference[tagger]) <= TOLERANCE
    assert analysis.duration_seconds == 12.0
    assert analysis.rms_dbfs == pytest.approx(20 * np.log10(np.sqrt(np.mean(synthetic.astype(float) ** 2))), abs=0.001)
    assert analysis.container == "wav"
    assert analysis.warnings == ()
    assert analysis.packs == crew.packs
    assert list(analysis.packs) == ["musicnn"]
    assert analysis.generation == crew.pack_set.generation
    assert analysis.vectors[Space.MUSICNN_SOUND].shape == (400,)
    assert np.linalg.norm(analysis.vectors[Space.MUSICNN_SOUND]) == pytest.approx(1.0, abs=1e-5)
    assert analysis.vectors[Space.MUSICNN_TAGS].shape == (100,)
    assert all(vector.dtype == np.float32 for vector in analysis.vectors.values())


async def test_embeddings_are_the_dense_layer_before_its_relu(
    pack_home: Path, synthetic: Any, synthetic_reference: Any
) -> None:
    musicnn, mel = Musicnn(pack_folder(pack_home, "musicnn")), MelStream()
    reservoir = musicnn.reserve()
    for spectrum in (mel.feed(synthetic), mel.finish()):
        reservoir.feed(spectrum)
    tagged = musicnn.tag(reservoir.finish())
    for tagger in ("msd", "mtt"):
        embedding = average(tagged.embeddings[tagger])
        expected = synthetic_reference[f"{tagger}_embedding_mean_first8"]
        np.testing.assert_allclose(embedding[:8], expected, atol=1e-3)
        assert min(embedding) < 0


@pytest.mark.parametrize("clip", CLIPS)
async def test_real_audio(crew: Crew, shared_data: Path, clip: str) -> None:
    reference = json.loads((shared_data / "models" / "musicnn_reference.json").read_text())["clips"][f"{clip}.ogg"]
    analysis = await crew.analyse(shared_data / "audio" / f"{clip}.ogg")
    assert _worst(analysis.scores("msd"), reference["msd_hop187_mean"]) <= TOLERANCE
    assert _worst(analysis.scores("mtt"), reference["mtt"]) <= TOLERANCE + ROUNDING
    assert analysis.container == "ogg"
    assert analysis.warnings == ()
