"""`earmark disputes`: what an operator reads and decides, with and without a running service."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from core.clock import SystemClock
from core.types import Did
from earmark.cli import cli
from store import Store, disputes, rulings
from store.disputes import DisputeState, NewDispute
from tests.earmark.test_disputes import report, until_labels
from tests.earmark.test_service import opened, techno, wav

__all__ = ["techno"]  # a fixture
ARTIST, LISTENER = Did("did:plc:artist222222222222222222"), Did("did:plc:listen222222222222222222")
URI = f"at://{ARTIST}/fm.plyr.track/3kaaaaaaaaaaa"


async def ask(folder: Path, *arguments: str) -> Result:
    """The verb, in a thread: it may talk to a service that runs in this loop."""
    environment = {"EARMARK_STORAGE__FOLDER": str(folder)}
    return await asyncio.to_thread(CliRunner().invoke, cli, ["disputes", *arguments], env=environment)


async def told(folder: Path, *arguments: str, exit_code: int = 0) -> Any:
    result = await ask(folder, *arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return orjson.loads(result.stdout)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Data with one dispute by an artist and one by a listener, which nobody serves."""
    store = await Store.open(tmp_path / "earmark.db", clock=SystemClock())
    async with store.write() as tx:
        for reporter, words in ((ARTIST, "this is jazz"), (LISTENER, "\x1b[2Jthis is folk")):
            new = NewDispute(
                created_us=SystemClock().now_us(),
                state=DisputeState.OPEN,
                reporter=reporter,
                by_artist=reporter == ARTIST,
                uri=URI,
                subject=URI,
                subject_cid="bafy",
                reason_type="com.atproto.moderation.defs#reasonOther",
                words=words,
                digest=words,
                labels=("electronic",),
                denied=frozenset({"electronic"}),
                stated=("jazz",) if reporter == ARTIST else ("folk-world-country",),
            )
            await disputes.add(tx, new)
    await store.close()
    return tmp_path


async def test_the_queue_is_listed_and_one_is_shown(folder: Path) -> None:
    listed = await told(folder, "list", exit_code=1)
    assert [(one["number"], one["by_artist"], one["words"]) for one in listed] == [
        (2, False, "\x1b[2Jthis is folk"),
        (1, True, "this is jazz"),
    ]
    shown = await told(folder, "show", "2", exit_code=1)
    assert (shown["reporter"], shown["stated"], shown["others"], shown["log"]) == (
        LISTENER,
        ["folk-world-country"],
        [1],
        [],
    )
    for arguments in (("list",), ("show", "2")):
        page = await ask(folder, *arguments)
        assert "folk" in page.stdout
        assert URI in page.stdout, "an address that is folded cannot be copied"
        assert "\x1b[2J" not in page.stdout, "strangers' words do not move the cursor"
    assert await told(folder, "list", "--state", "rejected") == []
    assert (await ask(folder, "list", "--state", "rejected")).stdout == "none\n"


async def test_decisions_are_kept_with_who_and_why_and_the_artists_word_weighs_more(folder: Path) -> None:
    said = await told(folder, "accept", "2", "--reason", "heard it")
    assert (said["state"], said["denied"], said["stated"]) == ("accepted", ["electronic"], ["jazz"])
    said = await told(folder, "reject", "1", "--reason", "it is not")
    assert said["stated"] == ["folk-world-country"]
    await told(folder, "reject", "2", "--reason", "I was wrong")
    log = await told(folder, "log", "--uri", URI)
    assert [(step["verb"], step["who"], step["reason"]) for step in log] == [
        ("dispute.reject", getpass.getuser(), "I was wrong"),
        ("dispute.reject", getpass.getuser(), "it is not"),
        ("dispute.accept", getpass.getuser(), "heard it"),
    ]
    assert "heard it" in (await ask(folder, "log")).stdout
    assert [step["number"] for step in await told(folder, "log", "--before", "3", "--limit", "1")] == [2]
    store = await Store.open_to_read(folder / "earmark.db")
    async with store.read() as reader:
        ruling = await rulings.of(reader, URI)
    await store.close()
    assert (ruling.denied, ruling.stated) == (frozenset(), ())


@pytest.mark.parametrize(
    "arguments",
    [
        ("accept", "9", "--reason", "no such"),
        ("show", "9"),
        ("show", "9" * 20),
        ("list", "--before", "9" * 20),
        ("accept", "0", "--reason", "no number"),
        ("accept", "1"),
        ("accept", "one", "--reason", "no number"),
    ],
)
async def test_mistakes_are_usage_errors(folder: Path, arguments: tuple[str, ...]) -> None:
    assert (await ask(folder, *arguments)).exit_code == 2


async def test_without_data_the_remedy_is_named(tmp_path: Path) -> None:
    for arguments in (("list",), ("accept", "1", "--reason", "x")):
        assert (await ask(tmp_path / "nothing", *arguments)).exit_code != 0


async def test_a_running_service_decides_itself(tmp_path: Path, techno: Any, pack_home: Path) -> None:
    async with opened(tmp_path) as live:
        uri = live.track(wav(techno * 0.88))
        await live.ended(uri)
        number = str((await report(live, live.artist, uri, "this is jazz")).json()["id"])
        await until_labels(live, uri, {"electronic": True, "jazz": False})
        shown = await told(live.folder, "show", number, exit_code=1)
        assert (shown["labels_then"], shown["ruling"]) == (
            ["electronic"],
            {"denied": ["electronic"], "stated": ["jazz"]},
        )
        said = await told(live.folder, "reject", number, "--reason", "heard it")
        assert said["labels"] == ["electronic"]
        await until_labels(live, uri, {"electronic": False, "jazz": True})
        again = await ask(live.folder, "reject", number, "--reason", "twice")
        assert (again.exit_code, "rejected already" in again.output) == (2, True)
