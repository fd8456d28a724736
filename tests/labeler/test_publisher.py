"""T3 on the real store: each verdict becomes exactly its labels, whatever happens on the way."""

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.analysis import Ruling, Verdict, VerdictStatus
from core.clock import parse_datetime
from core.errors import StoreBusy
from core.keys import SigningKey
from core.label import Label, NumberedLabel
from core.types import Account, AtUri, Cid, Did, Track, TrackState, make_tid
from labeler import emission, publisher
from labeler.publisher import Publisher
from labeler.signing import BadLabel, verify
from store import Store, accounts, labels, mirrors, rulings, tracks

HOME = "at://did:plc:xbtmt2zjwlrfegqvch7fboei/fm.plyr.track/"
URI = HOME + "3lbn5tqsb4s2x"
EMPTY = Verdict(VerdictStatus.WITHDRAWN, reason="withdrawn")


def ok(*identifiers: str) -> Verdict:
    return Verdict(VerdictStatus.OK, identifiers, rankable=True)


async def put(store: Store, verdict: Verdict, clock: Any, uri: str = URI) -> None:
    async with store.write() as tx:
        await labels.put_verdict(tx, uri, verdict, now_us=clock.now_us())


async def log(store: Store) -> list[NumberedLabel]:
    async with store.read() as reader:
        return await labels.stream(reader, after_seq=0, limit=100_000)


async def is_pending(store: Store, uri: str = URI) -> bool:
    async with store.read() as reader:
        stored = await labels.get_verdict(reader, uri)
    assert stored is not None
    return stored.pending


def shape(rows: Sequence[NumberedLabel]) -> list[tuple[int, str, bool]]:
    return [(row.seq, row.label.val, row.label.neg) for row in rows]


@pytest.fixture
def unlimited(store: Store, key: SigningKey, src: Did, clock: Any) -> Publisher:
    return Publisher(store, key=key, src=src, clock=clock, labels_per_second=None)


async def test_p2_p7_p15_p33_a_verdict_becomes_signed_unpinned_numbered_labels(
    store: Store, unlimited: Publisher, key: SigningKey, src: Did, clock: Any
) -> None:
    await put(store, ok("jazz", "electronic"), clock)
    assert await unlimited.drain(20)
    rows = await log(store)
    assert shape(rows) == [(1, "jazz", False), (2, "electronic", False)]
    assert not await is_pending(store)
    for row in rows:
        assert row.key_id == key.public.did_key
        assert (row.label.src, row.label.uri, row.label.cid) == (src, URI, None)
        assert row.label.cts == "2026-01-02T03:04:05.678Z"
        assert verify(row.label.json_form(), key.public)


async def test_publishing_again_changes_nothing(store: Store, unlimited: Publisher, clock: Any) -> None:
    await put(store, ok("jazz"), clock)
    await unlimited.drain(20)
    for reason in ("a", "b"):  # the same labels for another reason: a new version of the verdict
        await put(store, Verdict(VerdictStatus.OK, ("jazz",), reason=reason), clock)
        assert await is_pending(store)
        assert await unlimited.drain(20)
    assert shape(await log(store)) == [(1, "jazz", False)]
    assert not await is_pending(store)


async def test_p31_p36_a_withdrawn_verdict_negates_and_the_clock_may_step_back(
    store: Store, unlimited: Publisher, key: SigningKey, clock: Any
) -> None:
    await put(store, ok("jazz", "rock"), clock)
    await unlimited.drain(20)
    for verdict in (EMPTY, ok("jazz"), EMPTY):
        clock.advance(-3600)
        await put(store, verdict, clock)
        await unlimited.drain(20)
    rows = await log(store)
    assert shape(rows) == [
        (1, "jazz", False),
        (2, "rock", False),
        (3, "jazz", True),
        (4, "rock", True),
        (5, "jazz", False),
        (6, "jazz", True),
    ]
    times = [parse_datetime(row.label.cts) for row in rows if row.label.val == "jazz"]
    assert times == sorted(set(times))
    assert all(verify(row.label.json_form(), key.public) for row in rows)


class Crash(Exception):
    """The process dies here."""


