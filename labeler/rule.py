"""What the policy asks of a pack's rule, and what the rules share. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.analysis import Analysis, Genre, PackName, Tag
from labeler.explain import Account


@dataclass(frozen=True, slots=True)
class Bar:
    """How high a score must be: on its own, and beside the best one. All 0..1; each pack's constants set them."""

    floor: float
    ratio_of_top: float
    keep_floor: float  # hysteresis: what is live already needs only this much, so that labels do not flicker
    keep_ratio_of_top: float

    def height(self, top: float, *, live: bool, floor: float | None = None) -> float:
        """The score that a genre needs where the best one has `top`; `floor` is a fitted one in place of ours."""
        own = self.floor if floor is None else floor
        if live:
            return max(own * self.keep_floor / self.floor, self.keep_ratio_of_top * top)
        return max(own, self.ratio_of_top * top)


@dataclass(frozen=True, slots=True)
class Objection:
    """Why an audio is not taken for music."""

    reason: str
    labels: tuple[str, ...] = ()  # what may be published of it all the same
    yields: bool = False  # an artist who names a genre overrules it


class Rule(Protocol):
    """From the tags of one pack to genres and labels. What is weighed is noted in the account."""

    @property
    def pack(self) -> PackName:
        """Whose tags it judges."""
        ...

    def score(self, tags: Sequence[Tag]) -> tuple[Genre, ...]:
        """Every parent and style that the tags speak for, best first."""
        ...

    def echoes(self, identifier: str, scores: Mapping[str, float]) -> bool:
        """Whether enough of what an artist names is heard in the audio."""
        ...

    def what_speaks_against(self, analysis: Analysis, previous: Collection[str], account: Account) -> Objection | None:
        """Why this is not taken for music, apart from silence; `previous` are live."""
        ...

    def choose(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str], account: Account
    ) -> tuple[str, ...]:
        """Identifiers to publish, the most important first; `stated` by the artist, `previous` are live."""
        ...
