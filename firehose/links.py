"""A Bluesky post -> the tracks that it points at (POSTS.md section 3: R1 to R7). Pure; nothing is fetched.

R7 gives the address of a page on a host of the operator's list; which record that page shows is found out elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from core.clock import parse_datetime
from core.link import CONFIDENCE, MAX_LANGS, Link, LinkRule, primary_langs
from core.types import AtUri, Did, Nsid, is_tid, parse_rkey, tid_microseconds
from firehose.records import find_values

POSTS = "app.bsky.feed.post"
ADULT_LABELS = frozenset(("porn", "sexual", "nudity", "graphic-media"))
MAX_TARGETS = 50
MAX_PAGES = 4  # of one post that are asked which record they show
MAX_URL_CHARS = 2_000
_TRACK_PAGE = re.compile(r"^/(?:embed/)?track/([0-9]{1,18})/?$", re.ASCII)
_URI_PAGE = re.compile(r"^/at:/{1,2}(did:[^/]+/[^/]+/[^/]+?)/?$")
# SoundSky's own posts name the record key alone: in a tag, and in the address of the player (POSTS.md section 2).
SOUNDSKY = Nsid("cloud.soundsky.audio")
_SOUNDSKY_HOST = "soundsky.cloud"
_SOUNDSKY_TAG = "soundskyid="


@dataclass(frozen=True, slots=True)
class LinkRules:
    """Collections whose records are tracks, and the hosts (with port, if any) whose pages stand for them.

    Pages of `page_hosts` may be fetched to learn which record they show (R7).
    """

    collections: frozenset[str]
    hosts: frozenset[str]
    page_hosts: frozenset[str] = frozenset()

    def needles(self) -> tuple[bytes, ...]:
        """Byte strings without one of which a post cannot link a track: the prefilter (POSTS.md section 3)."""
        names = self.collections | self.hosts | self.page_hosts
        if SOUNDSKY in self.collections:
            names |= {_SOUNDSKY_HOST, _SOUNDSKY_TAG}
        return tuple(name.encode() for name in sorted(names))

    def target(self, url: str) -> str | None:
        """What a URL or at-uri points at: a track's at-uri, or the canonical address of a track's page."""
        if url.startswith("at://"):
            return self._record(url)
        found = _split(url)
        if found is None or found[0] not in self.hosts:
            return None
        host, path, _ = found
        if page := _URI_PAGE.match(path):
            return self._record(f"at://{page[1]}")
        if page := _TRACK_PAGE.match(path):
            return f"https://{host}/track/{int(page[1])}"
        return None

    def own_record(self, url: str, author: Did) -> str | None:
        """The record of the post's author that a SoundSky address means, which gives no more than a key (R4)."""
        found = _split(url) if SOUNDSKY in self.collections else None
        if found is None or found[0] != _SOUNDSKY_HOST:
            return None
        return _own(author, next(iter(parse_qs(found[2]).get("link", ())), ""))

    def page(self, url: str) -> str | None:
        """The address to ask which record it shows (R7); None when its host is not on the list."""
        found = _split(url)
        if found is None or found[0] not in self.page_hosts or len(url) > MAX_URL_CHARS:
            return None
        parsed = urlsplit(url)
        scheme = parsed.scheme if ":" in parsed.netloc else "https"  # a port is for one of the two
        return urlunsplit((scheme, parsed.netloc.lower(), parsed.path or "/", parsed.query, ""))

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
    found = _targets(rules, post.did, record) or _pages(rules, record)
    return [
        make_link(post, record, target, rule, targets_in_post=len(found), now_us=now_us)
        for target, rule in found.items()
    ]


def make_link(
    post: AtUri, record: Mapping[str, Any], target: str, rule: LinkRule, *, targets_in_post: int, now_us: int
) -> Link:
    """A link with what the post's record says of the post itself."""
    return Link(
        post_uri=str(post),
        post_did=post.did,
        target=target,
        rule=rule,
        created_us=created_us(record.get("createdAt"), post.rkey, now_us),
        reply=record.get("reply") is not None,
        adult=not ADULT_LABELS.isdisjoint(_strings(record, "labels.values[].val")),
        targets_in_post=targets_in_post,
        card=record.get("embed") is not None,
        langs=primary_langs(record.get("langs"), MAX_LANGS),
    )


