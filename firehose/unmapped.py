"""Which fields of a record its mapping does not know: what apps add is seen before anybody misses it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from firehose.mapping import CollectionMap

MAX_FIELDS = 16  # a record; a stranger may invent as many as fit
MAX_DEPTH = 4
MAX_PATH_CHARS = 120
_NAME = re.compile(r"[A-Za-z0-9_$.:-]{1,64}", re.ASCII)
_KINDS: Mapping[type, str] = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number"}


def find_unmapped(mapping: CollectionMap, record: Any) -> dict[str, str]:
    """Path -> kind of value (the word JSON has for it, or `blob`) of fields that no path of the mapping reaches.

    Names with odd characters count as `?`. Nothing for a collection without a mapping: there all fields would be news.
    """
    found: dict[str, str] = {}
    if isinstance(record, dict) and not mapping.walk:
        _search(record, "", _Known(mapping), found, 0)
    return found


class _Known:
    """The paths that a mapping knows, and those that lead to one."""

    def __init__(self, mapping: CollectionMap) -> None:
        self.whole = {path.replace("[]", "") for path in mapping.paths()} | {"$type", "labels.$type"}
        self.above = {path[:place] for path in self.whole for place, char in enumerate(path) if char == "."}


def _search(record: Mapping[Any, Any], above: str, known: _Known, found: dict[str, str], depth: int) -> None:
    for name, value in record.items():
        path = f"{above}{name if _NAME.fullmatch(str(name)) else '?'}"[:MAX_PATH_CHARS]
        members = [value] if isinstance(value, dict) else value[:MAX_FIELDS] if isinstance(value, list) else []
        if path in known.above and depth < MAX_DEPTH:
            for member in members:
                if isinstance(member, dict):
                    _search(member, f"{path}.", known, found, depth + 1)
        elif path not in known.whole and not path.endswith(".$type") and len(found) < MAX_FIELDS:
            found[path] = _kind(value)


def _kind(value: Any) -> str:
    if isinstance(value, dict) and value.get("$type") == "blob":
        return "blob"
    return _KINDS.get(type(value), "null" if value is None else "number")
