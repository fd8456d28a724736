"""A corpus moves to other packs under the real service: real children, real feeds, killed processes, the command."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from core.clock import SystemClock
from core.config import Settings
from core.log import Log
from core.types import AtUri
from earmark.commands import reanalyse
from earmark.demo import music
from earmark.listening import settle_listening
from models.pack import select
from store import Store, analyses, generations, labels, tracks
from tests.earmark.test_demo import Serve, network_only
from tests.earmark.test_service import Live, joined, running, wav

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def techno() -> np.ndarray[Any, Any]:
    """Twelve seconds of four on the floor: musicnn hears `electronic`."""
    piece = next(piece for piece in music.PIECES if piece.mood == "dance-floor")
    return music.compose(piece)[: 12 * 44_100]


def listening(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"listening": settings.listening.model_copy(update=changes)})


async def status(live: Live) -> dict[str, Any]:
    found: dict[str, Any] = (await live.client.get("/api/status")).json()["listening"]
    return found


async def test_an_update_that_hears_differently_moves_what_there_is(
    tmp_path: Path, techno: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pack in another version of listening. The old index serves while nothing can be heard."""
    async with joined(tmp_path) as (network, demo):
        settings = listening(demo, packs=("musicnn",), reanalyse_share=1.0)
        monkeypatch.setattr("core.analysis.LISTENING", "0")
        async with running(network, settings) as live:
            artist = live.artist
            published = [_publish(live, techno * loud) for loud in (0.9, 0.8, 0.7)]
            uris, posts = [uri for uri, _ in published], {post for _, post in published}
            for uri in uris:
                await live.ended(uri)
            await live.until(lambda: _shows(live, posts))
            before = await status(live)
            assert before["moving_to"] is None

        monkeypatch.undo()
        monkeypatch.setattr("earmark.rehearing.AWAY_SECONDS", 0.0)  # who waits for three days here
        network.switches.pds_down = True
        async with running(network, settings, artist) as live:
            await live.until(lambda: _shows(live, posts))  # while nothing of the new generation is there

            async def failed() -> Any:
                moving = (await status(live))["moving_to"]
                return moving if moving and moving["state"] == "failed" else None

            failure = await live.until(failed)
            monkeypatch.undo()
            assert failure["reason"].startswith("1 of 3 recordings could not be heard")
            assert (await status(live))["serving"] == before["serving"]
            assert await _shows(live, posts)
            assert [await live.labels(uri) for uri in uris] == [{"electronic": False}] * 3
            network.switches.pds_down = False
            # The packs cannot listen in the old way: a new track gets its label now and waits for its feed.
            late, late_post = _publish(live, techno * 0.6)
            assert (await live.ended(late))["verdict"]["labels"] == ["electronic"]

        done = await _command(settings, tmp_path, "reanalyse", "--retry", "--json")
        assert done.returncode == 0, done.stderr
        report = orjson.loads(done.stdout)
        assert report["moving_to"] is None
        assert report["serving"]["generation"] != before["serving"]["generation"]
        async with running(network, settings, artist) as live:
            await live.until(lambda: _shows(live, posts | {late_post}))
            assert [await live.labels(uri) for uri in uris] == [{"electronic": False}] * 3
            assert (await status(live))["serving"] == report["serving"]


async def test_other_packs_take_over_in_a_running_service_and_back(
    tmp_path: Path, techno: np.ndarray[Any, Any], stand_in_home: tuple[Path, Path]
) -> None:
    home, catalogue = stand_in_home
    async with joined(tmp_path, home=home) as (network, demo):
        settings = listening(demo, pack_catalogue=catalogue, reanalyse_share=1.0)
        async with running(network, listening(settings, packs=("musicnn",))) as live:
            artist = live.artist
            uris = [live.track(wav(techno * loud)) for loud in (0.9, 0.8, 0.7)]
            for uri in uris:
                assert (await live.ended(uri))["verdict"]["labels"] == ["electronic"]
            assert set((await status(live))["serving"]["packs"]) == {"musicnn"}

        for packs in (("effnet", "clap"), ("musicnn",)):
            async with running(network, listening(settings, packs=packs), artist) as live:
                new = live.track(wav(techno * (0.6 if "clap" in packs else 0.5)))
                uris.append(new)
                await live.ended(new)
                watched = await _command(settings, tmp_path, "reanalyse", "--json")  # shows until it is done
                assert watched.returncode == 0, watched.stderr
                report = orjson.loads(watched.stdout)
                assert (set(report["serving"]["packs"]), report["moving_to"]) == (set(packs), None)
                await live.until(lambda: _all_judged_and_ranked(live, uris))
                assert await _whole(settings.database, [str(uri) for uri in uris]) == len(uris)
        assert [(await _labels_of(network, settings, artist, uri)) for uri in uris] == [["electronic"]] * 5