@pytest.mark.parametrize("step", ["settle", "sign", "append", "commit"])
async def test_p67_a_crash_before_the_commit_loses_nothing_and_repeats_nothing(
    store: Store, unlimited: Publisher, clock: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await put(store, ok("jazz", "rock"), clock)
    append = labels.append

    def die(*_: object, **__: object) -> None:
        raise Crash

    async def append_and_die(*args: Any, **kwargs: Any) -> None:
        await append(*args, **kwargs)
        raise Crash

    with monkeypatch.context() as patch:
        if step == "sign":
            patch.setattr(publisher, "sign_all", die)
        else:
            name = {"settle": "settle", "append": "append", "commit": "append"}[step]
            patch.setattr(labels, name, append_and_die if step == "commit" else die)
        with pytest.raises(Crash):
            await unlimited.publish_pending()
    assert await log(store) == []
    assert await is_pending(store)
    await unlimited.drain(20)
    assert shape(await log(store)) == [(1, "jazz", False), (2, "rock", False)]


async def test_a_verdict_that_changes_meanwhile_stays_pending(store: Store, unlimited: Publisher, clock: Any) -> None:
    """Whoever wins, the last verdict is what is live in the end."""
    verdicts = [ok("jazz"), ok("rock", "pop"), EMPTY, ok("pop")]

    async def rejudge() -> None:
        for verdict in verdicts:
            await put(store, verdict, clock)
            await asyncio.sleep(0)

    await asyncio.gather(rejudge(), *(unlimited.drain(20) for _ in range(3)))
    await unlimited.drain(20)
    rows = await log(store)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert {row.label.val for row in {row.label.key: row for row in rows}.values() if not row.label.neg} == {"pop"}


async def emission_times(limited: Publisher, store: Store, clock: Any) -> list[float]:
    """Seconds at which labels left, driving the clock by what the publisher asks for."""
    start, times = clock.us, []
    while True:
        before = len(await log(store))
        wait_seconds = await limited.publish_pending()
        times += [(clock.us - start) / 1e6] * (len(await log(store)) - before)
        if wait_seconds is None:
            return times
        clock.advance(wait_seconds)


async def test_p47_a_burst_leaves_at_the_set_rate(store: Store, key: SigningKey, src: Did, clock: Any) -> None:
    for number in range(20):
        await put(store, ok("jazz", "rock", "pop"), clock, f"{HOME}{number}")
    times = await emission_times(Publisher(store, key=key, src=src, clock=clock, labels_per_second=4), store, clock)
    assert len(times) == 60
    assert times[-1] == pytest.approx(59 / 4, abs=0.01)
    for first, fifth in zip(times, times[4:], strict=False):
        assert fifth - first >= 0.999  # never five in a second


async def test_p47_a_retraction_overtakes_a_backlog(store: Store, key: SigningKey, src: Did, clock: Any) -> None:
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=4)
    await put(store, ok("jazz"), clock)
    assert await limited.publish_pending() == 0.0
    for number in range(5):
        await put(store, ok("rock", "pop"), clock, f"{HOME}{number}")
    clock.advance(1)
    await limited.publish_pending()
    await put(store, EMPTY, clock)
    await emission_times(limited, store, clock)
    assert shape(await log(store))[:3] == [(1, "jazz", False), (2, "rock", False), (3, "jazz", True)]


async def test_p47_the_negation_of_a_dispute_leaves_before_a_thousand(
    store: Store, unlimited: Publisher, key: SigningKey, src: Did, clock: Any
) -> None:
    """A thousand wait, half of them retractions: the dispute's negation is first, and all leave at 4 a second."""
    disputed, others = f"{HOME}disputed", [f"{HOME}{number}" for number in range(1000)]
    await unlimited.hand({disputed: ok("jazz", "rock")} | {uri: ok("jazz") for uri in others[:500]})
    before = len(await log(store))
    clock.advance(24 * 3600)  # the budgets of that day are as new
    async with store.write() as tx:
        await labels.put_verdicts(tx, dict.fromkeys(others[:500], EMPTY), now_us=clock.now_us())
        await labels.put_verdicts(tx, dict.fromkeys(others[500:], ok("pop")), now_us=clock.now_us())
    clock.advance(60)
    async with store.write() as tx:
        await rulings.put(tx, disputed, Ruling(denied=frozenset({"jazz"})), now_us=clock.now_us())
        await labels.put_verdict(tx, disputed, ok("rock", "pop"), now_us=clock.now_us())
    start = clock.us
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=4)
    while (wait_seconds := await limited.publish_pending()) is not None:
        clock.advance(wait_seconds)
    left = (await log(store))[before:]
    assert (left[0].label.uri, left[0].label.val, left[0].label.neg) == (disputed, "jazz", True)
    assert all(row.label.neg for row in left[:501])
    assert (left[501].label.uri, left[501].label.val) == (disputed, "pop")  # what it adds comes after all negations
    assert len(left) == 1002
    assert (clock.us - start) / 1e6 == pytest.approx(1001 / 4, abs=0.1)


