"""`earmark labels verify`: read somebody's label stream as the strictest reader would."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.markup import escape
from rich.table import Table

from core.clock import SystemClock
from core.config import Settings
from core.errors import Misconfigured
from earmark.outside import reaching_out
from earmark.telling import open_console
from earmark.verifying import Verifying
from labeler.scrutiny import Outcome


@click.command("verify", short_help="Read a label stream as the strictest reader would.")
@click.argument("who", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=100_000, show_default=True, help="Labels to read.")
@click.option(
    "--idle",
    type=click.FloatRange(min=0.1),
    default=3.0,
    show_default=True,
    help="Seconds of silence that are its end.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def command(config_path: Path | None, who: str | None, limit: int, idle: float, as_json: bool) -> None:
    """Read the label stream of WHO (a DID or a host; default: our own labeler) as the strictest reader would.

    \b
    The stream is read from its first label on: frames, encoding, fields, signatures with the key of the
    DID document, numbers, times, negations. What queryLabels says is compared with it, and odd cursors
    are tried. Each fault names its rule; "broken" is what some reader drops or misreads, "odd" is legal.
    Exit code 1 if something is broken, 3 if the labeler cannot be reached.
    """
    settings = Settings.load(config_path)
    whom = who or settings.labeler.did
    if not whom:
        raise Misconfigured("labeler.did", "is not set: name the labeler to verify")
    outcome = asyncio.run(_verify(settings, whom, limit=limit, idle_seconds=idle))
    if as_json:
        click.echo(orjson.dumps(asdict(outcome) | {"broken": outcome.broken}))
    else:
        _print(outcome)
    sys.exit(1 if outcome.broken else 0)


async def _verify(settings: Settings, who: str, *, limit: int, idle_seconds: float) -> Outcome:
    clock = SystemClock()
    async with reaching_out(settings, clock=clock) as outside:
        verifying = Verifying(
            outside.http, outside.directory, outside.guard, clock=clock, user_agent=outside.user_agent
        )
        return await verifying.verify(who, limit=limit, idle_seconds=idle_seconds)


def _print(outcome: Outcome) -> None:
    console = open_console()
    table = Table(box=None, header_style="bold")
    for name in ("rule", "weight", "times", "what", "first at"):
        table.add_column(name, overflow="fold")
    times = Counter((fault.rule, fault.weight, fault.what) for fault in outcome.faults)
    first = {(fault.rule, fault.weight, fault.what): fault for fault in reversed(outcome.faults)}
    for (rule, weight, what), number in times.most_common(100):
        fault = first[rule, weight, what]
        at = f"seq {fault.seq} {fault.uri}" if fault.seq is not None else fault.uri
        table.add_row(rule, weight, str(number), escape(what), escape(at))
    if times:
        console.print(table)
    console.print(
        f"{outcome.did} at {outcome.endpoint}: {outcome.labels} labels in {outcome.events} events up to "
        f"{outcome.newest}, {outcome.gaps} gaps, {outcome.compared} rows of queryLabels compared"
        + ("" if outcome.complete else "; not read to the end (--limit)")
    )
    console.print("broken" if outcome.broken else "no reader will stumble over it")
