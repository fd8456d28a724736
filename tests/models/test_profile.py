"""Speech, music and voice, by either pack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.child.profile import Profile, describe_profile
from models.child.tagged import Tagged
from models.crew import Crew
from models.pack import tag_names


def _styles(*patches: dict[str, float], voice: float = np.nan) -> Tagged:
    names = tag_names("discogs")
    rows = np.full((len(patches), len(names)), 0.001, np.float32)
    for row, scores in zip(rows, patches, strict=True):
        for name, score in scores.items():
            row[names.index(name)] = score
    heads = np.full((len(patches), 7), np.nan, np.float32)
    heads[:, tag_names("heads").index("voice")] = voice
    return Tagged(np.arange(len(patches)) * 1.0, {"discogs": rows, "heads": heads}, {})


AUDIOBOOK = {
    "Non-Music---Audiobook": 0.21,
    "Non-Music---Spoken Word": 0.18,
    "Non-Music---Monolog": 0.12,
    "Pop---Ballad": 0.3,
}
FIELD = {"Non-Music---Field Recording": 0.5, "Electronic---Ambient": 0.3}
TECHNO = {"Electronic---Techno": 0.6, "Non-Music---Spoken Word": 0.1}
NOTHING = {"Electronic---Techno": 0.05}


def test_by_styles() -> None:
    found = describe_profile([_styles(AUDIOBOOK, AUDIOBOOK, FIELD, TECHNO, NOTHING, voice=0.75)])
    assert found == Profile(speech=pytest.approx(0.4), music=pytest.approx(0.2), voice=0.75)


def test_without_a_voice_head_musicnn_is_asked_and_else_speech_counts() -> None:
    mtt = np.zeros((5, 50), np.float32)
    mtt[:, tag_names("mtt").index("no vocals")] = 0.2
    mtt[:, tag_names("mtt").index("singing")] = 0.1
    musicnn = Tagged(np.zeros(5), {"msd": np.zeros((5, 50), np.float32), "mtt": mtt}, {})
    styles = _styles(AUDIOBOOK, AUDIOBOOK, FIELD, TECHNO, NOTHING)
    assert describe_profile([musicnn, styles]).voice == pytest.approx(1 / (1 + 2**2))
    assert describe_profile([styles]).voice == pytest.approx(0.4)
    assert describe_profile([musicnn]) == Profile(0.0, 0.0, pytest.approx(0.2))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("clip", "speech", "music", "voice"),
    [
        ("vibe-ace", (0, 0), (0.9, 1), (0, 0.3)),
        ("sugar-plum-fairy", (0, 0), (0.9, 1), (0, 0.4)),
        ("solo-trumpet", (0, 0), (1, 1), (0, 0.1)),
        ("humpback", (0, 0), (0, 0.3), (0, 1)),
        ("speech-a", (0.6, 1), (0, 0.2), (0.95, 1)),
        ("speech-b", (0.6, 1), (0, 0.2), (0.95, 1)),
    ],
)
async def test_by_tags_on_real_audio(
    crew: Crew,
    shared_data: Path,
    clip: str,
    speech: tuple[float, float],
    music: tuple[float, float],
    voice: tuple[float, float],
) -> None:
    found = (await crew.analyse(shared_data / "audio" / f"{clip}.ogg")).acoustics
    assert found is not None
    for value, (least, most) in ((found.speech, speech), (found.music, music), (found.voice, voice)):
        assert least <= value <= most
    assert found.speech + found.music <= 1
