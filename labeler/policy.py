"""From an analysis to a verdict: which labels ought to be live on a track, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from core.analysis import NO_RULING, SILENCE_DBFS, Analysis, Genre, Ruling, Segment, Tag, Verdict, VerdictStatus
from core.taxonomy import Publish, Taxonomy
from labeler.effnet import EffnetRule
from labeler.explain import Account, Explanation
from labeler.musicnn import MusicnnRule, TagMapping
from labeler.rule import Objection, Rule
from labeler.said import Said
from labeler.thresholds import Thresholds

MAX_LABELS = 5  # TAXONOMY section 3.4
GENRES_SHOWN = 10  # what the API and the CLI show of the scores, whether or not they become labels
SEGMENT_GENRES = 3
SEGMENT_FLOOR = 0.10  # beta, 0..1: what is weaker says nothing about a stretch
NO_THRESHOLDS = Thresholds()
ADULT_SELF_LABELS = frozenset({"porn", "sexual", "nudity", "graphic-media"})


class Policy:
    """What holds whichever pack listened. The rest is its own rule's: effnet's if it listened, else musicnn's."""

    def __init__(
        self,
        taxonomy: Taxonomy,
        mapping: TagMapping,
        *,
        publish_styles: bool = False,
        thresholds: Thresholds = NO_THRESHOLDS,
    ) -> None:
        """`publish_styles` concerns musicnn, whose styles are untested; effnet is made of styles."""
        self._taxonomy = taxonomy
        self._musicnn = MusicnnRule(
            taxonomy, mapping, publish_styles=publish_styles, thresholds=thresholds.of("musicnn")
        )
        self._effnet = EffnetRule(taxonomy, thresholds=thresholds.of("effnet"))

    def judge(
        self,
        analysis: Analysis,
        *,
        author_tags: Sequence[str] = (),
        self_labels: Sequence[str] = (),
        previous: Collection[str] = (),
        ruling: Ruling = NO_RULING,
    ) -> Verdict:
        """The verdict on one track.

        `author_tags` are the artist's own words; `self_labels` those of the record; `previous` the identifiers
        now live for the same audio (hysteresis; empty when the audio changed); `ruling` what people have said about
        its labels. Raises ValueError for an analysis in which no tagger of genres took part.
        """
        return self.explain(
            analysis, author_tags=author_tags, self_labels=self_labels, previous=previous, ruling=ruling
        ).verdict

    def explain(
        self,
        analysis: Analysis,
        *,
        author_tags: Sequence[str] = (),
        self_labels: Sequence[str] = (),
        previous: Collection[str] = (),
        ruling: Ruling = NO_RULING,
    ) -> Explanation:
        """The same verdict, and how it came about."""
        rule = self._rule_for(analysis.tags)
        if rule is None:
            raise ValueError(f"no rule for genres from {', '.join(analysis.packs)}")
        genres = rule.score(analysis.tags)
        account = Account()
        verdict = self._weigh(rule, genres, analysis, author_tags, self_labels, previous, ruling, account)
        return Explanation(rule.pack, verdict, genres, tuple(account.steps))

    def _weigh(
        self,
        rule: Rule,
        genres: Sequence[Genre],
        analysis: Analysis,
        author_tags: Sequence[str],
        self_labels: Sequence[str],
        previous: Collection[str],
        ruling: Ruling,
        account: Account,
    ) -> Verdict:
        shown = self._keep_publishable(genres)[:GENRES_SHOWN]
        adult = sorted(ADULT_SELF_LABELS.intersection(self_labels))
        if adult:
            account.note("self_label", f"its artist labels it {', '.join(adult)}: refused")
            return Verdict(VerdictStatus.REFUSED, reason="self_label", genres=shown)
        if analysis.rms_dbfs < SILENCE_DBFS:  # true of every pack: none was trained on nothing
            account.note("silence", "nothing is heard", rms_dbfs=analysis.rms_dbfs, needed=SILENCE_DBFS)
            return Verdict(VerdictStatus.UNDECIDED, reason="silence", genres=shown)
        scores = {genre.identifier: genre.score for genre in genres}
        said = Said(self._taxonomy, ruling)
        stated = self._echoed(rule, scores, author_tags, said, account)
        objection = rule.what_speaks_against(analysis, previous, account)
        if objection is not None and not (objection.yields and (stated or said.stated)):
            return self._refrain(objection, said, shown, account)
        chosen = rule.choose(scores, stated | {*said.stated}, previous, account)
        labels = said.apply(chosen, account)[:MAX_LABELS]
        if not labels:
            reason = said.reason(chosen) if chosen else "low_scores"
            return Verdict(VerdictStatus.UNDECIDED, reason=reason, genres=shown, rankable=True)
        return Verdict(VerdictStatus.OK, labels, genres=shown, rankable=True)

    def _refrain(self, objection: Objection, said: Said, shown: tuple[Genre, ...], account: Account) -> Verdict:
        """What is said of an audio that is not taken for music."""
        labels = tuple(label for label in objection.labels if not said.refuses(label, account))
        status = VerdictStatus.OK if labels else VerdictStatus.UNDECIDED
        return Verdict(status, labels, reason=objection.reason, genres=shown)

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

    def _echoed(
        self, rule: Rule, scores: Mapping[str, float], author_tags: Sequence[str], said: Said, account: Account
    ) -> set[str]:
        """Genres that the record names and the audio does not contradict."""
        echoed = set()
        for identifier in dict.fromkeys(self._taxonomy.identify(tag) for tag in author_tags):
            if identifier is None or self._taxonomy.publish_kind(identifier) is Publish.NEVER:
                continue
            if said.refuses(identifier, account):
                continue
            heard = rule.echoes(identifier, scores)
            outcome = "its artist names it" if heard else "its artist names it, but nothing of it is heard"
            account.note("stated", outcome, identifier, score=scores.get(identifier, 0.0))
            if heard:
                echoed.add(identifier)
        return echoed
