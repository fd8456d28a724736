"""Which post stands for a track (POSTS.md section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.feed import Parts, Reason
from core.link import LinkRule
from feedgen.candidates import Candidate
from feedgen.posts import PostRules, usable_posts
from store.tracks import RankableTrack

MakeTrack = Callable[..., RankableTrack]
NOW_US = 2000 * 3_600_000_000
DAY_US = 24 * 3_600_000_000


def post(number: int, **changes: Any) -> dict[str, Any]:
    return {"post_uri": f"at://did:plc:{'a' * 24}/app.bsky.feed.post/{number}"} | changes


ARTIST, CREDITED, OTHER = ("did:plc:" + "aaaaaaaaaaaaaaaaaaaaaaab", "did:plc:" + "c" * 24, "did:plc:" + "z" * 24)
ANNOUNCER = "did:plc:" + "n" * 24


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"rule": LinkRule.PAGE_IN_FACET}, {"post_did": CREDITED}),
        ({"post_did": CREDITED, "rule": LinkRule.PAGE_IN_FACET}, {"post_did": OTHER}),
        ({"post_did": CREDITED, "rule": LinkRule.PAGE_SAYS}, {"post_did": ANNOUNCER}),
        ({"post_did": ANNOUNCER, "created_us": 9 * NOW_US}, {"post_did": OTHER}),
        ({"rule": LinkRule.PAGE_IN_FACET, "card": False}, {"rule": LinkRule.PAGE_SAYS}),
        ({"rule": LinkRule.RECORD_TO_POST, "created_us": 9 * NOW_US}, {"rule": LinkRule.PAGE_IN_EMBED}),
        ({"rule": LinkRule.SOUNDSKY_TAG, "created_us": 9 * NOW_US}, {"rule": LinkRule.PAGE_IN_EMBED}),
        ({"rule": LinkRule.PAGE_IN_EMBED, "card": False}, {"rule": LinkRule.PAGE_IN_FACET}),
        ({"rule": LinkRule.ASSOCIATED_REF, "card": True}, {"rule": LinkRule.EMBED_RECORD, "card": False}),
        ({"rule": LinkRule.EMBED_RECORD, "created_us": NOW_US}, {"created_us": NOW_US + 1}),
        ({}, {"reply": True, "created_us": NOW_US // 2}),
        ({"post_did": OTHER, "rule": LinkRule.PAGE_IN_FACET, "card": False}, {"adult": True}),
        ({"post_did": OTHER, "rule": LinkRule.PAGE_IN_FACET, "card": False}, {"targets_in_post": 2}),
        ({"post_did": OTHER}, {"created_us": NOW_US // 2 - DAY_US - 1}),
        ({"post_did": OTHER}, {"post_uri": f"at://{ARTIST}/fm.plyr.track/t1"}),
    ],
)
def test_best_post_order(track: MakeTrack, better: dict[str, Any], worse: dict[str, Any]) -> None:
    pair = [post(1, post_did=ARTIST) | better, post(0, post_did=ARTIST) | worse]
    for posts in (pair, pair[::-1]):
        one = track(1, posts=posts, credits=(CREDITED,), created_us=NOW_US // 2)
        assert one.did == ARTIST
        chosen = usable_posts(one, PostRules(announcer=ANNOUNCER), now_us=NOW_US)
        assert chosen[0].post_uri == pair[0]["post_uri"]


def test_posts_of_others_can_be_left_out(track: MakeTrack) -> None:
    one = track(1, posts=[post(1, post_did=OTHER)])
    assert len(usable_posts(one, PostRules(), now_us=NOW_US)) == 1
    assert usable_posts(one, PostRules(others=False), now_us=NOW_US) == []
    assert len(usable_posts(one, PostRules(others=False, announcer=OTHER), now_us=NOW_US)) == 1
    assert len(usable_posts(replace(one, credits=(OTHER,)), PostRules(others=False), now_us=NOW_US)) == 1


@pytest.mark.parametrize(
    ("did", "fields", "stands"),
    [
        (OTHER, {"author_born_us": NOW_US - 30 * DAY_US}, True),
        (OTHER, {"author_born_us": NOW_US - 30 * DAY_US + 1}, False),
        (OTHER, {"author_born_us": None}, False),
        (OTHER, {"author_born_us": NOW_US, "liked": True}, True),
        (ARTIST, {"author_born_us": NOW_US}, True),
        (CREDITED, {"author_born_us": None}, True),
        (ANNOUNCER, {"author_born_us": None}, True),
    ],
)
def test_posts_of_others_need_a_like_or_a_grown_account(
    track: MakeTrack, did: str, fields: dict[str, Any], stands: bool
) -> None:
    one = track(1, posts=[post(1, post_did=did) | fields], credits=(CREDITED,))
    assert bool(usable_posts(one, PostRules(announcer=ANNOUNCER), now_us=NOW_US)) is stands


@pytest.mark.parametrize(
    "uri",
    [
        f"at://{ARTIST}/fm.plyr.track/t1",
        f"at://{ARTIST}/app.bsky.feed.repost/t1",
        "at://alice.example.com/app.bsky.feed.post/t1",
        f"at://{ARTIST}/app.bsky.feed.post/t1?x",
        "https://bsky.app/profile/x/post/y",
        "",
    ],
)
def test_p105_what_is_no_post_never_becomes_an_entry(track: MakeTrack, uri: str) -> None:
    one = track(1, posts=[post(1, post_uri=uri)])
    assert usable_posts(one, PostRules(), now_us=NOW_US) == []
    with pytest.raises(AssertionError, match="must be a post"):
        Candidate(0, one, Parts(), Reason.MOOD, one.links[0]).entry()


def test_p105_an_entry_is_the_post(track: MakeTrack) -> None:
    one = track(1)
    entry = Candidate(0, one, Parts(mood=0.9, weight=1.1), Reason.MOOD, one.links[0]).entry()
    assert entry.post_uri is not None
    assert entry.post_uri.split("/")[3] == "app.bsky.feed.post"
    assert (entry.track_uri, entry.score, entry.parts.weight) == (one.uri, 0.9, 1.1)
    assert Candidate(0, one, Parts(), Reason.MOOD).entry().post_uri is None
