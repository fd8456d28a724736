"""Thresholds of single labels in place of a pack's floors, fitted on tracks whose genres somebody knows.

The file is what `earmark eval --fit` writes:
`{"version": 1, "pack": "effnet", "thresholds": {"electronic": 0.12, "electronic-house": 0.31, "jazz-bop": null}}`.
A number is the label's own floor; the ratios to the best score stay. `null`: too little is known of the label, so a
style speaks for its parent only, and a parent is not published without a style of its own (musicnn: at all), unless its
artist states it. Labels that are not named keep the built-in floor. Scores of two packs cannot be compared, so a file
is for one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self

import msgspec

from core.errors import Misconfigured
from core.taxonomy import Taxonomy

MAX_BYTES = 256 * 1024  # all 415 identifiers take some 20 kB
_REMEDY = "write it anew: earmark eval FOLDER --fit; or leave policy.thresholds empty"
_NOTHING: Mapping[str, float | None] = MappingProxyType({})


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    pack: Literal["musicnn", "effnet"]
    thresholds: dict[str, Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] | None]
    fitted_on: dict[str, int | float | str] = {}  # for people: how many tracks, when


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The floors of one pack's labels: 0..1, or None where a label is not to be published by itself."""

    pack: str = ""
    floors: Mapping[str, float | None] = field(default_factory=lambda: _NOTHING)

    @classmethod
    def load(cls, path: Path, taxonomy: Taxonomy) -> Self:
        """Raises Misconfigured, naming the file and what is wrong with it."""
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
            if len(text) > MAX_BYTES:
                raise ValueError(f"larger than {MAX_BYTES} bytes")
            found = msgspec.json.decode(text, type=_File)
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            raise Misconfigured(f"policy.thresholds: {path}: {error}", _REMEDY) from None
        unknown = sorted(found.thresholds.keys() - set(taxonomy.identifiers))
        if unknown:
            raise Misconfigured(f"policy.thresholds: {path}: not in the taxonomy: {', '.join(unknown[:5])}", _REMEDY)
        return cls(found.pack, found.thresholds)

    def write(self, path: Path, fitted_on: Mapping[str, int | float | str]) -> None:
        """Whole or not at all. Raises OSError."""
        floors = {identifier: self.floors[identifier] for identifier in sorted(self.floors)}
        text = msgspec.json.encode({"version": 1, "pack": self.pack, "thresholds": floors, "fitted_on": fitted_on})
        made = path.with_name(f"{path.name}.new")
        made.write_bytes(msgspec.json.format(text) + b"\n")
        made.replace(path)

    def of(self, pack: str) -> Thresholds:
        """These, if they are this pack's; none otherwise."""
        return self if pack == self.pack else Thresholds(pack)

    def floor(self, identifier: str) -> float | None:
        """A label's own floor; None where the pack's holds."""
        return self.floors.get(identifier)

    def silences(self, identifier: str) -> bool:
        """Whether a label is not to be published by itself."""
        return identifier in self.floors and self.floors[identifier] is None
