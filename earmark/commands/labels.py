"""`earmark labels`: why labels are as they are, what is live, and what changes them on purpose."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson
from rich.markup import escape
from rich.table import Table

from core.analysis import Analysis
from core.clock import format_datetime
from core.config import Settings
from core.errors import AppError
from core.log import set_up
from core.taxonomy import Taxonomy
from core.types import AtUri
from earmark.commands.labels_change import negate, rejudge, resume
from earmark.commands.labels_verify import command as verify
from earmark.commands.reading import read_stored
from earmark.explaining import Explained, explain_track
from earmark.judging import load_policy
from earmark.local import listen, listeners
from earmark.telling import open_console, tell_genres
from labeler.explain import Explanation
from labeler.policy import Policy
from store import Reader, holds, served

_PAGE = 1_000
_SCORES_SHOWN = 10


@click.group("labels")
def command() -> None:
    """Labels: why they are as they are, what is live, and the verbs that change them on purpose."""


command.add_command(negate)
command.add_command(resume)
command.add_command(rejudge)
command.add_command(verify)


@command.command("explain", short_help="Why a record or a file gets the labels that it gets.")
@click.argument("what", metavar="URI|FILE")
@click.option("--tag", "tags", multiple=True, help="For a file: a genre that its artist names. May be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def explain(config_path: Path | None, what: str, tags: tuple[str, ...], as_json: bool) -> None:
    """Say why a record or an audio file gets the labels that it gets: scores, every rule with its numbers, result.

    \b
    A record is judged again by what was heard of it, with what people have said about it, and with the
    present settings; nothing is changed. Exit code 1 if it was never heard or cannot be.
    """
    settings = Settings.load(config_path)
    policy = load_policy(settings, Taxonomy.load())
    if what.startswith("at://"):
        told = _explain_record(settings, policy, what, tags)
    else:
        set_up(level="warning")
        told = asyncio.run(_explain_file(settings, policy, what, tags))
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        _print(told)
    sys.exit(0 if told["explanation"] else 1)


@command.command("query", short_help="List our labels that are live.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout, the labels as they are served.")
@click.pass_obj
def query(config_path: Path | None, patterns: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List our labels that are live, on records that match: a whole address, or its beginning and a `*`. Default: all.

    Reads the database, also while the service runs; what is not signed yet is not there yet.
    """
    if any("*" in pattern[:-1] for pattern in patterns):
        raise click.BadParameter("a * may only stand at the end", param_hint="PATTERN")
    settings = Settings.load(config_path)
    src = settings.labeler.did or settings.service_did

    async def read(reader: Reader) -> list[dict[str, Any]]:
        return await _live(reader, src, patterns or ("*",), limit)

    found = read_stored(settings, read)
    if as_json:
        click.echo(orjson.dumps(found))
        return
    for label in found:
        click.echo(f"{label['uri']}  {label['val']}  {label['cts']}")
    click.echo(f"{len(found)} labels" + (" (--limit)" if len(found) == limit else ""), err=True)


@command.command("holds")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout.")
@click.pass_obj
def list_holds(config_path: Path | None, as_json: bool) -> None:
    """List what `earmark labels negate` keeps back. Exit code 1 if anything is."""
    found = read_stored(Settings.load(config_path), holds.in_force)
    if as_json:
        click.echo(orjson.dumps([asdict(hold) for hold in found]))
    else:
        for hold in found:
            what = "all labels" if hold.val == "*" else hold.val
            where = "all records" if hold.uri == holds.EVERY_RECORD else hold.uri
            click.echo(f"{what} on {where} since {format_datetime(hold.created_us)}")
        if not found:
            click.echo("nothing is kept back")
    sys.exit(1 if found else 0)


async def _live(reader: Reader, src: str, patterns: tuple[str, ...], limit: int) -> list[dict[str, Any]]:
    exact = [pattern for pattern in patterns if not pattern.endswith("*")]
    prefixes = [pattern[:-1] for pattern in patterns if pattern.endswith("*")]
    found: list[dict[str, Any]] = []
    after = 0
    while len(found) < limit:
        page = await served.query(reader, exact=exact, prefixes=prefixes, src=src, after_seq=after, limit=_PAGE)
        labels = (orjson.loads(text) for _, text in page)
        found += [label for label in labels if not label.get("neg")]
        if len(page) < _PAGE:
            break
        after = page[-1][0]
    return found[:limit]


