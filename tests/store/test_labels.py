"""The verdict outbox and the label log."""

from __future__ import annotations

import asyncio
import random

import pytest

from core.analysis import Genre, VerdictStatus
from core.label import NumberedLabel
from store import labels
from store.labels import successor

NOW = 1_800_000_000_000_000
KEY = "did:key:zTest"


async def _append(store, *rows):
    async with store.write() as tx:
        return await labels.append(tx, rows, key_id=KEY)


async def _query(store, **changes):
    async with store.read() as r:
        options = {"exact": [], "prefixes": [], "sources": [], "after_seq": 0, "limit": 250}
        return await labels.query(r, **(options | changes))


async def test_a_verdict_comes_back_and_the_same_again_changes_nothing(store, make):
    verdict = make.verdict("ambient", genres=(Genre("ambient", "Ambient", 0.123456789),), reason="because")
    async with store.write() as tx:
        await labels.put_verdict(tx, make.uri(1), verdict, now_us=NOW)
        first = await labels.get_verdict(tx, make.uri(1))
        assert await labels.settle(tx, make.uri(1), first.version)
    heard = store.bell.count("verdict")
    async with store.write() as tx:
        await labels.put_verdict(tx, make.uri(1), verdict, now_us=NOW + 5)
        again = await labels.get_verdict(tx, make.uri(1))
    assert first.verdict == verdict
    assert (first.version, first.pending, first.updated_us) == (1, True, NOW)
    assert (again.version, again.pending, again.updated_us) == (1, False, NOW)
    assert store.bell.count("verdict") == heard


async def test_t3_settles_only_the_version_that_it_saw(store, make):
    async with store.write() as tx:
        await labels.put_verdict(tx, make.uri(1), make.verdict("ambient"), now_us=NOW)
    async with store.read() as r:
        (seen,) = await labels.pending(r, 10)
    async with store.write() as tx:
        await labels.put_verdict(tx, make.uri(1), make.verdict("drone"), now_us=NOW)
    async with store.write() as tx:
        assert not await labels.settle(tx, make.uri(1), seen.version)
        (still,) = await labels.pending(tx, 10)
        assert still.verdict.labels == ("drone",)
        assert await labels.settle(tx, make.uri(1), still.version)
        assert await labels.pending(tx, 10) == []


async def test_pending_puts_retractions_first_then_the_oldest(store, make):
    async with store.write() as tx:
        for number, age in ((1, 3), (2, 1), (3, 2)):
            await labels.put_verdict(tx, make.uri(number), make.verdict("ambient"), now_us=NOW + age)
        withdrawn = make.verdict(status=VerdictStatus.WITHDRAWN, rankable=False)
        await labels.put_verdict(tx, make.uri(4), withdrawn, now_us=NOW + 9)
        found = [verdict.uri for verdict in await labels.pending(tx, 10)]
        assert [verdict.uri for verdict in await labels.pending(tx, 2)] == found[:2]
    assert found == [make.uri(4), make.uri(2), make.uri(3), make.uri(1)]


async def test_a_label_comes_back_verbatim(store, make):
    pinned = make.label(1, "d'n'b", cid="bafyrecord", exp="2031-01-01T00:00:00Z", cts="2030-01-01T00:00:00.5+00:00")
    retraction = make.label(2, neg=True, sig=bytes(range(64)))
    assert await _append(store, pinned, retraction) == [1, 2]
    async with store.read() as r:
        rows = await labels.stream(r, after_seq=0, limit=10)
        assert rows == [NumberedLabel(1, pinned, KEY), NumberedLabel(2, retraction, KEY)]
        assert await labels.stream(r, after_seq=1, limit=10) == rows[1:]
        assert await labels.stream(r, after_seq=0, limit=1) == rows[:1]
        assert await labels.newest_seq(r) == 2


@pytest.mark.parametrize("changes", [{"sig": None}, {"cid": ""}, {"cts": "yesterday"}])
async def test_p59_what_is_no_signed_label_is_refused_and_takes_no_number(store, make, changes):
    with pytest.raises(ValueError, match="not a"):
        await _append(store, make.label(1), make.label(2, **changes))
    assert await _append(store) == []
    assert await _append(store, make.label(1)) == [1]


async def test_p35_the_newest_cts_is_current_and_a_later_number_breaks_a_tie(store, make):
    at = NOW + 5000
    await _append(store, make.label(1, at_us=at))
    await _append(store, make.label(1, neg=True, at_us=at + 1000))
    await _append(store, make.label(1, at_us=at + 2000))  # active again
    await _append(store, make.label(1, neg=True, at_us=at - 5000))  # late and older: in the log, not current
    await _append(store, make.label(1, neg=True, at_us=at + 2000))  # the same instant: the later number
    async with store.read() as r:
        assert [row.seq for row in await labels.live(r, make.src, make.uri(1))] == [5]
        assert len(await labels.stream(r, after_seq=0, limit=10)) == 5


async def test_p35_order_of_cts_is_of_the_moment_not_of_the_text(store, make):
    await _append(store, make.label(1, cts="2030-01-01T12:00:00.000Z"))
    await _append(store, make.label(1, neg=True, cts="2030-01-01T13:30:00.000+02:00"))  # half an hour earlier
    async with store.read() as r:
        assert [row.seq for row in await labels.live(r, make.src, make.uri(1))] == [1]


async def test_several_rows_of_one_key_in_one_batch(store, make):
    await _append(
        store,
        make.label(1, at_us=NOW + 2000),
        make.label(1, neg=True, at_us=NOW + 3000),
        make.label(1, at_us=NOW + 1000),
        make.label(2, at_us=NOW),
    )
    assert [row.seq for row in await _query(store, prefixes=[""])] == [2, 4]


