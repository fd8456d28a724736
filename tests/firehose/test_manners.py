"""How we behave towards hosts, and what we remember of them (P176, P190)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from core.errors import BlobMismatch, Crowded, RateLimited, Unreachable
from firehose.guard import Origin
from firehose.manners import CAPACITY, Manners
from firehose.pauses import retry_after_seconds, told_pause_seconds

NOW_US = 1_445_412_480_000_000  # Wed, 21 Oct 2015 07:28:00 GMT


class Hands:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now_us(self) -> int:
        return NOW_US + round(self.seconds * 1e6)

    def monotonic(self) -> float:
        return self.seconds

    def random(self) -> float:
        return 0.5


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def manners(hands: Hands) -> Manners:
    return Manners(hands)


def at(host: str = "pds.example.com") -> Origin:
    return Origin("https", host, 443)


async def call(manners: Manners, status: int = 200, host: str = "pds.example.com", **headers: str) -> None:
    async with manners.visit(at(host), patience_seconds=0) as visit:
        visit.heed(status, {name.replace("_", "-"): value for name, value in headers.items()}, f"https://{host}/x")


async def fail(manners: Manners, error: Exception, host: str = "pds.example.com") -> None:
    with pytest.raises(type(error)):
        async with manners.visit(at(host), patience_seconds=0):
            raise error


async def is_crowded(manners: Manners, host: str = "pds.example.com") -> float | None:
    """Seconds after which we are to come again; None when it is our turn."""
    try:
        async with manners.visit(at(host), patience_seconds=0):
            return None
    except Crowded as error:
        return error.retry_after_seconds


async def test_P176_two_at_once_and_the_third_has_its_turn_when_one_leaves(manners: Manners) -> None:
    inside, most = 0, 0
    leave = asyncio.Event()

    async def stay() -> None:
        nonlocal inside, most
        async with manners.visit(at(), patience_seconds=30):
            inside += 1
            most = max(most, inside)
            await leave.wait()
            inside -= 1

    tasks = [asyncio.create_task(stay()) for _ in range(5)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert (inside, manners.hosts()[0].under_way) == (2, 2)
    assert await is_crowded(manners) is not None
    assert await is_crowded(manners, "other.example.com") is None
    leave.set()
    await asyncio.gather(*tasks)
    assert (inside, most, manners.hosts()[-1].under_way) == (0, 2, 0)


async def test_P176_five_in_a_second(manners: Manners, hands: Hands) -> None:
    for _ in range(5):
        assert await is_crowded(manners) is None
    assert await is_crowded(manners) is not None
    hands.seconds += 1.0
    assert await is_crowded(manners) is None


async def test_P176_fifty_in_all(manners: Manners) -> None:
    async with AsyncExitStack() as stack:
        for number in range(50):
            await stack.enter_async_context(manners.visit(at(f"pds{number // 2}.example.com")))
        assert await is_crowded(manners, "another.example.com") is not None
    assert await is_crowded(manners, "another.example.com") is None


async def test_hosts_that_the_operator_chose_stand_more_but_are_obeyed(hands: Hands) -> None:
    manners = Manners(hands, own=frozenset({"plc.example.com"}))
    for _ in range(20):
        await call(manners, 404, "plc.example.com")
        await fail(manners, Unreachable("down"), "plc.example.com")
    with pytest.raises(RateLimited):
        await call(manners, 429, "plc.example.com")
    assert await is_crowded(manners, "plc.example.com") is not None


@pytest.mark.parametrize("status", [429, 503])
async def test_P176_a_pause_that_the_host_asks_for_is_kept(manners: Manners, hands: Hands, status: int) -> None:
    with pytest.raises(RateLimited) as caught:
        await call(manners, status, retry_after="30")
    assert (caught.value.patient, Crowded.patient) == (False, True)  # this one did ask
    assert caught.value.retry_after_seconds == 30
    hands.seconds += 29
    turns = [await is_crowded(manners) for _ in range(3)]
    assert turns == sorted(set(turns))  # each its own
    assert turns[0] is not None
    assert turns[0] >= 1
    hands.seconds += 1
    async with manners.visit(at()):  # one goes ahead
        assert await is_crowded(manners) is not None
    async with manners.visit(at()):  # it went well
        assert await is_crowded(manners) is None


async def test_P176_without_a_word_the_pause_doubles_up_to_a_quarter_of_an_hour(manners: Manners, hands: Hands) -> None:
    pauses = []
    for _ in range(9):
        with pytest.raises(RateLimited) as caught:
            await call(manners, 429)
        assert caught.value.retry_after_seconds is not None
        pauses.append(caught.value.retry_after_seconds)
        hands.seconds += caught.value.retry_after_seconds
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 900, 900]
    await call(manners)
    with pytest.raises(RateLimited) as caught:
        await call(manners, 429)
    assert caught.value.retry_after_seconds == 10


async def test_two_that_are_told_off_at_once_count_once(manners: Manners) -> None:
    async with manners.visit(at()) as first, manners.visit(at()) as second:
        for visit in (first, second):
            with pytest.raises(RateLimited) as caught:
                visit.heed(429, {}, "https://pds.example.com/x")
            assert caught.value.retry_after_seconds == 10


async def test_P176_a_host_that_says_that_nothing_remains_is_left_alone(manners: Manners, hands: Hands) -> None:
    reset = str(hands.now_us() // 1_000_000 + 60)
    await call(manners, ratelimit_remaining="5", ratelimit_reset=reset)
    assert await is_crowded(manners) is None
    await call(manners, ratelimit_remaining="0", ratelimit_reset=reset)
    pause = await is_crowded(manners)
    assert pause is not None
    assert 59 <= pause <= 62


async def test_P176_P190_a_host_that_fails_or_refuses_again_and_again_is_given_a_rest(
    manners: Manners, hands: Hands
) -> None:
    for _ in range(5):
        assert await is_crowded(manners, "down.example.com") is None
        await fail(manners, Unreachable("no"), "down.example.com")
        hands.seconds += 1
    for number in range(20):
        assert await is_crowded(manners, "other.example.com") is None  # somebody else's trouble is not theirs
        await call(manners, 404, "no.example.com")
        if number == 10:
            await fail(manners, BlobMismatch("lies"), "lies.example.com")
        hands.seconds += 1
    assert await is_crowded(manners, "no.example.com") is not None
    assert await is_crowded(manners, "lies.example.com") is None


async def test_a_good_answer_ends_the_row_of_failures(manners: Manners, hands: Hands) -> None:
    for _ in range(10):
        for _ in range(4):
            await fail(manners, Unreachable("no"))
        await call(manners)
        hands.seconds += 1
    assert await is_crowded(manners) is None


async def test_what_became_of_requests_is_told(manners: Manners, hands: Hands) -> None:
    await call(manners, host="good.example.com")
    await call(manners, 404)
    await fail(manners, Unreachable("no"))
    with pytest.raises(RateLimited):
        await call(manners, 429, retry_after="7")
    hands.seconds += 2
    worst, good = manners.hosts()
    assert (worst.host, worst.requests, worst.under_way, worst.last_failure) == (
        "pds.example.com",
        3,
        0,
        "rate_limited",
    )
    assert worst.failures == {"status 404": 1, "unreachable": 1, "rate_limited": 1}
    assert worst.paused_seconds == 5
    assert (good.failures, good.paused_seconds, good.last_failure) == ({}, 0, None)


async def test_whoever_is_cancelled_leaves(manners: Manners) -> None:
    async def stay() -> None:
        async with manners.visit(at(), patience_seconds=30):
            await asyncio.sleep(30)

    tasks = [asyncio.create_task(stay()) for _ in range(4)]  # two inside, two waiting
    for _ in range(10):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert manners.hosts()[0].under_way == 0
    assert await is_crowded(manners) is None


async def test_the_number_of_hosts_that_are_remembered_is_bounded(manners: Manners) -> None:
    async with manners.visit(at("first.example.com")):
        for number in range(CAPACITY + 10):
            await call(manners, host=f"pds{number}.example.com")
        names = {host.host for host in manners.hosts()}
    assert len(names) == CAPACITY
    assert {"first.example.com", f"pds{CAPACITY + 9}.example.com"} <= names


def test_retry_after_in_all_its_forms() -> None:
    assert retry_after_seconds("120", now_us=NOW_US) == 120
    assert retry_after_seconds("Wed, 21 Oct 2015 07:29:00 GMT", now_us=NOW_US) == 60
    assert retry_after_seconds("Wed, 21 Oct 2015 07:00:00 GMT", now_us=NOW_US) == 0
    assert retry_after_seconds("1e99", now_us=NOW_US) == 86_400
    for nonsense in (None, "", "soon", "nan", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"):
        assert retry_after_seconds(nonsense, now_us=NOW_US) is None


def test_rate_limit_headers_in_all_their_forms() -> None:
    def told(remaining: str, reset: str, **more: str) -> float | None:
        headers = {"ratelimit-remaining": remaining, "ratelimit-reset": reset} | more
        return told_pause_seconds(headers, now_us=NOW_US)

    assert told("0", "1445412490") == 10  # epoch seconds, as P199 has them
    assert told("0", "10") == 10  # seconds from now, as the standard's draft has them
    assert told("0", "1445412490", **{"retry-after": "3"}) == 3
    assert told("0", "1445412000") == 0
    assert told("0", "99999999999") == 86_400
    for remaining, reset in (("1", "10"), ("0", ""), ("0", "soon"), ("0", "-5"), ("0", "9" * 400), ("", "10")):
        assert told(remaining, reset) is None
