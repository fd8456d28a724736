"""Pages cut from snapshots: no duplicate, no skip, never from the start again (P107-P110)."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from hypothesis import given
from hypothesis import strategies as st

from core.feed import FeedEntry
from feedgen.cursor import Cursor
from feedgen.snapshots import Shelf

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


def entry(number: int) -> FeedEntry:
    return FeedEntry(f"at://{DID}/app.bsky.feed.post/p{number}", f"at://{DID}/fm.plyr.track/t{number}", 1.0)


def numbers(entries: tuple[FeedEntry, ...]) -> list[int]:
    return [int(one.post_uri.rpartition("/p")[2]) for one in entries]


def alive_but(dead: set[int], spare: dict[int, int] | None = None) -> Callable[[str], tuple[str, ...]]:
    """The posts of a track: its own unless that is dead, then a spare one if it has any."""

    def posts_of(track_uri: str) -> tuple[str, ...]:
        number = int(track_uri.rpartition("/t")[2])
        posts = [] if number in dead else [number]
        posts += [spare[number]] if spare and number in spare else []
        return tuple(entry(post).post_uri for post in posts)

    return posts_of


ALL_ALIVE = alive_but(set())


def shelf_of(count: int, **options: int) -> Shelf:
    shelf = Shelf("calm", **options)
    shelf.put([entry(number) for number in range(count)], 1_000_000)
    return shelf


def read_through(shelf: Shelf, limit: int, dead: set[int] | None = None) -> list[list[int]]:
    pages: list[list[int]] = []
    cursor: Cursor | None = None
    while True:
        page = shelf.page(cursor, limit, alive_but(dead or set()))
        assert len(page.entries) <= limit
        assert page.next is None or (page.entries and page.next != cursor)
        pages.append(numbers(page.entries))
        cursor = page.next
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
        assert not dead & set(numbers(page.entries))
        served += numbers(page.entries)
        if page.next is None:
            break
        cursor = page.next
        die, revive, order = changes[turn] if turn < len(changes) else (set(), set(), None)
        dead = (dead | die) - revive
        ever_dead |= die
        if order is not None:
            shelf.put([entry(number) for number in order if number not in dead], 1_000_000 + turn)
    assert len(served) == len(set(served))
    assert served == sorted(served)
    assert set(range(40)) - ever_dead <= set(served)


@given(orders=st.lists(st.permutations(range(40)), min_size=1, max_size=60), limit=st.integers(1, 7))
def test_p107_p110_expired_snapshots_never_restart_or_echo(orders: list[list[int]], limit: int) -> None:
    shelf = shelf_of(40, keep=1)
    cursor: Cursor | None = None
    for turn, order in enumerate(orders):
        page = shelf.page(cursor, limit, ALL_ALIVE)
        assert page.next is None or (page.entries and page.next != cursor)
        newest = shelf.newest
        assert newest is not None
        if cursor is not None and page.entries:
            behind = newest.places[cursor.last] + 1
            assert page.entries[0] == newest.entries[behind]
        if page.next is None:
            return
        cursor = page.next
        shelf.put([entry(number) for number in order], 2_000_000 + turn)


def test_p110_expired_and_last_track_gone_goes_on_at_the_same_position() -> None:
    shelf = shelf_of(20, keep=1)
    cursor = shelf.page(None, 5, ALL_ALIVE).next
    shelf.put([entry(number) for number in range(100, 120)], 2_000_000)
    assert numbers(shelf.page(cursor, 5, ALL_ALIVE).entries) == [105, 106, 107, 108, 109]
    shelf.put([entry(number) for number in range(200, 203)], 3_000_000)
    assert shelf.page(cursor, 5, ALL_ALIVE).entries == ()


def test_p110_expired_goes_on_behind_the_track_served_last() -> None:
    shelf = shelf_of(20, keep=1)
    cursor = shelf.page(None, 5, ALL_ALIVE).next  # 0 1 2 3 4
    shelf.put([entry(number) for number in (50, 51, *range(20))], 2_000_000)
    assert numbers(shelf.page(cursor, 3, ALL_ALIVE).entries) == [5, 6, 7]


def test_36_snapshots_are_kept_and_an_unchanged_order_is_not_a_new_one() -> None:
    shelf = shelf_of(3)
    first = shelf.newest
    assert shelf.put([entry(number) for number in range(3)], 2_000_000) is first
    cursor = shelf.page(None, 1, ALL_ALIVE).next
    for turn in range(35):
        shelf.put([entry(number) for number in (turn, 98, 99)], 2_000_000)  # the clock stands still: ids still grow
    assert numbers(shelf.page(cursor, 5, ALL_ALIVE).entries) == [1, 2]
    shelf.put([entry(7)], 2_000_000)
    assert shelf.page(cursor, 5, ALL_ALIVE).entries == ()


def test_p130_feed_context_is_short_and_shows_no_raw_score() -> None:
    shelf = Shelf("calm")
    shelf.put([FeedEntry(entry(1).post_uri, entry(1).track_uri, 1.2345)], 1_000_000)
    (rendered,) = shelf.page(None, 1, ALL_ALIVE).rendered
    body = orjson.loads(rendered)
    assert set(body) == {"post", "feedContext"}
    assert body["feedContext"].endswith("|calm|mood|2")
    assert len(body["feedContext"]) <= 2000
    assert "1.23" not in body["feedContext"]


def test_a_feed_without_a_snapshot_is_empty() -> None:
    assert Shelf("calm").page(None, 5, ALL_ALIVE).entries == ()
    assert Shelf("calm").page(Cursor(1, 2, b"12345678"), 5, ALL_ALIVE).next is None


def test_a_deleted_post_is_replaced_by_the_next_best_one_in_snapshots_that_readers_stand_in() -> None:
    shelf = shelf_of(6)
    first = shelf.page(None, 2, ALL_ALIVE)
    page = shelf.page(first.next, 3, alive_but({2, 3, 5}, {2: 77, 3: 4, 5: 78}))
    assert numbers(page.entries) == [77, 4, 78]  # track 3 is not shown by the post that shows track 4
    assert [entry.track_uri[-1] for entry in page.entries] == ["2", "4", "5"]
    whole = orjson.loads(shelf.page(None, 6, ALL_ALIVE).rendered[2])
    assert orjson.loads(page.rendered[0]) == whole | {"post": entry(77).post_uri}
    assert page.next is None
