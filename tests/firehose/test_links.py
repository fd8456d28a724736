"""Posts to links: rules R1, R2, R4 to R7 of POSTS.md."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.link import Link, LinkRule
from core.types import AtUri
from firehose.links import LinkRules, find_links

RULES = LinkRules(
    frozenset({"fm.plyr.track", "cloud.soundsky.audio"}), frozenset({"plyr.fm"}), frozenset({"music.example"})
)
POST = AtUri.parse("at://did:plc:poster222222222222222222/app.bsky.feed.post/3kaaaaaaaaaa2")
TRACK = "at://did:plc:artist222222222222222222/fm.plyr.track/3kbbbbbbbbbb2"
PAGE = "https://plyr.fm/track/42"
SOUNDSKY = f"at://{POST.did}/cloud.soundsky.audio/3kcccccccccc2"
PLAYER = "https://soundsky.cloud/?link=3kcccccccccc2"
SONG = "https://music.example/song?id=1"
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
        ({"tags": ["soundskyaudio", "soundskyid=3kcccccccccc2", "techno"]}, SOUNDSKY, LinkRule.SOUNDSKY_TAG),
        ({"facets": facets(PLAYER)}, SOUNDSKY, LinkRule.SOUNDSKY_TAG),
        ({"embed": card(PLAYER)}, SOUNDSKY, LinkRule.SOUNDSKY_TAG),
        ({"tags": ["soundskyid=3kcccccccccc2"], "facets": facets(PLAYER)}, SOUNDSKY, LinkRule.SOUNDSKY_TAG),
        (
            {"embed": card("http://www.Music.example/song?id=1#top")},
            "https://www.music.example/song?id=1",
            LinkRule.PAGE_SAYS,
        ),
        ({"facets": facets(SONG, SONG + "#x")}, SONG, LinkRule.PAGE_SAYS),
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
        "https://plyr.fm@evil.com/track/1",
        "https://evil.com@plyr.fm/track/1",
        "https://soundsky.cloud/?link=",
        "https://soundsky.cloud/?link=a%2Fb",
        "https://soundsky.cloud/?track=3kcccccccccc2",
        "https://sub.music.example/song",
        "https://music.example.evil.com/song",
        "https://music.example/" + "x" * 2_000,
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


def test_r4_a_soundsky_key_means_the_authors_own_record() -> None:
    """Somebody else who shares the player's address names no record: keys are not unique."""
    (link,) = links(facets=facets(PLAYER))
    assert link.target.startswith(f"at://{POST.did}/")
    unmapped = LinkRules(frozenset({"fm.plyr.track"}), frozenset())
    record = {"tags": ["soundskyid=3kcccccccccc2"], "facets": facets(PLAYER)}
    assert find_links(unmapped, POST, record, now_us=NOW_US) == []


def test_r7_pages_are_asked_only_when_nothing_surer_is_there() -> None:
    (link,) = links(embed=card(PAGE), facets=facets(SONG))
    assert (link.target, link.rule) == (PAGE, LinkRule.PAGE_IN_EMBED)
    found = links(facets=facets(*(f"{SONG}{n}" for n in range(9))))
    assert [(link.rule, link.targets_in_post) for link in found] == [(LinkRule.PAGE_SAYS, 4)] * 4


def test_replies_and_adult_posts_are_marked() -> None:
    values = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "nudity"}]}
    (link,) = links(embed=QUOTE, reply={"root": {}, "parent": {}}, labels=values)
    assert (link.reply, link.adult) == (True, True)
    (link,) = links(embed=QUOTE)
    assert (link.reply, link.adult) == (False, False)


@pytest.mark.parametrize(
    ("told", "langs"),
    [
        (["pt-BR", "en", "EN-us"], ("pt", "en")),
        (["de", "fr", "it", "es"], ("de", "fr", "it")),  # a post names three at most
        (["zxx", "und", "haw"], ("haw",)),
        (["english", "x" * 100_000, "", "-en", "e1", 7, None, ["en"]], ()),
        ([], ()),
        ("en", ()),
        ({"en": 1}, ()),
        (None, ()),
    ],
)
def test_the_languages_that_a_post_says_it_is_in(told: Any, langs: tuple[str, ...]) -> None:
    (link,) = links(embed=QUOTE, langs=told)
    assert link.langs == langs


def test_the_prefilter_names_collections_and_hosts() -> None:
    assert RULES.needles() == (
        b"cloud.soundsky.audio",
        b"fm.plyr.track",
        b"music.example",
        b"plyr.fm",
        b"soundsky.cloud",
        b"soundskyid=",
    )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from([PAGE, TRACK, PLAYER, SONG, "soundskyid=a"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["embed", "external", "record", "media", "uri", "associatedRefs", "facets", "features", "$type", "tags"]
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
        assert link.target in (PAGE, TRACK, SONG, SOUNDSKY, f"at://{POST.did}/cloud.soundsky.audio/a")
