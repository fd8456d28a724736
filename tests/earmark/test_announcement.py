"""Which tracks may be announced, since when, and what the post says (POSTS.md section 5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.analysis import Genre, Verdict, VerdictStatus
from core.clock import SystemClock
from core.config import Settings
from core.errors import Misconfigured, Unreachable
from core.log import set_up
from core.ports import HttpAnswer, Proven
from core.sections import Announcer
from core.taxonomy import Taxonomy
from core.types import Account, AtUri, Cid, Did, Nsid, Track, TrackState, Visibility, is_tid, make_tid
from earmark.announcement import (
    SETTLE_US,
    STALE_US,
    Case,
    announce_since,
    announcement_key,
    is_due,
    is_quiet,
    must_go,
    name_tags,
    standing_wishes,
    write_post,
)
from earmark.consenting import AGAIN_US, MAX_AGAIN, MAX_NEW, Consents
from firehose.constellation import Constellation
from store import Store
from store.announcements import AnnouncementWish, Said
from store.tracks import StoredTrack
from store.wishes import Scope, Standing

PINNED = "at://did:plc:" + "p" * 24 + "/app.bsky.feed.post/3kaaaaaaaaaa2"
ARTIST = Did("did:plc:" + "a" * 24)
URI = AtUri.parse(f"at://{ARTIST}/fm.plyr.track/t1")
BORN_US = 1_800_000_000_000_000
NOW_US = BORN_US + SETTLE_US
SINCE_US = BORN_US - 1


class Clock(SystemClock):
    """Ahead by so much."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_us / 1e6

    def pass_us(self, micros: int) -> None:
        self.ahead_us += micros


def stored(*, track: dict[str, Any] | None = None, **changes: Any) -> StoredTrack:
    record = Track(URI, Cid("c"), make_tid(BORN_US), "Stairwell", BORN_US, artist="Artist", page_url="https://x.y/1")
    one = StoredTrack(
        1, replace(record, **(track or {})), TrackState.READY, None, Visibility.PUBLIC, BORN_US, BORN_US, True
    )
    return replace(one, **changes)


def wish(said: Said, said_us: int, seen_us: int = 0) -> AnnouncementWish:
    return AnnouncementWish(f"{said}{said_us}", ARTIST, said, False, said_us, seen_us or said_us, seen_us or said_us)


MUSIC = Verdict(VerdictStatus.OK, ("electronic",), rankable=True)


def case(one: StoredTrack | None = None, **changes: Any) -> Case:
    return replace(Case(one or stored(), MUSIC, Standing(), Account(ARTIST, True), SINCE_US), **changes)


def test_a_new_public_track_that_was_heard_and_is_at_rest_may_be_announced() -> None:
    assert is_due(case(), now_us=NOW_US)


@pytest.mark.parametrize(
    ("one", "now_us"),
    [
        (case(since_us=None), NOW_US),
        (case(since_us=BORN_US), NOW_US),
        (case(), NOW_US - 1),
        (case(), BORN_US + STALE_US),
        (case(verdict=None), NOW_US),
        (case(verdict=replace(MUSIC, rankable=False)), NOW_US),
        (case(standing=Standing(Scope.FEEDS)), NOW_US),
        (case(standing=Standing(logged_in_only=True)), NOW_US),
        (case(stored(updated_us=BORN_US + 1)), NOW_US),
        (case(stored(first_seen_us=BORN_US + 1)), NOW_US),
        (case(stored(first_seen_us=SINCE_US)), NOW_US),
        (case(stored(state=TrackState.QUEUED)), NOW_US),
        (case(stored(visibility=Visibility.HIDDEN)), NOW_US),
        (case(stored(track={"gated": True})), NOW_US),
        (case(stored(track={"self_labels": ("nudity",)})), NOW_US),
        (case(stored(track={"author_tags": ("Suno",)})), NOW_US),
        (case(stored(track={"page_url": None})), NOW_US),
        (case(stored(track={"hold_until_us": BORN_US + 1})), NOW_US),
    ],
)
def test_what_is_not_announced(one: Case, now_us: int) -> None:
    assert not is_due(one, now_us=now_us)


def test_what_was_released_today_is_new_however_long_its_record_waited() -> None:
    later_us = BORN_US + 2 * STALE_US
    assert is_due(case(stored(track={"hold_until_us": later_us - SETTLE_US})), now_us=later_us)
    assert not is_due(case(), now_us=later_us)


@pytest.mark.parametrize(
    "one",
    [
        replace(case(), stored=None),
        case(stored(state=TrackState.WITHDRAWN)),
        case(stored(state=TrackState.REFUSED, reason="gated")),
        case(stored(track={"gated": True})),
        case(stored(visibility=Visibility.HIDDEN)),
        case(standing=Standing(Scope.ALL)),
        case(standing=Standing(logged_in_only=True)),
        case(since_us=None),
        case(verdict=Verdict(VerdictStatus.OK, ("podcast",), reason="speech")),
        case(stored(account_active=False), account=Account(ARTIST, False, "takendown")),
        case(stored(account_active=False), account=Account(ARTIST, False, "suspended")),
    ],
)
def test_what_is_taken_back(one: Case) -> None:
    assert must_go(one)


