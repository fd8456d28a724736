"""The label log as it is served: short answers in one statement, long ones by plan, signatures replaced."""

from __future__ import annotations

import pytest

from core.label import NumberedLabel
from store import labels, served

KEY, NEW_KEY = "did:key:zTest", "did:key:zNew"


async def _append(store, *rows):
    async with store.write() as tx:
        return await labels.append(tx, rows, key_id=KEY)


@pytest.mark.parametrize("prefix", ["at://did:plc:", "at://did:plc:a/", "at://did:plc:a/x.y/a_", "at://nobody", "é"])
@pytest.mark.parametrize(("after_seq", "limit"), [(0, 250), (3, 250), (0, 2), (3, 2)])
async def test_the_short_way_and_the_long_way_say_the_same(store, make, prefix, after_seq, limit):
    for round_, neg in enumerate((False, True, False)):
        rows = [("b", "rock"), ("a", "rock"), ("a", "jazz")][round_:]
        for name, val in rows:
            await _append(store, make.label(uri=f"at://did:plc:{name}/x.y/a_b", val=val, neg=neg, at_us=round_ * 1000))
    await _append(store, make.label(uri="at://did:plc:a/x.y/a_b", src="did:plc:otherotherotherotherothe"))
    page = {"src": make.src, "after_seq": after_seq, "limit": limit}
    short = await served.few_under(store.peek, prefix, **page)
    async with store.read() as r:
        assert short == await served.query(r, exact=[], prefixes=[prefix], **page)
        exact = await served.query(r, exact=["at://did:plc:a/x.y/a_b"], prefixes=[], **page)
    assert exact == await served.of_subject(store.peek, "at://did:plc:a/x.y/a_b", **page)


async def test_p60_what_takes_a_while_is_not_read_in_passing(store, make, monkeypatch):
    await _append(store, *(make.label(number) for number in range(5)))
    page = {"src": make.src, "after_seq": 0, "limit": 2}
    assert len(await served.few_under(store.peek, "at://", **page)) == 2
    monkeypatch.setattr(served, "_FEW", 5)
    assert await served.few_under(store.peek, "at://", **page) is None
    assert await served.few_under(store.peek, "", **page) is None


async def test_p41_rows_of_another_key_are_found_and_their_signature_replaced(store, make):
    await _append(store, *(make.label(number) for number in range(4)))
    own = make.src
    async with store.write() as tx:
        (row,) = await served.numbered(tx, [2])
        await served.resign(tx, [NumberedLabel(2, row.label.signed(b"n" * 64), NEW_KEY)])
    assert store.bell.count("signature") == 1
    async with store.read() as r:
        due = {"src": own, "key_id": NEW_KEY}
        assert await served.signed_otherwise(r, **due, after_seq=0, last_seq=9) == [1, 3, 4]
        assert await served.signed_otherwise(r, **due, after_seq=1, last_seq=3) == [3]
        assert await served.signed_otherwise(r, src="did:plc:x", key_id=NEW_KEY, after_seq=0, last_seq=9) == []
        (again,) = await served.numbered(r, [2])
        assert again == NumberedLabel(2, row.label.signed(b"n" * 64), NEW_KEY)
        logged = await served.log(r, after_seq=1, limit=1)
    assert [(entry.seq, entry.sig, entry.key_id) for entry in logged] == [(2, b"n" * 64, NEW_KEY)]


async def test_what_was_committed_is_seen_at_once_and_reading_in_passing_never_holds_the_log_back(store, place, make):
    """Peeks share a snapshot between writes; if it stayed open, the write-ahead log could only grow."""
    for number in range(400):
        assert await labels.newest_seq(store.peek) == 50 * number
        await _append(store, *(make.label(50 * number + offset) for offset in range(50)))
    assert await labels.newest_seq(store.peek) == 20_000
    assert place.path.with_name("earmark.db-wal").stat().st_size < 20_000_000  # of 28 MB that were written to it


async def test_a_peek_during_a_write_sees_what_was_before_it(store, make):
    await _append(store, make.label(1))
    async with store.write() as tx:
        await labels.append(tx, [make.label(2)], key_id=KEY)
        assert await labels.newest_seq(store.peek) == 1
    assert await labels.newest_seq(store.peek) == 2
