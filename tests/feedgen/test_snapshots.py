"""Pages cut from snapshots: no duplicate, no skip, never from the start again (P107-P110)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.feed import FeedEntry, Reason
from feedgen.cursor import Cursor, decode_cursor, encode_cursor
from feedgen.served import MAX_SERVED, Served
from feedgen.snapshots import Page, Shelf, Snapshot

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


def entry(number: int) -> FeedEntry:
    return FeedEntry(f"at://{DID}/fm.plyr.track/t{number}", post(number), 0.5)


def post(number: int) -> str:
    return f"at://{DID}/app.bsky.feed.post/p{number}"


def numbers(page: Page) -> list[int]:
    """The tracks of a page, by the posts that show them."""
    shown = [int(orjson.loads(one)["post"].rpartition("/p")[2]) for one in page.rendered]
    assert len(shown) == len(page.tracks)
    return shown


def alive_but(dead: set[int], spare: dict[int, int] | None = None) -> Callable[[str], tuple[str, ...]]:
    """The posts of a track: its own unless that is dead, then a spare one if it has any."""

    def posts_of(track_uri: str) -> tuple[str, ...]:
        number = int(track_uri.rpartition("/t")[2])
        posts = [] if number in dead else [number]
        posts += [spare[number]] if spare and number in spare else []
        return tuple(post(one) for one in posts)

    return posts_of


ALL_ALIVE = alive_but(set())


def put(shelf: Shelf, entries: Sequence[FeedEntry], now_us: int) -> Snapshot:
    return shelf.put(entries, shelf.freeze(entries, now_us))


def shelf_of(count: int, **options: int) -> Shelf:
    shelf = Shelf("calm", **options)
    put(shelf, [entry(number) for number in range(count)], 1_000_000)
    return shelf


def through_text(cursor: Cursor | None) -> Cursor | None:
    """As it comes back from a reader."""
    if cursor is None:
        return None
    return decode_cursor(encode_cursor(cursor, feed="calm", key=b"k"), feed="calm", key=b"k")


def read_through(shelf: Shelf, limit: int, dead: set[int] | None = None) -> list[list[int]]:
    pages: list[list[int]] = []
    cursor: Cursor | None = None
    while True:
        page = shelf.page(cursor, limit, alive_but(dead or set()))
        assert len(page.tracks) <= limit
        assert page.next is None or (page.tracks and page.next != cursor)
        pages.append(numbers(page))
        cursor = through_text(page.next)
        if cursor is None:
            return pages


@given(count=st.integers(0, 120), limit=st.integers(1, 100))
def test_p109_every_entry_once_in_order(count: int, limit: int) -> None:
    pages = read_through(shelf_of(count), limit)
    assert [number for page in pages for number in page] == list(range(count))
    assert all(len(page) == limit for page in pages[:-1])
    assert len(pages) == max(1, -(-count // limit))  # P108: no further page just to say that it is over


@given(count=st.integers(0, 60), limit=st.integers(1, 20), dead=st.sets(st.integers(0, 59)))
def test_p107_pages_are_filled_over_dead_entries(count: int, limit: int, dead: set[int]) -> None:
    pages = read_through(shelf_of(count), limit, dead)
    assert [number for page in pages for number in page] == [n for n in range(count) if n not in dead]
    assert all(len(page) == limit for page in pages[:-1])


def test_p109_a_whole_feed_of_500() -> None:
    assert read_through(shelf_of(500), 30) == [list(range(at, min(at + 30, 500))) for at in range(0, 500, 30)]


CHANGES = st.lists(
    st.tuples(
        st.sets(st.integers(0, 79), max_size=8),  # die
        st.sets(st.integers(0, 79), max_size=8),  # come back
        st.none() | st.permutations(range(80)),  # a new order of everything, 40 of which are new tracks
    ),
    max_size=40,
)


@given(changes=CHANGES, limit=st.integers(1, 7))
def test_p110_while_the_snapshot_lives(changes: list[tuple[set[int], set[int], list[int] | None]], limit: int) -> None:
    """Inserts, deletes, restorations and re-ranking between pages: no duplicate, no skip of what stayed alive."""
    shelf, dead, ever_dead = shelf_of(40, keep=50), set[int](), set[int]()
    served: list[int] = []
    cursor: Cursor | None = None
    for turn in range(41):
        page = shelf.page(cursor, limit, alive_but(dead))
        assert not dead & set(numbers(page))
        served += numbers(page)
        if page.next is None:
            break
        cursor = through_text(page.next)
        die, revive, order = changes[turn] if turn < len(changes) else (set(), set(), None)
        dead = (dead | die) - revive
        ever_dead |= die
        if order is not None:
            put(shelf, [entry(number) for number in order if number not in dead], 1_000_000 + turn)
    assert len(served) == len(set(served))
    assert served == sorted(served)
    assert set(range(40)) - ever_dead <= set(served)


@given(orders=st.lists(st.permutations(range(40)), min_size=1, max_size=60), limit=st.integers(1, 7))
def test_p107_p110_expired_snapshots_never_repeat_restart_or_echo(orders: list[list[int]], limit: int) -> None:
    """Every page of another snapshot: of 40 tracks, the filter takes next to none for served."""
    shelf = shelf_of(40, keep=1)
    cursor: Cursor | None = None
    served: list[int] = []
    for turn, order in enumerate(orders):
        page = shelf.page(cursor, limit, ALL_ALIVE)
        assert page.next is None or (page.tracks and page.next != cursor)
        served += numbers(page)
        cursor = through_text(page.next)
        if cursor is None:
            assert sorted(served) == list(range(40))
            break
        put(shelf, [entry(number) for number in order], 2_000_000 + turn)
    assert len(served) == len(set(served))


class Reading:
    """One reader goes through a feed whose snapshots come and go while tracks do."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.size = self.random.choice((60, 200, 400))
        self.order = list(range(self.size))
        self.newcomers = self.size
        self.shelf = Shelf("calm", keep=self.random.choice((1, 2, 4)))
        self.dead: set[int] = set()
        self.ever_gone: set[int] = set()
        self.put()

    def put(self) -> None:
        put(self.shelf, [entry(number) for number in self.order], 1)

    def change(self) -> None:
        """Tracks enter, are deleted, opt out, come back; everything is ranked anew, a little or altogether."""
        for _ in range(self.random.randrange(6)):
            self.order.insert(self.random.randrange(len(self.order)), self.newcomers)
            self.newcomers += 1
        for number in self.random.sample(self.order, self.random.randrange(4)):
            self.dead.add(number)
            self.ever_gone.add(number)
            if self.random.random() < 0.5:
                self.order.remove(number)
        for number in list(self.dead):
            if self.random.random() < 0.3:
                self.dead.discard(number)
        if self.random.random() < 0.5:
            self.random.shuffle(self.order)
        else:
            self.order.sort(key=lambda number: number + self.random.gauss(0, 20))
        if self.random.random() < 0.6:
            self.put()

    def read(self) -> tuple[int, int]:
        """How many tracks were there all the time, and how many of these the reader never saw. Asserts no duplicate."""
        served: list[int] = []
        cursor: Cursor | None = None
        limit = self.random.choice((5, 17, 30, 50))
        while len(served) < MAX_SERVED:
            page = self.shelf.page(cursor, limit, alive_but(self.dead))
            assert len(page.tracks) <= limit, "P106"
            assert not self.dead & set(numbers(page))
            served += numbers(page)
            if page.next is None:
                break
            assert page.tracks, "P107"
            assert page.next != cursor, "P107"
            cursor = through_text(page.next)
            self.change()
        assert len(served) == len(set(served)), "a track came twice"
        stayed = set(range(self.size)) - self.ever_gone
        return len(stayed), len(stayed - set(served))