async def test_p47_a_verdict_whose_retraction_left_waits_with_the_rest(
    store: Store, unlimited: Publisher, key: SigningKey, src: Did, clock: Any
) -> None:
    first, second = f"{HOME}first", f"{HOME}second"
    await unlimited.hand({first: ok("jazz"), second: ok("jazz")})
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=4)
    await put(store, ok("rock"), clock, first)
    await limited.publish_pending()
    clock.advance(1)
    await put(store, ok("pop"), clock, second)
    await emission_times(limited, store, clock)
    assert [(row.label.uri, row.label.val, row.label.neg) for row in (await log(store))[2:]] == [
        (first, "jazz", True),
        (second, "jazz", True),
        (first, "rock", False),
        (second, "pop", False),
    ]


async def test_p47_hourly_and_daily_budgets_hold_across_restarts(
    store: Store, key: SigningKey, src: Did, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emission, "LONG_BUDGETS", ((5, 3_600_000_000), (8, 86_400_000_000)))
    for number in range(10):
        await put(store, ok("jazz"), clock, f"{HOME}{number}")
    start, times = clock.us, []
    while len(times) < 10:
        before = len(await log(store))
        reborn = Publisher(store, key=key, src=src, clock=clock, labels_per_second=1000)
        wait_seconds = await reborn.publish_pending()
        times += [(clock.us - start) / 3.6e9] * (len(await log(store)) - before)
        clock.advance(600 if wait_seconds else 0)
    assert [round(hours, 1) for hours in times] == [0.0] * 5 + [1.0] * 3 + [24.0] * 2


async def test_p47_a_dispute_does_not_wait_for_the_day_after_a_backfill_that_used_up_the_budget(
    store: Store, key: SigningKey, src: Did, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emission, "LONG_BUDGETS", ((20, 3_600_000_000), (30, 86_400_000_000)))
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=4)
    for number in range(25):
        await put(store, ok("jazz"), clock, f"{HOME}{number}")
    for _ in range(40):
        await limited.publish_pending()
        clock.advance(1)
    assert len(await log(store)) == 20
    async with store.write() as tx:
        await rulings.put(tx, f"{HOME}3", Ruling(denied=frozenset({"jazz"})), now_us=clock.now_us())
        await labels.put_verdict(tx, f"{HOME}3", ok("rock"), now_us=clock.now_us())
    for _ in range(4):
        await limited.publish_pending()
        clock.advance(1)
    assert shape(await log(store))[20:] == [(21, "jazz", True), (22, "rock", False)]


async def test_a_verdict_that_asks_for_nothing_new_needs_no_room(
    store: Store, key: SigningKey, src: Did, clock: Any
) -> None:
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=4)
    for number in range(3):
        await put(store, EMPTY, clock, f"{HOME}{number}")
    await put(store, ok("jazz"), clock)
    assert await limited.publish_pending() == 0.0
    assert await limited.publish_pending() is None


@pytest.mark.parametrize("rate", [None, 4.0])
async def test_p39_p151_of_an_account_that_is_away_things_are_taken_back_and_nothing_new_is_said(
    store: Store, key: SigningKey, src: Did, clock: Any, rate: float | None
) -> None:
    """On its posts as on its tracks; the rest follows when it is back."""
    post = "at://did:plc:xbtmt2zjwlrfegqvch7fboei/app.bsky.feed.post/3lbn5tqsb4s2x"
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=rate)
    did = Did("did:plc:xbtmt2zjwlrfegqvch7fboei")

    async def stand(*, active: bool) -> None:
        async with store.write() as tx:
            await accounts.put(tx, Account(did, active=active), now_us=clock.now_us())

    async with store.write() as tx:
        track = Track(AtUri.parse(URI), Cid("record"), make_tid(clock.now_us()), "Song", clock.now_us())
        await tracks.put(tx, track, state=TrackState.READY, reason=None, now_us=clock.now_us())
        await mirrors.put(tx, post, URI, now_us=clock.now_us())
        await labels.put_verdict(tx, URI, ok("jazz", "rock"), now_us=clock.now_us())
    await emission_times(limited, store, clock)
    await stand(active=False)
    await put(store, ok("rock", "pop"), clock)
    await put(store, ok("folk"), clock, f"{HOME}of-somebody-unknown")
    await emission_times(limited, store, clock)
    left = (await log(store))[4:]
    assert [(row.label.uri, row.label.val, row.label.neg) for row in left] in (
        [(URI, "jazz", True), (post, "jazz", True), (f"{HOME}of-somebody-unknown", "folk", False)],
        [(post, "jazz", True), (URI, "jazz", True), (f"{HOME}of-somebody-unknown", "folk", False)],
    )
    assert await limited.publish_pending() is None
    await stand(active=True)
    await emission_times(limited, store, clock)
    assert {(row.label.uri, row.label.val, row.label.neg) for row in (await log(store))[7:]} == {
        (URI, "pop", False),
        (post, "pop", False),
    }
    assert not await is_pending(store)


