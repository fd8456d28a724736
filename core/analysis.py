"""What listening yields (Analysis) and what the policy makes of it (Verdict)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
TaggerName = Literal["msd", "mtt"]


class Space(StrEnum):
    """Vector spaces that an analysis can fill. The name says which pack made it."""

    MUSICNN_SOUND = "musicnn-sound"  # f32 [400], L2-normalised: sound-alike (POLICY-MUSICNN)
    MUSICNN_TAGS = "musicnn-tags"  # f32 [100], clipped z-scores, not normalised: moods by inner product


@dataclass(frozen=True, slots=True)
class Tag:
    """One output of a tagger: mean over patches of a sigmoid, 0..1."""

    name: str
    model: TaggerName
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Everything that listening to one audio yields. Keyed by (audio key, pack hash) in the store."""

    pack: str
    pack_hash: str
    duration_seconds: float  # decoded, not declared
    rms_dbfs: float  # of the 16 kHz mono signal; -inf is stored as -200.0
    tags: tuple[Tag, ...]  # 50 msd, then 50 mtt, in the packs' order
    vectors: dict[Space, Vector]
    warnings: tuple[str, ...] = ()
    container: str = ""  # what the bytes are, e.g. "mp3", "ogg"

    def scores(self, model: TaggerName) -> dict[str, float]:
        """Tag name to mean score of one tagger."""
        return {tag.name: tag.score for tag in self.tags if tag.model == model}


@dataclass(frozen=True, slots=True)
class Genre:
    """A scored identifier of the taxonomy. Parents and styles alike; score 0..1."""

    identifier: str
    display: str
    score: float


class VerdictStatus(StrEnum):
    OK = "ok"
    UNDECIDED = "undecided"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The labels that ought to be live on a subject now, and why. An empty set negates what is live."""

    status: VerdictStatus
    labels: tuple[str, ...] = ()  # identifiers, at most 5
    reason: str | None = None
    genres: tuple[Genre, ...] = ()  # the 10 best before policy
    notes: tuple[str, ...] = ()  # what was odd about the audio, for people
    rankable: bool = False  # whether mood feeds may show the track: music, analysed, nothing against it
