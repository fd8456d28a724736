"""Our lexicon documents, as they read under an operator's authority, and the page that shows them."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web

from core.nsids import FEED_PREFS, OPTOUT, RECORD_AUTHORITY
from earmark.web import Page, json_answer


def load_lexicons(authority: str) -> dict[str, dict[str, Any]]:
    """Name -> document. Methods and what they share are named after `authority`, records the same everywhere."""
    folder = files("earmark").joinpath("lexicons")
    documents = [orjson.loads(path.read_bytes()) for path in folder.iterdir() if path.name.endswith(".json")]
    ours = {document["id"] for document in documents} - {OPTOUT, FEED_PREFS}
    renamed = {name: authority + name.removeprefix(RECORD_AUTHORITY) for name in ours}
    return {document["id"]: document for document in (_rename(found, renamed) for found in documents)}


def lexicon_page(authority: str) -> Page:
    """Answers with all documents, by name."""
    body = orjson.dumps({"lexicons": [document for _, document in sorted(load_lexicons(authority).items())]})

    async def answer(_: web.Request) -> web.Response:
        return json_answer(body)

    return answer


def _rename(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _rename(member, names) for key, member in value.items()}
    if isinstance(value, list):
        return [_rename(member, names) for member in value]
    if isinstance(value, str):
        name, hash_, fragment = value.partition("#")
        return names.get(name, name) + hash_ + fragment
    return value
