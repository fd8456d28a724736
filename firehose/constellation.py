"""Asks a Constellation, an index of all links between records, what links a track or one of our posts (POSTS.md)."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from core.errors import Permanent, Unreachable
from core.ports import SafeHttp
from core.types import AtUri, Nsid, parse_did, parse_rkey
from firehose.links import POSTS

METHOD = "blue.microcosm.links.getBacklinks"
PAGE_LIMIT = 100
MAX_PAGES = 5  # of answers a path: the first 500 posts
MAX_ANSWER_BYTES = 256 * 1024
ASK_SECONDS = 15.0
PAUSE_SECONDS = 0.2  # between two requests: the public one is a small machine
# Members of lists are written with their `$type` where a record has one, so both forms are asked for.
RECORD_PATHS = (
    "embed.external.associatedRefs[].uri",
    "embed.external.associatedRefs[com.atproto.repo.strongRef].uri",
    "embed.record.uri",
    "embed.record.record.uri",
)
PAGE_PATHS = (
    "embed.external.uri",
    "embed.media.external.uri",
    "facets[].features[app.bsky.richtext.facet#link].uri",
    "facets[app.bsky.richtext.facet].features[app.bsky.richtext.facet#link].uri",
)


class Constellation:
    """One of them, by the address of its host. An index is no proof: what it names is to be looked at."""

    def __init__(self, http: SafeHttp, base_url: str, *, pause: float = PAUSE_SECONDS) -> None:
        self._http = http
        self._url = f"{base_url.rstrip('/')}/xrpc/{METHOD}"
        self._pause = pause

    async def posts(self, uri: str, page_url: str | None) -> list[AtUri]:
        """Posts that name the record or its page, each once.

        Raises Unreachable, RateLimited, and Permanent for a question that it will never answer.
        """
        asked = [(uri, path) for path in RECORD_PATHS]
        if page_url is not None:
            asked += [(page_url, path) for path in PAGE_PATHS]
        found: dict[AtUri, None] = {}
        for subject, path in asked:
            found |= dict.fromkeys(await self.records(subject, POSTS, path))
        return list(found)

    async def records(self, subject: str, collection: str, path: str, *, by: str = "") -> list[AtUri]:
        """Records of a collection that name the subject in that field; only those of the account `by` if given.

        Raises what `posts` raises.
        """
        found: list[AtUri] = []
        params = {"subject": subject, "source": f"{collection}:{path}", "limit": str(PAGE_LIMIT)}
        params |= {"did": by} if by else {}
        for _ in range(MAX_PAGES):
            answer = await self._http.get(
                self._url,
                params=params,
                headers={"Accept": "application/json"},
                max_bytes=MAX_ANSWER_BYTES,
                timeout_seconds=ASK_SECONDS,
            )
            await asyncio.sleep(self._pause)
            if 400 <= answer.status < 500:
                raise Permanent(f"{self._url} answers {answer.status}")
            if answer.status != 200:
                raise Unreachable(f"{self._url} answers {answer.status}")
            body = _read(answer.body)
            named = (_address(record, collection) for record in body["records"][:PAGE_LIMIT])
            found += [uri for uri in named if uri is not None]
            cursor = body.get("cursor")
            if not isinstance(cursor, str) or not cursor or len(cursor) > 1_000:
                break
            params["cursor"] = cursor
        return found


def _read(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("records"), list):
        raise Unreachable("the Constellation's answer is no list of records")
    return answer


def _address(record: Any, collection: str) -> AtUri | None:
    if not isinstance(record, dict) or record.get("collection") != collection:
        return None
    try:
        return AtUri(parse_did(str(record.get("did"))), Nsid(collection), parse_rkey(str(record.get("rkey"))))
    except ValueError:
        return None
