"""`earmark network`: what comes in from the network, how late, and what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from core.config import Settings
from earmark.commands.reading import read_stored
from earmark.control import call
from earmark.network import ROUTE, SAID, Trouble
from store import unmapped

HOSTS_SHOWN = 10


@click.command("network")
@click.option("--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; with --watch one a line.")
@click.option("--fields", is_flag=True, help="Instead, the fields of records that Earmark does not read.")
@click.pass_obj
def command(config_path: Path | None, watch: bool, as_json: bool, fields: bool) -> None:
    """Show what comes in from the network: events a second, how late, from whom, what fails, what waits.

    \b
    Asks the service that runs on this machine with this configuration.
    Exit code 0 all is well, 1 something is wrong (said in the last lines), 3 no service runs.
    --fields reads the store and needs no service; exit code 0.
    """
    if fields and watch:
        raise click.UsageError("--fields and --watch exclude each other")
    settings = Settings.load(config_path)
    if fields:
        known = read_stored(settings, unmapped.report) if settings.database.exists() else []
        _show_fields(known, as_json=as_json)
        return
    troubles: list[str] = []
    try:
        for report in _shown(call(settings, ROUTE, {"watch": watch}), watch=watch, as_json=as_json):
            troubles = report["troubles"]
    except KeyboardInterrupt:
        if not watch:
            raise
    sys.exit(1 if troubles else 0)


def _shown(reports: Iterator[dict[str, Any]], *, watch: bool, as_json: bool) -> Iterator[dict[str, Any]]:
    """The reports, each shown as it comes."""
    if as_json or not watch:
        for report in reports:
            if as_json:
                click.echo(orjson.dumps(report))
            else:
                Console().print(_page(report))
            yield report
        return
    with Live(console=Console(), auto_refresh=False) as live:
        for report in reports:
            live.update(_page(report), refresh=True)
            yield report


def _page(report: dict[str, Any]) -> RenderableType:
    sources = Table("reads", "from", "frames/s", "behind", "last record", "state", box=None)
    for source in report["sources"]:
        sources.add_row(
            source["purpose"],
            escape(source["address"] or source["name"]),
            _number(source["frames_per_second"]),
            "?" if source["lag_seconds"] is None else f"{source['lag_seconds']:.0f} s",
            source["last_event"] or "none yet",
            _state(source),
        )
    rows = Table(show_header=False, box=None)
    for name, value in (
        ("events/s", _counts(report["events_per_second"]) or "none in the last minute"),
        ("upstreams", "\n".join(line for source in report["sources"] for line in _upstreams(source)) or "none yet"),
        ("refused", _counts(_refused(report)) or "nothing"),
        ("jobs", f"{_counts(report['queue']['jobs'])} (reading waits above {report['queue']['high_water']} ready)"),
        ("repositories", _counts(report["repositories"])),
        ("backfill", _backfill(report["backfill"])),
        ("hosts", f"{report['hosts']['known']} called, {report['hosts']['resting']} resting after failures"),
        *[("", _host(host)) for host in report["hosts"]["failing"][:HOSTS_SHOWN]],
        *[("wrong", f"{trouble}: {SAID[Trouble(trouble)]}") for trouble in report["troubles"]],
    ):
        rows.add_row(f"[bold]{name}[/bold]", escape(value))
    return Group(sources, rows)


def _state(source: dict[str, Any]) -> str:
    words = ["connected" if source["connected"] else "not connected", *source["troubles"]]
    return ", ".join([*words, "paused"] if source["paused"] else words)


def _upstreams(source: dict[str, Any]) -> list[str]:
    return [
        f"{source['purpose']} {name}: {host['frames']} frames, {host['connections']} connections, "
        f"{host['failures']} failures" + (f", last: {host['last_error']}" if host["last_error"] else "")
        for name, host in source["hosts"].items()
    ]


def _refused(report: dict[str, Any]) -> dict[str, int]:
    return {
        f"{reason} ({source['purpose']})": count
        for source in report["sources"]
        for reason, count in source["refused"].items()
    }


def _host(host: dict[str, Any]) -> str:
    rest = f", left alone for {host['paused_seconds']:.0f} s" if host["paused_seconds"] else ""
    return f"{host['host']}: {_counts(host['failures'])} of {host['requests']} requests{rest}"


def _backfill(backfill: dict[str, Any] | None) -> str:
    if backfill is None:
        return "none yet"
    failures = f" ({_counts(backfill['failures'])})" if backfill["failures"] else ""
    return f"{backfill['state']}, begun {backfill['began']}: {_counts(backfill['repositories'])}{failures}"


def _counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{_number(count)} {name}" for name, count in counts.items())


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:g}"


def _show_fields(fields: list[unmapped.UnmappedField], *, as_json: bool) -> None:
    if as_json:
        names = ("collection", "path", "kind", "seen", "example_uri")
        click.echo(orjson.dumps([{name: getattr(field, name) for name in names} for field in fields]))
        return
    if not fields:
        click.echo("no field that Earmark does not read was seen yet")
        return
    table = Table("collection", "field", "kind", "seen", "newest record with it", box=None)
    for field in fields:
        table.add_row(*(escape(str(one)) for one in (field.collection, field.path, field.kind, field.seen)),
                      escape(field.example_uri))  # fmt: skip
    Console().print(table)
