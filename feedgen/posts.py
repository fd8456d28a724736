"""Which post stands for a track in a Bluesky feed (POSTS.md section 3)."""

from __future__ import annotations

from dataclasses import dataclass

from core.link import Link, LinkRule
from core.types import AtUri
from store.tracks import RankableTrack

POST_COLLECTION = "app.bsky.feed.post"
_DAY_US = 86_400_000_000
_WEAK_RULES = (LinkRule.PAGE_IN_EMBED, LinkRule.PAGE_IN_FACET, LinkRule.PAGE_SAYS)  # after all that name the record
_OTHER = 3

Preference = tuple[int, int, bool, int, str]


@dataclass(frozen=True, slots=True)
class PostRules:
    """Whose posts may stand for a track."""

    others: bool = True  # posts by neither the artist, a credited artist nor the announcer, unless a farm's
    announcer: str | None = None  # DID of our own account that announces tracks
    langs: frozenset[str] = frozenset()  # that the reader wants posts in; empty: all


def usable_posts(track: RankableTrack, rules: PostRules, *, now_us: int) -> list[Link]:
    """The posts that may stand for the track, the best by `preference` first."""
    usable = (link for link in track.links if is_usable(track, link) and _is_read(link, rules))
    welcome = (link for link in usable if _is_welcome(link, _relation(track, link, rules), rules, now_us))
    return sorted(welcome, key=lambda link: preference(track, link, rules))


def may_be_posted(track: RankableTrack, rules: PostRules) -> bool:
    """Whether any post may stand for the track as far as can be told at a glance: most tracks have none."""
    return any(_is_read(link, rules) for link in track.links)


def is_usable(track: RankableTrack, link: Link) -> bool:
    """Whether this post may stand for the track: a top-level post about it alone, not adult, not reused.

    Being older than the track's record by more than a day means that the link was put to a new use.
    """
    return (
        not link.reply
        and not link.adult
        and link.targets_in_post == 1
        and link.created_us >= track.created_us - _DAY_US
        and is_post(link.post_uri)
    )


def _is_welcome(link: Link, relation: int, rules: PostRules, now_us: int) -> bool:
    """Other people's posts only if somebody likes them or their account is 30 days old: against farms of new ones."""
    if relation != _OTHER:
        return True
    grown = link.author_born_us is not None and link.author_born_us <= now_us - 30 * _DAY_US
    return rules.others and (link.liked or grown)


def _is_read(link: Link, rules: PostRules) -> bool:
    """Whether it is in a language that is wanted, or says of none."""
    return not rules.langs or not link.langs or not rules.langs.isdisjoint(link.langs)


def is_post(uri: str) -> bool:
    """Whether this is the canonical at-uri of a post: all that the AppView can show (P105)."""
    try:
        return AtUri.parse(uri).collection == POST_COLLECTION
    except ValueError:
        return False


def preference(track: RankableTrack, link: Link, rules: PostRules) -> Preference:
    """Sort key, best first: whose post it is, how surely it names the track, a card, then the earliest."""
    weakness = _WEAK_RULES.index(link.rule) + 1 if link.rule in _WEAK_RULES else 0
    return (_relation(track, link, rules), weakness, not link.card, link.created_us, link.post_uri)


def _relation(track: RankableTrack, link: Link, rules: PostRules) -> int:
    """0 the artist's own post, 1 a credited artist's, 2 the announcer's, else _OTHER."""
    if link.post_did == track.did:
        return 0
    if link.post_did in track.credits:
        return 1
    return 2 if link.post_did == rules.announcer else _OTHER
