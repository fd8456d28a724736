"""Whether the publishing app says that a track is public (LEXICONS 3.3): one small adapter for each app."""

from __future__ import annotations

from typing import Any

import orjson

from core.errors import AppError, Unanswered
from core.ports import SafeHttp, VisibilityAnswer
from core.types import Track, Visibility

NOT_PUBLIC = frozenset(("unlisted", "supporters", "private"))
TIMEOUT_SECONDS = 10.0


class PlyrVisibility:
    """Asks plyr.fm. Implements core.ports.VisibilityCheck; never fails open."""

    name = "plyr"  # what `visibility_check` in collections.json says

    def __init__(self, http: SafeHttp, *, base_url: str = "https://api.plyr.fm") -> None:
        self._http = http
        self._url = f"{base_url.rstrip('/')}/tracks/by-uri"

    async def check(self, track: Track) -> VisibilityAnswer:
        """See VisibilityCheck.check. A track that the app does not know is hidden."""
        uri = str(track.uri)
        try:
            answer = await self._http.get(self._url, params={"uri": uri}, timeout_seconds=TIMEOUT_SECONDS)
        except AppError as error:
            raise Unanswered(
                f"{uri}: {error}", retry_after_seconds=getattr(error, "retry_after_seconds", None)
            ) from None
        if answer.status in (404, 410):
            return VisibilityAnswer(Visibility.HIDDEN)
        if answer.status != 200:
            raise Unanswered(f"{uri}: {self._url} answers {answer.status}")
        return _read(uri, answer.body)


def _read(uri: str, body: bytes) -> VisibilityAnswer:
    try:
        said: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise Unanswered(f"{uri}: the answer is not a JSON object")
    if said.get("atproto_record_uri", uri) != uri:
        raise Unanswered(f"{uri}: the answer is about another track")
    word, unlisted = said.get("visibility"), said.get("unlisted", False)
    if (isinstance(word, str) and word in NOT_PUBLIC) or unlisted is True:
        return VisibilityAnswer(Visibility.HIDDEN)
    if word != "public" or unlisted is not False:
        raise Unanswered(f"{uri}: the answer does not say whether the track is public")
    number = said.get("id")
    page = f"https://plyr.fm/track/{number}" if type(number) is int and number >= 0 else None
    return VisibilityAnswer(Visibility.PUBLIC, page)
