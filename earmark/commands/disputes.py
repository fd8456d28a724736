"""`earmark disputes`: what artists and listeners say of labels, and what an operator makes of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson

from core.clock import SystemClock
from core.config import Settings
from core.errors import Misconfigured
from core.taxonomy import Taxonomy
from earmark.commands.disputes_told import print_dispute, print_disputes, step_line, tell_action, tell_dispute
from earmark.commands.labels_change import operator
from earmark.commands.reading import read_stored
from earmark.control import Refused, call
from earmark.disputing import ROUTE, Decision, Disputing, NothingToDecide
from earmark.judging import judge_by, load_policy
from store import Reader, Store, actions, disputes, labels, rulings, tracks
from store.actions import Action
from store.disputes import Dispute, DisputeState

_NUMBER = click.IntRange(1, 2**62)  # what a database can hold
_STATES = [*(state.value for state in DisputeState), "all"]


@click.group("disputes")
def command() -> None:
    """Reports on labels: read them, decide on them, see who did what.

    \b
    A report by a track's own artist counts at once: labels that it does not name are taken back, genres
    that it names are published. Reports by others change nothing until somebody accepts them. `accept`
    lets the word of the report stand, `reject` brings the labels back that the policy would publish.
    """


@command.command("list")
@click.option("--state", type=click.Choice(_STATES), default="open", show_default=True, help="Only those.")
@click.option("--before", type=_NUMBER, help="Only numbers below this one: the next page.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def list_(config_path: Path | None, state: str, before: int | None, limit: int, as_json: bool) -> None:
    """Disputes, the newest first. Exit code 1 if there are any that are open."""
    settings = Settings.load(config_path)
    wanted = None if state == "all" else DisputeState(state)

    async def read(reader: Reader) -> list[Dispute]:
        return await disputes.page(reader, state=wanted, limit=limit, **({"before": before} if before else {}))

    found = read_stored(settings, read)
    if as_json:
        click.echo(orjson.dumps([tell_dispute(dispute) for dispute in found]))
    else:
        print_disputes(found)
    sys.exit(1 if any(dispute.state is DisputeState.OPEN for dispute in found) else 0)


@command.command("show", short_help="Everything about one dispute.")
@click.argument("number", type=_NUMBER)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def show(config_path: Path | None, number: int, as_json: bool) -> None:
    """Everything about dispute NUMBER: the words, the labels then and now, what was done. Exit code 1 if it is open."""
    settings = Settings.load(config_path)
    src = settings.labeler.did or settings.service_did

    async def read(reader: Reader) -> dict[str, Any]:
        dispute = await disputes.get(reader, number)
        if dispute is None:
            raise click.BadParameter(f"there is no dispute {number}", param_hint="NUMBER")
        ruling, stored = await rulings.of(reader, dispute.uri), await tracks.get(reader, dispute.uri)
        live = [row.label.val for row in await labels.live(reader, src, dispute.uri) if not row.label.neg]
        return {
            **tell_dispute(dispute),
            "title": stored.track.title if stored is not None else None,
            "labels_now": live,
            "ruling": {"denied": sorted(ruling.denied), "stated": list(ruling.stated)},
            "others": [one.dispute_id for one in await disputes.of_track(reader, dispute.uri) if one != dispute],
            "log": [tell_action(action) for action in await actions.of(reader, dispute.uri)],
        }

    told = read_stored(settings, read)
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        print_dispute(told)
    sys.exit(1 if told["state"] == DisputeState.OPEN.value else 0)


@command.command("accept", short_help="Let the word of a dispute stand.")
@click.argument("number", type=_NUMBER)
@click.option("--reason", required=True, help="Why, for the log. Only operators see it.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON document on stdout.")
@click.pass_obj
def accept(config_path: Path | None, number: int, reason: str, as_json: bool) -> None:
    """Let the word of dispute NUMBER stand: its labels stay away, the genres that it names are published."""
    _decide(config_path, Decision(dispute_id=number, accept=True, by=operator(), reason=reason), as_json)


@command.command("reject", short_help="Let a dispute change nothing (any more).")
@click.argument("number", type=_NUMBER)
@click.option("--reason", required=True, help="Why, for the log. Only operators see it.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON document on stdout.")
@click.pass_obj
def reject(config_path: Path | None, number: int, reason: str, as_json: bool) -> None:
    """Let dispute NUMBER change nothing (any more): labels come back as far as the policy would publish them."""
    _decide(config_path, Decision(dispute_id=number, accept=False, by=operator(), reason=reason), as_json)


@command.command("log")
@click.option("--uri", help="Only what was done about this record.")
@click.option("--before", type=_NUMBER, help="Only numbers below this one: the next page.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def log(config_path: Path | None, uri: str | None, before: int | None, limit: int, as_json: bool) -> None:
    """Who did what to labels and why, the newest first. Nothing is ever removed from this log."""
    settings = Settings.load(config_path)

    async def read(reader: Reader) -> list[Action]:
        page: dict[str, Any] = {"limit": limit} | ({"before": before} if before else {})
        return await (actions.page(reader, **page) if uri is None else actions.of(reader, uri, **page))

    told = [tell_action(action) for action in read_stored(settings, read)]
    if as_json:
        click.echo(orjson.dumps(told))
        return
    for step in told:
        click.echo(step_line(step))
    if not told:
        click.echo("none")


def _decide(config_path: Path | None, decision: Decision, as_json: bool) -> None:
    settings = Settings.load(config_path)
    if Store.is_in_use(settings.database):
        try:
            [outcome] = call(settings, ROUTE, msgspec.to_builtins(decision))
        except Refused as error:
            if error.reason != NothingToDecide.reason:
                raise
            raise click.BadParameter(str(error), param_hint="NUMBER") from None
    else:
        try:
            outcome = asyncio.run(_decide_here(settings, decision))
        except NothingToDecide as error:
            raise click.BadParameter(str(error), param_hint="NUMBER") from None
    if as_json:
        click.echo(orjson.dumps(outcome))
        return
    labels_now = ", ".join(outcome["labels"]) or "none"
    click.echo(f"dispute {outcome['dispute']} is {outcome['state']}; labels of {outcome['uri']}: {labels_now}")


async def _decide_here(settings: Settings, decision: Decision) -> dict[str, Any]:
    """What comes of it is published when the service starts."""
    if not settings.database.exists():
        raise Misconfigured("storage.folder", f"there is no database in {settings.data}")
    clock = SystemClock()
    judge = judge_by(load_policy(settings, Taxonomy.load()))
    store = await Store.open(settings.database, clock=clock)
    try:
        return await Disputing(store, judge=judge, clock=clock).decide(decision)
    finally:
        await store.close()
