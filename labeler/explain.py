"""What a judgement weighed, step by step. The policy notes it while it judges, so nothing is decided twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.analysis import Genre, Verdict


@dataclass(frozen=True, slots=True)
class Step:
    """One rule applied. `numbers` are those that it compared, by name; scores and bars are 0..1."""

    rule: str  # a stable word, such as "silence" or "bar"
    outcome: str  # for people
    label: str | None = None  # the identifier that it is about, if it is about one
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict, the scores that it started from (all that the rule knows, best first) and every step between."""

    pack: str
    verdict: Verdict
    scores: tuple[Genre, ...]
    steps: tuple[Step, ...]


class Account:
    """The steps of one judgement, in order."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def note(self, rule: str, outcome: str, label: str | None = None, **numbers: float) -> None:
        """A rule was applied."""
        self.steps.append(Step(rule, outcome, label, numbers))
