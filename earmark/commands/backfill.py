"""`earmark backfill`: brings what was published before we listened, and withdraws what was deleted meanwhile."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.clock import parse_datetime
from core.config import Settings
from core.errors import UnknownDid
from core.log import set_up
from core.types import parse_did
from earmark.backfilling import ROUTE, Wish
from earmark.compose import build
from earmark.control import call
from firehose.mapping import load_mapping
from store import Store

LINE_SECONDS = 10.0  # between lines where there is no terminal


@click.command("backfill")
@click.option("--collection", "collections", multiple=True, help="Only this record collection. May be repeated.")
@click.option("--did", "dids", multiple=True, help="Only this account; no relay is asked. May be repeated.")
@click.option("--since", help="Only tracks that say they were published since (2026-01-31 or a full time with zone).")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many new or changed tracks.")
@click.option("--dry-run", is_flag=True, help="Read everything, change nothing, say what would be done.")
@click.option("--concurrency", type=click.IntRange(1, 50), help="Repositories read at once; never over 2 a host.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON document on stdout.")
@click.pass_obj
def command(
    config_path: Path | None,
    collections: tuple[str, ...],
    dids: tuple[str, ...],
    since: str | None,
    limit: int | None,
    dry_run: bool,
    concurrency: int | None,
    as_json: bool,
) -> None:
    """Bring tracks that were published before Earmark listened, and withdraw those deleted meanwhile.

    \b
    A relay (network.relay_url) lists the accounts that have such records; those of backfill.dids and
    all that have tracks here come on top. Each repository is read from its own host, politely. Start
    `earmark serve` first: then nothing falls between history and the live stream, and the service does
    the reading. Without it the reading is done here, and the tracks are heard when it starts.

    \b
    Stop it at any time, even with kill -9: the same command goes on where it was.
    Exit code 1 if accounts could not be listed or read; those that no directory knows do not count.
    """
    settings = Settings.load(config_path)
    known = load_mapping(settings.source.mapping, only=frozenset(settings.source.collections) or None)
    for name in collections:
        if name not in known:
            raise click.BadParameter(f"{name} is not read here; what is: {', '.join(sorted(known))}")
    wish = Wish(
        collections=collections,
        dids=tuple(_did(did) for did in dids),
        since_us=None if since is None else _since(since),
        limit=limit,
        dry_run=dry_run,
        concurrency=concurrency,
    )
    shown = _Shown(dry_run=dry_run)
    with shown.bar:
        if Store.is_in_use(settings.database):
            for said in call(settings, ROUTE, msgspec.to_builtins(wish)):
                shown.show(said)
        else:
            asyncio.run(_work(settings, wish, shown))
    if as_json:
        click.echo(orjson.dumps({"dry_run": dry_run, **shown.last}))
    else:
        _print(shown.last, dry_run=dry_run)
    unread = shown.last["failures"].keys() - {UnknownDid.reason}  # relays' lists name accounts that are long gone
    sys.exit(1 if shown.last["trouble"] or unread else 0)


async def _work(settings: Settings, wish: Wish, shown: _Shown) -> None:
    service = build(settings, log=set_up(level="warning", form=settings.log.format))
    async for said in service.backfill(wish):
        shown.show(said)


class _Shown:
    """Progress as a bar on a terminal, as a line now and then elsewhere; on stderr."""

    def __init__(self, *, dry_run: bool) -> None:
        self.last: dict[str, Any] = {}
        self._verb = "would" if dry_run else "to"
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._terminal = console.is_terminal
        self.bar = Progress(*columns, console=console, transient=True, disable=not self._terminal)
        self._task = self.bar.add_task("repositories", total=None, left="")
        self._began: tuple[float, int] | None = None
        self._said = time.monotonic()

    def show(self, said: dict[str, Any]) -> None:
        self.last = said
        over, now = said["done"] + said["failed"], time.monotonic()
        if said["stage"] != "listing" and self._began is None:
            self._began = (now, over)
        left = self._left(said, over, now)
        later = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in said["put_off"].items())
        asking = f", asking {said['asking']}" if said["asking"] else ""
        what = f"{said['stage']}{asking}: {said['found']} tracks found, {said['changed']} {self._verb} hear"
        what += f"; put off: {later}" if later else ""
        if self._terminal:
            total = said["repositories"] if self._began else None
            self.bar.update(self._task, completed=over, total=total, description=what, left=left)
        elif now - self._said >= LINE_SECONDS:
            self._said = now
            click.echo(f"{what}; {over} of {said['repositories']} repositories{left and f', {left}'}", err=True)

    def _left(self, said: dict[str, Any], over: int, now: float) -> str:
        """How long it will take at the pace of this run; nothing until that is known."""
        if self._began is None or over == self._began[1] or not said["waiting"]:
            return ""
        seconds = (now - self._began[0]) / (over - self._began[1]) * said["waiting"]
        return f"about {timedelta(seconds=round(seconds))} left"


def _print(said: dict[str, Any], *, dry_run: bool) -> None:
    queued, withdrawn = ("would be queued", "would be withdrawn") if dry_run else ("queued", "withdrawn")
    click.echo(f"{said['done']} of {said['repositories']} repositories read, {said['found']} tracks found")
    click.echo(f"{said['changed']} new or changed tracks {queued}, {said['withdrawn']} deleted ones {withdrawn}")
    if said["limited"]:
        click.echo("stopped at the limit")
    for reason, count in said["failures"].items():
        click.echo(f"not read: {count} ({reason.replace('_', ' ')})")
    if said["trouble"]:
        click.echo(f"not all accounts could be listed: {said['trouble']}\nrun the same command again to go on")


def _did(text: str) -> str:
    try:
        return parse_did(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--did") from None


def _since(text: str) -> int:
    try:
        return parse_datetime(text if "T" in text else f"{text}T00:00:00Z")
    except ValueError:
        raise click.BadParameter("2026-01-31 or 2026-01-31T12:00:00Z", param_hint="--since") from None
