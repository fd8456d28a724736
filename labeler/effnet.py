"""From the 400 Discogs styles of the effnet pack to labels (TAXONOMY section 3): speech gate, styles, parents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.analysis import Analysis, Genre, Tag
from core.taxonomy import Publish, Style, Taxonomy
from labeler.rule import Bar, Objection

NON_MUSIC = "non-music"
FIELD_RECORDING = "non-music-field-recording"


@dataclass(frozen=True, slots=True)
class EffnetConstants(Bar):
    """Beta: from the model's card and other people's use of it, fitted to nothing. Steps of TAXONOMY section 3."""

    gate_sum_of: int = 3  # (1) this many of the best Non-Music styles together ...
    gate_style: float = 0.15  # (1) ... and one is named if it reaches this
    min_top: float = 0.10  # (2) below it nothing new is said
    floor: float = 0.08  # (3)
    ratio_of_top: float = 0.5  # (3)
    keep_floor: float = 0.06  # ours: as much below the floor as musicnn's
    keep_ratio_of_top: float = 0.4  # (7)
    max_styles: int = 3  # (3)
    stated_floor: float = 0.02  # (6)


BETA = EffnetConstants()


class EffnetRule:
    """The labeler.rule.Rule of the tagger `discogs`."""

    def __init__(self, taxonomy: Taxonomy, *, constants: EffnetConstants = BETA) -> None:
        self._taxonomy = taxonomy
        self._constants = constants
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

    def what_speaks_against(self, analysis: Analysis) -> Objection | None:
        """`non_music`: the best Non-Music styles together reach the best style of music (step 1).

        An artist's word overrules it only where what was heard is a field recording: ambient music is often made of
        them, but a talk is no techno whatever its author writes.
        """
        scores = {self._by_source[name]: score for name, score in analysis.scores("discogs").items()}
        music = max((score for style, score in scores.items() if style.parent != NON_MUSIC), default=0.0)
        others = sorted(
            ((style, score) for style, score in scores.items() if style.parent == NON_MUSIC), key=lambda pair: -pair[1]
        )
        total = sum(score for _, score in others[: self._constants.gate_sum_of])
        if total < music:
            return None
        named = [
            style.identifier
            for style, score in others
            if style.publish is Publish.STYLE and score >= self._constants.gate_style
        ]
        return Objection(
            "non_music",
            labels=(NON_MUSIC, *named[:1]) if total >= self._constants.min_top else (),
            yields=bool(others) and others[0][0].identifier == FIELD_RECORDING,
        )

    def choose(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str]
    ) -> tuple[str, ...]:
        """The best styles, each after its parent (steps 2 to 6). The artist's word leaves only its own parents."""
        named = sorted(self._taxonomy.parents.keys() & stated, key=lambda identifier: -scores[identifier])
        chosen = named[: self._constants.max_styles]
        for style in self._choose_styles(scores, stated, previous):
            if style.parent not in chosen:
                chosen.append(style.parent)
            if style.publish is Publish.STYLE:
                chosen.append(style.identifier)
        return tuple(chosen)

    def _choose_styles(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str]
    ) -> list[Style]:
        styles = [self._taxonomy.styles[identifier] for identifier in scores if identifier in self._taxonomy.styles]
        styles = [style for style in styles if style.parent != NON_MUSIC]
        top = max((scores[style.identifier] for style in styles), default=0.0)
        parents = {self._taxonomy.parent_of(identifier) for identifier in stated}

        def passes(style: Style) -> bool:
            if style.publish is Publish.NEVER or (parents and style.parent not in parents):
                return False
            if style.identifier in stated:
                return True
            live = (style.identifier if style.publish is Publish.STYLE else style.parent) in previous
            bar = self._constants.height(top, live=live)
            return (live or top >= self._constants.min_top) and scores[style.identifier] >= bar

        chosen = sorted(filter(passes, styles), key=lambda style: style.identifier not in stated)
        return chosen[: self._constants.max_styles]  # the artist's own first, then best first