@pytest.mark.parametrize("seed", range(4))
def test_p110_schedules_with_expiry_skip_less_than_one_in_a_hundred(seed: int) -> None:
    """Random inserts, deletes, opt-outs, re-ranking and expiry between any two pages (FEEDS section 5)."""
    readings = [Reading(100 * seed + number).read() for number in range(25)]
    stayed, missed = (sum(column) for column in zip(*readings, strict=True))
    assert stayed > 1_000
    assert missed <= 0.01 * stayed


def test_p110_what_was_ranked_before_the_place_meanwhile_is_not_lost() -> None:
    """Once around: behind the track served last first, then from the head up to there, without what was served."""
    shelf = shelf_of(20, keep=1)
    cursor = shelf.page(None, 5, ALL_ALIVE).next  # 0 1 2 3 4
    put(shelf, [entry(number) for number in (50, 51, *range(15, 20), 4, *range(15), 52)], 2_000_000)
    seen: list[int] = []
    while cursor is not None:
        page = shelf.page(cursor, 6, ALL_ALIVE)
        seen += numbers(page)
        cursor = through_text(page.next)
    assert seen == [*range(5, 15), 52, 50, 51, *range(15, 20)]


def test_p110_expired_and_last_track_gone_goes_on_at_the_same_position() -> None:
    shelf = shelf_of(20, keep=1)
    cursor = shelf.page(None, 5, ALL_ALIVE).next
    put(shelf, [entry(number) for number in range(100, 120)], 2_000_000)
    assert numbers(shelf.page(cursor, 5, ALL_ALIVE)) == [105, 106, 107, 108, 109]
    put(shelf, [], 3_000_000)
    assert shelf.page(cursor, 5, ALL_ALIVE) == Page((), (), None)


def test_p110_expired_goes_on_behind_the_track_served_last() -> None:
    shelf = shelf_of(20, keep=1)
    cursor = shelf.page(None, 5, ALL_ALIVE).next  # 0 1 2 3 4
    put(shelf, [entry(number) for number in (50, 51, *range(20))], 2_000_000)
    assert numbers(shelf.page(cursor, 3, ALL_ALIVE)) == [5, 6, 7]


