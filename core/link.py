"""A post that points at a track (POSTS.md section 3). Which post stands for a track is decided when feeds are made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.types import Did


class LinkRule(StrEnum):
    """How the post names the track, with the rule numbers of POSTS.md."""

    ASSOCIATED_REF = "R1"
    EMBED_RECORD = "R2"
    RECORD_TO_POST = "R3"
    SOUNDSKY_TAG = "R4"
    PAGE_IN_EMBED = "R5"
    PAGE_IN_FACET = "R6"
    PAGE_SAYS = "R7"


CONFIDENCE = {
    LinkRule.ASSOCIATED_REF: 1.0,
    LinkRule.EMBED_RECORD: 1.0,
    LinkRule.RECORD_TO_POST: 1.0,
    LinkRule.SOUNDSKY_TAG: 0.98,
    LinkRule.PAGE_IN_EMBED: 0.95,
    LinkRule.PAGE_IN_FACET: 0.9,
    LinkRule.PAGE_SAYS: 0.9,
}


@dataclass(frozen=True, slots=True)
class Link:
    """One post -> target edge. `target` is a track's at-uri, a canonical page URL that a track may have, or (R7) the
    address of a page that is asked which record it shows.

    The target may be unknown when the post arrives: the store joins it to a track whenever that appears.
    """

    post_uri: str
    post_did: Did
    target: str
    rule: LinkRule
    created_us: int
    reply: bool = False
    adult: bool = False  # the post carries a porn/sexual/nudity/graphic-media self-label
    targets_in_post: int = 1  # distinct targets; >1 is a mixtape post and weak
    card: bool = False  # the post has an embed
    author_born_us: int | None = None  # since when the post's account exists, where that was found out
    liked: bool = False  # by somebody, where likes are counted

    @property
    def confidence(self) -> float:
        return CONFIDENCE[self.rule]
