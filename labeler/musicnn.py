"""How genre scores are made from the 100 tags of the musicnn pack: gates, votes, veto, combination.

Every constant of this pack stands in `MusicnnConstants`. All are beta: round numbers from a plateau measured on
some 340 pieces of music, 161 speech clips and 108 other sounds to which nobody listened (POLICY-MUSICNN.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from core.analysis import Analysis, Genre, Tag, TaggerName
from core.taxonomy import Taxonomy

_TAGGERS: tuple[TaggerName, TaggerName] = ("msd", "mtt")


@dataclass(frozen=True, slots=True)
class MusicnnConstants:
    """Beta. The numbers in brackets are steps of the rule in POLICY-MUSICNN.md; scores and ratios are 0..1."""

    silence_rms_dbfs: float = -60.0  # (1)
    speech_hip_hop: float = 0.10  # (2) speech is what MSD calls Hip-Hop ...
    speech_beat: float = 0.15  # (2) ... where MTT hears no beat
    music_heard: float = 0.10  # MODELS section 2: no instrument and no genre above this, and it may not be music
    both_know: frozenset[str] = frozenset({"electronic", "rock", "pop"})  # (5) mean of the two votes
    mtt_alone: str = "classical"  # (4, 5) MSD has no such tag: MTT decides, and doubts every MSD vote
    unconfirmed: float = 2 / 3  # (5) weight of evidence that the other tagger cannot confirm
    floor: float = 0.15  # (6)
    ratio_of_top: float = 0.5  # (6)
    max_parents: int = 3  # (6)
    style_floor_both: float = 0.20  # (7)
    style_floor_one: float = 0.30  # (7) of the already weighted score
    max_styles: int = 2  # (7)
    keep_floor: float = 0.12  # (8) hysteresis: what is live stays above these
    keep_ratio_of_top: float = 0.4  # (8)
    stated_floor: float = 0.02  # TAXONOMY section 3.6: the artist's word needs this much of an echo


BETA = MusicnnConstants()


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
        return cls(table["version"], votes, frozenset(instruments | genres))

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


def score_genres(
    tags: Sequence[Tag],
    mapping: TagMapping,
    taxonomy: Taxonomy,
    constants: MusicnnConstants = BETA,
) -> tuple[Genre, ...]:
    """Every parent and style that any tag votes for, with its combined score, best first (steps 3 to 5)."""
    votes = {tagger: _best_votes(tagger, tags, mapping) for tagger in _TAGGERS}
    doubt = 1.0 - votes["mtt"].get(constants.mtt_alone, 0.0)
    msd = {identifier: score * doubt for identifier, score in votes["msd"].items()}
    mtt = votes["mtt"]
    scored = []
    for identifier in {**msd, **mtt}:
        if identifier == constants.mtt_alone:
            score = mtt[identifier]
        elif identifier in constants.both_know or mapping.knowing(identifier) == 2:
            score = (msd.get(identifier, 0.0) + mtt.get(identifier, 0.0)) / 2
        else:
            score = constants.unconfirmed * max(msd.get(identifier, 0.0), mtt.get(identifier, 0.0))
        scored.append(Genre(identifier, taxonomy.display(identifier), score))
    return tuple(sorted(scored, key=lambda genre: (-genre.score, genre.identifier)))


def _best_votes(tagger: TaggerName, tags: Sequence[Tag], mapping: TagMapping) -> dict[str, float]:
    best: dict[str, float] = {}
    for tag in tags:
        for vote in mapping.votes[tagger].get(tag.name, ()) if tag.model == tagger else ():
            best[vote.parent] = max(best.get(vote.parent, 0.0), vote.parent_weight * tag.score)
            if vote.style is not None:
                best[vote.style] = max(best.get(vote.style, 0.0), vote.style_weight * tag.score)
    return best


def what_speaks_against(analysis: Analysis, mapping: TagMapping, constants: MusicnnConstants) -> str | None:
    """Why this is not taken for music: `silence`, `speech_like`, `no_music_heard`, or None (steps 1 and 2).

    The last gate is ours: MTT hears neither an instrument nor a genre. It held on 40 pieces of music (the least
    reached 0.14) and on a whale (0.08); most sound effects pass it all the same.
    """
    if analysis.rms_dbfs < constants.silence_rms_dbfs:
        return "silence"
    msd, mtt = analysis.scores("msd"), analysis.scores("mtt")
    beat = max(mtt.get(name, 0.0) for name in ("beat", "beats", "drums"))
    if msd.get("Hip-Hop", 0.0) >= constants.speech_hip_hop and beat < constants.speech_beat:
        return "speech_like"
    if max(mtt.get(word, 0.0) for word in mapping.music_words) < constants.music_heard:
        return "no_music_heard"
    return None
