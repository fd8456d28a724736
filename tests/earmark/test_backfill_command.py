"""`earmark backfill` as a process: killed and taken up again, alone and through a running service, on bad input."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from core.config import Settings
from earmark.cli import cli
from earmark.demo import DemoAccount, Network, music
from earmark.demo.show import free_port
from tests.earmark.test_service import joined, running, wav

TRACK = "fm.plyr.track"


def publish(network: Network, account: DemoAccount, audio: bytes, rkey: str) -> str:
    blob = network.upload_blob(account, audio, "audio/wav")
    record = {"title": rkey, "artist": "Artist", "fileType": "wav", "createdAt": "2024-11-20T10:00:00Z"}
    return str(network.create_record(account, TRACK, rkey, record | {"audioBlob": blob}))


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as network:
        yield network


def write_config(folder: Path, network: Network, *, data: Path | None = None, more: str = "") -> Path:
    path = folder / "config.toml"
    path.write_text(
        f'[storage]\nfolder = "{data or folder / "data"}"\n'
        f'[network]\nrelay_url = "{network.url}"\nplc_url = "{network.url}"\nplyr_url = "{network.visibility_url}"\n'
        f'[source]\nkind = "relay"\nurls = ["{network.stream_url}"]\n[development]\nallow_loopback = true\n{more}'
    )
    return path


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "earmark.cli", "--config", str(config), "backfill", *arguments]


async def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    def work() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(config, *arguments), capture_output=True, text=True, check=False, timeout=200, env=os.environ
        )

    return await asyncio.to_thread(work)


def ask(database: Path, sql: str) -> Any:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchone()[0]
    finally:
        connection.close()


async def test_P175_killed_and_started_again_it_brings_everything_once(network: Network, tmp_path: Path) -> None:
    artists = [network.create_account(f"artist{number}.test") for number in range(9)]
    for artist in artists:
        for number in range(2):
            publish(network, artist, f"{artist.did} {number}".encode(), f"n{number}")
    config, database = write_config(tmp_path, network), tmp_path / "data" / "earmark.db"
    network.switches.pds_delay_seconds = 0.1
    process = await asyncio.create_subprocess_exec(*command(config, "--concurrency", "1"))
    done = "SELECT count(*) FROM backfill_repo WHERE state = 'done'"
    async with asyncio.timeout(100):
        while not database.exists() or not ask(database, "SELECT count(*) FROM sqlite_master WHERE name = 'backfill'"):
            await asyncio.sleep(0.05)
        while ask(database, done) < 3:
            await asyncio.sleep(0.05)
    process.kill()
    await process.wait()
    before = ask(database, done)
    assert before < 9
    assert ask(database, "SELECT count(*) FROM job") >= 2 * before

    network.switches.pds_delay_seconds = 0.0
    ended = await run(config, "--json")
    assert ended.returncode == 0, ended.stderr
    said = orjson.loads(ended.stdout)
    assert (said["repositories"], said["done"], said["found"], said["changed"]) == (9, 9, 18, 18)
    assert ask(database, "SELECT count(*) FROM job WHERE state = 'ready'") == 18
    assert ask(database, "SELECT count(*) FROM track") == 18
    assert ask(database, "SELECT state FROM backfill") == "done"
    assert ask(database, "SELECT count(*) FROM backfill") == 1


async def test_a_dry_run_leaves_no_trace(network: Network, tmp_path: Path) -> None:
    artist = network.create_account("artist.test")
    publish(network, artist, b"sound", "one")
    ended = await run(write_config(tmp_path, network), "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "1 new or changed tracks would be queued, 0 deleted ones would be withdrawn" in ended.stdout
    assert not (tmp_path / "data").exists()


async def test_a_running_service_does_the_work_and_hears_what_it_brings(tmp_path: Path, pack_home: Path) -> None:
    piece = next(piece for piece in music.PIECES if piece.mood == "dance-floor")
    techno: np.ndarray[Any, Any] = music.compose(piece)[: 12 * 44_100]
    async with joined(tmp_path) as (network, demo):
        live_only = demo.source.model_copy(update={"begin": "live"})
        settings = demo.model_copy(update={"source": live_only})
        artist = network.create_account("artist.test")
        uri = publish(network, artist, wav(techno), "old")
        config = write_config(tmp_path, network, data=settings.data)
        async with running(network, settings, artist) as live:
            later = publish(network, artist, wav(techno * 0.8), "new")
            dry = await run(config, "--dry-run", "--json")
            assert (dry.returncode, orjson.loads(dry.stdout)["found"]) == (0, 2)
            ended = await run(config, "--json")
            assert ended.returncode == 0, ended.stderr
            said = orjson.loads(ended.stdout)
            assert (said["stage"], said["done"], said["failed"]) == ("ended", 1, 0)
            for heard in (uri, later):
                report = await live.ended(heard)  # type: ignore[arg-type]
                assert report["verdict"]["labels"] == ["electronic"]

            network.delete_record(artist, TRACK, "old")
            await live.until(lambda: _is(live, uri, "withdrawn"))
        network.delete_record(artist, TRACK, "new")  # while nobody listens
        alone = await run(config, "--json")
        assert orjson.loads(alone.stdout)["withdrawn"] == 1
        async with running(network, settings, artist) as live:
            await live.until(lambda: _is(live, later, "withdrawn"))
            await live.ended(later)  # type: ignore[arg-type]
            assert await live.labels(later) == {"electronic": True}  # type: ignore[arg-type]


async def _is(live: Any, uri: str, state: str) -> bool:
    found: bool = (await live.report(uri))["state"] == state
    return found


async def test_there_is_one_at_a_time_and_it_stops_with_its_listener(
    tmp_path: Path, network: Network, pack_home: Path
) -> None:
    for number in range(3):
        publish(network, network.create_account(f"artist{number}.test"), b"sound", "one")
    network.switches.pds_delay_seconds = 2.0  # the other one has begun long before this one is done
    settings = Settings.load(write_config(tmp_path, network))
    async with running(network, settings.model_copy(update={"service": _anywhere(settings)})) as live:
        process = await asyncio.create_subprocess_exec(*command(tmp_path / "config.toml"))
        await live.until(lambda: _running(settings.database))
        second = await run(tmp_path / "config.toml")
        assert second.returncode == 3
        assert "under way already" in second.stderr
        process.kill()
        await process.wait()
        network.switches.pds_delay_seconds = 0.0

        async def free() -> bool:
            return (await run(tmp_path / "config.toml", "--json")).returncode == 0

        await live.until(free)
        assert ask(settings.database, "SELECT state FROM backfill") == "done"
        assert ask(settings.database, "SELECT count(*) FROM track") == 3


def _anywhere(settings: Settings) -> Any:
    return settings.service.model_copy(update={"port": free_port(0)})


async def _running(database: Path) -> bool:
    return bool(ask(database, "SELECT count(*) FROM backfill WHERE state = 'unfinished'"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--collection", "com.example.nothing"), "is not read here"),
        (("--did", "artist.test"), "not a DID"),
        (("--since", "yesterday"), "2026-01-31"),
        (("--limit", "0"), "limit"),
        (("--concurrency", "500"), "concurrency"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[storage]\nfolder = "{tmp_path / "data"}"\n')
    result = CliRunner().invoke(cli, ["--config", str(config), "backfill", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "data").exists()


async def test_without_a_relay_and_without_accounts_it_says_what_is_missing(network: Network, tmp_path: Path) -> None:
    config = write_config(tmp_path, network)
    config.write_text(config.read_text().replace(f'relay_url = "{network.url}"', 'relay_url = ""'))
    ended = await run(config)
    assert ended.returncode == 2
    assert "backfill.dids" in ended.stderr
