"""Posts to links: rules R1, R2, R5 and R6 of POSTS.md."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.link import Link, LinkRule
from core.types import AtUri
from firehose.links import LinkRules, find_links

RULES = LinkRules(frozenset({"fm.plyr.track"}), frozenset({"plyr.fm"}))
POST = AtUri.parse("at://did:plc:poster222222222222222222/app.bsky.feed.post/3kaaaaaaaaaa2")
TRACK = "at://did:plc:artist222222222222222222/fm.plyr.track/3kbbbbbbbbbb2"
PAGE = "https://plyr.fm/track/42"
NOW_US = 1_750_000_000_000_000


def links(**fields: Any) -> list[Link]:
    record = {"$type": "app.bsky.feed.post", "text": "x", "createdAt": "2025-01-01T00:00:00Z"} | fields
    return find_links(RULES, POST, record, now_us=NOW_US)


def card(uri: str, *refs: str) -> dict[str, Any]:
    external = {"uri": uri, "title": "t", "associatedRefs": [{"uri": ref, "cid": "x"} for ref in refs]}
    return {"$type": "app.bsky.embed.external", "external": external}


def facets(*uris: str) -> list[dict[str, Any]]:
    kind = "app.bsky.richtext.facet#link"
    return [{"index": {}, "features": [{"$type": kind, "uri": uri}]} for uri in uris]


QUOTE = {"$type": "app.bsky.embed.record", "record": {"uri": TRACK, "cid": "x"}}
BOTH = {"$type": "app.bsky.embed.recordWithMedia", "record": QUOTE, "media": card("https://example.com/")}


@pytest.mark.parametrize(
    ("fields", "target", "rule"),
    [
        ({"embed": card("https://anything.example.com", TRACK)}, TRACK, LinkRule.ASSOCIATED_REF),
        ({"embed": QUOTE}, TRACK, LinkRule.EMBED_RECORD),
        ({"embed": BOTH}, TRACK, LinkRule.EMBED_RECORD),
        ({"embed": card(f"{PAGE}?ref=abcdefgh")}, PAGE, LinkRule.PAGE_IN_EMBED),
        ({"embed": {"record": {}, "media": card(PAGE)}}, PAGE, LinkRule.PAGE_IN_EMBED),
        ({"facets": facets("https://www.plyr.fm/embed/track/042/")}, PAGE, LinkRule.PAGE_IN_FACET),
        ({"facets": facets(f"https://plyr.fm/{TRACK}")}, TRACK, LinkRule.PAGE_IN_FACET),
        ({"embed": card(f"https://plyr.fm/{TRACK.replace('//', '/')}")}, TRACK, LinkRule.PAGE_IN_EMBED),
        ({"embed": card("https://plyr.fm/at%3A//" + TRACK[5:].replace(":", "%3A"))}, TRACK, LinkRule.PAGE_IN_EMBED),
    ],
)
def test_each_rule(fields: dict[str, Any], target: str, rule: LinkRule) -> None:
    (link,) = links(**fields)
    assert (link.target, link.rule, link.post_uri, link.post_did) == (target, rule, str(POST), POST.did)
    assert (link.created_us, link.targets_in_post, link.card) == (1_735_689_600_000_000, 1, "embed" in fields)


@pytest.mark.parametrize(
    "url",
    [
        "https://plyr.fm/track/abc",
        "https://plyr.fm/track/1/edit",
        "https://plyr.fm.example.com/track/1",
        "https://evil.com/plyr.fm/track/1",
        "ftp://plyr.fm/track/1",
        "https://plyr.fm/u/somebody/album/x",
        "https://plyr.fm/at://handle.example.com/fm.plyr.track/3kbbbbbbbbbb2",
        TRACK.replace("fm.plyr.track", "fm.plyr.dev.track"),
        "https://plyr.fm:99999999/track/1",
        "https://[plyr.fm/track/1",
    ],
)
def test_what_is_no_track(url: str) -> None:
    assert links(embed=card(url, url), facets=facets(url)) == []


def test_the_surest_rule_counts_and_a_card_with_its_page_is_one_target() -> None:
    (link,) = links(embed=card(PAGE, TRACK), facets=facets(PAGE, f"https://plyr.fm/{TRACK}"))
    assert (link.target, link.rule, link.targets_in_post) == (TRACK, LinkRule.ASSOCIATED_REF, 1)


def test_a_mixtape_says_how_many_targets_it_has() -> None:
    found = links(facets=facets(PAGE, "https://plyr.fm/track/43", "https://plyr.fm/track/42?ref=x"))
    assert [(link.target, link.targets_in_post) for link in found] == [(PAGE, 2), ("https://plyr.fm/track/43", 2)]


def test_replies_and_adult_posts_are_marked() -> None:
    values = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "nudity"}]}
    (link,) = links(embed=QUOTE, reply={"root": {}, "parent": {}}, labels=values)
    assert (link.reply, link.adult) == (True, True)
    (link,) = links(embed=QUOTE)
    assert (link.reply, link.adult) == (False, False)


def test_the_prefilter_names_collections_and_hosts() -> None:
    assert RULES.needles() == (b"fm.plyr.track", b"plyr.fm")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from([PAGE, TRACK]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["embed", "external", "record", "media", "uri", "associatedRefs", "facets", "features", "$type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_a_list_of_links(record: Any) -> None:
    for link in find_links(RULES, POST, record, now_us=NOW_US):
        assert link.target in (PAGE, TRACK)