@settings(max_examples=20)
@given(limit=st.integers(20, 100))
def test_a_reading_ends_before_the_filter_is_full(limit: int) -> None:
    """Every page of a snapshot with new tracks only: without an end the filter would take everything for served."""
    shelf = Shelf("calm", keep=1)
    cursor: Cursor | None = None
    total = 0
    for turn in range(100):
        put(shelf, [entry(number) for number in range(1_000 * turn, 1_000 * turn + 400)], 1)
        page = shelf.page(cursor, limit, ALL_ALIVE)
        assert len(page.tracks) >= limit - 4
        total += len(page.tracks)
        cursor = page.next
        if cursor is None:
            break
    assert MAX_SERVED <= total < MAX_SERVED + limit


def test_36_snapshots_are_kept_and_an_unchanged_order_is_not_a_new_one() -> None:
    shelf = shelf_of(3)
    first = shelf.newest
    assert put(shelf, [entry(number) for number in range(3)], 2_000_000) is first
    cursor = shelf.page(None, 1, ALL_ALIVE).next
    for turn in range(35):
        put(shelf, [entry(number) for number in (turn, 98, 99)], 2_000_000)  # the clock stands still: ids still grow
    assert numbers(shelf.page(cursor, 5, ALL_ALIVE)) == [1, 2]
    put(shelf, [entry(7)], 2_000_000)
    assert numbers(shelf.page(cursor, 5, ALL_ALIVE)) == [7]


def test_p130_feed_context_is_short_and_shows_no_raw_score() -> None:
    shelf = Shelf("calm")
    put(shelf, [FeedEntry(entry(1).track_uri, post(1), 0.7345, Reason.EXPLORE)], 1_000_000)
    (rendered,) = shelf.page(None, 1, ALL_ALIVE).rendered
    body = orjson.loads(rendered)
    assert set(body) == {"post", "feedContext"}
    assert "|calm|explore|7|" in body["feedContext"]
    assert len(body["feedContext"]) <= 2000
    assert "0.73" not in body["feedContext"]


def test_p105_an_entry_without_a_post_never_reaches_a_skeleton() -> None:
    with pytest.raises(AssertionError, match="nothing in a skeleton"):
        put(Shelf("calm"), [FeedEntry(entry(1).track_uri, None, 1.0)], 1_000_000)


def test_a_feed_without_a_snapshot_is_empty() -> None:
    assert Shelf("calm").page(None, 5, ALL_ALIVE).tracks == ()
    assert Shelf("calm").page(Cursor(1, None, 2, b"12345678", Served()), 5, ALL_ALIVE).next is None


def test_a_deleted_post_is_replaced_by_the_next_best_one_in_snapshots_that_readers_stand_in() -> None:
    shelf = shelf_of(6)
    first = shelf.page(None, 2, ALL_ALIVE)
    page = shelf.page(first.next, 3, alive_but({2, 3, 5}, {2: 77, 3: 4, 5: 78}))
    assert numbers(page) == [77, 4, 78]  # track 3 is not shown by the post that shows track 4
    assert [uri[-1] for uri in page.tracks] == ["2", "4", "5"]
    whole = orjson.loads(shelf.page(None, 6, ALL_ALIVE).rendered[2])
    assert orjson.loads(page.rendered[0]) == whole | {"post": post(77)}
    assert page.next is None


def test_two_entries_that_lost_their_posts_never_end_on_the_same_spare_one() -> None:
    """A post stands in for the first entry that it can show, on whatever page, also once that one has its own again."""
    shelf = shelf_of(6)
    lost = alive_but({1, 4, 5}, {1: 77, 4: 77, 5: 78})
    assert [numbers(shelf.page(None, limit, lost)) for limit in (6, 4)] == [[0, 77, 2, 3, 78], [0, 77, 2, 3]]
    follow = shelf.page(None, 4, lost).next
    assert numbers(shelf.page(follow, 4, lost)) == [78]
    assert numbers(shelf.page(None, 6, alive_but({4}, {1: 77, 4: 77}))) == [0, 1, 2, 3, 5]
    gone = shelf.page(None, 6, lambda uri: () if uri.endswith("/t1") else lost(uri))
    assert numbers(gone) == [0, 2, 3, 77, 78], "nobody else's any more"


def test_the_newest_order_is_kept_in_full() -> None:
    """Scores move without changing what readers get: the snapshot stays, what people are told is new."""
    shelf = shelf_of(2)
    entries: Sequence[FeedEntry] = [FeedEntry(one.track_uri, one.post_uri, 0.51) for one in shelf.entries]
    newest = shelf.newest
    assert put(shelf, entries, 2_000_000) is newest
    assert [one.score for one in shelf.entries] == [0.51, 0.51]
