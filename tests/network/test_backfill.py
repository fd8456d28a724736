"""What was published before the service listened, brought by `earmark backfill` through a relay and from a real PDS."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson

from tests.network.following import Following, environment, running
from tests.network.relay import Relay
from tests.network.world import Samples, World

ONCE = [("electronic", False)]


async def backfill(service: Following, *words: str) -> dict[str, Any]:
    """The verb as an operator types it, while the service runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "earmark.cli", "backfill", "--json", *words),
        stdout=asyncio.subprocess.PIPE,
        env=environment(service.settings),
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, out
    told: dict[str, Any] = orjson.loads(out)
    return told


async def test_history(world: World, techno: Samples) -> None:
    async with world.open_pds("history") as pds, Relay(world.plc_url) as relay:
        one, two = await world.sign_up(pds), await world.sign_up(pds)
        tracks = [await one.track(techno, "First"), await two.track(techno * 0.99, "Second")]
        gone = await two.track(techno * 0.98, "Gone before anybody came")
        await pds.delete(two.account, gone)
        relay.crawl(pds.url)
        await relay.has_seen("delete", gone)
        settings = await world.join(relay, "historian", begin="live")
        async with running(settings) as service:
            told = await backfill(service, "--dry-run")
            assert (told["repositories"], told["found"], told["changed"]) == (2, 2, 2)
            assert (await service.report(tracks[0]))["state"] is None
            told = await backfill(service)
            assert (told["done"], told["changed"], told["withdrawn"]) == (2, 2, 0)
            for uri in tracks:
                assert (await service.ended(uri))["state"] == "ready"
            # A deletion that the stream never told is found by the next one; what is as it was is not heard again.
            with relay.losing():
                await pds.delete(one.account, tracks[0])
                await relay.has_seen("delete", tracks[0])
            told = await backfill(service)
            assert (told["changed"], told["withdrawn"]) == (0, 1)
            await service.labelled(tracks[0], {"electronic": True})
            assert [service.said(uri) for uri in (*tracks, gone)] == [[*ONCE, ("electronic", True)], ONCE, []]
            # Whose account is gone says so itself when it is asked.
            with relay.losing():
                await pds.delete_account(two.account)
            await backfill(service, "--did", two.account.did)
            await service.labelled(tracks[1], {"electronic": True})
