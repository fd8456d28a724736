"""A Bluesky post -> the tracks that it points at (POSTS.md section 3: R1, R2, R5, R6). Pure; nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from core.clock import parse_datetime
from core.link import CONFIDENCE, Link, LinkRule
from core.types import AtUri, is_tid, tid_microseconds
from firehose.records import find_values

POSTS = "app.bsky.feed.post"
ADULT_LABELS = frozenset(("porn", "sexual", "nudity", "graphic-media"))
MAX_TARGETS = 50
_TRACK_PAGE = re.compile(r"^/(?:embed/)?track/([0-9]{1,18})/?$", re.ASCII)
_URI_PAGE = re.compile(r"^/at:/{1,2}(did:[^/]+/[^/]+/[^/]+?)/?$")


@dataclass(frozen=True, slots=True)
class LinkRules:
    """Collections whose records are tracks, and the hosts (with port, if any) whose pages stand for them."""

    collections: frozenset[str]
    hosts: frozenset[str]

    def needles(self) -> tuple[bytes, ...]:
        """Byte strings without one of which a post cannot link a track: the prefilter (POSTS.md section 3)."""
        return tuple(name.encode() for name in sorted(self.collections | self.hosts))

    def target(self, url: str) -> str | None:
        """What a URL or at-uri points at: a track's at-uri, or the canonical address of a track's page."""
        if url.startswith("at://"):
            return self._record(url)
        try:
            parsed = urlsplit(url)
        except ValueError:
            return None
        host = parsed.netloc.lower().removeprefix("www.")
        if parsed.scheme not in ("http", "https") or host not in self.hosts:
            return None
        path = unquote(parsed.path)
        if page := _URI_PAGE.match(path):
            return self._record(f"at://{page[1]}")
        if page := _TRACK_PAGE.match(path):
            return f"https://{host}/track/{int(page[1])}"
        return None

    def _record(self, text: str) -> str | None:
        try:
            uri = AtUri.parse(text)
        except ValueError:
            return None
        return str(uri) if uri.collection in self.collections else None


def find_links(rules: LinkRules, post: AtUri, record: Any, *, now_us: int) -> list[Link]:
    """One link for each track in the post, by its surest rule; empty for posts without, and for what is no post."""
    if not isinstance(record, dict):
        return []
    found = _targets(rules, record)
    return [
        Link(
            post_uri=str(post),
            post_did=post.did,
            target=target,
            rule=rule,
            created_us=_created_us(record.get("createdAt"), post.rkey, now_us),
            reply=record.get("reply") is not None,
            adult=not ADULT_LABELS.isdisjoint(_strings(record, "labels.values[].val")),
            targets_in_post=len(found),
            card=record.get("embed") is not None,
        )
        for target, rule in found.items()
    ]


def _targets(rules: LinkRules, record: Mapping[str, Any]) -> dict[str, LinkRule]:
    found: dict[str, LinkRule] = {}

    def note(urls: Iterable[str], rule: LinkRule) -> None:
        for url in urls:
            target = rules.target(url)
            if target is not None and len(found) < MAX_TARGETS:
                known = found.setdefault(target, rule)
                if CONFIDENCE[rule] > CONFIDENCE[known]:
                    found[target] = rule

    cards = [f"embed.{prefix}external" for prefix in ("", "media.")]
    for card in cards:
        note(_at_uris(record, f"{card}.associatedRefs[].uri"), LinkRule.ASSOCIATED_REF)
    named = bool(found)
    for path in ("embed.record.uri", "embed.record.record.uri"):
        note(_at_uris(record, path), LinkRule.EMBED_RECORD)
    pages = [url for card in cards for url in _strings(record, f"{card}.uri")]
    # A card that names its record and shows that record's page is one target, also when the text repeats the page.
    same = {rules.target(url) for url in pages} if named else set()
    note((url for url in pages if rules.target(url) not in same), LinkRule.PAGE_IN_EMBED)
    facets = [feature for feature in find_values(record, "facets[].features[]") if isinstance(feature, dict)]
    links = [feature.get("uri") for feature in facets if feature.get("$type") == "app.bsky.richtext.facet#link"]
    note((url for url in links if isinstance(url, str) and rules.target(url) not in same), LinkRule.PAGE_IN_FACET)
    return found


def _strings(record: Mapping[str, Any], path: str) -> list[str]:
    return [value for value in find_values(record, path) if isinstance(value, str)]


def _at_uris(record: Mapping[str, Any], path: str) -> list[str]:
    return [value for value in _strings(record, path) if value.startswith("at://")]


def _created_us(value: Any, rkey: str, now_us: int) -> int:
    try:
        created_us = parse_datetime(value) if isinstance(value, str) else now_us
    except ValueError:
        created_us = tid_microseconds(rkey) if is_tid(rkey) else now_us
    return max(0, min(created_us, now_us))
