"""The words that labels are made of: 15 parent genres and the 400 Discogs styles beneath them (TAXONOMY.md).

Identifiers are append-only: a new model may add some, nothing ever renames one. A test freezes their hash.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.resources import files
from types import MappingProxyType
from typing import Self


class Publish(StrEnum):
    """What a style may put on a track (TAXONOMY section 3.5)."""

    STYLE = "style"  # the style and its parent
    PARENT_ONLY = "parent-only"  # reads as a claim about people: only its parent
    NEVER = "never"  # collides with adult filters: nothing


@dataclass(frozen=True, slots=True)
class Parent:
    """One of the 15 top genres."""

    identifier: str
    display: str


@dataclass(frozen=True, slots=True)
class Style:
    """One of the 400 styles. `display` names the parent in brackets where the bare name is ambiguous."""

    identifier: str
    display: str
    source: str  # the model's name for it: `Electronic---Ambient`
    parent: str
    publish: Publish
    defined: bool  # belongs to the lean set that the declaration defines (TAXONOMY section 4)


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """All identifiers, in the order of the model's classes."""

    version: str
    parents: Mapping[str, Parent] = field(repr=False)
    styles: Mapping[str, Style] = field(repr=False)
    _named: Mapping[str, str] = field(repr=False)

    @classmethod
    def load(cls) -> Self:
        """Read the packaged table (some 2 ms): construct it once and hand it on."""
        table = json.loads(files("core").joinpath("taxonomy.json").read_text(encoding="utf-8"))
        parents = {row["identifier"]: Parent(row["identifier"], row["display"]) for row in table["parents"]}
        styles = {
            row["identifier"]: Style(
                row["identifier"],
                row["display"],
                row["source"],
                row["parent_id"],
                Publish(row["publish"]),
                row["ui_definition"],
            )
            for row in table["styles"]
        }
        # A bare style name that occurs under two parents names neither; a parent's name means the parent.
        bare = Counter(fold(row["child"]) for row in table["styles"])
        named = {fold(row["child"]): row["identifier"] for row in table["styles"] if bare[fold(row["child"])] == 1}
        named |= {fold(style.display): style.identifier for style in styles.values()}
        named |= {fold(identifier): identifier for identifier in styles}
        for parent in parents.values():
            named |= {fold(parent.display): parent.identifier, fold(parent.identifier): parent.identifier}
        return cls(table["version"], MappingProxyType(parents), MappingProxyType(styles), MappingProxyType(named))

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Every identifier, parents first."""
        return (*self.parents, *self.styles)

    def display(self, identifier: str) -> str:
        """The name people see. Raises KeyError for an unknown identifier."""
        parent = self.parents.get(identifier)
        return parent.display if parent is not None else self.styles[identifier].display

    def parent_of(self, identifier: str) -> str:
        """The parent's identifier; a parent is its own. Raises KeyError for an unknown identifier."""
        return identifier if identifier in self.parents else self.styles[identifier].parent

    def publish_kind(self, identifier: str) -> Publish:
        """What may be published of it; parents always may. Raises KeyError for an unknown identifier."""
        return Publish.STYLE if identifier in self.parents else self.styles[identifier].publish

    def identify(self, name: str) -> str | None:
        """The identifier that a person's word for a genre means, if it means exactly one: `Hip-Hop`, `lo fi`."""
        return self._named.get(fold(name))


def fold(name: str) -> str:
    """A name without case, accents, spaces and punctuation: what two spellings of one genre share."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    return re.sub(r"[^a-z0-9]", "", bare.lower().replace("&", "and"))
