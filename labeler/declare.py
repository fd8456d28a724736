"""The declaration in the labeler's repository against the one that should be there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core.clock import parse_datetime

_KEPT = ("createdAt", "labels")  # not ours to change: its age, and what its owner says of it


def merge_declaration(current: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The record to write: ours, with what the present one says about itself, but for a time that is none."""
    kept = {name: current[name] for name in _KEPT if current and name in current}
    try:
        parse_datetime(str(kept.get("createdAt")))
    except ValueError:
        kept.pop("createdAt", None)
    return {**wanted, **kept}


def compare_declarations(current: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> list[str]:
    """What would change, a line each; nothing if the record is up to date."""
    if current is None:
        policies = wanted["policies"]
        values, definitions = len(policies["labelValues"]), len(policies["labelValueDefinitions"])
        return [f"+ declaration: {values} values, {definitions} of them defined for Bluesky"]
    if dict(current) == merge_declaration(current, wanted):
        return []
    before, after = _policies(current), _policies(wanted)
    lines = [
        *_differences("value", map(str, before[0]), after[0]),
        *_differences("definition", before[1], after[1]),
        *(f"~ definition {name}" for name in after[1] if name in before[1] and before[1][name] != after[1][name]),
    ]
    for name in ("reasonTypes", "subjectTypes", "subjectCollections"):
        if current.get(name) != wanted[name]:
            said = current.get(name)
            now = "everything" if said is None else ", ".join(map(str, said)) if isinstance(said, list) else "?"
            lines.append(f"~ {name}: {', '.join(wanted[name])} instead of {now or 'nothing'}")
    return lines or ["~ declaration: written anew"]


def _policies(record: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Values and definitions by name, of a record that anybody may have written."""
    policies = record.get("policies")
    policies = policies if isinstance(policies, Mapping) else {}
    values, definitions = policies.get("labelValues"), policies.get("labelValueDefinitions")
    rows = definitions if isinstance(definitions, list) else []
    by_name = {str(row.get("identifier")): row for row in rows if isinstance(row, Mapping)}
    return (values if isinstance(values, list) else []), by_name


def _differences(kind: str, before: Iterable[str], after: Iterable[str]) -> list[str]:
    old, new = set(before), set(after)
    return [f"+ {kind} {name}" for name in sorted(new - old)] + [f"- {kind} {name}" for name in sorted(old - new)]
