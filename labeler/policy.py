"""From an analysis to a verdict: which labels ought to be live on a track, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from core.analysis import Analysis, Genre, Segment, Tag, Verdict, VerdictStatus
from core.taxonomy import Publish, Taxonomy
from labeler.effnet import EffnetRule
from labeler.musicnn import MusicnnRule, TagMapping
from labeler.rule import Rule

MAX_LABELS = 5  # TAXONOMY section 3.4
GENRES_SHOWN = 10  # what the API and the CLI show of the scores, whether or not they become labels
SEGMENT_GENRES = 3
SEGMENT_FLOOR = 0.10  # beta, 0..1: what is weaker says nothing about a stretch
SILENCE_RMS_DBFS = -60.0  # POLICY-MUSICNN step 1: true of every pack, none was trained on nothing
ADULT_SELF_LABELS = frozenset({"porn", "sexual", "nudity", "graphic-media"})


class Policy:
    """What holds whichever pack listened. The rest is its own rule's: effnet's if it listened, else musicnn's."""

    def __init__(self, taxonomy: Taxonomy, mapping: TagMapping, *, publish_styles: bool = False) -> None:
        """`publish_styles` concerns musicnn, whose styles are untested; effnet is made of styles."""
        self._taxonomy = taxonomy
        self._musicnn = MusicnnRule(taxonomy, mapping, publish_styles=publish_styles)
        self._effnet = EffnetRule(taxonomy)

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
        analysis in which no tagger of genres took part.
        """
        rule = self._rule_for(analysis.tags)
        if rule is None:
            raise ValueError(f"no rule for genres from {', '.join(analysis.packs)}")
        genres = rule.score(analysis.tags)
        shown = self._keep_publishable(genres)[:GENRES_SHOWN]
        if ADULT_SELF_LABELS.intersection(self_labels):
            return Verdict(VerdictStatus.REFUSED, reason="self_label", genres=shown)
        if analysis.rms_dbfs < SILENCE_RMS_DBFS:
            return Verdict(VerdictStatus.UNDECIDED, reason="silence", genres=shown)
        scores = {genre.identifier: genre.score for genre in genres}
        stated = self._stated(rule, scores, author_tags)
        objection = rule.what_speaks_against(analysis, previous)
        if objection is not None and not (objection.yields and stated):
            status = VerdictStatus.OK if objection.labels else VerdictStatus.UNDECIDED
            return Verdict(status, objection.labels, reason=objection.reason, genres=shown)
        labels = rule.choose(scores, stated, previous)[:MAX_LABELS]
        if not labels:
            return Verdict(VerdictStatus.UNDECIDED, reason="low_scores", genres=shown, rankable=True)
        return Verdict(VerdictStatus.OK, labels, genres=shown, rankable=True)

    def describe(self, segment: Segment) -> tuple[Genre, ...]:
        """The strongest genres of a stretch of a long track, for people: at most three, and none that is faint.

        A parent that is no stronger than one of its own styles among them says nothing more and is left out.
        """
        rule = self._rule_for(segment.tags)
        scored = rule.score(segment.tags) if rule is not None else ()
        genres = [genre for genre in self._keep_publishable(scored) if genre.score >= SEGMENT_FLOOR]
        styles = [genre for genre in genres if genre.identifier in self._taxonomy.styles]
        told_by_style = {self._taxonomy.parent_of(style.identifier): style.score for style in reversed(styles)}
        told = [genre for genre in genres if genre.score > told_by_style.get(genre.identifier, 0.0)]
        return tuple(told[:SEGMENT_GENRES])

    def _keep_publishable(self, genres: Sequence[Genre]) -> tuple[Genre, ...]:
        """What people may be shown: a style that no label may name is not named elsewhere either."""
        return tuple(genre for genre in genres if self._taxonomy.publish_kind(genre.identifier) is Publish.STYLE)

    def _rule_for(self, tags: Sequence[Tag]) -> Rule | None:
        """None where no tagger of genres heard anything."""
        heard = {tag.model for tag in tags}
        if "discogs" in heard:
            return self._effnet
        return self._musicnn if heard & {"msd", "mtt"} else None

    def _stated(self, rule: Rule, scores: Mapping[str, float], author_tags: Sequence[str]) -> set[str]:
        """Genres that the artist names and the audio does not contradict."""
        named = {self._taxonomy.identify(tag) for tag in author_tags}
        return {
            identifier
            for identifier in named
            if identifier is not None
            and self._taxonomy.publish_kind(identifier) is not Publish.NEVER
            and rule.echoes(identifier, scores)
        }