@pytest.mark.parametrize(
    "one",
    [
        case(stored(account_active=False), account=Account(ARTIST, False, "deactivated")),
        case(stored(account_active=False), account=Account(ARTIST, False, "not_found")),
        case(stored(state=TrackState.QUEUED)),
        case(stored(state=TrackState.QUEUED), verdict=None),
        case(stored(state=TrackState.QUEUED), verdict=Verdict(VerdictStatus.UNDECIDED)),
        case(stored(track={"title": "Another title"})),
    ],
)
def test_p151_a_post_stays_while_its_account_is_away_or_its_track_is_edited(one: Case) -> None:
    assert not must_go(one)


def test_the_newest_word_counts_and_time_runs_from_when_we_saw_it() -> None:
    assert announce_since([]) is None
    assert announce_since([wish(Said.NOTHING, 5)]) is None
    assert announce_since([wish(Said.YES, 5, seen_us=9)]) == 9
    assert announce_since([wish(Said.YES, 5), wish(Said.STOP, 7)]) is None
    assert announce_since([wish(Said.YES, 5), wish(Said.STOP, 7), wish(Said.YES, 8, seen_us=11)]) == 11


def test_a_wish_from_before_the_last_stop_is_none_even_when_the_one_after_it_goes() -> None:
    before, stop, after = wish(Said.YES, 5), wish(Said.STOP, 7), wish(Said.YES, 8)
    assert standing_wishes([before, stop, after]) == [after]
    assert standing_wishes([before, stop]) == []


@given(st.text(max_size=600), st.booleans(), st.sampled_from([None, "a.example", "x" * 90 + ".example"]))
def test_a_post_fits_whatever_the_title_and_a_mention_marks_the_handle(
    title: str, mention: bool, handle: str | None
) -> None:
    post = write_post(
        stored(track={"title": title}), handle=handle, mention=mention, tags=[], thumb=None, thread=None, now_us=NOW_US
    )
    assert len(post["text"]) <= 300
    if not (mention and handle):
        assert "facets" not in post
        return
    (facet,) = post["facets"]
    index = facet["index"]
    assert post["text"].encode()[index["byteStart"] : index["byteEnd"]].decode() == f"@{handle}"


def test_a_key_is_a_tid_and_always_the_same() -> None:
    keys = {announcement_key(f"at://{ARTIST}/fm.plyr.track/t{number}") for number in range(500)}
    assert len(keys) == 500
    assert all(is_tid(key) for key in keys)
    assert announcement_key(str(URI)) == announcement_key(str(URI))


def test_tags_name_the_parent_and_the_top_style() -> None:
    genres = (Genre("electronic", "Electronic", 0.9), Genre("electronic-techno", "Techno", 0.6))
    assert name_tags(("electronic",), genres, Taxonomy.load()) == ["Electronic", "Techno"]
    assert name_tags((), genres, Taxonomy.load()) == [], "where no label is claimed no genre is said"


@pytest.mark.parametrize(
    ("hours", "quiet"),
    [("", ()), ("1-3", (1, 2)), ("22-7", (22, 23, 0, 1, 2, 3, 4, 5, 6)), ("5-5", ())],
)
def test_quiet_hours(hours: str, quiet: tuple[int, ...]) -> None:
    assert {hour for hour in range(24) if is_quiet(hours, hour * 3_600_000_000)} == set(quiet)


@pytest.mark.parametrize("hours", ["24-7", "7", "7-", "night", "-1-3"])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(ValidationError):
        Announcer(quiet_hours=hours)


class Hosts:
    """An index that knows who likes the pinned post, and their hosts, of which some are away."""

    def __init__(self, likes: list[AtUri]) -> None:
        self.likes, self.away, self.asked = likes, set[str](), list[str]()

    async def get(self, url: str, **options: Any) -> HttpAnswer:
        liked = options["params"]["source"].startswith("app.bsky.feed.like")
        rows = [{"did": one.did, "collection": one.collection, "rkey": one.rkey} for one in self.likes if liked]
        return HttpAnswer(200, {}, orjson.dumps({"records": rows}), url)

    async def prove(self, uri: AtUri) -> Proven:
        self.asked.append(uri.did)
        if uri.did in self.away:
            raise Unreachable("its host is away")
        return Proven(uri, make_tid(BORN_US), Cid("c"), {"subject": {"uri": PINNED}})


