"""Our own method that finds tracks by a few words: what they say, and what they sound like (docs/lexicons.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from core.analysis import Space
from core.errors import AppError, NotUnderstood, XrpcError
from core.feed import MoodQuery
from core.log import Log
from core.ports import Analyst
from core.xrpc import Call, Method, Param, Query
from earmark.showing import Showing, tell_number
from earmark.turns import Turns
from feedgen.corpus import Corpus
from feedgen.live import LiveFeeds
from feedgen.rules import Rules
from feedgen.searching import Hit, Words, find_by_sound, join
from models.moods import build_query
from models.prompts import build_prompt_query
from models.words import MAX_PROMPT_CHARACTERS, Understood, read_prompt

MAX_TOLD = 30  # words that are understood or not
_EMBED_SECONDS = 3.0


class SearchMethods:
    """Searches the tracks that feeds are ranked from. `analyst` reads the text where the pack clap listens."""

    def __init__(
        self,
        feeds: LiveFeeds,
        showing: Showing,
        turns: Turns,
        analyst: Analyst,
        *,
        authority: str,
        log: Log,
    ) -> None:
        self._feeds = feeds
        self._showing = showing
        self._turns = turns
        self._analyst = analyst
        self._authority = authority
        self._log = log
        self._words: Words | None = None

    def methods(self) -> list[Method]:
        """As transport-free descriptions."""
        text = Param("q", required=True, max_length=MAX_PROMPT_CHARACTERS)
        limit = Param("limit", "integer", default=25, minimum=1, maximum=100)
        return [Query(f"{self._authority}.searchTracks", self.search_tracks, (text, limit))]

    async def search_tracks(self, call: Call) -> Mapping[str, Any]:
        """Tracks by words and by sound, each with why. Raises XrpcError InvalidRequest, RateLimitExceeded."""
        text: str = call.params["q"]
        try:
            understood = read_prompt(text)
        except NotUnderstood as error:
            raise XrpcError("InvalidRequest", str(error)) from None
        spaces = self._feeds.index.spaces
        async with self._turns.take():
            corpus = await self._feeds.corpus()
            query = await self._ask(understood) if Space.CLAP in spaces else None
            reads_text = query is not None
            if query is None and understood.weights and Space.MUSICNN_TAGS in spaces:
                query = build_query(understood.weights)
            hits = await asyncio.to_thread(self._find, corpus, text, query)
        may_be_listed = await self._showing.filter()
        hits = [hit for hit in hits if may_be_listed(hit.track_uri)][: call.params["limit"]]
        shown = await self._showing.look(hit.track_uri for hit in hits)
        by_sound = ["text"] if reads_text else ["tags"] if Space.MUSICNN_TAGS in spaces else []
        known, unknown = (understood.words, understood.unknown) if not reads_text else (_all_of(understood), ())
        return {
            "available": [*by_sound, "keyword"],
            "understood": [word[:300] for word in known[:MAX_TOLD]],
            "unknown": [word[:300] for word in unknown[:MAX_TOLD]],
            "tracks": [
                shown[hit.track_uri].tell() | {"why": _tell_why(hit, "text" if reads_text else "tags")}
                for hit in hits
                if hit.track_uri in shown
            ],
        }

    async def _ask(self, understood: Understood) -> MoodQuery | None:
        """The text as a question to the space of sound and text; None if nothing is wanted or nobody can read now."""
        if not understood.wanted:
            return None
        try:
            async with asyncio.timeout(_EMBED_SECONDS):
                return await build_prompt_query(self._analyst, [understood.wanted], understood.unwanted)
        except (AppError, TimeoutError) as error:
            self._log.warning("a search was made without reading the text", reason=type(error).__name__)
            return None

    def _find(self, corpus: Corpus, text: str, query: MoodQuery | None) -> list[Hit]:
        words = self._words
        if words is None or words.corpus is not corpus:
            words = self._words = Words(corpus, words)
        by_sound = {} if query is None else find_by_sound(corpus, self._feeds.index, query, at=Rules().absolute_score)
        return join(corpus, by_sound, words.find(text))


def _all_of(understood: Understood) -> tuple[str, ...]:
    """A model that reads text takes every word for what it says."""
    return tuple(part for part in (understood.wanted, *understood.unwanted) if part)


def _tell_why(hit: Hit, by_sound: str) -> list[dict[str, Any]]:
    """Each way by which it was found. A sound's score is in millionths of a standard deviation."""
    why: list[dict[str, Any]] = [{"by": "keyword", "field": field.value} for field in hit.fields]
    return why if hit.sound is None else [{"by": by_sound, "score": tell_number(hit.sound)}, *why]
