"""The words of a catalogue: tags, styles and moods that exist, and vetoes and requirements that can be kept."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_args

from core.analysis import PackName
from core.errors import Misconfigured
from core.feed import Quality, Requirement, TagRule, Veto
from core.taxonomy import Taxonomy

_TAG = re.compile(r"(?:msd|mtt):\S.*\Z")
_VETO_KEYS = ("styles", "pack", "at", "without")
_REQUIREMENT_KEYS = ("quality", "pack", "at", "without")
_RULE_KEYS = ("tags", "at")
_NON_MUSIC = "non-music"
_HEARD_FROM = 0.15  # FEEDS 2.3: what vetoes count from, unless they say otherwise
_KNOWN_BY: Mapping[str, PackName] = {"styles": "effnet", "quality": "effnet"}  # who hears what a gate asks for
_Gate = TypeVar("_Gate")


@dataclass(frozen=True, slots=True)
class Words:
    """What may be named. None: only the form of a name is checked. Every check raises Misconfigured."""

    taxonomy: Taxonomy
    tags: Collection[str] | None
    moods: Collection[str] | None

    def check_tags(self, where: str, names: Iterable[str]) -> None:
        for name in names:
            if not _TAG.match(name) or (self.tags is not None and name not in self.tags):
                raise Misconfigured(where, f"unknown tag {name!r}{_nearest(name, self.tags or ())}")

    def check_styles(self, where: str, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.taxonomy.parents and name not in self.taxonomy.styles:
                raise Misconfigured(where, f"unknown style {name!r}{_nearest(name, self.taxonomy.identifiers)}")

    def check_non_music(self, where: str, names: Iterable[str]) -> None:
        for name in names:
            self.check_styles(where, [name])
            if self.taxonomy.parent_of(name) != _NON_MUSIC:
                raise Misconfigured(where, f"{name!r} is music: only {_NON_MUSIC} and what is under it need this")

    def check_moods(self, where: str, names: Iterable[str]) -> None:
        for name in names:
            if self.moods is not None and name not in self.moods:
                raise Misconfigured(where, f"unknown mood {name!r}{_nearest(name, self.moods)}")

    def read_veto(self, where: str, row: Mapping[str, Any]) -> Veto:
        refuse_unknown(where, row, _VETO_KEYS)
        styles = row.get("styles")
        if not isinstance(styles, list) or not styles or not all(isinstance(style, str) for style in styles):
            raise Misconfigured(f"{where}.styles", "must be a list of styles")
        self.check_styles(f"{where}.styles", styles)
        under = [style.identifier for style in self.taxonomy.styles.values() if style.parent in styles]
        heard = tuple(dict.fromkeys((*styles, *under)))  # a parent's veto holds for every style under it
        return Veto(
            heard, self._read_rule(where, row), _read_pack(where, row, "styles"), _read_share(where, row, _HEARD_FROM)
        )

    def read_requirement(self, where: str, row: Mapping[str, Any]) -> Requirement:
        refuse_unknown(where, row, _REQUIREMENT_KEYS)
        try:
            quality = Quality(row.get("quality", ""))
        except ValueError:
            raise Misconfigured(f"{where}.quality", f"must be one of {', '.join(Quality)}") from None
        rule, pack = self._read_rule(where, row), _read_pack(where, row, "quality")
        return Requirement(quality, _read_share(where, row, None), rule, pack)

    def _read_rule(self, where: str, row: Mapping[str, Any]) -> TagRule:
        """Without it nothing would keep a track out where the pack does not listen: so it has to be there."""
        rule = row.get("without")
        if not isinstance(rule, dict):
            raise Misconfigured(f"{where}.without", 'must say what holds without the pack: {"tags": {...}, "at": 1.0}')
        refuse_unknown(f"{where}.without", rule, _RULE_KEYS)
        tags = read_weights(f"{where}.without.tags", rule.get("tags"))
        if not any(tags.values()):
            raise Misconfigured(f"{where}.without.tags", "needs at least one tag with a weight")
        self.check_tags(f"{where}.without.tags", tags)
        if not is_number(rule.get("at")):
            raise Misconfigured(f"{where}.without.at", "must be a number, in standard deviations")
        return TagRule(tags, float(rule["at"]))


def read_gates(where: str, rows: object, read: Callable[[str, Mapping[str, Any]], _Gate]) -> Iterator[_Gate]:
    """Each row of a list of vetoes or requirements, as a value."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Misconfigured(where, "must be a list of objects")
    for place, row in enumerate(rows):
        yield read(f"{where}[{place}]", row)


def read_weights(where: str, weights: object) -> dict[str, float]:
    """Name -> number."""
    if not isinstance(weights, dict) or not all(is_number(weight) for weight in weights.values()):
        raise Misconfigured(where, "must give each name a number")
    return {str(name): float(weight) for name, weight in weights.items()}


def refuse_unknown(where: str, row: Mapping[str, Any], known: Collection[str]) -> None:
    """A key that means nothing is a mistake that would otherwise go unseen."""
    for key in row:
        if key not in known:
            raise Misconfigured(where, f"unknown key {key!r}{_nearest(key, known)}")


def is_number(value: object) -> bool:
    """Whether this is a number that can be reckoned with: no truth value, finite, not huge."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _read_pack(where: str, row: Mapping[str, Any], asked: str) -> PackName:
    """The pack has to be named, and to be one that hears what is asked for."""
    if row.get("pack") != _KNOWN_BY[asked]:
        packs = ", ".join(get_args(PackName))
        raise Misconfigured(f"{where}.pack", f"must name the pack that hears {asked}: {_KNOWN_BY[asked]} (of {packs})")
    return cast("PackName", row["pack"])


def _read_share(where: str, row: Mapping[str, Any], default: float | None) -> float:
    share = row.get("at", default)
    if not is_number(share) or not 0 < cast("float", share) <= 1:
        raise Misconfigured(f"{where}.at", "must be a number above 0 and at most 1")
    return float(cast("float", share))


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