async def test_hosts_that_are_away_keep_nobody_else_from_being_read(tmp_path: Path) -> None:
    """Neither who asks anew, nor who may have changed their mind."""
    clock, like = Clock(), Nsid("app.bsky.feed.like")
    likes = [
        AtUri(Did(f"did:plc:{chr(98 + number // 26) * 23}{chr(97 + number % 26)}"), like, make_tid(BORN_US + number))
        for number in range(2 * MAX_NEW)
    ]
    hosts = Hosts(likes)
    world: Any = hosts
    settings = Settings.load(None, announcer={"did": ARTIST, "opt_in_post": PINNED})
    store = await Store.open(tmp_path / "earmark.db", clock=clock)
    index = Constellation(world, "https://index.example", pause=0.0)
    log = set_up(level="critical")
    consents = Consents(store, settings, prover=world, constellation=index, clock=clock, log=log)
    hosts.away = {one.did for one in likes[:MAX_NEW]}
    assert await consents.refresh() == {}
    clock.pass_us(300_000_000)
    assert set(await consents.refresh()) == {one.did for one in likes[MAX_NEW:]}

    hosts.away = {one.did for one in likes[MAX_NEW : MAX_NEW + MAX_AGAIN]}
    hosts.likes, hosts.asked = [], []
    clock.pass_us(AGAIN_US)
    for _ in range(-(-MAX_NEW // MAX_AGAIN)):
        clock.pass_us(300_000_000)
        await consents.refresh()
    assert set(hosts.asked) == {one.did for one in likes[MAX_NEW:]}
    await store.close()


async def test_slow_hosts_keep_a_round_from_its_other_work_for_a_minute_at_most(tmp_path: Path) -> None:
    """Each of them takes its twenty seconds before it fails."""
    clock = Clock()

    class Slow(Hosts):
        async def prove(self, uri: AtUri) -> Proven:
            clock.pass_us(20_000_000)
            return await super().prove(uri)

    likes = [
        AtUri(Did(f"did:plc:{'b' * 23}{chr(97 + n)}"), Nsid("app.bsky.feed.like"), "3kaaaaaaaaaa2") for n in range(9)
    ]
    hosts: Any = Slow(likes)
    hosts.away = {one.did for one in likes[:6]}
    settings = Settings.load(None, announcer={"did": ARTIST, "opt_in_post": PINNED})
    index, log = Constellation(hosts, "https://index.example", pause=0.0), set_up(level="critical")
    async with opened(tmp_path, clock) as store:
        consents = Consents(store, settings, prover=hosts, constellation=index, clock=clock, log=log)
        for _ in range(3):
            before = clock.monotonic()
            said = await consents.refresh()
            assert clock.monotonic() - before < 90
    assert set(said) == {one.did for one in likes[6:]}


HOSTILE: list[Any] = [
    None,
    {},
    {"subject": []},
    {"subject": {"uri": 7}},
    {"subject": {"uri": PINNED + "x"}, "createdAt": {"a": 1}},
    {"reply": [], "text": 5},
    {"reply": {"parent": 3}, "text": "announce me"},
    {"reply": {"parent": {"uri": PINNED}}, "text": ["announce me"]},
    {"reply": {"parent": {"uri": PINNED}}, "text": "announce me " * 100_000 + "not"},
]


@pytest.mark.parametrize("kind", ["app.bsky.feed.like", "app.bsky.feed.post"])
@pytest.mark.parametrize("record", HOSTILE)
async def test_no_record_that_an_index_names_breaks_a_round_or_is_taken_for_a_wish(
    tmp_path: Path, kind: str, record: Any
) -> None:
    class Host(Hosts):
        async def get(self, url: str, **options: Any) -> HttpAnswer:
            self.likes = [AtUri(ARTIST, Nsid(kind), make_tid(BORN_US))]
            return await super().get(url, params=options["params"] | {"source": "app.bsky.feed.like:x"})

        async def prove(self, uri: AtUri) -> Proven:
            return Proven(uri, make_tid(BORN_US), Cid("c"), record)

    world: Any = Host([])
    clock = Clock()
    settings = Settings.load(None, announcer={"did": "did:plc:" + "p" * 24, "opt_in_post": PINNED})
    async with opened(tmp_path, clock) as store:
        consents = Consents(
            store,
            settings,
            prover=world,
            constellation=Constellation(world, "https://index.example", pause=0.0),
            clock=clock,
            log=set_up(level="critical"),
        )
        said = await consents.refresh()
    assert [wish.said for wish in said[ARTIST]] == [Said.NOTHING]


@asynccontextmanager
async def opened(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    store = await Store.open(folder / "earmark.db", clock=clock)
    yield store
    await store.close()


def test_a_pinned_post_needs_somebody_who_knows_who_likes_it() -> None:
    post = f"at://{ARTIST}/app.bsky.feed.post/3kaaaaaaaaaa2"
    settings = Settings.load(None, announcer={"did": ARTIST, "opt_in_post": post})
    nobody: Any = None
    with pytest.raises(Misconfigured, match=r"linking\.constellation_url"):
        Consents(nobody, settings, prover=nobody, constellation=None, clock=nobody, log=set_up(level="critical"))