async def test_drain_gives_up_at_its_deadline_and_keeps_the_rest(
    store: Store, key: SigningKey, src: Did, clock: Any
) -> None:
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=4)
    await put(store, ok("jazz", "rock"), clock)  # time stands still: the second label never gets its turn
    assert not await limited.drain(0.05)
    assert shape(await log(store)) == [(1, "jazz", False)]
    assert await is_pending(store)


async def until(store: Store, count: int) -> None:
    async with asyncio.timeout(20):
        while len(await log(store)) < count:
            await asyncio.sleep(0.005)


async def test_run_publishes_as_verdicts_come_until_cancelled(store: Store, unlimited: Publisher, clock: Any) -> None:
    await put(store, ok("jazz"), clock, HOME + "before")
    task = asyncio.create_task(unlimited.run())
    await until(store, 1)
    await put(store, ok("rock"), clock)
    await until(store, 2)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [row.seq for row in await log(store)] == [1, 2]


async def test_run_tries_again_after_a_transient_error_and_ends_with_any_other(
    store: Store, unlimited: Publisher, clock: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [StoreBusy("locked")]
    append = labels.append

    async def fail_first(tx: Any, signed: Sequence[Label], **keywords: Any) -> list[int]:
        if errors:
            raise errors.pop()
        return await append(tx, signed, **keywords)

    monkeypatch.setattr(labels, "append", fail_first)
    await put(store, ok("jazz"), clock)
    task = asyncio.create_task(unlimited.run())
    await until(store, 1)
    assert "locked" in caplog.text
    errors.append(Crash())
    await put(store, ok("rock"), clock)
    with pytest.raises(Crash):
        await asyncio.wait_for(task, 20)
    assert await is_pending(store)


async def test_what_is_handed_is_stored_published_and_settled_when_the_call_returns(
    store: Store, unlimited: Publisher, clock: Any
) -> None:
    await unlimited.hand({URI: ok("jazz", "rock")})
    assert not await is_pending(store)
    assert shape(await log(store)) == [(1, "jazz", False), (2, "rock", False)]
    await unlimited.hand({URI: ok("jazz", "rock")})
    await unlimited.hand({})
    assert len(await log(store)) == 2
    await unlimited.hand({URI: EMPTY})
    assert shape(await log(store))[2:] == [(3, "jazz", True), (4, "rock", True)]


async def test_callers_at_once_share_a_transaction_and_of_one_subject_the_last_counts(
    store: Store, unlimited: Publisher, clock: Any
) -> None:
    rung = store.bell.count("label")
    handed: list[dict[str, Verdict]] = [{f"{HOME}{number}": ok("jazz", "pop")} for number in range(100)]
    await asyncio.gather(*(unlimited.hand(verdicts) for verdicts in [*handed, {f"{HOME}0": ok("rock")}]))
    rows = await log(store)
    assert [row.seq for row in rows] == list(range(1, 200))
    assert {row.label.val for row in rows if row.label.uri == f"{HOME}0"} == {"rock"}
    assert store.bell.count("label") == rung + 1


async def test_p47_what_is_handed_over_the_limit_is_stored_and_waits(
    store: Store, key: SigningKey, src: Did, clock: Any
) -> None:
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=4)
    await asyncio.gather(*(limited.hand({f"{HOME}{number}": ok("jazz")}) for number in range(3)))
    assert [await is_pending(store, f"{HOME}{number}") for number in range(3)] == [False, True, True]
    assert len(await log(store)) == 1
    assert (await emission_times(limited, store, clock))[-1] == pytest.approx(0.5)
    assert len(await log(store)) == 3


