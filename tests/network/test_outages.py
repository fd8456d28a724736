"""Servers that stop, die or lose things: nothing is lost or said twice, nothing is taken for the artist's wish."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import Any

from earmark.demo.show import free_port
from tests.network.artist import TRACK, Artist, blob_cid
from tests.network.following import Following, process, running
from tests.network.pds import Pds
from tests.network.world import Samples, World

ONCE = [("electronic", False)]


async def test_a_pds_that_dies_and_starts_again(service: Following, pds: Pds, artist: Artist, techno: Samples) -> None:
    before = await artist.track(techno, title="Before")
    post = await artist.post(before)
    await service.ended(before)
    await service.shows(post)
    await pds.server.stop(signal.SIGKILL)
    await pds.server.start()
    after = await artist.track(techno, title="After")
    assert (await service.ended(after))["state"] == "ready"
    assert str(post) in await service.feed()
    assert [service.said(uri) for uri in (before, after)] == [ONCE, ONCE]


async def test_p153_a_pds_that_is_down_for_a_while_is_no_wish_of_its_artists(
    service: Following, pds: Pds, artist: Artist, techno: Samples
) -> None:
    before = await artist.track(techno, title="While it still answered")
    post = await artist.post(before)
    report = await service.ended(before)
    await service.shows(post)
    await pds.server.stop()

    async def sources(*, connected: bool) -> list[dict[str, Any]]:
        found = (await service.client.get("/api/status")).json()["sources"]
        return found if all(source["connected"] is connected for source in found) else []

    try:
        for source in await service.until(partial(sources, connected=False)):
            assert source["last_error"]
        await asyncio.sleep(5.0)  # several attempts to connect
        assert (await service.report(before))["state"] == report["state"]
        assert str(post) in await service.feed()
        assert await service.labels(before) == {"electronic": False}
    finally:
        await pds.server.start()
    after = await artist.track(techno, title="Up and running")
    assert (await service.ended(after))["state"] == "ready"
    for source in await service.until(partial(sources, connected=True)):
        assert not source["gaps"]
    assert [service.said(uri) for uri in (before, after)] == [ONCE, ONCE]


async def test_a_pds_that_hangs_while_audio_is_wanted(
    service: Following, pds: Pds, artist: Artist, techno: Samples
) -> None:
    """It takes connections and says nothing for a while, whatever was asked of it at that moment."""
    uri = await artist.track(techno)
    with pds.server.held():
        await asyncio.sleep(4.0)
    assert (await service.ended(uri))["state"] == "ready"
    assert service.said(uri) == ONCE


async def test_what_happens_while_the_service_is_down(world: World, techno: Samples) -> None:
    """Records, deletions and takedowns of that time reach it when it is back."""
    async with world.open_pds("quiet") as pds:
        artist, other = await world.sign_up(pds), await world.sign_up(pds)
        settings = await world.join(pds, "interrupted")
        async with running(settings) as service:
            kept, deleted = await artist.track(techno, "Kept"), await artist.track(techno, "Deleted")
            hidden = await other.track(techno * 0.99, "Hidden")
            post = await other.post(hidden)
            for uri in (kept, deleted, hidden):
                await service.ended(uri)
            await service.shows(post)
        await pds.delete(artist.account, deleted)
        await artist.change(kept, title="Renamed")
        await pds.take_down(other.account)
        added = await artist.track(techno, "Added")
        async with running(settings) as service:
            assert (await service.ended(added))["state"] == "ready"
            assert (await service.report(kept))["title"] == "Renamed"
            await service.labelled(deleted, {"electronic": True})
            await service.hides(post)
            assert not (await service.report(hidden))["account_active"]
            assert [service.said(uri) for uri in (kept, added, hidden)] == [ONCE, ONCE, ONCE]
            assert service.said(deleted) == [*ONCE, ("electronic", True)]


async def test_p157_a_service_that_is_killed(world: World, techno: Samples) -> None:
    """`earmark serve`, kill -9 in the middle of its work: all is heard when it runs again, and said once."""
    async with world.open_pds("patient") as pds:
        artist = await world.sign_up(pds)
        settings = await world.join(pds, "mortal")
        tracks = [await artist.track(techno * (1 - number / 50)) for number in range(6)]
        post = await artist.post(tracks[0])
        async with process(settings) as service:
            await service.ended(tracks[0])
        async with process(settings) as service:
            for uri in tracks:
                assert (await service.ended(uri))["state"] == "ready"
            await service.shows(post)
            assert [service.said(uri) for uri in tracks] == [ONCE] * len(tracks)


async def test_p161_a_pds_that_begins_anew(world: World, techno: Samples) -> None:
    """Its sequence starts again, so that our cursor lies in its future: that is shown, and nothing is forgotten."""
    port = free_port(0)
    async with world.open_pds("first-life", port=port) as pds:
        artist = await world.sign_up(pds)
        settings = await world.join(pds, "faithful")
        async with running(settings) as service:
            uri = await artist.track(techno)
            post = await artist.post(uri)
            await service.ended(uri)
            await service.shows(post)
            await pds.server.stop()
            async with world.open_pds("second-life", port=port):

                async def told() -> bool:
                    sources = (await service.client.get("/api/status")).json()["sources"]
                    return all("FutureCursor" in (source["last_error"] or "") for source in sources)

                await service.until(told)
                assert str(post) in await service.feed()
                assert await service.labels(uri) == {"electronic": False}


async def test_p186_a_blob_that_was_taken_down(world: World, techno: Samples) -> None:
    """Before it was heard: nothing is said of it. Afterwards: what was said stays, for the stream says nothing."""
    async with world.open_pds("moderated") as pds:
        artist = await world.sign_up(pds)
        records = [await artist.record(techno * factor) for factor in (0.99, 0.98)]
        heard, unheard = [await pds.create(artist.account, TRACK, record) for record in records]
        await pds.take_down_blob(artist.account, blob_cid(records[1]))
        async with running(await world.join(pds, "moderated")) as service:
            assert (await service.ended(heard))["state"] == "ready"
            await service.reports(unheard, lambda report: report["reason"] == "blob_gone")
            assert await service.labels(unheard) == {}
            await pds.take_down_blob(artist.account, blob_cid(records[0]))
            await pds.take_down_blob(artist.account, blob_cid(records[1]), undo=True)
            again = await pds.create(artist.account, TRACK, records[1])
            assert (await service.ended(again))["state"] == "ready"
            assert [service.said(uri) for uri in (heard, again)] == [ONCE, ONCE]
            assert await service.labels(heard) == {"electronic": False}
