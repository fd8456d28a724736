"""From the 100 tags of the musicnn pack to genres and labels: gates, votes, veto, combination (POLICY-MUSICNN.md).

Every constant of this pack stands in `MusicnnConstants`. All are beta: round numbers from a plateau measured on
some 340 pieces of music, 161 speech clips and 108 other sounds to which nobody listened (POLICY-MUSICNN.md).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from core.analysis import Analysis, Genre, PackName, Tag, TaggerName
from core.taxonomy import Publish, Taxonomy
from labeler.explain import Account
from labeler.rule import Bar, Objection
from labeler.thresholds import Thresholds

_TAGGERS: tuple[TaggerName, TaggerName] = ("msd", "mtt")
_BEAT = ("beat", "beats", "drums")
_SUNG = frozenset({"choir", "choral", "opera"})  # MTT's words for music that it also has for speech


@dataclass(frozen=True, slots=True)
class MusicnnConstants(Bar):
    """Beta. The numbers in brackets are steps of the rule in POLICY-MUSICNN.md; scores and ratios are 0..1."""

    speech_hip_hop: float = 0.10  # (2) speech is what MSD calls Hip-Hop ...
    speech_beat: float = 0.15  # (2) ... where MTT hears no beat
    voice_to_none: float = 3.0  # ours: this many times stronger than "no vocals", a voice is there ...
    voice_instrument: float = 0.20  # ours: ... and alone, if no instrument and no genre reaches this
    music_heard: float = 0.10  # MODELS section 2: no instrument and no genre above this, and it may not be music
    both_know: frozenset[str] = frozenset({"electronic", "rock", "pop"})  # (5) mean of the two votes
    mtt_alone: str = "classical"  # (4, 5) MSD has no such tag: MTT decides, and doubts every MSD vote
    unconfirmed: float = 2 / 3  # (5) weight of evidence that the other tagger cannot confirm
    floor: float = 0.15  # (6)
    ratio_of_top: float = 0.5  # (6)
    keep_floor: float = 0.12  # (8)
    keep_ratio_of_top: float = 0.4  # (8)
    max_parents: int = 3  # (6)
    style_floor_both: float = 0.20  # (7)
    style_floor_one: float = 0.30  # (7) of the already weighted score
    max_styles: int = 2  # (7)
    stated_floor: float = 0.02  # TAXONOMY section 3.6: the artist's word needs this much of an echo


BETA = MusicnnConstants()
NO_THRESHOLDS = Thresholds("musicnn")


@dataclass(frozen=True, slots=True)
class Vote:
    """What one tag says: a share of its score for a parent, and for a style beneath it."""

    parent: str
    parent_weight: float
    style: str | None
    style_weight: float


@dataclass(frozen=True, slots=True)
class TagMapping:
    """Which tag of which tagger votes for what (`musicnn_mapping.json`)."""

    version: str
    votes: Mapping[TaggerName, Mapping[str, tuple[Vote, ...]]]
    music_words: frozenset[str]  # MTT tags that name an instrument, or a genre that counts for a parent
    voices: frozenset[str]  # MTT tags for who sings or speaks
    no_voices: frozenset[str]  # MTT tags for nobody doing so

    @classmethod
    def load(cls, taxonomy: Taxonomy) -> Self:
        """Read the packaged table. Raises KeyError if it names an identifier that the taxonomy does not have."""
        table = json.loads(files("labeler").joinpath("musicnn_mapping.json").read_text(encoding="utf-8"))
        votes = {
            tagger: {
                tag: tuple(_vote(row, taxonomy) for row in entry["ids"])
                for tag, entry in table[tagger].items()
                if entry["ids"]
            }
            for tagger in _TAGGERS
        }
        instruments = {tag for tag, entry in table["mtt"].items() if entry.get("none") == "instrument"}
        genres = {tag for tag, heard in votes["mtt"].items() if any(vote.parent_weight > 0 for vote in heard)}
        voices = {tag for tag, entry in table["mtt"].items() if entry.get("none") == "voice"}
        no_voices = {tag for tag in voices if tag.startswith("no ")}
        return cls(
            table["version"],
            votes,
            frozenset(instruments | genres),
            frozenset(voices - no_voices),
            frozenset(no_voices),
        )

    def knowing(self, style: str) -> int:
        """How many of the two taggers have a tag for this style."""
        return sum(
            any(vote.style == style for votes in self.votes[tagger].values() for vote in votes) for tagger in _TAGGERS
        )


def _vote(row: Mapping[str, str | float], taxonomy: Taxonomy) -> Vote:
    identifier, weight = str(row["id"]), float(row["weight"])
    parent = taxonomy.parent_of(identifier)
    if parent == identifier:
        return Vote(parent, weight, None, 0.0)
    return Vote(parent, float(row["parent_weight"]), identifier, weight)


class MusicnnRule:
    """The labeler.rule.Rule of the taggers `msd` and `mtt`.

    Style labels are off by default: there is no evidence yet about styles from musicnn.
    """

    pack: PackName = "musicnn"

    def __init__(
        self,
        taxonomy: Taxonomy,
        mapping: TagMapping,
        *,
        constants: MusicnnConstants = BETA,
        publish_styles: bool = False,
        thresholds: Thresholds = NO_THRESHOLDS,
    ) -> None:
        self._taxonomy = taxonomy
        self._mapping = mapping
        self._constants = constants
        self._publish_styles = publish_styles
        self._thresholds = thresholds

    def score(self, tags: Sequence[Tag]) -> tuple[Genre, ...]:
        """Every parent and style that any tag votes for, with its combined score, best first (steps 3 to 5)."""
        constants, knowing = self._constants, self._mapping.knowing
        votes = {tagger: _best_votes(tagger, tags, self._mapping) for tagger in _TAGGERS}
        doubt = 1.0 - votes["mtt"].get(constants.mtt_alone, 0.0)
        msd = {identifier: score * doubt for identifier, score in votes["msd"].items()}
        mtt = votes["mtt"]
        scored = []
        for identifier in {**msd, **mtt}:
            if identifier == constants.mtt_alone:
                score = mtt[identifier]
            elif identifier in constants.both_know or knowing(identifier) == 2:
                score = (msd.get(identifier, 0.0) + mtt.get(identifier, 0.0)) / 2
            else:
                score = constants.unconfirmed * max(msd.get(identifier, 0.0), mtt.get(identifier, 0.0))
            scored.append(Genre(identifier, self._taxonomy.display(identifier), score))
        return tuple(sorted(scored, key=lambda genre: (-genre.score, genre.identifier)))

    def echoes(self, identifier: str, scores: Mapping[str, float]) -> bool:
        """The taggers know few styles: a style is echoed by its parent."""
        return scores.get(self._taxonomy.parent_of(identifier), 0.0) >= self._constants.stated_floor

    def what_speaks_against(self, analysis: Analysis, previous: Collection[str], account: Account) -> Objection | None:
        """`speech_like` (step 2), `voice_alone` or `no_music_heard`: MTT hears neither an instrument nor a genre.

        The last two gates are ours; docs/models.md says what was measured. An artist who names a genre knows better
        than our ears whether a drone or a lone voice is music; speech stays speech.
        """
        constants, msd, mtt = self._constants, analysis.scores("msd"), analysis.scores("mtt")

        def strongest(names: Collection[str]) -> float:
            return max(mtt.get(name, 0.0) for name in names)

        beat, music, hip_hop = strongest(_BEAT), strongest(self._mapping.music_words), msd.get("Hip-Hop", 0.0)
        if beat < constants.speech_beat:
            if hip_hop >= constants.speech_hip_hop:
                account.note(
                    "speech_like", "hip-hop without a beat: it is taken for speech", hip_hop=hip_hop, beat=beat
                )
                return Objection("speech_like")
            voice, nobody = strongest(self._mapping.voices), strongest(self._mapping.no_voices)
            accompanied = strongest(self._mapping.music_words - _SUNG)
            if accompanied < constants.voice_instrument and voice > constants.voice_to_none * nobody:
                account.note("voice_alone", "a voice and nothing else", voice=voice, music=accompanied)
                return Objection("voice_alone", yields=True)
        if music < constants.music_heard:
            account.note("no_music_heard", "no instrument and no genre", music=music, needed=constants.music_heard)
            return Objection("no_music_heard", yields=True)
        account.note("gates", "it is taken for music", hip_hop=hip_hop, beat=beat, music=music)
        return None

    def choose(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str], account: Account
    ) -> tuple[str, ...]:
        """Parents best first, then styles beneath them (steps 6 and 7)."""
        parents = self._choose_parents(
            scores, {self._taxonomy.parent_of(identifier) for identifier in stated}, previous, account
        )
        if not self._publish_styles:
            account.note("styles", "none is published: policy.publish_styles is off")
            return parents
        return (*parents, *self._choose_styles(scores, parents, stated, previous, account))

    def _choose_parents(
        self, scores: Mapping[str, float], stated: Collection[str], previous: Collection[str], account: Account
    ) -> tuple[str, ...]:
        """The artist's word replaces ours; without it, the bar decides."""
        parents = [(identifier, score) for identifier, score in scores.items() if identifier in self._taxonomy.parents]
        chosen = [identifier for identifier, _ in parents if identifier in stated]
        for identifier in chosen:
            account.note("stated", "passes by its artist's word alone", identifier, score=scores[identifier])
        if not chosen:
            top = max((score for _, score in parents), default=0.0)
            for identifier, score in parents:
                if self._thresholds.silences(identifier):
                    account.note("threshold", "too little is known of it to publish it", identifier, score=score)
                    continue
                live, floor = identifier in previous, self._thresholds.floor(identifier)
                needed = self._constants.height(top, live=live, floor=floor)
                if score >= needed:
                    chosen.append(identifier)
                outcome = "passes" if score >= needed else "too weak"
                account.note("bar", f"is live: {outcome}" if live else outcome, identifier, score=score, needed=needed)
        for identifier in chosen[self._constants.max_parents :]:
            account.note("places", "no place is left for it", identifier, places=self._constants.max_parents)
        return tuple(chosen[: self._constants.max_parents])

    def _choose_styles(
        self,
        scores: Mapping[str, float],
        parents: Collection[str],
        stated: Collection[str],
        previous: Collection[str],
        account: Account,
    ) -> tuple[str, ...]:
        """Styles beneath a published parent, the artist's own first."""
        constants = self._constants
        top = max(scores.values(), default=0.0)

        def height(identifier: str) -> float:
            if identifier in stated:
                return constants.stated_floor
            fitted = self._thresholds.floor(identifier)
            if identifier in previous:
                return constants.height(top, live=True, floor=fitted)
            both = self._mapping.knowing(identifier) == 2
            return fitted or (constants.style_floor_both if both else constants.style_floor_one)

        chosen = []
        for identifier, score in scores.items():
            style = self._taxonomy.styles.get(identifier)
            if style is None or style.parent not in parents or style.publish is not Publish.STYLE:
                continue
            if self._thresholds.silences(identifier) and identifier not in stated:
                account.note("threshold", "too little is known of it to publish it", identifier, score=score)
                continue
            needed = height(identifier)
            account.note("bar", "passes" if score >= needed else "too weak", identifier, score=score, needed=needed)
            if score >= needed:
                chosen.append(identifier)
        chosen.sort(key=lambda identifier: identifier not in stated)  # stable: best first within each
        return tuple(chosen[: constants.max_styles])


def _best_votes(tagger: TaggerName, tags: Sequence[Tag], mapping: TagMapping) -> dict[str, float]:
    best: dict[str, float] = {}
    for tag in tags:
        for vote in mapping.votes[tagger].get(tag.name, ()) if tag.model == tagger else ():
            best[vote.parent] = max(best.get(vote.parent, 0.0), vote.parent_weight * tag.score)
            if vote.style is not None:
                best[vote.style] = max(best.get(vote.style, 0.0), vote.style_weight * tag.score)
    return best
