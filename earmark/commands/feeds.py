"""`earmark feeds`: which feeds there are, how one comes about, whether there could be another, and their records."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from core.config import Settings
from core.errors import NotUnderstood
from core.taxonomy import Taxonomy
from earmark.commands.feeds_ask import ask
from earmark.commands.feeds_publish import publish, unpublish
from earmark.commands.feeds_told import print_aside, print_checks, print_feeds, print_status, print_tracks
from earmark.describing import MAX_WORDINGS, draft_feed
from earmark.previewing import Question


@click.group("feeds")
def command() -> None:
    """Feeds: which there are, how one comes about, and whether the network knows of them.

    \b
    earmark feeds list                            open or dark, and why
    earmark feeds preview calm --explain          each track's score parts, and what was kept out or moved
    earmark feeds describe "rainy tape hiss piano"   would the corpus carry it? with a ready definition
    earmark feeds publish --dry-run               the records that make them known to Bluesky

    While `earmark serve` runs it answers; else the feeds are made here, of the same store by the same code.
    """


command.add_command(publish)
command.add_command(unpublish)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def list_feeds(config_path: Path | None, as_json: bool) -> None:
    """Show every feed of the catalogue, whether it is open, and how many tracks it has.

    \b
    matching   tracks that the feed admits
    with post  of these, tracks that a post can show: what Bluesky needs
    entries    after duplicates and caps: what a reader finds
    """
    told = ask(Settings.load(config_path), Question())
    if as_json:
        click.echo(orjson.dumps(told))
        return
    print_feeds(told["feeds"])


@command.command("preview")
@click.argument("name")
@click.option("--explain", is_flag=True, help="Also what scores are made of, and what was kept out or moved and why.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="Tracks to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, with everything.")
@click.pass_obj
def preview(config_path: Path | None, name: str, explain: bool, limit: int, as_json: bool) -> None:
    """Show the feed NAME as its readers get it, dark or not; of a personal feed the mix for strangers.

    \b
    weight = score x fresh x popular x damped; the score of a mood is 0.6 prompts + 0.4 tags,
    each the share of the corpus that fits less.
    The order is a draw: the weight gives a track its chance, every six hours anew.
    Exit code 1 if nothing is in it.
    """
    told = ask(Settings.load(config_path), Question(preview=name, limit=limit))
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        print_status(told)
        print_tracks(told, explain=explain)
        if explain:
            print_checks(told)
            print_aside(told)
    sys.exit(0 if told["tracks"] else 1)


@command.command("describe")
@click.argument("wordings", nargs=-1, required=True, metavar="TEXT...")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def describe(config_path: Path | None, wordings: tuple[str, ...], as_json: bool) -> None:
    """Tell whether the corpus would carry a feed of these words, and print its definition, ready to be changed.

    \b
    earmark feeds describe "rainy tape hiss piano"
    earmark feeds describe "rainy tape hiss piano" "lo-fi piano recorded on old tape" "quiet piano, rain"

    Several wordings of the same wish let the tests tell whether they mean the same here. With the pack clap and from
    300 tracks on they are tested; without it, or below, only tags and styles judge. Put the definition into the list
    `feeds` of your catalogue (feeds.catalogue). Exit code 1 if such a feed would be dark, 2 if no word is known.
    """
    if len(wordings) > MAX_WORDINGS:
        raise click.UsageError(f"at most {MAX_WORDINGS} wordings of one wish; put several words between quotes")
    settings = Settings.load(config_path)
    try:
        draft_feed(wordings, Taxonomy.load())
    except NotUnderstood as error:
        raise click.ClickException(f"{error}; `earmark moods --words` lists the vocabulary") from None
    told = ask(settings, Question(describe=wordings))
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        print_status(told)
        print_checks(told)
        print_tracks(told, explain=False)
        click.echo(orjson.dumps(told["block"], option=orjson.OPT_INDENT_2))
    sys.exit(0 if told["supported"] else 1)
