"""Labels of tracks on posts, through a real PDS: whose posts get them, and everything that takes them back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.network.artist import POST
from tests.network.test_consumers import Stage, staged
from tests.network.world import Samples, World, compose


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(world: World) -> AsyncIterator[Stage]:
    async with staged(world, "mirror", "own") as stage:
        yield stage


async def test_own_and_announced_posts_follow_their_track(stage: Stage, techno: Samples) -> None:
    service, artist, bot = stage.service, stage.artist, stage.bot
    track, other = await artist.track(techno), await artist.track(techno, title="Another")
    fan = await stage.world.sign_up(stage.world.pds)
    own, announced, others = await artist.post(track), await bot.post(track, way=1), await fan.post(track)
    refs = [{"uri": str(uri), "cid": (await artist.pds.get(uri))["cid"]} for uri in (track, other)]
    card = {"uri": "https://artist.example", "title": "Two", "description": "", "associatedRefs": refs}
    embed = {"$type": "app.bsky.embed.external", "external": card}
    record = {"text": "Two songs", "createdAt": "2026-11-20T10:00:00Z", "embed": embed}
    both = await artist.pds.create(artist.account, POST, record)
    await service.ended(track)
    await service.labelled(own, {"electronic": False})
    await service.labelled(announced, {"electronic": False})
    # New audio: other labels, on the posts too.
    await artist.change(track, **await artist.record(compose("calm"), title="Calm now"))
    await service.reports(track, lambda report: report["title"] == "Calm now" and report["state"] == "ready")
    report = await service.ended(track)
    for post in (own, announced):
        await service.labelled(post, await service.labels(track))
    live = {val for val, negated in (await service.labels(own)).items() if not negated}
    assert live == set(report["verdict"]["labels"])
    # Nobody else's, and none that links two.
    for post in (others, both):
        assert await service.labels(post) == {}
    assert not [label for label in service.heard if label["uri"].startswith("did:")], "never an account (P26)"


async def test_a_deleted_post_a_deleted_track_and_a_person_who_goes(stage: Stage, techno: Samples) -> None:
    service, world = stage.service, stage.world
    artist = await world.sign_up(world.pds)
    first, second = await artist.track(techno), await artist.track(techno, title="Second")
    posts = [await artist.post(first), await artist.post(first, way=3), await artist.post(second)]
    announced = await stage.bot.post(second)
    for track in (first, second):
        await service.ended(track)
    for post in (*posts, announced):
        await service.labelled(post, {"electronic": False})
    await artist.pds.delete(artist.account, posts[0])
    await service.labelled(posts[0], {"electronic": True})
    await artist.pds.delete(artist.account, first)
    await service.labelled(posts[1], {"electronic": True})
    # Away is not gone: what was said stays (P39), and nothing is said twice when they are back.
    await artist.pds.deactivate(artist.account)
    await service.reports(second, lambda report: not report["account_active"])
    await artist.pds.activate(artist.account)
    await service.reports(second, lambda report: report["account_active"])
    assert [service.said(post) for post in (posts[2], announced)] == [[("electronic", False)]] * 2
    await artist.pds.delete_account(artist.account)
    for post in (posts[2], announced):
        await service.labelled(post, {"electronic": True})
    assert service.said(posts[2]) == [("electronic", False), ("electronic", True)]
