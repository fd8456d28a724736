"""How right a policy is on tracks whose genres somebody knows, and thresholds that make it right often enough. Pure.

Folders name few genres. What a track's owner did not say is not held against a label: that somebody calls a track
"Rock" tells nothing of the styles beneath Rock, while it does tell that the track is no jazz.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.analysis import Analysis
from core.taxonomy import Taxonomy
from labeler.policy import Policy
from labeler.thresholds import Thresholds

PRECISION = 0.6  # TAXONOMY section 3: what is published ought to be right so often
MIN_POSITIVES = 20  # TAXONOMY section 3: fewer examples of a style say nothing; its parent speaks for it
MIN_PUBLISHED = 5  # ours: how often fewer labels than that are right is chance
_ANY = 1e-6  # a floor that lets everything through that the ratios let through
_STEP = 1e4  # thresholds have four decimals

PolicyWith = Callable[[Thresholds], Policy]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A track that was heard, and the genres that its owner gives it (identifiers; parents follow from styles)."""

    analysis: Analysis
    genres: frozenset[str]


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How one label does. `judged`: tracks that got it and of which is known whether they should have."""

    identifier: str
    positives: int
    judged: int
    right: int

    @property
    def precision(self) -> float | None:
        return self.right / self.judged if self.judged else None

    @property
    def found(self) -> float | None:
        """Share of the tracks that should have it which got it."""
        return self.right / self.positives if self.positives else None


@dataclass(frozen=True, slots=True)
class Measure:
    """How a policy does. Shares are 0..1 of the tracks, None without any."""

    tracks: int
    labelled: int
    undecided: int
    refused: int
    judged: int  # labels published of which is known whether they are right
    right: int
    top_ten: float | None  # share of the style labels that the ten most frequent styles have (TAXONOMY: below 0.5)
    labels: tuple[LabelScore, ...]  # those that were expected or published

    @property
    def precision(self) -> float | None:
        return self.right / self.judged if self.judged else None


def measure(known: Sequence[Known], policy: Policy, taxonomy: Taxonomy) -> Measure:
    """Judge every track as if it had just been published."""
    verdicts = [policy.judge(one.analysis) for one in known]
    expected = [_with_parents(one.genres, taxonomy) for one in known]
    rows = []
    for identifier in taxonomy.identifiers:
        positives = sum(identifier in genres for genres in expected)
        got = [
            identifier in genres
            for genres, verdict in zip(expected, verdicts, strict=True)
            if identifier in verdict.labels and _tells(genres, identifier, taxonomy)
        ]
        published = sum(identifier in verdict.labels for verdict in verdicts)
        if positives or published:
            rows.append(LabelScore(identifier, positives, len(got), sum(got)))
    styles = [label for verdict in verdicts for label in verdict.labels if label in taxonomy.styles]
    often = sorted((styles.count(style) for style in set(styles)), reverse=True)
    statuses = [verdict.status.value for verdict in verdicts]
    return Measure(
        tracks=len(known),
        labelled=sum(bool(verdict.labels) for verdict in verdicts),
        undecided=statuses.count("undecided"),
        refused=statuses.count("refused"),
        judged=sum(row.judged for row in rows),
        right=sum(row.right for row in rows),
        top_ten=sum(often[:10]) / len(styles) if styles else None,
        labels=tuple(rows),
    )


def fit(known: Sequence[Known], policy_with: PolicyWith, taxonomy: Taxonomy, *, pack: str) -> Thresholds:
    """The lowest thresholds at which labels of this pack are right often enough on these tracks.

    A style with too few examples, or that no threshold makes right often enough, speaks for its parent only; such a
    parent is not published, or with too few examples keeps the built-in floor.
    """
    open_to_all = policy_with(Thresholds(pack, dict.fromkeys(taxonomy.identifiers, _ANY)))
    expected = [_with_parents(one.genres, taxonomy) for one in known]
    explained = [open_to_all.explain(one.analysis) for one in known]
    scores = [{genre.identifier: genre.score for genre in one.scores} for one in explained]
    floors: dict[str, float | None] = {}
    for identifier in sorted({identifier for of_one in scores for identifier in of_one}):
        if sum(identifier in genres for genres in expected) < MIN_POSITIVES:
            if identifier in taxonomy.styles:
                floors[identifier] = None
            continue
        candidates = [
            (of_one[identifier], identifier in genres)
            for genres, of_one, one in zip(expected, scores, explained, strict=True)
            if identifier in one.verdict.labels and _tells(genres, identifier, taxonomy)
        ]
        floors[identifier] = _lowest(candidates)
    return Thresholds(pack, floors)


def _lowest(candidates: Iterable[tuple[float, bool]]) -> float | None:
    """The lowest score from which on candidates are right often enough; None if there is none."""
    by_score: dict[float, list[bool]] = {}
    for score, right in candidates:
        by_score.setdefault(max(1.0, math.floor(score * _STEP)) / _STEP, []).append(right)
    passed = right_ones = 0
    lowest = None
    for score in sorted(by_score, reverse=True):
        passed += len(by_score[score])
        right_ones += sum(by_score[score])
        if passed >= MIN_PUBLISHED and right_ones >= PRECISION * passed:
            lowest = score
    return lowest


def _with_parents(genres: Iterable[str], taxonomy: Taxonomy) -> frozenset[str]:
    return frozenset(one for genre in genres for one in (genre, taxonomy.parent_of(genre)))


def _tells(genres: frozenset[str], identifier: str, taxonomy: Taxonomy) -> bool:
    """Whether what is known of a track says if this label is right."""
    parent = taxonomy.parent_of(identifier)
    if identifier in genres or identifier == parent or parent not in genres:
        return True
    return any(genre in taxonomy.styles and taxonomy.parent_of(genre) == parent for genre in genres)


def tell(found: Measure, floors: Mapping[str, float | None] | None = None) -> dict[str, object]:
    """A measure as JSON; `floors` adds each label's threshold (null: it is not published by itself)."""

    def share(count: int) -> float | None:
        return round(count / found.tracks, 4) if found.tracks else None

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return {
        "tracks": found.tracks,
        "precision": rounded(found.precision),
        "share_labelled": share(found.labelled),
        "share_undecided": share(found.undecided),
        "share_refused": share(found.refused),
        "top_ten_styles": rounded(found.top_ten),
        "labels": [
            {
                "label": row.identifier,
                "positives": row.positives,
                "judged": row.judged,
                "right": row.right,
                "precision": rounded(row.precision),
                "found": rounded(row.found),
            }
            | ({} if floors is None or row.identifier not in floors else {"threshold": floors[row.identifier]})
            for row in found.labels
        ],
    }
