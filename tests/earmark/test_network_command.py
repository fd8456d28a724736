"""`earmark network`, the gauges and the status page: what they show of a live network, and what they call trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from core.config import Settings
from core.errors import Unreachable
from core.log import set_up
from core.types import parse_did
from earmark import network
from earmark.cli import cli
from earmark.compose import Service, build
from earmark.network import Trouble
from firehose.guard import Origin
from store import Store, repos, unmapped
from tests.earmark.test_service import opened

DID = parse_did("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
HOUR_US = 3_600_000_000


async def ask(folder: Path, *arguments: str) -> Result:
    """The verb, in a thread: it talks to a service that runs in this loop."""
    environment = {"EARMARK_STORAGE__FOLDER": str(folder)}
    return await asyncio.to_thread(CliRunner().invoke, cli, ["network", *arguments], env=environment)


async def test_a_live_network_is_shown_and_its_end_is_trouble(
    tmp_path: Path, pack_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as live:
        uri = live.track(b"not audio", note="a field that nobody reads")
        await live.ended(uri)
        said = await ask(live.folder, "--json")
        assert said.exit_code == 0, said.output
        report = orjson.loads(said.stdout)
        assert report["troubles"] == []
        assert {source["purpose"]: source["connected"] for source in report["sources"]} == {
            "music": True,
            "posts": True,
        }
        assert report["events_per_second"]["fm.plyr.track"] > 0
        assert report["events"]["fm.plyr.track"] == 1
        # An identity event that a slower reader brings puts it in doubt for a moment.
        assert sum(report["repositories"].values()) == 1
        assert sum(report["queue"]["jobs"].values()) == 1
        assert report["hosts"]["known"] >= 1
        assert report["sources"][0]["hosts"]
        page = (await ask(live.folder)).stdout
        for words in ("music", "connected", "fm.plyr.track", "synchronised", "none yet"):
            assert words in page

        async def frames() -> bool:
            return "earmark_source_frames_per_second{source=" in (await live.client.get("/metrics")).text

        await live.until(frames)
        metrics = (await live.client.get("/metrics")).text
        for trouble in Trouble:
            assert f'earmark_trouble{{trouble="{trouble}"}} 0.0' in metrics
        assert 'earmark_source_connected{source="music"} 1.0' in metrics
        assert (await live.client.get("/api/status")).json()["troubles"] == []

        monkeypatch.setattr(network, "PATIENCE_SECONDS", 0.0)
        live.service.intake.music.health.connected = False
        said = await ask(live.folder)
        assert said.exit_code == 1
        assert "disconnected: " in said.stdout
        fields = await ask(live.folder, "--fields")
        assert fields.exit_code == 0
    said = await ask(live.folder)
    assert said.exit_code != 0, "no service runs any more"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    settings = Settings.load(home=tmp_path, source={"kind": "relay", "urls": ["wss://relay.example.com"]})
    return build(settings, log=set_up(level="critical"))


@pytest.fixture
async def store(service: Service) -> AsyncIterator[Store]:
    service.settings.data.mkdir()
    store = await Store.open(service.settings.database, clock=service.clock)
    yield store
    await store.close()


async def report_of(service: Service, store: Store) -> dict[str, Any]:
    async with store.read() as reader:
        return await service.network.report(reader)


async def test_a_service_that_just_began_is_not_in_trouble(service: Service, store: Store) -> None:
    assert (await report_of(service, store))["troubles"] == []


@pytest.mark.parametrize("purpose", [0, 1])
async def test_each_state_of_a_source_has_its_word(service: Service, store: Store, purpose: int) -> None:
    """P163: an alert when over a quarter of the upstream's window is used up."""
    health = service.intake.sources[purpose].health
    health.blind = True
    assert (await report_of(service, store))["troubles"] == [Trouble.BLIND]
    health.blind = False
    now_us = service.clock.now_us()
    health.window_us, health.heard_us = 4 * HOUR_US, now_us - HOUR_US - 1_000_000
    report = await report_of(service, store)
    assert report["troubles"] == [Trouble.LATE]
    assert report["sources"][purpose]["lag_seconds"] == pytest.approx(3601, abs=10)
    health.heard_us = now_us - HOUR_US // 2
    assert (await report_of(service, store))["troubles"] == []


async def test_reading_that_waits_for_jobs_is_trouble(
    service: Service, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = service.intake.readings()
    paused = [network.Reading(one.purpose, one.source, one.purpose == "music") for one in readings]
    monkeypatch.setattr(service.intake, "readings", lambda: paused)
    report = await report_of(service, store)
    assert report["troubles"] == [Trouble.PAUSED]
    assert [source["paused"] for source in report["sources"]] == [True, False]


async def test_repositories_that_stay_in_doubt_are_trouble_after_an_hour(service: Service, store: Store) -> None:
    now_us = service.clock.now_us()
    async with store.write() as tx:
        await repos.follow(tx, DID, now_us=now_us)
        await repos.doubt(tx, DID, reason="gap", now_us=now_us)
    report = await report_of(service, store)
    assert report["troubles"] == []
    assert report["repositories"] == {"synchronised": 0, "desynchronised": 1}
    async with store.write() as tx:
        due_us = now_us - HOUR_US - 1_000_000
        await repos.put_off(tx, DID, reason="unreachable", attempts=1, due_us=due_us, now_us=now_us)
    assert (await report_of(service, store))["troubles"] == [Trouble.RESYNC_OVERDUE]


async def test_one_host_that_fails_is_shown_and_many_are_trouble(service: Service, store: Store) -> None:
    async def fail(number: int) -> None:
        for _ in range(5):
            with pytest.raises(Unreachable):
                async with service.outside.manners.visit(Origin("https", f"pds{number}.example.com", 443)):
                    raise Unreachable("no answer")

    await fail(0)
    report = await report_of(service, store)
    assert report["troubles"] == []
    assert report["hosts"]["resting"] == 1
    assert report["hosts"]["failing"][0]["failures"] == {"unreachable": 5}
    for number in range(1, 4):
        await fail(number)
    assert (await report_of(service, store))["troubles"] == [Trouble.HOSTS_FAILING]


async def test_fields_that_no_mapping_reads_are_listed_without_a_service(service: Service, store: Store) -> None:
    async with store.write() as tx:
        await unmapped.note(tx, "fm.plyr.track", {"mood": "string"}, uri=f"at://{DID}/fm.plyr.track/1", now_us=1)
    said = await ask(service.settings.data, "--fields", "--json")
    assert said.exit_code == 0, said.output
    [field] = orjson.loads(said.stdout)
    assert (field["collection"], field["path"], field["kind"], field["seen"]) == ("fm.plyr.track", "mood", "string", 1)
    assert "mood" in (await ask(service.settings.data, "--fields")).stdout
