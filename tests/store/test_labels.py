"""The verdict outbox and the label log."""

from __future__ import annotations

import asyncio
import random
import sqlite3

import orjson
import pytest

from core.analysis import Genre, Ruling, VerdictStatus
from core.label import NumberedLabel
from core.types import Account, TrackState
from store import accounts, labels, mirrors, rulings, served
from store.labels import Turn
from store.served import successor

NOW = 1_800_000_000_000_000
KEY = "did:key:zTest"
SRC = "did:plc:labelerlabelerlabelerla"  # whose labels Make makes


async def _append(store, *rows):
    async with store.write() as tx:
        return await labels.append(tx, rows, key_id=KEY)


async def _query(store, **changes):
    """What is served, with the numbers apart."""
    async with store.read() as r:
        options = {"exact": [], "prefixes": [], "src": SRC, "after_seq": 0, "limit": 250}
        return await served.query(r, **(options | changes))


async def _numbers(store, **changes):
    return [seq for seq, _ in await _query(store, **changes)]


async def test_a_verdict_comes_back_and_the_same_again_changes_nothing(store, make):
    verdict = make.verdict("ambient", genres=(Genre("ambient", "Ambient", 0.123456789),), reason="because")
    async with store.write() as tx:
        await labels.put_verdict(tx, make.uri(1), verdict, now_us=NOW)
        first = await labels.get_verdict(tx, make.uri(1))
        await labels.settle(tx, await labels.pending(tx, 1))
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
        await labels.settle(tx, [seen])
        (still,) = await labels.pending(tx, 10)
        assert still.labels == ("drone",)
        await labels.settle(tx, [still])
        assert await labels.pending(tx, 10) == []


async def _pending(tx, limit=99):
    return [(one.uri, one.turn.name) for one in await labels.pending(tx, limit)]


async def test_p47_pending_goes_by_turn_then_the_oldest(store, make):
    """Retractions before the rest, and of each first what somebody has ruled on."""
    await _append(store, make.label(5, "ambient"), make.label(6, "ambient", cid="bafypinned"), make.label(7, "ambient"))
    await _append(store, make.label(8, "ambient"), make.label(9, "ambient", neg=True))
    async with store.write() as tx:
        for number in (3, 8):
            await rulings.put(tx, make.uri(number), Ruling(denied=frozenset({"ambient"})), now_us=NOW)
        for number, age in ((1, 3), (2, 1), (3, 2), (6, 0), (7, 0), (9, 0)):
            await labels.put_verdict(tx, make.uri(number), make.verdict("ambient", "ambient-dub"), now_us=NOW + age)
        nothing = make.verdict("drone", status=VerdictStatus.WITHDRAWN, rankable=False)
        for number in (5, 8):
            await labels.put_verdict(tx, make.uri(number), nothing, now_us=NOW + 9)
        expected = [
            (make.uri(8), "RULED_RETRACTION"),
            (make.uri(6), "RETRACTION"),  # what is pinned is taken back, whatever is wanted
            (make.uri(5), "RETRACTION"),
            (make.uri(3), "RULED"),
            (make.uri(7), "OTHER"),
            (make.uri(9), "OTHER"),
            (make.uri(2), "OTHER"),
            (make.uri(1), "OTHER"),
        ]
        assert await _pending(tx) == expected
        assert await _pending(tx, 2) == expected[:2]
        await labels.defer(tx, {make.uri(6): Turn.OTHER})
        assert (await _pending(tx))[3] == (make.uri(6), "OTHER")


async def test_what_is_pending_comes_with_what_is_current(store, make):
    await _append(store, make.label(1, "ambient"), make.label(1, "house", at_us=NOW), make.label(2, "ambient"))
    await _append(store, make.label(1, "house", neg=True, at_us=NOW + 1000))
    async with store.write() as tx:
        for number in (1, 3):
            await labels.put_verdict(tx, make.uri(number), make.verdict("drone"), now_us=NOW + number)
        first, second = sorted(await labels.pending(tx, 9), key=lambda one: one.uri)
    assert (first.uri, first.labels) == (make.uri(1), ("drone",))
    assert first.current == (
        make.label(1, "ambient", sig=None),
        make.label(1, "house", neg=True, at_us=NOW + 1000, sig=None),
    )
    assert second.current == ()


async def test_many_verdicts_at_once_are_each_stored_unless_they_are_there(store, make):
    withdrawn = make.verdict(status=VerdictStatus.WITHDRAWN, reason="withdrawn", rankable=False)
    async with store.write() as tx:
        await labels.put_verdict(tx, make.uri(1), make.verdict("ambient"), now_us=NOW)
        await labels.put_verdict(tx, make.uri(2), make.verdict("ambient"), now_us=NOW)
        await labels.settle(tx, await labels.pending(tx, 9))
    heard = {topic: store.bell.count(topic) for topic in ("verdict", "link")}
    async with store.write() as tx:
        handed = {make.uri(1): make.verdict("ambient"), make.uri(2): withdrawn, make.uri(3): make.verdict("house")}
        await labels.put_verdicts(tx, handed, now_us=NOW + 1)
        found = [await labels.get_verdict(tx, uri) for uri in handed]
    assert [one.verdict for one in found] == list(handed.values())
    assert [(one.version, one.pending) for one in found] == [(1, False), (2, True), (1, True)]
    assert all(store.bell.count(topic) > before for topic, before in heard.items())


