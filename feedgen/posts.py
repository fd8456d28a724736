"""Which post stands for a track in a Bluesky feed (POSTS.md section 3)."""

from __future__ import annotations

from core.link import Link, LinkRule
from core.types import AtUri
from store.tracks import RankableTrack

POST_COLLECTION = "app.bsky.feed.post"
_DAY_US = 86_400_000_000
_WEAK_RULES = (LinkRule.PAGE_IN_EMBED, LinkRule.PAGE_IN_FACET)  # in this order, after all that name the record itself

Preference = tuple[int, int, bool, int, str]


def best_post(track: RankableTrack, *, others: bool = True) -> Link | None:
    """The usable post that comes first by `preference`, if any.

    `others` lets posts count that are by neither the artist nor a credited artist.
    """
    usable = (link for link in track.links if is_usable(track, link) and (others or _relation(track, link) < 2))
    return min(usable, key=lambda link: preference(track, link), default=None)


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


def is_post(uri: str) -> bool:
    """Whether this is the canonical at-uri of a post: all that the AppView can show (P105)."""
    try:
        return AtUri.parse(uri).collection == POST_COLLECTION
    except ValueError:
        return False


def preference(track: RankableTrack, link: Link) -> Preference:
    """Sort key, best first: whose post it is, how surely it names the track, a card, then the earliest."""
    weakness = _WEAK_RULES.index(link.rule) + 1 if link.rule in _WEAK_RULES else 0
    return (_relation(track, link), weakness, not link.card, link.created_us, link.post_uri)


def _relation(track: RankableTrack, link: Link) -> int:
    """0 the artist's own post, 1 a credited artist's, 2 anybody else's."""
    if link.post_did == track.did:
        return 0
    return 1 if link.post_did in track.credits else 2