def created_us(value: Any, rkey: str, now_us: int) -> int:
    """Unix microseconds that a record claims, else those of its key; never after now."""
    try:
        claimed = parse_datetime(value) if isinstance(value, str) else now_us
    except ValueError:
        claimed = tid_microseconds(rkey) if is_tid(rkey) else now_us
    return max(0, min(claimed, now_us))


def _targets(rules: LinkRules, author: Did, record: Mapping[str, Any]) -> dict[str, LinkRule]:
    found: dict[str, LinkRule] = {}

    def note(targets: Iterable[str | None], rule: LinkRule) -> None:
        for target in targets:
            if target is not None and len(found) < MAX_TARGETS:
                known = found.setdefault(target, rule)
                if CONFIDENCE[rule] > CONFIDENCE[known]:
                    found[target] = rule

    refs = [url for card in _CARDS for url in _at_uris(record, f"{card}.associatedRefs[].uri")]
    note(map(rules.target, refs), LinkRule.ASSOCIATED_REF)
    named = bool(found)
    for path in ("embed.record.uri", "embed.record.record.uri"):
        note(map(rules.target, _at_uris(record, path)), LinkRule.EMBED_RECORD)
    cards, facets = _card_urls(record), _facet_urls(record)
    if SOUNDSKY in rules.collections:
        tags = (tag.removeprefix(_SOUNDSKY_TAG) for tag in _strings(record, "tags[]") if tag.startswith(_SOUNDSKY_TAG))
        note((_own(author, tag) for tag in tags), LinkRule.SOUNDSKY_TAG)
        note((rules.own_record(url, author) for url in (*cards, *facets)), LinkRule.SOUNDSKY_TAG)
    # A card that names its record and shows that record's page is one target, also when the text repeats the page.
    same = set(map(rules.target, cards)) if named else set()
    note((target for target in map(rules.target, cards) if target not in same), LinkRule.PAGE_IN_EMBED)
    note((target for target in map(rules.target, facets) if target not in same), LinkRule.PAGE_IN_FACET)
    return found


def _pages(rules: LinkRules, record: Mapping[str, Any]) -> dict[str, LinkRule]:
    """Pages that may show a track; looked for only in posts that name none, whose links need no guess."""
    pages = (page for url in (*_card_urls(record), *_facet_urls(record)) if (page := rules.page(url)) is not None)
    return dict.fromkeys(list(dict.fromkeys(pages))[:MAX_PAGES], LinkRule.PAGE_SAYS)


_CARDS = ("embed.external", "embed.media.external")


def _card_urls(record: Mapping[str, Any]) -> list[str]:
    return [url for card in _CARDS for url in _strings(record, f"{card}.uri")]


def _facet_urls(record: Mapping[str, Any]) -> list[str]:
    features = [feature for feature in find_values(record, "facets[].features[]") if isinstance(feature, dict)]
    links = [feature.get("uri") for feature in features if feature.get("$type") == "app.bsky.richtext.facet#link"]
    return [url for url in links if isinstance(url, str)]


def _split(url: str) -> tuple[str, str, str] | None:
    """Host without `www.`, unquoted path and query of a web address; None for anything else."""
    try:
        parsed = urlsplit(url)
    except ValueError:
        return None
    if parsed.scheme not in ("http", "https") or "@" in parsed.netloc:
        return None
    return parsed.netloc.lower().removeprefix("www."), unquote(parsed.path), parsed.query


def _own(author: Did, rkey: str) -> str | None:
    try:
        return str(AtUri(author, SOUNDSKY, parse_rkey(rkey)))
    except ValueError:
        return None


def _strings(record: Mapping[str, Any], path: str) -> list[str]:
    return [value for value in find_values(record, path) if isinstance(value, str)]


def _at_uris(record: Mapping[str, Any], path: str) -> list[str]:
    return [value for value in _strings(record, path) if value.startswith("at://")]
