"""From the 400 Discogs styles of the effnet pack to labels (TAXONOMY section 3): speech gate, styles, parents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.analysis import Analysis, Genre, PackName, Tag
from core.taxonomy import Publish, Taxonomy
from labeler.explain import Account
from labeler.rule import Bar, Objection
from labeler.thresholds import Thresholds

NON_MUSIC = "non-music"
FIELD_RECORDING = "non-music-field-recording"

# To keep is ours: four fifths of what it takes to be named, as with the ratios of step 7.
_GATE = Bar(floor=0.15, ratio_of_top=0.5, keep_floor=0.12, keep_ratio_of_top=0.4)


@dataclass(frozen=True, slots=True)
class EffnetConstants(Bar):
    """Beta: from the model's card and other people's use of it, fitted to nothing. Steps of TAXONOMY section 3."""

    gate_sum_of: int = 3  # (1) this many of the best Non-Music styles together ...
    gate: Bar = _GATE  # (1) ... and one is named if it reaches this
    min_top: float = 0.10  # (2) below it nothing new is said
    floor: float = 0.08  # (3)
    ratio_of_top: float = 0.5  # (3)
    keep_floor: float = 0.06  # ours: as much below the floor as musicnn's
    keep_ratio_of_top: float = 0.4  # (7)
    max_styles: int = 3  # (3) a parent without any of them counts as one
    stated_floor: float = 0.02  # (6)


BETA = EffnetConstants()
NO_THRESHOLDS = Thresholds("effnet")
_TOLD_FROM = 0.5  # what falls short of its bar by more than this factor is not worth an explanation


class EffnetRule:
    """The labeler.rule.Rule of the tagger `discogs`."""

    pack: PackName = "effnet"

    def __init__(
        self, taxonomy: Taxonomy, *, constants: EffnetConstants = BETA, thresholds: Thresholds = NO_THRESHOLDS
    ) -> None:
        self._taxonomy = taxonomy
        self._constants = constants
        self._thresholds = thresholds
        self._by_source = {style.source: style for style in taxonomy.styles.values()}

    def score(self, tags: Sequence[Tag]) -> tuple[Genre, ...]:
        """Styles with their own scores, parents with their best style's (step 4). KeyError for an unknown tag."""
        scores: dict[str, float] = {}
        for tag in tags:
            if tag.model == "discogs":
                style = self._by_source[tag.name]
                scores[style.identifier] = tag.score
                scores[style.parent] = max(scores.get(style.parent, 0.0), tag.score)
        # Of a parent and the style that it has its score from, the parent comes first.
        ranked = sorted(scores.items(), key=lambda scored: (-scored[1], scored[0]))
        return tuple(Genre(identifier, self._taxonomy.display(identifier), score) for identifier, score in ranked)

    def echoes(self, identifier: str, scores: Mapping[str, float]) -> bool:
        """The model knows every style: what is named must itself be heard (step 6), and be music."""
        heard = scores.get(identifier, 0.0) >= self._constants.stated_floor
        return heard and self._taxonomy.parent_of(identifier) != NON_MUSIC

    def what_speaks_against(self, analysis: Analysis, previous: Collection[str], account: Account) -> Objection | None:
        """`non_music`: the best Non-Music styles together reach the best style of music (step 1).

        An artist's word overrules it only where what was heard is a field recording: ambient music is often made of
        them, but a talk is no techno whatever its author writes.
        """
        constants = self._constants
        scores = {self._by_source[name]: score for name, score in analysis.scores("discogs").items()}
        music = max((score for style, score in scores.items() if style.parent != NON_MUSIC), default=0.0)
        others = sorted(
            ((style, score) for style, score in scores.items() if style.parent == NON_MUSIC), key=lambda pair: -pair[1]
        )
        total = sum(score for _, score in others[: constants.gate_sum_of])
        if total < music:
            account.note("non_music", "music is louder than what is none", non_music=total, music=music)
            return None
        account.note("non_music", "what is no music is as strong as the best of it", non_music=total, music=music)
        named = {style.identifier: score for style, score in others if style.publish is Publish.STYLE}
        labels: tuple[str, ...] = ()
        if total >= (constants.keep_floor if NON_MUSIC in previous else constants.min_top):
            labels = (NON_MUSIC, *self._name_non_music(named, previous))
        return Objection("non_music", labels, yields=bool(others) and others[0][0].identifier == FIELD_RECORDING)

    def _name_non_music(self, named: Mapping[str, float], previous: Collection[str]) -> list[str]:
        """At most one of the styles in `named` (best first): the live one while it holds, else the best."""
        top = max(named.values(), default=0.0)
        passing = [
            style for style, score in named.items() if score >= self._constants.gate.height(top, live=style in previous)
        ]
        return sorted(passing, key=lambda style: style not in previous)[:1]

    def choose(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str], account: Account
    ) -> tuple[str, ...]:
        """The best styles, each after its parent, and the live parents (steps 2 to 7)."""
        chosen: list[str] = []
        for label in self._rank(scores, stated, previous, account):
            more = list(dict.fromkeys((*chosen, self._taxonomy.parent_of(label), label)))
            told_by_style = {self._taxonomy.parent_of(one) for one in more if one in self._taxonomy.styles}
            if len({*more} - told_by_style) <= self._constants.max_styles:
                chosen = more
            else:
                account.note("places", "no place is left for it", label, places=self._constants.max_styles)
        return tuple(chosen)

    def _rank(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str], account: Account
    ) -> list[str]:
        """Labels that pass: the artist's own, the best style's, those that are live, newcomers; each best first.

        A parent passes by itself only if it is stated or live. A style that is not published speaks for its parent
        alone, so it takes no place that the parent has not. The artist's word leaves only its own parents.
        """
        constants, taxonomy = self._constants, self._taxonomy
        music = {
            identifier: score for identifier, score in scores.items() if taxonomy.parent_of(identifier) != NON_MUSIC
        }
        top = max(music.values(), default=0.0)
        if top < constants.min_top:
            account.note("min_top", "the best is too weak for anything new", top=top, needed=constants.min_top)
        parents = {taxonomy.parent_of(identifier) for identifier in stated}
        passing: set[str] = set()
        named: set[str] = set()
        best: str | None = None
        for identifier, score in music.items():
            parent, label = taxonomy.parent_of(identifier), self._speaks_for(identifier, stated)
            if label is None or (parents and parent not in parents):
                continue
            live, may_be_new = label in previous, identifier != parent and top >= constants.min_top
            if identifier in stated:
                named.add(label)
            elif not (live or may_be_new):
                continue
            else:
                needed = constants.height(top, live=live, floor=self._thresholds.floor(label))
                passes = score >= needed
                if passes or live or score >= _TOLD_FROM * needed:
                    account.note(
                        "bar", _weighed(identifier, label, passes, live), identifier, score=score, needed=needed
                    )
                if not passes:
                    continue
            passing.add(label)
            if best is None and identifier != parent:
                best = label
        ranked = [label for label in scores if label in passing]
        return sorted(ranked, key=lambda label: (label not in named, label != best, label not in previous))

    def _speaks_for(self, identifier: str, stated: Collection[str]) -> str | None:
        """The label that a score is for: its own, its parent's, or none. The artist's word needs no threshold."""
        publish, parent = self._taxonomy.publish_kind(identifier), self._taxonomy.parent_of(identifier)
        if publish is Publish.NEVER:
            return None
        if publish is Publish.STYLE and (identifier in stated or not self._thresholds.silences(identifier)):
            return identifier
        return None if self._thresholds.silences(parent) and parent not in stated else parent


def _weighed(identifier: str, label: str, passes: bool, live: bool) -> str:
    outcome = "passes" if passes else "too weak"
    if live:
        outcome = "is live and stays" if passes else "is live, and too weak to stay"
    return outcome if identifier == label else f"{outcome}, for {label} only"