async def test_what_nobody_may_sign_fails_its_own_caller_only(store: Store, unlimited: Publisher, clock: Any) -> None:
    bad = [{f"{HOME}bad": ok("x" * 129)}, {"https://example.com": ok("jazz")}]
    good = [{f"{HOME}{number}": ok("jazz")} for number in range(5)]
    handed = [*good[:2], bad[0], *good[2:4], bad[1], good[4]]
    answers = await asyncio.gather(*(unlimited.hand(verdicts) for verdicts in handed), return_exceptions=True)
    assert [isinstance(answer, BadLabel) for answer in answers] == [verdicts in bad for verdicts in handed]
    assert [row.label.uri for row in await log(store)] == [uri for verdicts in good for uri in verdicts]
    async with store.read() as reader:
        assert await labels.get_verdict(reader, f"{HOME}bad") is None
    assert await unlimited.publish_pending() is None


async def test_every_caller_learns_that_the_transaction_failed(
    store: Store, unlimited: Publisher, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object, **__: object) -> None:
        raise StoreBusy("locked")

    with monkeypatch.context() as patch:
        patch.setattr(labels, "append", busy)
        answers = await asyncio.gather(
            *(unlimited.hand({f"{HOME}{number}": ok("jazz")}) for number in range(3)), return_exceptions=True
        )
    assert [type(answer) for answer in answers] == [StoreBusy] * 3
    assert await unlimited.publish_pending() is None
    await unlimited.hand({URI: ok("jazz")})
    assert shape(await log(store)) == [(1, "jazz", False)]


async def test_a_caller_that_goes_away_takes_nobody_along(store: Store, unlimited: Publisher, clock: Any) -> None:
    tasks = [asyncio.create_task(unlimited.hand({f"{HOME}{number}": ok("jazz")})) for number in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.gather(*tasks[1:])
    assert {row.label.uri for row in await log(store)} >= {f"{HOME}{number}" for number in range(1, 4)}


VALUES = ("jazz", "rock", "pop", "electronic")
SUBJECTS = [f"{HOME}{number}" for number in range(3)]
steps = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(SUBJECTS), st.sets(st.sampled_from(VALUES)), max_size=3),
        st.sampled_from(["hand", "outbox", "publish", "restart"]),
        st.integers(-3, 3),
    ),
    max_size=12,
)


@given(steps, st.sampled_from([None, 4.0]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_p35_p36_p66_whatever_is_said_in_whatever_way_the_last_word_is_live(
    tmp_path: Path,
    key: SigningKey,
    src: Did,
    clock: Any,
    told: list[tuple[dict[str, set[str]], str, int]],
    rate: float | None,
) -> None:
    """Handed, put into the outbox, published in parts, by publishers that come and go, with a clock that steps back."""

    async def live_through(folder: Path) -> None:
        store = await Store.open(folder / "earmark.db", clock=clock)
        publisher = Publisher(store, key=key, src=src, clock=clock, labels_per_second=rate)
        last: dict[str, set[str]] = {}
        for wanted, way, seconds in told:
            clock.advance(seconds)
            verdicts = {uri: ok(*sorted(values)) for uri, values in wanted.items()}
            if way == "restart":
                publisher = Publisher(store, key=key, src=src, clock=clock, labels_per_second=rate)
            elif way == "publish":
                await publisher.publish_pending()
            else:
                last |= wanted
                if way == "hand":
                    await publisher.hand(verdicts)
                else:
                    async with store.write() as tx:
                        for uri, verdict in verdicts.items():
                            await labels.put_verdict(tx, uri, verdict, now_us=clock.now_us())
        while (wait_seconds := await publisher.publish_pending()) is not None:
            clock.advance(wait_seconds)
        rows = await log(store)
        newest = {row.label.key: row.label for row in rows}
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        for uri, values in last.items():
            assert {label.val for label in newest.values() if label.uri == uri and not label.neg} == values
        for label in newest.values():
            times = [parse_datetime(row.label.cts) for row in rows if row.label.key == label.key]
            assert times == sorted(set(times))
        # Rows of a key take turns: nothing is said twice.
        for label in newest.values():
            signs = [row.label.neg for row in rows if row.label.key == label.key]
            assert signs == [bool(place % 2) for place in range(len(signs))]
        await publisher.hand({uri: ok(*sorted(values)) for uri, values in last.items()})
        assert await log(store) == rows
        assert all(verify(row.label.json_form(), key.public) for row in rows)
        await store.close()

    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        asyncio.run(live_through(Path(folder)))