async def test_p32_a_pinned_and_an_unpinned_label_are_two_keys(store, make):
    await _append(store, make.label(1, cid="bafy1"), make.label(1), make.label(1, neg=True, at_us=NOW + 1000))
    async with store.read() as r:
        rows = await labels.live(r, make.src, make.uri(1))
    assert [(row.seq, row.label.cid, row.label.neg) for row in rows] == [(1, "bafy1", False), (3, None, True)]


async def test_p66_numbers_are_gapless_with_writers_at_once_and_rollbacks(store, make):
    luck = random.Random(7)

    async def write(number):
        rows = [make.label(number, f"v{place}") for place in range(luck.randint(1, 3))]
        abort = luck.random() < 0.3
        try:
            async with store.write() as tx:
                await labels.append(tx, rows, key_id=KEY)
                await asyncio.sleep(luck.random() / 500)
                if abort:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            return 0
        return len(rows)

    async def follow(until):
        """A reader that pulls at its cursor must never find that an earlier number was filled in later."""
        seen = []
        while not until.done() or await newest() > len(seen):
            async with store.read() as r:
                seen += [row.seq for row in await labels.stream(r, after_seq=len(seen), limit=7)]
            assert seen == list(range(1, len(seen) + 1))
            await asyncio.sleep(0)
        return seen

    async def newest():
        async with store.read() as r:
            return await labels.newest_seq(r)

    writers = asyncio.gather(*(write(number) for number in range(60)))
    seen = await follow(writers)
    assert len(seen) == sum(await writers)


async def test_p41_a_new_signature_leaves_everything_else(store, make):
    label = make.label(1)
    await _append(store, label)
    async with store.write() as tx:
        await labels.resign(tx, 1, b"n" * 64, "did:key:zNew")
        assert await labels.stream(tx, after_seq=0, limit=9) == [
            NumberedLabel(1, label.signed(b"n" * 64), "did:key:zNew")
        ]


async def test_p57_p58_query_gives_current_rows_with_retractions_of_the_sources_asked(store, make):
    other = "did:plc:otherotherotherotherothe"
    await _append(
        store,
        make.label(1),
        make.label(1, neg=True, at_us=NOW + 1000),
        make.label(1, src=other),
        make.label(2, "drone"),
    )
    assert [row.seq for row in await _query(store, exact=[make.uri(1)])] == [2, 3]
    assert [row.seq for row in await _query(store, exact=[make.uri(1)], sources=[other])] == [3]
    assert [row.seq for row in await _query(store, prefixes=[""], sources=[other, make.src, other])] == [2, 3, 4]
    assert await _query(store, prefixes=[""], sources=["did:plc:nobody"]) == []
    patterns = {"exact": [make.uri(2), make.uri(2)], "prefixes": [make.uri(1), make.uri(1)[:-3], "at://zzz"]}
    assert [row.seq for row in await _query(store, **patterns)] == [2, 3, 4]
    assert [row.seq for row in await _query(store, **patterns, after_seq=2, limit=1)] == [3]


SUBJECTS = [
    "at://did:plc:a/x.y/a_b",
    "at://did:plc:a/x.y/aXb",
    "at://did:plc:a/x.y/a_bc",
    "at://did:plc:a/x.y/a%b",
    "at://did:plc:a/x.y/A_B",
    "at://did:plc:a/x.y/a",
    "at://did:plc:a/x.y/aé",
    "at://did:plc:a/x.y/aée",
    "at://did:plc:a/x.y/a\ud7ff".encode("utf-8", "surrogatepass").decode(),
    "at://did:plc:a/x.y/a\uffff!",
    "at://did:plc:a/x.y/a\U0010ffff",
    "at://did:plc:a/x.y/a\U0010ffffz",
    "at://did:plc:a/x.y/b",
]


@pytest.mark.parametrize("prefix", [*SUBJECTS, "at://did:plc:a/x.y/", "at://", "at", "\U0010ffff", ""])
async def test_p54_a_prefix_matches_bytewise(store, make, prefix, monkeypatch):
    await _append(store, *(make.label(uri=subject) for subject in SUBJECTS))
    expected = [subject for subject in SUBJECTS if subject.encode().startswith(prefix.encode())]
    assert [row.label.uri for row in await _query(store, prefixes=[prefix])] == expected
    monkeypatch.setattr(labels, "_NARROW", 1)  # the other plan has the same answer
    assert [row.label.uri for row in await _query(store, prefixes=[prefix])] == expected


def test_p54_the_successor_is_the_least_text_above_a_prefix():
    assert successor("a/") == "a0"
    assert successor("é") == "ê"
    assert successor("a\ud7ff") == "a\ue000"  # over the surrogates
    assert successor("a\U0010ffff\U0010ffff") == "b"
    assert successor("\U0010ffff") is None
    assert successor("") is None


async def test_p55_600_labels_in_pages_of_250_while_labels_are_added(store, make):
    for start in range(0, 600, 100):
        await _append(store, *(make.label(number, at_us=NOW) for number in range(start, start + 100)))
    seen, after, page = [], 0, None
    while page is None or len(page) == 250:
        page = await _query(store, prefixes=[f"at://{make.did(0)}/"], after_seq=after)
        seen += [row.seq for row in page]
        after = seen[-1]
        if len(seen) < 600:
            await _append(store, make.label(1000 + after), make.label(after, neg=True, at_us=NOW + 1000))
    assert len(seen) == len(set(seen))
    # Rows that were replaced while paging may be missing; whatever never changed may not.
    changed = {250 + 1, 500 + 2}
    assert set(range(1, 601)) - changed <= set(seen)
    assert sorted(seen) == seen
