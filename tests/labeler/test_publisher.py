"""T3 on the real store: each verdict becomes exactly its labels, whatever happens on the way."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from core.analysis import Verdict, VerdictStatus
from core.clock import parse_datetime
from core.errors import StoreBusy
from core.keys import SigningKey
from core.label import Label, NumberedLabel
from core.types import Did
from labeler import emission, publisher
from labeler.publisher import Publisher
from labeler.signing import to_json, verify
from store import Store, labels

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
    assert await unlimited.drain(5)
    rows = await log(store)
    assert shape(rows) == [(1, "jazz", False), (2, "electronic", False)]
    assert not await is_pending(store)
    for row in rows:
        assert row.key_id == key.public.did_key
        assert (row.label.src, row.label.uri, row.label.cid) == (src, URI, None)
        assert row.label.cts == "2026-01-02T03:04:05.678Z"
        assert verify(to_json(row.label), key.public)


async def test_publishing_again_changes_nothing(store: Store, unlimited: Publisher, clock: Any) -> None:
    await put(store, ok("jazz"), clock)
    await unlimited.drain(5)
    for reason in ("a", "b"):  # the same labels for another reason: a new version of the verdict
        await put(store, Verdict(VerdictStatus.OK, ("jazz",), reason=reason), clock)
        assert await is_pending(store)
        assert await unlimited.drain(5)
    assert shape(await log(store)) == [(1, "jazz", False)]
    assert not await is_pending(store)


async def test_p31_p36_a_withdrawn_verdict_negates_and_the_clock_may_step_back(
    store: Store, unlimited: Publisher, key: SigningKey, clock: Any
) -> None:
    await put(store, ok("jazz", "rock"), clock)
    await unlimited.drain(5)
    for verdict in (EMPTY, ok("jazz"), EMPTY):
        clock.advance(-3600)
        await put(store, verdict, clock)
        await unlimited.drain(5)
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
    assert all(verify(to_json(row.label), key.public) for row in rows)


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
            patch.setattr(publisher, "sign", die)
        else:
            name = {"settle": "settle", "append": "append", "commit": "append"}[step]
            patch.setattr(labels, name, append_and_die if step == "commit" else die)
        with pytest.raises(Crash):
            await unlimited.publish_pending()
    assert await log(store) == []
    assert await is_pending(store)
    await unlimited.drain(5)
    assert shape(await log(store)) == [(1, "jazz", False), (2, "rock", False)]


async def test_a_verdict_that_changes_meanwhile_stays_pending(store: Store, unlimited: Publisher, clock: Any) -> None:
    """Whoever wins, the last verdict is what is live in the end."""
    verdicts = [ok("jazz"), ok("rock", "pop"), EMPTY, ok("pop")]

    async def rejudge() -> None:
        for verdict in verdicts:
            await put(store, verdict, clock)
            await asyncio.sleep(0)

    await asyncio.gather(rejudge(), *(unlimited.drain(5) for _ in range(3)))
    await unlimited.drain(5)
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


async def test_a_verdict_that_asks_for_nothing_new_needs_no_room(
    store: Store, key: SigningKey, src: Did, clock: Any
) -> None:
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=4)
    for number in range(3):
        await put(store, EMPTY, clock, f"{HOME}{number}")
    await put(store, ok("jazz"), clock)
    assert await limited.publish_pending() == 0.0
    assert await limited.publish_pending() is None


async def test_drain_gives_up_at_its_deadline_and_keeps_the_rest(
    store: Store, key: SigningKey, src: Did, clock: Any
) -> None:
    limited = Publisher(store, key=key, src=src, clock=clock, labels_per_second=4)
    await put(store, ok("jazz", "rock"), clock)  # time stands still: the second label never gets its turn
    assert not await limited.drain(0.05)
    assert shape(await log(store)) == [(1, "jazz", False)]
    assert await is_pending(store)


async def until(store: Store, count: int) -> None:
    async with asyncio.timeout(5):
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

    async def fail_first(tx: Any, signed: Sequence[Label], *, key_id: str) -> list[int]:
        if errors:
            raise errors.pop()
        return await append(tx, signed, key_id=key_id)

    monkeypatch.setattr(labels, "append", fail_first)
    await put(store, ok("jazz"), clock)
    task = asyncio.create_task(unlimited.run())
    await until(store, 1)
    assert "locked" in caplog.text
    errors.append(Crash())
    await put(store, ok("rock"), clock)
    with pytest.raises(Crash):
        await asyncio.wait_for(task, 5)
    assert await is_pending(store)
