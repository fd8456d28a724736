"""What listening yields (Analysis) and what the policy makes of it (Verdict)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
PackName = Literal["musicnn", "effnet", "clap"]
TaggerName = Literal["msd", "mtt", "discogs", "moodtheme", "heads"]
PACK_OF_TAGGER: Mapping[TaggerName, PackName] = {
    "msd": "musicnn",  # 50 Million Song Dataset tags
    "mtt": "musicnn",  # 50 MagnaTagATune tags
    "discogs": "effnet",  # 400 Discogs styles, named as in discogs400: "Electronic---Ambient"
    "moodtheme": "effnet",  # 56 Jamendo moods and themes
    "heads": "effnet",  # two-class heads, the positive class of each: "danceability", "voice"
}
LISTENING = "3"  # raised whenever the same packs would yield another analysis (front ends, pooling, acoustics)


class Space(StrEnum):
    """Vector spaces that an analysis can fill. The name says which pack made it."""

    MUSICNN_SOUND = "musicnn-sound"  # f32 [400], L2-normalised: sound-alike (POLICY-MUSICNN)
    MUSICNN_TAGS = "musicnn-tags"  # f32 [100], clipped z-scores, not normalised: moods by inner product
    EFFNET_SOUND = "effnet-sound"  # f32 [1280], L2-normalised: sound-alike
    EFFNET_TAGS = "effnet-tags"  # f32 [457], scores as they are (models.styles): styles, moods, voice
    CLAP = "clap"  # f32 [512], L2-normalised: shared by audio and text

    @property
    def pack(self) -> PackName:
        """The pack that fills it."""
        return _PACK_OF_SPACE[self]


_PACK_OF_SPACE: Mapping[Space, PackName] = {
    Space.MUSICNN_SOUND: "musicnn",
    Space.MUSICNN_TAGS: "musicnn",
    Space.EFFNET_SOUND: "effnet",
    Space.EFFNET_TAGS: "effnet",
    Space.CLAP: "clap",
}
DIMENSIONS: Mapping[Space, int] = {
    Space.MUSICNN_SOUND: 400,
    Space.MUSICNN_TAGS: 100,
    Space.EFFNET_SOUND: 1280,
    Space.EFFNET_TAGS: 457,
    Space.CLAP: 512,
}


@dataclass(frozen=True, slots=True)
class Tag:
    """One output of a tagger: mean over patches of a sigmoid, 0..1."""

    name: str
    model: TaggerName
    score: float


SILENCE_DBFS = -60.0  # RMS below which nothing is heard (POLICY-MUSICNN, rule 1)
BPM_SHOWN_FROM = 0.15  # confidence (MODELS section 6)
KEY_SHOWN_FROM = 0.10  # margin to the second key (MODELS section 6)


@dataclass(frozen=True, slots=True)
class Acoustics:
    """What is measured rather than recognised. Never a label; in the API and for the rules of feeds."""

    bpm: float | None  # beats a minute; None where nothing repeats
    bpm_confidence: float  # 0..1
    key: str | None  # tonic: C, C#, D ... B; None where there is no pitch
    mode: Literal["major", "minor"] | None
    key_confidence: float  # margin of the best key's correlation to the second one's, 0..2
    loudness_lufs: float | None  # integrated, ITU-R BS.1770; None: never above the absolute gate of -70
    loudness_range_lu: float | None  # EBU Tech 3342; None where it is not defined
    sample_peak_dbfs: float  # -200.0 stands for digital silence
    true_peak_dbtp: float  # 4x oversampled, BS.1770 annex 2
    clipped: float  # 0..1, share of the samples in runs at full scale
    peaks: bytes  # 800 waveform peaks of equal time, 0..255 of full scale
    channels: int
    sample_rate: int  # Hz
    speech: float  # 0..1, share of the patches that sound like speech
    music: float  # 0..1, share of the patches that sound like music; the rest is neither
    voice: float  # 0..1, how likely somebody sings or speaks; 0 is instrumental

    @property
    def shown_bpm(self) -> float | None:
        """The tempo if it may be published."""
        return self.bpm if self.bpm_confidence >= BPM_SHOWN_FROM else None

    @property
    def shown_key(self) -> str | None:
        """Such as "F# minor", if it may be published."""
        if self.key is None or self.mode is None or self.key_confidence < KEY_SHOWN_FROM:
            return None
        return f"{self.key} {self.mode}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a long track and the strongest tags in it, so that a mix can be described over time."""

    start_seconds: float
    end_seconds: float
    tags: tuple[Tag, ...]  # strongest first within each tagger


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Everything that listening to one audio yields. Keyed by (audio key, generation) in the store."""

    packs: Mapping[str, str]  # name -> pack hash, of all packs that listened
    duration_seconds: float  # decoded, not declared
    rms_dbfs: float  # of the 16 kHz mono signal; -inf is stored as -200.0
    tags: tuple[Tag, ...]  # tagger by tagger in the order of TaggerName, each in its pack's label order
    vectors: dict[Space, Vector]
    acoustics: Acoustics | None = None  # None only in analyses of earlier versions
    segments: tuple[Segment, ...] = ()  # of tracks over 15 minutes
    warnings: tuple[str, ...] = ()
    container: str = ""  # what the bytes are, e.g. "mp3", "ogg"

    @property
    def generation(self) -> str:
        """What tells analyses apart that cannot be compared."""
        return generation_of(self.packs)

    def scores(self, model: TaggerName) -> dict[str, float]:
        """Tag name to mean score of one tagger; empty if its pack did not listen."""
        return {tag.name: tag.score for tag in self.tags if tag.model == model}

    def only(self, packs: Mapping[str, str]) -> Analysis:
        """What these packs contributed. Raises KeyError unless all of them listened, in these versions.

        Acoustics stay as they are: `speech`, `music` and `voice` come from the best of all packs that listened.
        """
        if any(self.packs.get(name) != pack_hash for name, pack_hash in packs.items()):
            raise KeyError(f"not all of {', '.join(packs)} listened")
        return replace(
            self,
            packs=dict(packs),
            tags=tuple(tag for tag in self.tags if PACK_OF_TAGGER[tag.model] in packs),
            vectors={space: vector for space, vector in self.vectors.items() if space.pack in packs},
            segments=tuple(
                replace(segment, tags=tuple(tag for tag in segment.tags if PACK_OF_TAGGER[tag.model] in packs))
                for segment in self.segments
            ),
        )


def generation_of(packs: Mapping[str, str]) -> str:
    """SHA-256 (hex) over the packs' names and hashes and our own version of listening."""
    lines = f"listening {LISTENING}\n" + "".join(f"{name} {packs[name]}\n" for name in sorted(packs))
    return hashlib.sha256(lines.encode()).hexdigest()


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


EVERYTHING = "*"  # in place of an identifier: all of them


@dataclass(frozen=True, slots=True)
class Ruling:
    """What people have said about the labels of one record, whatever is heard in it. Identifiers all.

    `denied` are never live on it; `stated` are its artist's own genres and win over what is heard; `withheld` is what
    the operator keeps back, whoever states it (EVERYTHING: all of it).
    """

    denied: frozenset[str] = frozenset()
    stated: tuple[str, ...] = ()
    withheld: frozenset[str] = frozenset()


NO_RULING = Ruling()
