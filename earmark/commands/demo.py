"""`earmark demo [FOLDER]`: the whole job on one machine, on audio you can hear."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from core.config import Settings
from core.log import Log, set_up
from earmark.demo.network_only import run_network_only
from earmark.demo.publish import Recording, find_recordings, record_pieces
from earmark.demo.show import Demo, DemoFailed, Shown, unless_stopped

ABOUT = """\
Starting a test network and the service on loopback. Settings of the demo that you would not use:
  labels_per_second = 0 (no limit; default 4)   min_posts = 1 (15)   min_tracks = 1 (50)   min_seconds = 10 (30)"""
PIECES_SECONDS = 240.0  # for our own pieces
FILE_SECONDS = 120.0  # and for each of a person's files


@click.command("demo")
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--once", is_flag=True, help="Exit after the table instead of serving until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout instead of the table.")
@click.option("--network-only", is_flag=True, help="Run just the test network and write a config for `earmark serve`.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="With --network-only: folder for config and key."
)
@click.option("--port", default=8420, show_default=True, help="Port of the service; a free one if it is taken.")
@click.option("--verbose", is_flag=True, help="Show the service's log.")
@click.pass_obj
def command(
    config_path: Path | None,
    folder: Path | None,
    once: bool,
    as_json: bool,
    network_only: bool,
    out: Path | None,
    port: int,
    verbose: bool,
) -> None:
    """Show the whole job: a test network on loopback, the service with all roles, music, labels, feeds.

    \b
    Without FOLDER some short pieces are made up on the spot; with FOLDER your own audio files are published
    (mp3, m4a/aac, ogg, opus, flac, wav, aiff, webm; recursively). Nothing leaves this machine.
    What is shown was read back over the wire: labels from the stream, each signature verified, feeds over
    HTTP with a service token. Exit code 1 if something promised did not happen.
    """
    settings = Settings.load(config_path)
    log = set_up(level="info" if verbose else "error")
    if network_only and (once or as_json):
        raise click.UsageError("--network-only serves until it is stopped: it takes neither --once nor --json")
    try:
        if network_only:
            asyncio.run(run_network_only(folder, out, port=port, say=lambda line: click.echo(line, err=True)))
            return
        good = asyncio.run(_demo(settings, log, folder, port=port, once=once, as_json=as_json))
    except DemoFailed as error:
        click.echo(f"earmark demo: {error}", err=True)
        sys.exit(1)
    sys.exit(0 if good else 1)


async def _demo(settings: Settings, log: Log, folder: Path | None, *, port: int, once: bool, as_json: bool) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="earmark-pieces-") as pieces:
        console.print(ABOUT)
        recordings = await unless_stopped(stop, _record(folder, Path(pieces)))
        async with Demo.opened(settings, log, port=port) as demo:
            shown = await unless_stopped(stop, _show(demo, recordings, console, folder))
            if as_json:
                click.echo(orjson.dumps(shown.as_json()))
            else:
                _print(shown)
            if not once:
                console.print("\nserving until Ctrl-C")
                await stop.wait()
    return _is_good(shown, needed=3 if folder is None else 0)


async def _record(folder: Path | None, pieces: Path) -> list[Recording]:
    if folder is None:
        return await record_pieces(pieces)
    recordings = await asyncio.to_thread(find_recordings, folder)
    if not recordings:
        raise DemoFailed(f"no audio files in {folder}")
    return recordings


async def _show(demo: Demo, recordings: Sequence[Recording], console: Console, folder: Path | None) -> Shown:
    seconds = PIECES_SECONDS if folder is None else PIECES_SECONDS + FILE_SECONDS * len(recordings)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("publishing", total=len(recordings) + 2)
        return await demo.show(
            recordings,
            lambda what, done, of: progress.update(task, description=what, completed=done, total=of),
            seconds=seconds,
        )


def _is_good(shown: Shown, *, needed: int) -> bool:
    """What the exit code says: everything verified; with our own pieces also three labels and no empty feed."""
    labelled = sum(bool(track["labels"]) for track in shown.tracks)
    verified = all(value is not False for value in shown.verified.values())
    fed = not needed or (bool(shown.feeds) and all(feed["items"] for feed in shown.feeds))
    return verified and fed and labelled >= needed


def _print(shown: Shown) -> None:
    console = Console()
    table = Table("track", "labels", "heard", "feeds", "seconds", title="From commit on the PDS to label on the stream")
    for track in shown.tracks:
        heard = ", ".join(f"{genre['display']} {genre['score']:.2f}" for genre in track["genres"][:3])
        labels = ", ".join(track["labels"]) or f"[yellow]{track['status']}: {track['reason']}[/yellow]"
        seconds = "" if track["seconds"] is None else f"{track['seconds']:.1f}"
        table.add_row(escape(track["title"]), labels, heard, ", ".join(track["feeds"]), seconds)
    console.print(table)
    feeds = Table("feed", "posts", title="Mood feeds")
    for feed in shown.feeds:
        feeds.add_row(escape(feed["name"]), str(len(feed["items"])))
    console.print(feeds)
    good = shown.verified
    console.print(
        f"read back: {good['labels']} labels over the stream, signatures "
        f"{'verified' if good['signatures_ok'] else 'WRONG'}; feeds {'as expected' if good['feeds_ok'] else 'WRONG'}; "
        f"an unlisted and a gated track {'appear nowhere' if good['hidden_ok'] else 'LEAKED'}"
    )
    for name, address in shown.addresses.items():
        console.print(f"  {name:13} {address}", soft_wrap=True, markup=False, highlight=False)
