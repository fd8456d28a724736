"""How much of a track sounds like speech, how much like music, and whether somebody sings or speaks.

By effnet where it listens: the gate of TAXONOMY section 3 patch by patch, and the voice head. By musicnn otherwise:

- Speech is what MSD calls hip-hop without the drums that MTT would hear (POLICY-MUSICNN, rule 2). Patch by patch it
  found .60 to 1 of two read and five synthetic speech clips and none of 10 pieces of music.
- Music is where MTT names an instrument or a genre at .17 or more.
- Voice weighs MTT's strongest vocal tag p against its strongest "no vocals" tag n, track means both: 1 / (1 + (n/p)^2),
  the logistic of twice the log odds. Instrumental music came out at .0 to .3, speech at .97 and more, the whale at .8;
  singing was not measured. None of this is calibrated on labelled audio: beta.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.analysis import TaggerName
from models.child.tagged import Rows, Tagged
from models.pack import tag_names

_LEAST_STYLE = 0.10  # the best style of a patch that sounds like any music (TAXONOMY section 3, min_top)
_GATE_STYLES = 3
_NON_MUSIC = "Non-Music---"
_NOT_SPEECH = "Non-Music---Field Recording"

_HIP_HOP, _DRUMS = 0.10, 0.15
_DRUM_TAGS = ("beat", "beats", "drums")
_LEAST_MUSIC_TAG = 0.17
_MUSIC_TAGS = (
    *("guitar", "classical", "techno", "strings", "drums", "electronic", "rock", "piano", "ambient", "beat", "violin"),
    *("synth", "indian", "opera", "harpsichord", "flute", "pop", "sitar", "classic", "choir", "new age", "dance"),
    *("beats", "harp", "cello", "country", "metal", "choral"),
)
_VOCAL_TAGS = (
    *("vocal", "vocals", "voice", "singing", "female", "male", "woman", "man", "female vocal", "male vocal"),
    *("female voice", "male voice", "choir", "choral", "opera"),
)
_INSTRUMENTAL_TAGS = ("no vocal", "no vocals", "no voice")


class Profile(NamedTuple):
    """All 0..1; `speech` and `music` are shares of the patches, the rest is neither."""

    speech: float
    music: float
    voice: float


def describe_profile(packs: Sequence[Tagged]) -> Profile:
    """By effnet where it listened, else by musicnn; one of them always does (models.pack.choose)."""
    scores: dict[TaggerName, Rows] = {name: rows for tagged in packs for name, rows in tagged.scores.items()}
    speech, music = _by_styles(scores["discogs"]) if "discogs" in scores else _by_tags(scores["msd"], scores["mtt"])
    heads = scores.get("heads")
    if heads is not None and not np.isnan(voice := float(heads[:, tag_names("heads").index("voice")].mean())):
        return Profile(speech, music, voice)
    # Without either tagger of voices, who speaks has one; whether somebody sings is not known.
    return Profile(speech, music, _voice_by_tags(scores["mtt"]) if "mtt" in scores else speech)


def _by_styles(styles: Rows) -> tuple[float, float]:
    names = np.array(tag_names("discogs"))
    other = np.char.startswith(names, _NON_MUSIC)
    best_music = styles[:, ~other].max(axis=1)
    gated = np.sort(styles[:, other], axis=1)[:, -_GATE_STYLES:].sum(axis=1) >= best_music
    spoken = names[other][styles[:, other].argmax(axis=1)] != _NOT_SPEECH
    return _share(gated & spoken), _share(~gated & (best_music >= _LEAST_STYLE))


def _by_tags(msd: Rows, mtt: Rows) -> tuple[float, float]:
    hip_hop = msd[:, tag_names("msd").index("Hip-Hop")]
    speech = (hip_hop >= _HIP_HOP) & (_strongest(mtt, _DRUM_TAGS) < _DRUMS)
    return _share(speech), _share(~speech & (_strongest(mtt, _MUSIC_TAGS) >= _LEAST_MUSIC_TAG))


def _voice_by_tags(mtt: Rows) -> float:
    mean = mtt.mean(axis=0, keepdims=True)
    vocal, instrumental = float(_strongest(mean, _VOCAL_TAGS)[0]), float(_strongest(mean, _INSTRUMENTAL_TAGS)[0])
    return 1 / (1 + (instrumental / max(vocal, 1e-6)) ** 2)


def _strongest(mtt: Rows, tags: Collection[str]) -> Rows:
    rows: Rows = mtt[:, _columns(tuple(tags))].max(axis=1)
    return rows


@cache
def _columns(tags: tuple[str, ...]) -> NDArray[np.int64]:
    names = tag_names("mtt")
    return np.array([names.index(tag) for tag in tags])


def _share(patches: NDArray[np.bool_]) -> float:
    return float(patches.mean())