async def serving_with(settings: Settings, packs: dict[str, str]) -> None:
    """A store in which a generation of these packs serves."""
    store = await Store.open(settings.database, clock=SystemClock())
    async with store.write() as tx:
        await generations.arrange(tx, packs, now_us=1)
    await store.close()


@pytest.mark.parametrize(
    ("change", "why", "feeds"),
    [
        (("clap",), "another version of clap is installed", "go on"),  # effnet's styles answer
        (
            ("effnet", "clap"),
            "another version of effnet, clap is installed",
            "all dark until the switch: the pack that moods are asked",
        ),
        ((), "this version of Earmark hears differently with the same packs", "go on"),
    ],
)
async def test_why_the_packs_that_serve_do_not_listen_is_said_at_the_start(
    tmp_path: Path,
    stand_in_home: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: tuple[str, ...],
    why: str,
    feeds: str,
) -> None:
    home, pack_catalogue = stand_in_home
    plain = Settings.load()
    settings = listening(plain, packs=("effnet", "clap"), pack_catalogue=pack_catalogue).model_copy(
        update={"home": home, "storage": plain.storage.model_copy(update={"folder": tmp_path})}
    )
    hashes = select(home, ("effnet", "clap"), catalogue=pack_catalogue).hashes
    with monkeypatch.context() as patch:
        if not change:
            patch.setattr("core.analysis.LISTENING", "0")
        await serving_with(settings, hashes | dict.fromkeys(change, "0" * 64))
    store = await Store.open(settings.database, clock=SystemClock())
    with caplog.at_level("ERROR", "earmark.test"):
        settled = await settle_listening(
            store, settings, clock=SystemClock(), log=Log(logging.getLogger("earmark.test"))
        )
    await store.close()
    (said,) = [vars(entry)["fields"] for entry in caplog.records]
    assert said["why"] == why
    assert said["feeds"].startswith(feeds)
    assert said["meanwhile"] == "new tracks get labels now and enter feeds with the switch"
    assert settled.packs.hashes == hashes


def test_status_retry_and_abandon_exclude_each_other() -> None:
    for two in (("--status", "--retry"), ("--status", "--abandon"), ("--retry", "--abandon")):
        refused = CliRunner().invoke(reanalyse.command, two)
        assert refused.exit_code == 2
        assert "exclude each other" in refused.output


async def _all_judged_and_ranked(live: Live, uris: list[AtUri]) -> bool:
    """Whether the serving generation decided these, and feeds score every track that they may show."""
    store = await Store.open_to_read(live.service.settings.database)
    async with store.read() as reader:
        serving = (await generations.living(reader)).serving
        verdicts = [await labels.get_verdict(reader, str(uri)) for uri in uris]
        music = sum(track.music is True for track in await tracks.rankable(reader))
    await store.close()
    scored = (await live.client.get("/api/feeds/calm")).json()["tracks_scored"]
    return all(one is not None and one.generation == serving.name for one in verdicts) and scored == music


async def _labels_of(network: Any, settings: Settings, artist: Any, uri: Any) -> list[str]:
    async with running(network, listening(settings, packs=("musicnn",)), artist) as live:
        labels: list[str] = (await live.ended(uri))["verdict"]["labels"]
        return labels


def _publish(live: Live, sound: np.ndarray[Any, Any]) -> tuple[AtUri, str]:
    """A track by an artist of its own (feeds keep an artist's tracks apart), named as no other, and its post."""
    number = next(_NUMBERS)
    first, live.artist = live.artist, live.network.create_account(f"artist{number}.test")
    try:
        uri = live.track(wav(sound), title=f"Take {number}")
        return uri, str(live.post(uri))
    finally:
        live.artist = first


async def _shows(live: Live, posts: set[str]) -> bool:
    return posts <= set(await live.feed())


