"""Accounts at two PDSs, seen through one relay; one of them is down for a while, and somebody moves house."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.network.artist import Artist
from tests.network.following import Following, running
from tests.network.pds import Pds
from tests.network.relay import Relay
from tests.network.world import Samples, World

ONCE = [("electronic", False)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def second(world: World) -> AsyncIterator[Pds]:
    async with world.open_pds("second") as pds:
        yield pds


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def relay(world: World, second: Pds) -> AsyncIterator[Relay]:
    async with Relay(world.plc_url) as relay:
        relay.crawl(world.pds.url)
        relay.crawl(second.url)
        yield relay


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def through_relay(world: World, relay: Relay) -> AsyncIterator[Following]:
    """A service that reads everything from the beginning: also all that the other tests did."""
    async with running(await world.join(relay, "through-relay")) as following:
        yield following


async def test_who_comes_late_says_the_same(service: Following, through_relay: Following) -> None:
    """All that the first PDS has to tell at once, or as it happened: the same labels are in force."""

    async def agreed() -> bool:
        return service.in_force() == through_relay.in_force()

    await through_relay.until(agreed)


async def test_each_track_is_heard_from_its_own_pds(
    through_relay: Following, pds: Pds, second: Pds, world: World, techno: Samples
) -> None:
    near, far = await world.sign_up(pds), await world.sign_up(second)
    tracks = [await near.track(techno, "Near"), await far.track(techno * 0.99, "Far")]
    posts = [await near.post(tracks[0]), await far.post(tracks[1])]
    for uri, post in zip(tracks, posts, strict=True):
        assert (await through_relay.ended(uri))["state"] == "ready"
        await through_relay.shows(post)
        assert through_relay.said(uri) == ONCE


async def test_a_fan_elsewhere_posts_a_track_and_somebody_likes_it(
    through_relay: Following, pds: Pds, second: Pds, world: World, techno: Samples
) -> None:
    artist, fan = await world.sign_up(second), await world.sign_up(pds)
    uri = await artist.track(techno)
    cid = (await second.get(uri))["cid"]
    post = await fan.post(uri, cid=cid)
    await through_relay.ended(uri)
    assert str(post) not in await through_relay.feed()  # strangers' new accounts count for nothing by themselves
    await artist.like(post, (await pds.get(post))["cid"])
    await through_relay.shows(post)
    await pds.take_down(fan.account)
    await through_relay.hides(post)
    await pds.take_down(fan.account, undo=True)
    await through_relay.shows(post)
    await second.delete_account(artist.account)
    await through_relay.labelled(uri, {"electronic": True})
    await through_relay.hides(post)


async def test_a_pds_that_is_down_when_its_track_arrives(
    through_relay: Following, world: World, relay: Relay, techno: Samples
) -> None:
    """The relay tells of the record and its audio cannot be had: it is waited for, and others are heard meanwhile."""
    async with world.open_pds("third") as third:
        relay.crawl(third.url)
        near, far = await world.sign_up(world.pds), await world.sign_up(third)
        async with relay.holding():
            waiting = await far.track(techno, "Waiting")
            await relay.has_seen("create", waiting)
            await third.server.stop()
        await through_relay.reports(waiting, lambda report: report["job"]["attempt"] > 1)
        meanwhile = await near.track(techno * 0.98, "Meanwhile")
        assert (await through_relay.ended(meanwhile))["state"] == "ready"
        assert (await through_relay.report(waiting))["account_active"]
        assert await through_relay.labels(waiting) == {}
        await third.server.start()
        assert (await through_relay.ended(waiting))["state"] == "ready"
        assert [through_relay.said(uri) for uri in (waiting, meanwhile)] == [ONCE, ONCE]


async def test_p145_p164_a_relay_that_loses_commits(
    through_relay: Following, world: World, relay: Relay, second: Pds, techno: Samples
) -> None:
    """The next commit of the account shows that something is missing: its repository is walked."""
    artist, other = await world.sign_up(second), await world.sign_up(second)
    # News of a known account's identity leads to a walk as well, and a repository rests between walks: be past it.
    await through_relay.shows(await other.post(await other.track(techno)))
    kept, deleted, renamed = [await artist.track(techno * factor) for factor in (0.99, 0.98, 0.97)]
    for uri in (kept, deleted, renamed):
        await through_relay.ended(uri)
    await asyncio.sleep(2.0)  # a repository is followed a moment after its first track
    await through_relay.shows(await artist.post(kept))
    with relay.losing():
        await second.delete(artist.account, deleted)
        await artist.change(renamed, title="A better title")
        lost = await artist.track(techno * 0.96, "Lost")
        await relay.has_seen("create", lost)
    await artist.track(techno * 0.95, "What shows it")
    assert (await through_relay.ended(lost))["state"] == "ready"
    await through_relay.labelled(deleted, {"electronic": True})
    await through_relay.reports(renamed, lambda report: report["title"] == "A better title")
    assert [through_relay.said(uri) for uri in (kept, lost, renamed)] == [ONCE] * 3


async def test_p156_a_tombstoned_identity_is_a_deleted_account(
    through_relay: Following, world: World, relay: Relay, second: Pds, techno: Samples
) -> None:
    artist = await world.sign_up(second)
    uri = await artist.track(techno)
    post = await artist.post(uri)
    await through_relay.ended(uri)
    await through_relay.shows(post)
    await second.tombstone(artist.account)
    await relay.tell("#identity", {"did": artist.account.did, "time": "2026-11-21T10:00:00.000Z"})
    await through_relay.labelled(uri, {"electronic": True}, seconds=20.0)
    await through_relay.hides(post)


async def test_p148_p181_an_account_that_moves_house(
    through_relay: Following, pds: Pds, second: Pds, world: World, techno: Samples
) -> None:
    artist = await world.sign_up(second)
    uri = await artist.track(techno)
    post = await artist.post(uri)
    await through_relay.ended(uri)
    await through_relay.shows(post)
    await pds.adopt(artist.account, second)
    moved = Artist(pds, artist.account)
    after = await moved.track(techno * 0.97, "From the new house")
    assert (await through_relay.ended(after))["state"] == "ready"
    await through_relay.shows(post)
    report = await through_relay.report(uri)
    assert (report["state"], report["account_active"]) == ("ready", True)
    assert [through_relay.said(track) for track in (uri, after)] == [ONCE, ONCE]


async def test_p164_a_wish_that_a_walk_finds_undone(
    through_relay: Following, world: World, relay: Relay, second: Pds, techno: Samples
) -> None:
    """The relay loses the end of an opt-out: the walk that finds it brings the tracks of the same revision back."""
    artist, other = await world.sign_up(second), await world.sign_up(second)
    await through_relay.shows(await other.post(await other.track(techno)))
    uri = await artist.track(techno * 0.99)
    await through_relay.ended(uri)
    await asyncio.sleep(2.0)  # a repository is followed a moment after its first track
    optout = await second.create(artist.account, "example.earmark.optout", {}, rkey="self")
    await through_relay.labelled(uri, {"electronic": True})
    with relay.losing():
        await second.delete(artist.account, optout)
        await relay.has_seen("delete", optout)
    await artist.post(uri)
    await through_relay.labelled(uri, {"electronic": False})


async def test_p148_a_former_home_has_no_say(world: World, pds: Pds, techno: Samples) -> None:
    """Followed directly, the PDS that was left calls the account inactive; it speaks only for who lives there."""
    async with world.open_pds("left") as left:
        artist, neighbour = await world.sign_up(left), await world.sign_up(left)
        async with running(await world.join(left, "next-door")) as service:
            uri = await artist.track(techno)
            post = await artist.post(uri)
            await service.ended(uri)
            await service.shows(post)
            await pds.adopt(artist.account, left)
            marker = await neighbour.track(techno * 0.97)  # both streams are past what was said before it
            await service.ended(marker)
            await service.shows(await neighbour.post(marker))
            report = await service.report(uri)
            assert (report["state"], report["account_active"]) == ("ready", True)
            assert str(post) in await service.feed()
