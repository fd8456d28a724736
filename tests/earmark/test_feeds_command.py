"""`earmark feeds`: what operators see is what readers get, from a running service and without one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from core.config import Settings
from core.errors import Misconfigured, NotUnderstood
from core.taxonomy import Taxonomy
from earmark.cli import cli
from earmark.commands.feeds_publish import choose
from earmark.commands.feeds_told import _WHY, print_aside, print_tracks
from earmark.describing import draft_feed, write_block
from earmark.publishing import read_avatar
from feedgen.catalogue import load_catalogue
from feedgen.publish import GENERATOR_COLLECTION
from feedgen.ranking import Why
from models.catalogue import tag_names
from models.moods import tag_positions
from tests.earmark.test_service import joined, running, techno, wav

__all__ = ["techno"]


async def ask(settings: Settings, *arguments: str) -> Result:
    """The verb as an operator calls it, in a thread: the service that it asks runs in this loop."""
    said: dict[str, str] = {"EARMARK_HOME": str(settings.home)}
    values = settings.model_dump(mode="json", exclude={"labeler": True, "certificates": True, "source": True})
    for section, fields in values.items():
        for name, value in (fields if isinstance(fields, dict) else {}).items():
            if value not in (None, "", []):
                said[f"EARMARK_{section}__{name}".upper()] = value if isinstance(value, str) else json.dumps(value)
    return await asyncio.to_thread(CliRunner().invoke, cli, ["feeds", *arguments], env=said)


def told(result: Result) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.stdout)
    return document


async def test_a_preview_is_what_readers_get_with_and_without_a_service(
    tmp_path: Path, techno: np.ndarray[Any, Any]
) -> None:
    """One code path: the same tracks in the same order, with the parts that their scores are made of."""
    async with joined(tmp_path / "data") as (network, settings):
        async with running(network, settings) as live:
            uri = live.track(wav(techno), title="Stairwell")
            silent = live.track(wav(techno * 0.9), title="Unposted")
            post = live.post(uri)
            await live.ended(uri)
            await live.ended(silent)

            unposted = {"uri": str(silent), "title": "Unposted", "why": "no-post", "detail": "", "place": None}

            async def shown() -> bool:
                preview = told(await ask(settings, "preview", "dance-floor", "--json"))
                return unposted in preview["aside"] and str(post) in await live.feed()

            await live.until(shown)
            served = await live.feed()
            preview = await ask(settings, "preview", "dance-floor", "--json")
            assert preview.exit_code == 0, preview.output
            assert [row["post"] for row in told(preview)["tracks"]] == served
            (row,) = told(preview)["tracks"]
            parts = row["parts"]
            assert (row["title"], row["uri"]) == ("Stairwell", str(uri))
            product = parts["mood"] * parts["freshness"] * parts["popularity"] * parts["damping"]
            assert parts["weight"] == pytest.approx(product, abs=1e-3)
            explained = await ask(settings, "preview", "dance-floor", "--explain")
            assert explained.exit_code == 0
            assert "out Unposted: no post can show it" in explained.stdout
            assert "prompts were not tested" in explained.stdout
            rows = {row["rkey"]: row for row in told(await ask(settings, "list", "--json"))["feeds"]}
            assert rows["dance-floor"]["with_post"] == 1
            assert rows["dance-floor"]["open"]
            described = await ask(settings, "describe", "techno", "--json")
            assert described.exit_code == 0, described.output
            assert told(described)["tracks"][0]["uri"] == str(uri)
            assert (await ask(settings, "preview", "nothing-like-it")).exit_code != 0
            assert "heavy" in (await ask(settings, "list")).stdout
            assert '"rkey": "techno"' in (await ask(settings, "describe", "techno")).stdout
        again = await ask(settings, "preview", "dance-floor", "--json")
        assert again.exit_code == 0, again.output
        assert [row["post"] for row in told(again)["tracks"]] == served


def test_a_feed_that_is_named_twice_is_published_once() -> None:
    feeds = choose(Settings.load(None), ("calm", "heavy", "calm"))
    assert [feed.rkey for feed in feeds] == ["calm", "heavy"]


async def test_unpublishing_a_feed_that_is_nowhere_is_a_mistake(tmp_path: Path) -> None:
    """A slip of the keyboard must not look like a feed that is gone."""
    async with joined(tmp_path / "data") as (network, settings):
        publisher = network.create_account("publisher.test")
        network.create_record(publisher, GENERATOR_COLLECTION, "old", {"did": settings.service_did})
        feeds = settings.feeds.model_copy(update={"publisher_did": publisher.did})
        chosen = settings.model_copy(update={"feeds": feeds})
        slipped = await ask(chosen, "unpublish", "clam", "--dry-run")
        assert (slipped.exit_code, "no feed 'clam'" in slipped.output) == (2, True), slipped.output
        gone = told(await ask(chosen, "unpublish", "old", "old", "calm", "--dry-run", "--json"))
        assert [change["uri"].rpartition("/")[2] for change in gone["changes"]] == ["old"]
        network.create_record(publisher, GENERATOR_COLLECTION, "theirs", {"did": "did:web:feeds.example.com"})
        everything = told(await ask(chosen, "unpublish", "--all", "--dry-run", "--json"))
        assert [change["uri"].rpartition("/")[2] for change in everything["changes"]] == ["old"], (
            "it left the catalogue"
        )


async def test_without_a_database_the_remedy_is_named(tmp_path: Path) -> None:
    result = await ask(Settings.load(None, storage={"folder": tmp_path}), "list")
    assert result.exit_code != 0
    assert "earmark serve" in result.output


@pytest.mark.parametrize(
    "wordings",
    [
        ("rainy tape hiss piano",),
        ("dark ambient techno without vocals", "black room, slow machine techno"),
        ("calm piano",),
        ("doom metal " * 20,),
        (" ", "calm piano"),
        ("sleep music no drums, not loud",),
        ("no drums", "not loud"),
        ("calm \x1b[31m piano\nslow",),
        ("." * 30 + " piano",),
        ("ß" * 20 + " piano",),
    ],
)
def test_a_drafted_feed_is_a_definition_that_the_catalogue_takes(tmp_path: Path, wordings: tuple[str, ...]) -> None:
    taxonomy = Taxonomy.load()
    feed = draft_feed(wordings, taxonomy)
    file = tmp_path / "feeds.json"
    file.write_text(json.dumps({"feeds": [write_block(feed)]}))
    (loaded,) = load_catalogue(file, taxonomy=taxonomy, known_tags=tag_positions(), known_moods=tag_names("moodtheme"))
    assert loaded == replace(feed, min_seconds=loaded.min_seconds)
    assert len(loaded.rkey) <= 15
    assert all(char >= " " for char in loaded.display_name + loaded.description)
    assert loaded.display_name.strip(" ,;:.-") == loaded.display_name


def test_a_draft_names_what_is_wanted_and_what_is_not() -> None:
    feed = draft_feed(("dark techno without vocals",), Taxonomy.load())
    assert feed.styles == {"electronic-techno": 1.0}
    assert feed.negative_prompts == ("vocals",)
    assert "vocals" not in feed.prompts[0]


async def test_what_is_asked_wrongly_is_said(tmp_path: Path) -> None:
    """No feed is called nothing; nine wordings are a sentence whose quotes were forgotten."""
    async with joined(tmp_path / "data") as (network, settings), running(network, settings):
        nameless = await ask(settings, "preview", "")
        assert (nameless.exit_code, "there is no feed ''" in nameless.output) == (1, True), nameless.output
        unquoted = await ask(settings, "describe", *["piano"] * 9)
        assert (unquoted.exit_code, "quotes" in unquoted.output) == (2, True), unquoted.output


def test_words_that_nobody_knows_make_no_feed() -> None:
    with pytest.raises(NotUnderstood):
        draft_feed(("qwertz uiop",), Taxonomy.load())


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg/>", b"\x89PNG\r\n\x1a\n" + bytes(1_000_000)])
def test_an_avatar_is_a_small_picture_of_a_kind_that_the_lexicon_takes(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "avatar"
    file.write_bytes(content)
    with pytest.raises(Misconfigured):
        read_avatar(file)


def test_every_reason_is_told_in_words() -> None:
    assert set(_WHY) == {why.value for why in Why}


@pytest.mark.parametrize("explain", [False, True])
def test_a_preview_fits_a_terminal_and_its_addresses_can_be_copied(
    explain: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hundred columns, also for titles in wide letters and for the longest reason."""
    uri = f"at://did:plc:{'a' * 24}/fm.plyr.track/3l{'a' * 11}"
    parts = dict.fromkeys(("prompt", "tags", "mood", "freshness", "popularity", "damping", "weight"), 0.5)
    row = {"uri": uri, "title": "夜" * 40, "artist": "[b]x", "reason": "liked-similar", "score": None, "parts": parts}
    print_tracks({"tracks": [row | {"place": 499}]}, explain=explain)
    head, line, address = capsys.readouterr().out.splitlines()
    assert max(cell_len(head), cell_len(line)) <= 100
    assert cell_len(head) == cell_len(line)
    assert address.strip() == uri
    print_aside({"aside": [{"uri": uri, "title": "x", "why": "duplicate", "detail": uri, "place": None}]})
    assert capsys.readouterr().out.splitlines()[-1].strip() == uri