def _explain_record(settings: Settings, policy: Policy, what: str, tags: tuple[str, ...]) -> dict[str, Any]:
    if tags:
        raise click.UsageError("--tag goes with a file; a record has its own")
    try:
        uri = str(AtUri.parse(what))
    except ValueError:
        raise click.BadParameter("must be at://did/collection/rkey, with a DID", param_hint="URI") from None
    src = settings.labeler.did or settings.service_did

    async def read(reader: Reader) -> Explained | None:
        return await explain_track(reader, uri, policy, src=src)

    found = read_stored(settings, read)
    told: dict[str, Any] = {"subject": uri, "trouble": None, "explanation": None}
    if found is None:
        return told | {"trouble": "no such track was ever seen here (labels on posts follow those of their tracks)"}
    verdict, ruling = found.verdict, found.ruling
    return told | {
        "trouble": None
        if found.explanation
        else f"it was not heard: {found.stored.reason or found.stored.state.value}",
        "state": found.stored.state.value,
        "author_tags": list(found.stored.track.author_tags),
        "ruling": {
            "denied": sorted(ruling.denied),
            "stated": list(ruling.stated),
            "withheld": sorted(ruling.withheld),
        },
        "previous": list(found.previous),
        "in_force": verdict
        and {"status": verdict.status.value, "reason": verdict.reason, "labels": list(verdict.labels)},
        "live": list(found.live),
        "judgeable": found.judgeable,
        "explanation": found.explanation and _tell(found.explanation),
    }


async def _explain_file(settings: Settings, policy: Policy, what: str, tags: tuple[str, ...]) -> dict[str, Any]:
    async with listeners(settings, 1) as crew:
        [outcome] = await listen(crew, [what])
    told: dict[str, Any] = {"subject": what, "trouble": None, "explanation": None}
    if isinstance(outcome, AppError):
        return told | {"trouble": str(outcome)}
    assert isinstance(outcome, Analysis)
    return told | {"author_tags": list(tags), "explanation": _tell(policy.explain(outcome, author_tags=tags))}


def _tell(explanation: Explanation) -> dict[str, Any]:
    verdict = explanation.verdict
    return {
        "pack": explanation.pack,
        "scores": tell_genres(explanation.scores[:_SCORES_SHOWN]),
        "steps": [
            {"rule": step.rule, "label": step.label, "outcome": step.outcome, "numbers": dict(step.numbers)}
            for step in explanation.steps
        ],
        "status": verdict.status.value,
        "reason": verdict.reason,
        "labels": list(verdict.labels),
    }


def _print(told: dict[str, Any]) -> None:
    console = open_console()
    if told["trouble"]:
        click.echo(f"{told['subject']}: {told['trouble']}", err=True)
    for name in ("state", "author_tags", "previous", "live"):
        if told.get(name):
            value = told[name]
            click.echo(f"{name.replace('_', ' ')}: {value if isinstance(value, str) else ', '.join(value)}")
    for name, values in told.get("ruling", {}).items():
        if values:
            click.echo(f"{name}: {', '.join(values)}")
    explained = told["explanation"]
    if not explained:
        return
    table = Table(box=None, header_style="bold")
    for name in ("rule", "label", "numbers", "outcome"):
        table.add_column(name, overflow="fold")
    for step in explained["steps"]:
        numbers = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in step["numbers"].items())
        table.add_row(step["rule"].replace("_", " "), step["label"] or "", numbers, escape(step["outcome"]))
    scores = ", ".join(f"{one['display']} {one['score']:.3f}" for one in explained["scores"])
    click.echo(f"scores of {explained['pack']}: {scores}")
    console.print(table)
    result = ", ".join(explained["labels"]) or "no labels"
    click.echo(f"result: {result}" + (f" ({explained['reason']})" if explained["reason"] else ""))
    in_force = told.get("in_force")
    if in_force and set(in_force["labels"]) != set(explained["labels"]):
        change = "to change that: earmark labels rejudge" if told["judgeable"] else "its state decides, not the policy"
        click.echo(f"in force: {', '.join(in_force['labels']) or 'none'}; {change}")
