"""From an analysis to a verdict: which labels ought to be live on a track, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from core.analysis import Analysis, Verdict, VerdictStatus
from core.taxonomy import Publish, Taxonomy
from labeler.musicnn import BETA, MusicnnConstants, TagMapping, score_genres, what_speaks_against

MAX_LABELS = 5  # TAXONOMY section 3.4
GENRES_SHOWN = 10  # what the API and the CLI show of the scores before policy
ADULT_SELF_LABELS = frozenset({"porn", "sexual", "nudity", "graphic-media"})


class Policy:
    """The rule of POLICY-MUSICNN.md, with the rules that hold for every pack from TAXONOMY.md section 3.

    Style labels are off by default: there is no evidence yet about styles from musicnn.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        mapping: TagMapping,
        *,
        constants: MusicnnConstants = BETA,
        publish_styles: bool = False,
    ) -> None:
        self._taxonomy = taxonomy
        self._mapping = mapping
        self._constants = constants
        self._publish_styles = publish_styles

    def judge(
        self,
        analysis: Analysis,
        *,
        author_tags: Sequence[str] = (),
        self_labels: Sequence[str] = (),
        previous: Collection[str] = (),
    ) -> Verdict:
        """The verdict on one track.

        `author_tags` are the artist's own words; `self_labels` those of the record; `previous` the identifiers
        now live for the same audio (hysteresis; empty when the audio changed). Raises ValueError for an
        analysis of a pack that this policy does not know.
        """
        if analysis.pack != "musicnn":
            raise ValueError(f"no policy for the pack {analysis.pack!r}")
        genres = score_genres(analysis.tags, self._mapping, self._taxonomy, self._constants)
        shown = genres[:GENRES_SHOWN]
        if ADULT_SELF_LABELS.intersection(self_labels):
            return Verdict(VerdictStatus.REFUSED, reason="self_label", genres=shown)
        scores = {genre.identifier: genre.score for genre in genres}
        stated = self._stated(scores, author_tags)
        objection = what_speaks_against(analysis, self._mapping, self._constants)
        # An artist who names a genre knows better than our ears whether a drone is music; speech stays speech.
        if objection is not None and not (objection == "no_music_heard" and stated):
            return Verdict(VerdictStatus.UNDECIDED, reason=objection, genres=shown)
        labels = self._choose(scores, stated, previous)
        if not labels:
            return Verdict(VerdictStatus.UNDECIDED, reason="low_scores", genres=shown, rankable=True)
        return Verdict(VerdictStatus.OK, labels, genres=shown, rankable=True)

    def _choose(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str]
    ) -> tuple[str, ...]:
        """Identifiers to publish: parents best first, then styles beneath them."""
        parents = self._choose_parents(
            scores, {self._taxonomy.parent_of(identifier) for identifier in stated}, previous
        )
        styles = self._choose_styles(scores, parents, stated, previous) if self._publish_styles else ()
        return (*parents, *styles)[:MAX_LABELS]

    def _stated(self, scores: Mapping[str, float], author_tags: Sequence[str]) -> set[str]:
        """Genres that the artist names and the audio does not contradict."""
        named = {self._taxonomy.identify(tag) for tag in author_tags}
        return {
            identifier
            for identifier in named
            if identifier is not None
            and self._taxonomy.publish_kind(identifier) is not Publish.NEVER
            and scores.get(self._taxonomy.parent_of(identifier), 0.0) >= self._constants.stated_floor
        }

    def _choose_parents(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str]
    ) -> tuple[str, ...]:
        """The artist's word replaces ours; without it, the floor and the ratio to the best decide (step 6)."""
        parents = [(identifier, score) for identifier, score in scores.items() if identifier in self._taxonomy.parents]
        chosen = [identifier for identifier, _ in parents if identifier in stated]
        if not chosen:
            top = max((score for _, score in parents), default=0.0)
            chosen = [
                identifier for identifier, score in parents if score >= self._bar(top, live=identifier in previous)
            ]
        return tuple(chosen[: self._constants.max_parents])

    def _bar(self, top: float, *, live: bool) -> float:
        """The score that a genre needs: less if its label is live already, so that labels do not flicker."""
        constants = self._constants
        if live:
            return max(constants.keep_floor, constants.keep_ratio_of_top * top)
        return max(constants.floor, constants.ratio_of_top * top)

    def _choose_styles(
        self, scores: Mapping[str, float], parents: Collection[str], stated: Collection[str], previous: Collection[str]
    ) -> tuple[str, ...]:
        """Styles beneath a published parent, the artist's own first (step 7)."""
        top = max(scores.values(), default=0.0)

        def passes(identifier: str, score: float) -> bool:
            if identifier in stated:
                return score >= self._constants.stated_floor
            if identifier in previous:
                return score >= self._bar(top, live=True)
            both = self._mapping.knowing(identifier) == 2
            return score >= (self._constants.style_floor_both if both else self._constants.style_floor_one)

        chosen = [
            style
            for style in map(self._taxonomy.styles.get, scores)
            if style is not None
            and style.parent in parents
            and style.publish is Publish.STYLE
            and passes(style.identifier, scores[style.identifier])
        ]
        chosen.sort(key=lambda style: style.identifier not in stated)  # stable: best first within each
        return tuple(style.identifier for style in chosen[: self._constants.max_styles])
