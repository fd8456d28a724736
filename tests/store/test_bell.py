"""The bell is a hint that is never lost between a look and a wait."""

from __future__ import annotations

import asyncio

from store import Bell


async def test_a_ring_between_the_look_and_the_wait_is_heard():
    bell = Bell()
    seen = bell.count("job")
    bell.ring("job")
    assert await bell.wait("job", 10, seen=seen)
    assert not await bell.wait("job", 0.01, seen=bell.count("job"))


async def test_every_waiter_of_the_topic_wakes_and_no_other():
    bell = Bell()
    waits = [asyncio.create_task(bell.wait(topic, 0.1)) for topic in ("job", "job", "label")]
    await asyncio.sleep(0)
    bell.ring("job")
    assert await asyncio.gather(*waits) == [True, True, False]


async def test_no_wake_up_is_lost_between_a_producer_and_a_follower():
    bell, made, followed = Bell(), 0, 0

    async def produce():
        nonlocal made
        for step in range(300):
            made += 1
            bell.ring("label")
            if step % 3:
                await asyncio.sleep(0)

    producer = asyncio.create_task(produce())
    async with asyncio.timeout(5):  # one lost ring would wait 60 seconds
        while followed < 300:
            seen = bell.count("label")
            followed = made
            await asyncio.sleep(0)  # reading takes a while; rings come meanwhile
            if followed < 300:
                assert await bell.wait("label", 60, seen=seen)
    await producer


async def test_a_cancelled_waiter_does_not_disturb_the_others():
    bell = Bell()
    cancelled, waiting = (asyncio.create_task(bell.wait("job", 5)) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    bell.ring("job")
    assert await waiting