async def _command(settings: Settings, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A verb in a process of its own, on the same folder."""
    config = folder / "config.toml"
    config.write_text(
        f'[storage]\nfolder = "{settings.data}"\n[network]\nplc_url = "{settings.network.plc_url}"\n'
        f'plyr_url = "{settings.network.plyr_url}"\n[development]\nallow_loopback = true\n'
        f'[source]\nkind = "relay"\nurls = ["{settings.source.urls[0]}"]\n[listening]\npacks = ["musicnn"]\n'
    )
    return await asyncio.to_thread(run, config, *arguments)


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "earmark.cli", "--config", str(config), *arguments]


def run(config: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(config, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=os.environ | environment,
    )


def wait_until_heard(database: Path, count: int) -> None:
    """Until so many analyses of all generations are stored."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection = sqlite3.connect(database)
        (stored,) = connection.execute("SELECT count(*) FROM analysis").fetchone()
        connection.close()
        if stored >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{stored} of {count}")


def test_killed_while_it_moves_it_goes_on_and_the_command_ends_it(
    tmp_path: Path, stand_in_home: tuple[Path, Path]
) -> None:
    home, catalogue = stand_in_home
    common = {
        "EARMARK_HOME": str(home),
        "EARMARK_LISTENING__PACK_CATALOGUE": str(catalogue),
        "EARMARK_LISTENING__CHILDREN": "1",
        "EARMARK_LISTENING__REANALYSE_SHARE": "1",
    }
    old = common | {"EARMARK_LISTENING__PACKS": '["musicnn"]'}
    new = common | {"EARMARK_LISTENING__PACKS": '["effnet", "clap"]'}
    quiet = "not status['jobs']['ready'] + status['jobs']['leased']"
    public = 7  # of the nine; an unlisted one has a job, a gated one has none
    with network_only(tmp_path) as published:
        config = tmp_path / "earmark.toml"
        before = run(config, "reanalyse", "--status", **old)  # nothing has run here yet
        assert (before.returncode, before.stdout) == (0, "nothing was heard here yet\n")
        with Serve(config, **old) as serve:
            serve.wait(f"status['jobs']['done'] == {public + 1} and {quiet}")
            assert run(config, "reanalyse", "--abandon", **old).returncode == 3
            assert serve.wait("{'calm', 'heavy'} <= {feed['feed'] for feed in status['feeds'] if feed['open']}")
        before = orjson.loads(run(config, "reanalyse", "--status", "--json", **old).stdout)
        with Serve(config, **new) as serve:  # killed on the way
            found = serve.wait("status['listening']['moving_to']['heard'] >= 1")["listening"]
            assert found["serving"] == before["serving"]
            assert found["moving_to"]["left"] > 0
        stopped = subprocess.Popen(command(config, "reanalyse"), stderr=subprocess.PIPE, env=os.environ | new)
        wait_until_heard(tmp_path / "data" / "earmark.db", public + 3)
        stopped.terminate()
        assert stopped.communicate(timeout=30)[1].endswith(b"stopped\n")
        assert stopped.returncode == 130
        abandoned = run(config, "reanalyse", "--abandon", "--json", **new)
        moving = orjson.loads(abandoned.stdout)["moving_to"]
        assert (abandoned.returncode, moving["state"]) == (0, "failed")
        assert moving["heard"] >= 3
        done = run(config, "reanalyse", "--retry", "--json", **new)
        assert done.returncode == 0, done.stderr
        report = orjson.loads(done.stdout)
        assert (sorted(report["serving"]["packs"]), report["moving_to"]) == (["clap", "effnet"], None)
        with Serve(config, **new) as serve:
            serve.wait(f"status['listening']['serving']['packs'].keys() == {{'effnet', 'clap'}} and {quiet}")
            serve.stop()
        assert asyncio.run(_whole(tmp_path / "data" / "earmark.db", list(published.values()))) == public
        assert "nothing is being moved" in run(config, "reanalyse", "--status", **new).stdout


async def _whole(database: Path, uris: list[str]) -> int:
    """How many of these the serving generation decided; its vectors are those of the ones that feeds may show."""
    store = await Store.open_to_read(database)
    async with store.read() as reader:
        serving = (await generations.living(reader)).serving
        decided = 0
        for uri in uris:
            stored, verdict = await tracks.get(reader, uri), await labels.get_verdict(reader, uri)
            assert stored is not None
            assert verdict is not None
            if verdict.generation is not None:
                assert verdict.generation == serving.name
                assert stored.track.audio_key is not None
                assert await analyses.get(reader, stored.track.audio_key, serving.name) is not None
                decided += 1
            rows = await analyses.vector_log(reader, serving.name, after_seq=0, limit=1000)
            spaces = {row.space for row in rows if row.track_id == stored.track_id and row.vector is not None}
            assert spaces == (set(serving.spaces) if verdict.verdict.rankable or verdict.verdict.labels else set())
    await store.close()
    return decided
