"""`earmark track URI`: where a record is in the pipeline, what was decided and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.config import Settings
from core.taxonomy import Taxonomy
from core.types import AtUri
from earmark.commands.reading import read_stored
from earmark.judging import load_policy
from earmark.report import track_report
from earmark.telling import show_acoustics, show_genres, show_stretch
from store import Reader


@click.command("track")
@click.argument("uri")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def command(config_path: Path | None, uri: str, as_json: bool) -> None:
    """Show where the record URI (at://did/collection/rkey) is, what was decided and why.

    Reads the database, also while the service runs. Exit code 1 if the record was never seen.
    """
    try:
        AtUri.parse(uri)
    except ValueError:
        raise click.BadParameter("must be at://did/collection/rkey, with a DID", param_hint="URI") from None
    settings = Settings.load(config_path)
    describe = load_policy(settings, Taxonomy.load()).describe
    labeler_did = settings.labeler.did or settings.service_did

    async def read(reader: Reader) -> dict[str, Any] | None:
        return await track_report(reader, uri, labeler_did=labeler_did, describe=describe)

    report = read_stored(settings, read)
    if as_json:
        click.echo(orjson.dumps(report))
    elif report is None:
        click.echo(f"{uri} was never seen here", err=True)
    else:
        _print(report)
    sys.exit(0 if report else 1)


def _print(report: dict[str, Any]) -> None:
    job, verdict, analysis = report["job"] or {}, report["verdict"] or {}, report["analysis"] or {}
    waiting = f", next try {job['next_try']}" if job.get("next_try") else ""
    stretches = [f"{show_stretch(one)} {show_genres(one['genres'])}" for one in analysis.get("segments", [])]
    labels = ", ".join(f"{'not ' if row['neg'] else ''}{row['val']} (seq {row['seq']})" for row in report["labels"])
    published = ""
    if verdict and verdict["labels"]:
        published = " (published)" if verdict["published"] else " (not published yet; without an identity it never is)"
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # addresses are copied from here
    for name, value in (
        ("track", report["title"] or "(not shown: not known to be public)"),
        ("state", report["state"] + (f": {report['reason']}" if report["reason"] else "")),
        ("visibility", report["visibility"]),
        ("job", f"{job['state']}, attempt {job['attempt']}{waiting}" if job else "none"),
        ("verdict", f"{verdict['status']}{published}" if verdict else "none yet"),
        ("notes", "\n".join(verdict.get("notes", [])) or "none"),
        ("genres heard", show_genres(verdict.get("genres", [])[:5]) or "none"),
        *([("over time", "\n".join(stretches))] if stretches else []),
        ("sound", show_acoustics(analysis.get("acoustics")) or "not known"),
        ("packs", ", ".join(analysis.get("packs", {})) or "none yet"),
        ("labels", labels or "none"),
        ("posts", "\n".join(report["posts"]) or "none"),
        ("first seen", report["first_seen"]),
    ):
        table.add_row(f"[bold]{name}[/bold]", escape(str(value)))
    Console().print(table)
