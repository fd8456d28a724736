"""`earmark reanalyse`: moves what was heard to the packs that are chosen now, or shows how far the service has come."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core.clock import SystemClock
from core.config import Settings
from core.log import set_up
from earmark.commands.reading import read_stored
from earmark.compose import build
from earmark.progress import listening_report
from store import Store, generations

LOOK_SECONDS = 1.0
_NOTHING = "nothing was heard here yet"


@click.command("reanalyse")
@click.option("--status", "only_status", is_flag=True, help="Say how it stands and end.")
@click.option("--json", "as_json", is_flag=True, help="The last state as one JSON document on stdout.")
@click.option("--retry", is_flag=True, help="Take up a move that failed, and all that was given up. Not while it runs.")
@click.option("--abandon", is_flag=True, help="Stop the move; the packs that serve go on. Not while the service runs.")
@click.pass_obj
def command(config_path: Path | None, only_status: bool, as_json: bool, retry: bool, abandon: bool) -> None:
    """Move everything that was heard to the packs that are chosen now.

    \b
    After `earmark models pull`, a change of listening.packs, or an update that hears differently, the
    next start of `earmark serve` begins to fetch and hear all tracks again, in the background and after
    new tracks (listening.reanalyse_share). Feeds use what they have until all is heard; then they switch
    at once and labels are judged anew. If over a fifth cannot be heard, the move fails and nothing changes.

    \b
    While the service runs:  shows its progress until it is done; Ctrl-C ends the showing only.
    Else:                    does the work here, with all processes; Ctrl-C stops it, run it again to go on.
    Exit code 1 if the move has failed, 3 if the service has to be stopped first.
    """
    if only_status + retry + abandon > 1:
        raise click.UsageError("--status, --retry and --abandon exclude each other")
    settings = Settings.load(config_path)
    if not settings.database.exists():
        click.echo(orjson.dumps({"serving": None, "moving_to": None}) if as_json else _NOTHING)
        return
    running = Store.is_in_use(settings.database)
    if running and (retry or abandon):
        click.echo(f"the service is using {settings.database}; stop it, run this, start it again", err=True)
        sys.exit(3)
    if abandon:
        asyncio.run(_abandon(settings))
    elif running and not only_status:
        asyncio.run(_watch(settings, asyncio.Event()))
    elif not only_status:
        asyncio.run(_work(settings, again=retry))
    report = read_stored(settings, listening_report)
    if as_json:
        click.echo(orjson.dumps(report))
    else:
        _print(report)
    failed = (report["moving_to"] or {}).get("state") == "failed"
    sys.exit(1 if failed and not abandon else 0)


async def _abandon(settings: Settings) -> None:
    clock = SystemClock()
    store = await Store.open(settings.database, clock=clock)
    try:
        async with store.write() as tx:
            building = (await generations.living(tx)).building
            if building is not None:
                await generations.fail(tx, building, generations.ABANDONED, now_us=clock.now_us())
    finally:
        await store.close()


async def _work(settings: Settings, *, again: bool) -> None:
    """Does it here, the progress beside it; SIGTERM stops it as Ctrl-C does."""
    service = build(settings, log=set_up(level=settings.log.level, form=settings.log.format))
    opened = asyncio.Event()
    working = asyncio.create_task(service.reanalyse(again=again, opened=opened.set))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    waiting = asyncio.create_task(opened.wait())
    try:
        await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        done = asyncio.Event()
        working.add_done_callback(lambda _: done.set())
        if not working.done():
            await _watch(settings, done)
        await working
    except asyncio.CancelledError:
        raise click.Abort from None
    finally:
        waiting.cancel()
        working.cancel()
        await asyncio.wait([working])  # children and store are closed


async def _watch(settings: Settings, done: asyncio.Event) -> None:
    """A progress bar from the store, until the work is done or nothing is being moved."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    store = await Store.open_to_read(settings.database)
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("hearing", total=None, pace="")
            while not done.is_set():
                async with store.read() as reader:
                    moving = (await listening_report(reader))["moving_to"]
                if moving is None or moving["state"] != "building":
                    return
                ended = moving["recordings"] - moving["left"]
                speed = progress.tasks[0].speed
                progress.update(
                    task,
                    completed=ended,
                    total=moving["recordings"],
                    description=f"hearing with {', '.join(moving['packs'])}{_failures(moving)}",
                    pace=f"{speed * 3600:.0f} an hour" if speed else "",
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), LOOK_SECONDS)
    finally:
        await store.close()


def _failures(moving: dict[str, Any]) -> str:
    parts = [f"{count} {reason}" for reason, count in moving["given_up"].items()]
    parts += [f"{count} {reason} (tried again)" for reason, count in moving["trying_again"].items()]
    return f"; not heard: {', '.join(parts)}" if parts else ""


def _print(report: dict[str, Any]) -> None:
    serving, moving = report["serving"], report["moving_to"]
    if serving is None:
        click.echo(_NOTHING)
        return
    click.echo(f"serving: {_packs(serving)} since {serving['since']}{_failures(serving)}")
    if serving["given_up"]:
        click.echo("what was not heard is in no feed" + ("" if moving else ". Try it again: earmark reanalyse --retry"))
    if moving is None:
        click.echo("nothing is being moved")
        return
    click.echo(
        f"moving to {_packs(moving)}: {moving['heard']} of {moving['recordings']} recordings heard, "
        f"{moving['left']} left{_failures(moving)}"
    )
    if moving["state"] == "failed":
        what = "abandoned" if moving["reason"] == generations.ABANDONED else f"failed: {moving['reason']}"
        click.echo(f"the move is {what}. Take it up again: earmark reanalyse --retry")


def _packs(generation: dict[str, Any]) -> str:
    return ", ".join(f"{name} {pack_hash[:8]}" for name, pack_hash in generation["packs"].items())
