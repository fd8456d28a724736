"""`earmark labels` as an operator uses it: on a database of its own, and on one that a service has open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from core.analysis import Ruling
from earmark.cli import cli
from earmark.deciding import refuse
from store import Store, actions
from tests.earmark.test_classify import write_wav
from tests.earmark.test_rejudging import ARTIST, FAINT, SRC, Corpus
from tests.earmark.test_service import Live, opened, techno, wav
from tests.labeler.conftest import HandClock

__all__ = ["techno"]  # a fixture


class Desk:
    """A folder with a configuration and a database in which three tracks were published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = HandClock()
        self.uris: list[str] = []

    def configure(self, more: str = "") -> None:
        (self.folder / "config.toml").write_text(
            f'[storage]\nfolder = "{self.folder}"\n[labeler]\ndid = "{SRC}"\nkey_file = "{self.folder}/key"\n{more}'
        )

    def run(self, *arguments: str, answer: str = "") -> Result:
        return CliRunner().invoke(
            cli, ["--config", str(self.folder / "config.toml"), "labels", *arguments], input=answer
        )

    def told(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.exit_code in (0, 1), done.output
        return json.loads(done.stdout)

    def live(self) -> list[tuple[str, str]]:
        return [(label["uri"].rpartition("/")[2], label["val"]) for label in self.told("query")]

    async def corpus(self, work: Any) -> Any:
        store = await Store.open(self.folder / "earmark.db", clock=self.clock)
        try:
            return await work(Corpus(store, self.clock))
        finally:
            await store.close()

    def publish(self) -> None:
        """What the service does when it starts."""

        async def work(corpus: Corpus) -> None:
            await corpus.publish()

        asyncio.run(self.corpus(work))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.configure()

    async def fill(corpus: Corpus) -> None:
        desk.uris = [await corpus.add("one"), await corpus.add("two"), await corpus.add("faint", FAINT)]
        await corpus.rule(desk.uris[1], Ruling(frozenset({"blues"})))

    asyncio.run(desk.corpus(fill))
    return desk


def test_explain_says_which_rule_did_what(desk: Desk) -> None:
    done = desk.run("explain", desk.uris[1])
    assert done.exit_code == 0, done.output
    assert "scores of musicnn: Jazz 0.600, Blues 0.533" in done.output
    assert "denied: blues" in done.output
    assert "result: jazz\n" in done.output
    told = desk.told("explain", desk.uris[1])
    assert told["ruling"] == {"denied": ["blues"], "stated": [], "withheld": []}
    assert told["live"] == told["previous"] == told["in_force"]["labels"] == told["explanation"]["labels"] == ["jazz"]
    bars = {step["label"]: step for step in told["explanation"]["steps"] if step["rule"] == "bar"}
    assert bars["blues"]["numbers"] == pytest.approx({"score": 0.8 * 2 / 3, "needed": 0.3})
    unknown = desk.run("explain", f"at://{ARTIST}/fm.plyr.track/never")
    assert (unknown.exit_code, "ever seen here" in unknown.output) == (1, True)
    assert desk.run("explain", "at://nobody/x/y").exit_code == 2
    assert desk.run("explain", desk.uris[0], "--tag", "jazz").exit_code == 2


def test_explain_follows_the_settings_and_says_how_to_apply_them(desk: Desk) -> None:
    (desk.folder / "t.json").write_text('{"version": 1, "pack": "musicnn", "thresholds": {"jazz": 0.5}}')
    desk.configure(f'[policy]\nthresholds = "{desk.folder}/t.json"\n')
    done = desk.run("explain", desk.uris[2])
    assert "result: no labels (low_scores)" in done.output
    assert "in force: jazz; to change that: earmark labels rejudge" in done.output
    (desk.folder / "t.json").write_text('{"version": 1, "pack": "musicnn", "thresholds": {"yazz": 0.5}}')
    broken = CliRunner().invoke(cli, ["--config", str(desk.folder / "config.toml"), "labels", "explain", desk.uris[2]])
    assert "yazz" in str(broken.exception)


def test_explain_sends_nobody_to_rejudge_what_the_policy_does_not_decide(desk: Desk) -> None:
    async def hide(corpus: Corpus) -> None:
        async with corpus.store.write() as tx:
            await refuse(tx, desk.uris[0], "not_public", now_us=corpus.clock.now_us())

    asyncio.run(desk.corpus(hide))
    done = desk.run("explain", desk.uris[0])
    assert "in force: none; its state decides, not the policy" in done.output
    assert desk.told("rejudge", "--yes")["changed"] == 0


def test_explain_hears_a_file(desk: Desk, techno: np.ndarray[Any, Any]) -> None:
    file = desk.folder / "techno.wav"
    file.write_bytes(wav(techno))
    told = desk.told("explain", str(file), "--tag", "House")
    assert told["explanation"]["labels"] == ["electronic"]
    assert {step["rule"] for step in told["explanation"]["steps"]} >= {"stated", "gates"}
    short = write_wav(desk.folder / "short.wav", np.zeros(22_050))
    done = desk.run("explain", str(short))
    assert (done.exit_code, "short" in done.output) == (1, True)


def test_query_lists_what_is_live(desk: Desk) -> None:
    assert desk.live() == [("one", "jazz"), ("one", "blues"), ("two", "jazz"), ("faint", "jazz")]
    assert len(desk.told("query", desk.uris[0])) == 2
    assert len(desk.told("query", f"at://{ARTIST}/fm.plyr.track/f*", desk.uris[0])) == 3
    assert desk.told("query", "at://nobody*") == []
    assert len(desk.told("query", "--limit", "1")) == 1
    assert desk.told("query", desk.uris[1])[0]["src"] == SRC
    assert desk.run("query", "at://*/x").exit_code == 2
    assert f"{desk.uris[0]}  jazz  20" in desk.run("query").output


def test_negate_asks_first_and_keeps_back_until_resumed(desk: Desk) -> None:
    no = desk.run("negate", desk.uris[0], "--reason", "wrong", answer="n\n")
    assert no.exit_code == 1
    assert "Take back all labels" in no.output
    assert desk.told("holds") == []
    yes = desk.run("negate", desk.uris[0], "--reason", "wrong", answer="y\n")
    assert (yes.exit_code, "2 labels on 1 tracks" in yes.output) == (0, True)
    desk.publish()
    assert desk.live() == [("two", "jazz"), ("faint", "jazz")]
    done = desk.run("holds")
    assert (done.exit_code, f"all labels on {desk.uris[0]}" in done.output) == (1, True)
    assert desk.told("negate", "--all", "--val", "jazz", "--reason", "no jazz", "--yes") == {"tracks": 2, "labels": 2}
    desk.publish()
    assert desk.live() == []
    assert desk.run("resume", "--all", "--val", "rock", "--reason", "x").exit_code == 1
    assert desk.told("resume", "--all", "--reason", "all is well") == {"lifted": 2, "changed": 3}
    desk.publish()
    assert len(desk.live()) == 4
    assert desk.run("holds").output == "nothing is kept back\n"


def test_negate_of_everything_since_a_day(desk: Desk) -> None:
    assert desk.told("negate", "--all", "--since", "2027-01-31", "--reason", "x", "--yes")["labels"] == 0
    assert desk.told("negate", "--all", "--since", "2025-01-31T10:00:00Z", "--reason", "x", "--yes")["labels"] == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ["negate", "--reason", "x"],
        ["negate", "URI", "--all", "--reason", "x"],
        ["negate", "URI", "--yes"],
        ["negate", "URI", "--since", "2026-01-01", "--reason", "x"],
        ["negate", "--all", "--since", "yesterday", "--reason", "x", "--yes"],
        ["negate", "--all", "--val", "yazz", "--reason", "x", "--yes"],
        ["negate", "at://x/y", "--reason", "x", "--yes"],
        ["negate", f"at://{ARTIST}/fm.plyr.track/never", "--reason", "x", "--yes"],
        ["resume", "--reason", "x"],
        ["rejudge", "--limit", "0"],
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(desk: Desk, arguments: list[str]) -> None:
    done = desk.run(*(desk.uris[0] if argument == "URI" else argument for argument in arguments))
    assert done.exit_code == 2, done.output
    assert len(desk.live()) == 4
    assert desk.told("holds") == []


def test_rejudge_prints_the_difference_asks_and_applies(desk: Desk) -> None:
    assert "0 of 3 tracks would change" in desk.run("rejudge").output
    (desk.folder / "t.json").write_text('{"version": 1, "pack": "musicnn", "thresholds": {"jazz": 0.5}}')
    desk.configure(f'[policy]\nthresholds = "{desk.folder}/t.json"\n')
    dry = desk.run("rejudge", "--dry-run")
    assert dry.exit_code == 1
    assert f"{desk.uris[2]}\n    jazz\n -> low_scores\nremoved: jazz 1\n1 of 3 tracks would change" in dry.output
    assert desk.run("rejudge", answer="n\n").exit_code == 1
    assert desk.told("rejudge", "--dry-run")["changed"] == 1
    done = desk.run("rejudge", answer="y\n")
    assert (done.exit_code, "1 verdicts are changed" in done.output) == (0, True)
    desk.publish()
    assert ("faint", "jazz") not in desk.live()
    again = desk.told("rejudge", "--yes")
    assert (again["judged"], again["changed"], again["changes"], again["applied"]) == (3, 0, [], False)


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with opened(tmp_path) as live:
        yield live


async def test_the_same_verbs_through_a_running_service(
    live: Live, tmp_path: Path, techno: np.ndarray[Any, Any]
) -> None:
    """P35: a negation is an event on the stream, and what was negated stays so when the artist publishes again."""
    uri = live.track(wav(techno))
    await live.ended(uri)
    config = tmp_path / "labels.toml"
    settings = live.service.settings
    config.write_text(f'[storage]\nfolder = "{settings.data}"\n')

    async def run(*arguments: str) -> dict[str, Any]:
        command = ["--config", str(config), "labels", *arguments, "--json"]
        done = await asyncio.to_thread(CliRunner().invoke, cli, command)
        assert done.exit_code == 0, done.output
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    async def until(expected: dict[str, bool]) -> None:
        async def check() -> bool:
            return await live.labels(uri) == expected

        await live.until(check)

    assert (await run("rejudge", "--yes"))["judged"] == 1
    assert await run("negate", str(uri), "--reason", "test", "--yes") == {"tracks": 1, "labels": 1}
    await until({"electronic": True})
    again = live.track(wav(techno), title="again")
    await live.ended(again)
    assert await live.labels(again) == {"electronic": False}
    assert (await run("negate", "--all", "--reason", "test", "--yes"))["tracks"] == 1
    third = live.track(wav(techno), title="third")
    await live.ended(third)
    assert await live.labels(third) == {}
    assert await run("resume", "--all", "--reason", "test") == {"lifted": 2, "changed": 3}
    await until({"electronic": False})
    store = await Store.open_to_read(settings.database)
    async with store.read() as reader:
        verbs = [note.verb for note in await actions.page(reader)]
    await store.close()
    assert verbs == ["labels.resume", "labels.negate", "labels.negate"]