async def test_posts_that_carry_labels_of_a_track_follow_it_however_its_verdict_came(store, make):
    post = f"at://{make.did(0)}/app.bsky.feed.post/p1"
    async with store.write() as tx:
        await make.stored(tx, make.track(1), TrackState.READY)
        await mirrors.put(tx, post, make.uri(1), now_us=NOW)
        await rulings.put(tx, make.uri(1), Ruling(denied=frozenset({"house"})), now_us=NOW)
        await labels.put_verdicts(tx, {make.uri(1): make.verdict("ambient")}, now_us=NOW)
        await labels.put_verdicts(tx, {make.uri(2): make.verdict("ambient")}, now_us=NOW + 1)
        assert (await labels.get_verdict(tx, post)).verdict == mirrors.reflect(("ambient",))
        # What the artist said of the track lets its post go first too.
        assert sorted(await _pending(tx)) == sorted([(make.uri(1), "RULED"), (post, "RULED"), (make.uri(2), "OTHER")])
        await accounts.put(tx, Account(make.did(0), active=False, status="deactivated"), now_us=NOW)
        assert await _pending(tx) == [(make.uri(2), "OTHER")]  # P151
        await labels.put_verdicts(tx, {make.uri(1): make.verdict(rankable=False)}, now_us=NOW + 3)
        assert (await labels.get_verdict(tx, post)).verdict.labels == ()


async def test_p35_who_tells_what_is_current_gets_the_same_as_who_does_not(store, make):
    await _append(store, make.label(1, at_us=NOW + 5000), make.label(2))
    current = [make.label(1, at_us=NOW + 5000), make.label(2)]
    late, newer = make.label(1, neg=True, at_us=NOW), make.label(2, neg=True, at_us=NOW + 1000)
    async with store.write() as tx:
        await labels.append(tx, [late, newer, make.label(3)], key_id=KEY, current=current)
    assert await _numbers(store, prefixes=[""]) == [1, 4, 5]


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
    assert await _numbers(store, prefixes=[""]) == [2, 4]


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
    await _append(store, label, make.label(2))
    fresh = NumberedLabel(1, label.signed(b"n" * 64), "did:key:zNew")
    heard = store.bell.count("signature")
    async with store.write() as tx:
        assert await served.signed_otherwise(tx, src=SRC, key_id="did:key:zNew", after_seq=0, last_seq=9) == [1, 2]
        await served.resign(tx, [fresh])
        assert await served.signed_otherwise(tx, src=SRC, key_id="did:key:zNew", after_seq=0, last_seq=9) == [2]
        assert await served.numbered(tx, [1]) == [fresh]
    assert store.bell.count("signature") > heard
    ((_, form),) = await _query(store, exact=[label.uri])
    assert orjson.loads(form) == fresh.label.json_form()


async def test_p57_p58_query_gives_current_rows_with_retractions_of_the_source_asked(store, make):
    other = "did:plc:otherotherotherotherothe"
    await _append(
        store,
        make.label(1),
        make.label(1, neg=True, at_us=NOW + 1000),
        make.label(1, src=other),
        make.label(2, "drone"),
    )
    assert await _numbers(store, exact=[make.uri(1)]) == [2]
    assert await _numbers(store, exact=[make.uri(1)], src=other) == [3]
    assert await _numbers(store, prefixes=[""], src="did:plc:nobody") == []
    patterns = {"exact": [make.uri(2), make.uri(2)], "prefixes": [make.uri(1), make.uri(1)[:-3], "at://zzz"]}
    assert await _numbers(store, **patterns) == [2, 4]
    assert await _numbers(store, **patterns, after_seq=2, limit=1) == [4]


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
    assert [orjson.loads(form)["uri"] for _, form in await _query(store, prefixes=[prefix])] == expected
    monkeypatch.setattr(served, "_NARROW", 1)  # the other plan has the same answer
    assert [orjson.loads(form)["uri"] for _, form in await _query(store, prefixes=[prefix])] == expected


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
        seen += [seq for seq, _ in page]
        after = seen[-1]
        if len(seen) < 600:
            await _append(store, make.label(1000 + after), make.label(after, neg=True, at_us=NOW + 1000))
    assert len(seen) == len(set(seen))
    # Rows that were replaced while paging may be missing; whatever never changed may not.
    changed = {250 + 1, 500 + 2}
    assert set(range(1, 601)) - changed <= set(seen)
    assert sorted(seen) == seen


async def test_labels_of_before_get_their_json_form_at_the_next_start(place, make):
    store = await place.open()
    await _append(store, make.label(1), make.label(2))
    before = await _query(store, prefixes=[""])
    await store.close()
    connection = sqlite3.connect(place.path)
    connection.execute("UPDATE label SET json = NULL")
    connection.commit()
    connection.close()
    store = await place.open()
    assert await _query(store, prefixes=[""]) == before
    await store.close()
