"""What the policy asks of a pack's rule, and what the rules share. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.analysis import Analysis, Genre, Tag


@dataclass(frozen=True, slots=True)
class Bar:
    """How high a score must be: on its own, and beside the best one. All 0..1; each pack's constants set them."""

    floor: float
    ratio_of_top: float
    keep_floor: float  # hysteresis: what is live already needs only this much, so that labels do not flicker
    keep_ratio_of_top: float

    def height(self, top: float, *, live: bool) -> float:
        """The score that a genre needs where the best one has `top`."""
        if live:
            return max(self.keep_floor, self.keep_ratio_of_top * top)
        return max(self.floor, self.ratio_of_top * top)


@dataclass(frozen=True, slots=True)
class Objection:
    """Why an audio is not taken for music."""

    reason: str
    labels: tuple[str, ...] = ()  # what may be published of it all the same
    yields: bool = False  # an artist who names a genre overrules it


class Rule(Protocol):
    """From the tags of one pack to genres and labels."""

    def score(self, tags: Sequence[Tag]) -> tuple[Genre, ...]:
        """Every parent and style that the tags speak for, best first."""
        ...

    def echoes(self, identifier: str, scores: Mapping[str, float]) -> bool:
        """Whether enough of what an artist names is heard in the audio."""
        ...

    def what_speaks_against(self, analysis: Analysis, previous: Collection[str]) -> Objection | None:
        """Why this is not taken for music, apart from silence; `previous` are live."""
        ...

    def choose(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str]
    ) -> tuple[str, ...]:
        """Identifiers to publish, the most important first; `stated` by the artist, `previous` are live."""
        ...
