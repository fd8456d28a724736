"""What people have said about the labels of one record (core.analysis.Ruling), put into effect. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from core.analysis import EVERYTHING, Ruling
from core.taxonomy import Publish, Taxonomy
from labeler.explain import Account


class Said:
    """One record's ruling in terms of the taxonomy.

    A parent stands for its styles too: who denies it denies them. The artist's own genres win over what is heard and
    over what was denied, but not over what the operator withholds.
    """

    def __init__(self, taxonomy: Taxonomy, ruling: Ruling) -> None:
        self._taxonomy = taxonomy
        self._withheld = ruling.withheld
        self.stated = self._publishable(ruling.stated)
        """The artist's own genres, parents first, each style's parent among them."""
        self._families = {taxonomy.parent_of(label) for label in self.stated}
        self._denied = ruling.denied.difference(self.stated)

    def _publishable(self, identifiers: Sequence[str]) -> tuple[str, ...]:
        """What of it may be published and is known here: of a style that reads as a claim, only its parent."""
        known = set(self._taxonomy.identifiers)
        kinds = {one: self._taxonomy.publish_kind(one) for one in identifiers if one in known}
        parents = [self._taxonomy.parent_of(one) for one, kind in kinds.items() if kind is not Publish.NEVER]
        return tuple(dict.fromkeys((*parents, *(one for one, kind in kinds.items() if kind is Publish.STYLE))))

    def apply(self, chosen: Sequence[str], account: Account) -> tuple[str, ...]:
        """What is left of what the rule chose. Nothing takes the place of what was denied: whoever denies our best
        guesses did not ask for the next ones.
        """
        for label in self.stated:
            account.note("ruling", "stated in a report that stands: published whatever is heard", label)
        of_family = [
            label for label in chosen if not self._families or self._taxonomy.parent_of(label) in self._families
        ]
        return tuple(label for label in dict.fromkeys((*self.stated, *of_family)) if not self.refuses(label, account))

    def refuses(self, label: str, account: Account) -> bool:
        """Whether a label may not be live; the account says why."""
        family = {label, self._taxonomy.parent_of(label)}
        if family & self._withheld or EVERYTHING in self._withheld:
            account.note("withheld", "the operator keeps it back", label)
            return True
        if family & self._denied:
            account.note("ruling", "denied", label)
            return True
        return False

    def reason(self, chosen: Sequence[str]) -> str:
        """Why nothing is left: `withheld` by the operator if any of it was, else `denied`."""
        families = {one for label in chosen for one in (label, self._taxonomy.parent_of(label))}
        return "withheld" if families & self._withheld or EVERYTHING in self._withheld else "denied"
