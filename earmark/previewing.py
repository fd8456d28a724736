"""What operators ask of feeds: which there are, how one comes about, and whether the corpus would carry another.

The answers come from the feeds that are served, or from ones made of the same store by the same code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from core.clock import Clock, format_datetime
from core.feed import Feed, FeedEntry
from core.taxonomy import Taxonomy
from earmark.control import Refused, read_params
from earmark.describing import MAX_WORDINGS, draft_feed, write_block
from earmark.ears import Ears
from feedgen.checks import Checks
from feedgen.live import LiveFeeds
from feedgen.ranking import Ranking
from feedgen.standing import FeedStatus
from store import Store, generations, tracks

ROUTE = "feeds"
DIGITS = 4
_TRIED = 10  # entries of a feed that is tried out


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a verb asks: how one feed comes about, whether there could be one of these words, or else how all stand."""

    preview: str | None = None
    describe: tuple[str, ...] = ()
    limit: int = 50


class Previewing:
    """Answers from the feeds of this process."""

    def __init__(self, ears: Ears, feeds: LiveFeeds, *, clock: Clock) -> None:
        self._ears = ears
        self._store: Store = ears.store
        self._feeds = feeds
        self._chosen = ears.settings.feeds
        self._clock = clock

    async def answer(self, params: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """A command of earmark.control; one answer. Raises Refused for what was not understood."""
        yield await self.say(read_params(params, Question))

    async def say(self, question: Question) -> dict[str, Any]:
        """Raises Refused for a feed that is not known, NotUnderstood, Misconfigured."""
        await self._feeds.open_feeds()  # they are ranked now, if they were not yet
        if question.preview is not None:
            return await self._preview(question.preview, question.limit)
        if question.describe:
            return await self._describe(question.describe[:MAX_WORDINGS])
        kinds = {feed.rkey: feed for feed in self._feeds.feeds}
        return {"feeds": [tell_status(status, kinds[status.rkey]) for status in self._feeds.statuses()]}

    async def _preview(self, rkey: str, limit: int) -> dict[str, Any]:
        try:
            ranking = await self._feeds.ranking(rkey)
        except KeyError:
            known = ", ".join(feed.rkey for feed in self._feeds.feeds)
            raise Refused("unknown", f"there is no feed {rkey!r}; there are: {known}") from None
        status = next(status for status in self._feeds.statuses() if status.rkey == rkey)
        feed = next(feed for feed in self._feeds.feeds if feed.rkey == rkey)
        return {
            "at": format_datetime(self._clock.now_us()),
            **tell_status(status, feed),
            **await self._tell_ranking(ranking, limit),
        }

    async def _describe(self, wordings: tuple[str, ...]) -> dict[str, Any]:
        feed = replace(draft_feed(wordings, Taxonomy.load()), min_seconds=self._chosen.min_seconds)
        async with self._store.read() as reader:
            serving = (await generations.living(reader)).serving
        status, ranking = await self._feeds.try_out(feed, await self._ears.ask_moods(serving, [feed]))
        return {
            "supported": not status.dark,
            "min_posts": self._chosen.min_posts,
            **tell_status(status, feed),
            **await self._tell_ranking(ranking, _TRIED),
            "block": write_block(feed),
        }

    async def _tell_ranking(self, ranking: Ranking, limit: int) -> dict[str, Any]:
        shown = ranking.entries[:limit]
        titles: dict[str, tuple[str, str | None]] = {}
        async with self._store.read() as reader:
            for uri in dict.fromkeys([*(one.track_uri for one in shown), *(one.track_uri for one in ranking.aside)]):
                known = await tracks.get(reader, uri)
                titles[uri] = ("", None) if known is None else (known.track.title, known.track.artist)
        return {
            "checks": tell_checks(ranking.checks),
            "tracks": [_tell_entry(place, one, titles[one.track_uri]) for place, one in enumerate(shown)],
            "aside": [
                {
                    "uri": one.track_uri,
                    "title": titles[one.track_uri][0],
                    "why": one.why.value,
                    "detail": one.detail,
                    "place": one.place,
                }
                for one in ranking.aside
            ],
        }


def tell_status(status: FeedStatus, feed: Feed) -> dict[str, Any]:
    """How a feed stands, as `feeds --json` has it."""
    return {
        "rkey": status.rkey,
        "name": status.display_name,
        "kind": feed.kind.value,
        "open": not status.dark,
        "reasons": list(status.reasons),
        "scored": status.scored,
        "threshold": round(status.threshold, DIGITS),
        "matching": status.matching,
        "with_post": status.with_post,
        "entries": status.entries,
    }


def tell_checks(checks: Checks | None) -> dict[str, Any] | None:
    """What the three tests of FEEDS 2.4 found; None: nothing was tested (under 300 tracks, or no prompts)."""
    if checks is None:
        return None
    return {
        "passed": checks.passed,
        "trust": checks.trust.value,
        "reach": [round(checks.reach, DIGITS), round(checks.reach_needed, DIGITS)],
        "overlap": [round(checks.overlap, DIGITS), round(checks.overlap_needed, DIGITS)],
        "concordance": [_rounded(checks.concordance), round(checks.concordance_needed, DIGITS)],
    }


def _tell_entry(place: int, entry: FeedEntry, named: tuple[str, str | None]) -> dict[str, Any]:
    parts = entry.parts
    return {
        "place": place,
        "uri": entry.track_uri,
        "post": entry.post_uri,
        "title": named[0],
        "artist": named[1],
        "reason": entry.reason.value,
        "score": _rounded(entry.score),
        "parts": {
            "prompt": _rounded(parts.prompt),
            "tags": _rounded(parts.tags),
            "mood": _rounded(parts.mood),
            "freshness": _rounded(parts.freshness),
            "popularity": _rounded(parts.popularity),
            "damping": _rounded(parts.damping),
            "weight": _rounded(parts.weight),
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
