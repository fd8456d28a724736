"""A post that points at a track (POSTS.md section 3). Which post stands for a track is decided when feeds are made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from core.types import Did

MAX_LANGS = 3  # of a post: what its lexicon allows
_PRIMARY = re.compile(r"[a-z]{2,3}(?=-|\Z)", re.ASCII)
_NO_LANGUAGE = frozenset({"und", "zxx", "mul"})  # unknown, none, several


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
    langs: tuple[str, ...] = ()  # that the post is in; empty: it does not say
    author_born_us: int | None = None  # since when the post's account exists, where that was found out
    liked: bool = False  # by somebody, where likes are counted

    @property
    def confidence(self) -> float:
        return CONFIDENCE[self.rule]


def primary_langs(told: object, most: int) -> tuple[str, ...]:
    """The languages that the first `most` of a list of tags name, without regions and scripts: `pt` for `pt-BR`. What
    makes no sense is left out.
    """
    tags: Iterable[object] = told[:most] if isinstance(told, list) else ()
    found = (_PRIMARY.match(tag.lower()) for tag in tags if isinstance(tag, str))
    return tuple(dict.fromkeys(lang[0] for lang in found if lang is not None and lang[0] not in _NO_LANGUAGE))
