"""`earmark labels negate | resume | rejudge`: what changes labels on purpose, and asks first."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson

from core.clock import Clock, SystemClock, parse_datetime
from core.config import Settings
from core.errors import Misconfigured
from core.taxonomy import Taxonomy
from core.types import AtUri, Did
from earmark.control import Refused, call
from earmark.deciding import Judge
from earmark.judging import judge_by, load_policy
from earmark.negating import NEGATE, RESUME, Negating, Negation, UnknownTrack
from earmark.rejudging import ROUTE as REJUDGE
from earmark.rejudging import Rejudgement, Rejudging
from store import Store

_SHOWN = 40  # changes told one by one to a person
_MAX_KEPT = 10_000  # of the changes in the JSON document


@click.command("negate", short_help="Take our labels back, and keep them back.")
@click.argument("uri", required=False)
@click.option("--all", "every", is_flag=True, help="On all records: the kill switch.")
@click.option("--since", help="With --all: only labels made since (2026-01-31 or a full time with zone).")
@click.option("--val", help="Only this value, with its styles if it is a parent genre.")
@click.option("--reason", required=True, help="Why, for the log of who did what. Only operators see it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON document on stdout.")
@click.pass_obj
def negate(
    config_path: Path | None,
    uri: str | None,
    every: bool,
    since: str | None,
    val: str | None,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Take back our labels on record URI, or with --all on every record, and keep them back.

    \b
    What is taken back stays back, whatever is heard anew and whoever states it, until `earmark labels
    resume`. `--all` alone stops labelling altogether; with --since only what was said since a time
    goes, such as after a change that went wrong. Posts follow their tracks.

    \b
    Negations leave before anything else, as fast as labeler.labels_per_second allows.
    """
    if (uri is None) != every or (since is not None and not every):
        raise click.UsageError("name a record, or say --all; --since goes with --all")
    settings = Settings.load(config_path)
    wish = Negation(
        uri=None if uri is None else _record(uri),
        val=_value(val),
        since_us=None if since is None else _since(since),
        by=operator(),
        reason=reason,
    )
    what = f"{val or 'all labels'} on {uri or 'ALL RECORDS'}" + (f" made since {since}" if since else "")
    if not yes:
        click.confirm(f"Take back {what} and keep that back?", abort=True, err=True)
    told = _ask(settings, NEGATE, wish, _heed_nothing)
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        click.echo(f"{told['labels']} labels on {told['tracks']} tracks are taken back: {what}")


@click.command("resume", short_help="End what negate began.")
@click.argument("uri", required=False)
@click.option("--all", "every", is_flag=True, help="Lift everything that is kept back, on whichever record.")
@click.option("--val", help="Only this value.")
@click.option("--reason", required=True, help="Why, for the log of who did what. Only operators see it.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON document on stdout.")
@click.pass_obj
def resume(config_path: Path | None, uri: str | None, every: bool, val: str | None, reason: str, as_json: bool) -> None:
    """End what `earmark labels negate` began, on record URI or with --all; labels come back as the policy has them.

    `earmark labels holds` lists what is kept back. Exit code 1 if nothing of this was.
    """
    if (uri is None) != every:
        raise click.UsageError("name a record, or say --all")
    settings = Settings.load(config_path)
    wish = Negation(uri=None if uri is None else _record(uri), val=_value(val), by=operator(), reason=reason)
    told = _ask(settings, RESUME, wish, _heed_nothing)
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        click.echo(f"{told['lifted']} holds lifted, {told['changed']} verdicts changed")
    sys.exit(0 if told["lifted"] else 1)


@click.command("rejudge", short_help="Judge all tracks again; shows the difference first.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many changed tracks.")
@click.option("--reason", help="Why, for the log of who did what. Only operators see it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The changes as one JSON document on stdout.")
@click.pass_obj
def rejudge(
    config_path: Path | None, dry_run: bool, limit: int | None, reason: str | None, yes: bool, as_json: bool
) -> None:
    """Judge all tracks again by what was heard of them, after a change of policy. Nothing is fetched or heard.

    \b
    Prints the difference first, then asks. A running service judges by the settings that it was started
    with: restart it after changing policy.thresholds or policy.publish_styles.
    Stop it at any time; the same command goes on. Exit code 1 if --dry-run finds differences.
    """
    settings = Settings.load(config_path)
    shown = _Difference(quiet=as_json)
    told = _ask(settings, REJUDGE, Rejudgement(dry_run=True, limit=limit, by=operator()), shown.show)
    applied = False
    if not as_json:
        shown.summarise(told, "would change")
    if told["changed"] and not dry_run:
        if not yes:
            click.confirm("Apply this?", abort=True, err=True)
        shown = _Difference(quiet=True)
        wish = Rejudgement(dry_run=False, limit=limit, by=operator(), reason=reason)
        told = _ask(settings, REJUDGE, wish, shown.show)
        applied = True
        if not as_json:
            click.echo(f"{told['changed']} verdicts are changed; labels leave with the stream")
    if as_json:
        click.echo(orjson.dumps({**told, "changes": shown.kept, "applied": applied}))
    sys.exit(1 if dry_run and told["changed"] else 0)


class _Difference:
    """The changes as they come: the first ones line by line, all of them counted."""

    def __init__(self, *, quiet: bool) -> None:
        self.kept: list[dict[str, Any]] = []
        self._quiet = quiet

    def show(self, said: dict[str, Any]) -> None:
        for change in said["changes"]:
            if len(self.kept) < _MAX_KEPT:
                self.kept.append(change)
            if not self._quiet and len(self.kept) <= _SHOWN:
                was, now = (
                    ", ".join(change[side]["labels"]) or change[side]["reason"] or "none" for side in ("was", "now")
                )
                click.echo(f"{change['uri']}\n    {was}\n -> {now}")

    def summarise(self, told: dict[str, Any], verb: str) -> None:
        if told["changed"] > _SHOWN:
            click.echo(f"... and {told['changed'] - _SHOWN} more")
        for name in ("added", "removed"):
            most = sorted(told[name].items(), key=lambda pair: (-pair[1], pair[0]))
            if most:
                click.echo(f"{name}: " + ", ".join(f"{label} {count}" for label, count in most[:15]))
        click.echo(f"{told['changed']} of {told['judged']} tracks {verb}")


def _heed_nothing(said: dict[str, Any]) -> None:
    """Only the last line counts."""


def _ask(
    settings: Settings, route: str, wish: Negation | Rejudgement, heed: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The service does it if it runs, else we do; the last line that was said."""
    try:
        if not Store.is_in_use(settings.database):
            return asyncio.run(_do_here(settings, route, wish, heed))
        said: dict[str, Any] = {}
        for said in call(settings, route, msgspec.to_builtins(wish)):
            heed(said)
        return said
    except (UnknownTrack, Refused) as error:
        if error.reason != UnknownTrack.reason:
            raise
        raise click.BadParameter(str(error), param_hint="URI") from None


async def _do_here(
    settings: Settings, route: str, wish: Negation | Rejudgement, heed: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """What comes of it is published when the service starts."""
    if not settings.database.exists():
        raise Misconfigured("storage.folder", f"there is no database in {settings.data}")
    clock, taxonomy = SystemClock(), Taxonomy.load()
    judge = judge_by(load_policy(settings, taxonomy))
    store = await Store.open(settings.database, clock=clock)
    said: dict[str, Any] = {}
    try:
        async for said in _work(settings, store, judge, taxonomy, clock, route, wish):
            heed(said)
        return said
    finally:
        await store.close()


def _work(
    settings: Settings,
    store: Store,
    judge: Judge,
    taxonomy: Taxonomy,
    clock: Clock,
    route: str,
    wish: Negation | Rejudgement,
) -> AsyncIterator[dict[str, Any]]:
    if isinstance(wish, Rejudgement):
        return Rejudging(store, judge=judge, clock=clock).run(wish)
    src = Did(settings.labeler.did or settings.service_did)
    negating = Negating(store, src=src, taxonomy=taxonomy, judge=judge, clock=clock)
    return negating.negate(wish) if route == NEGATE else negating.resume(wish)


def operator() -> str:
    """Who acts, for the log. Raises Misconfigured when this user has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise Misconfigured("LOGNAME", "this user has no name; set it, for the log of who did what") from None


def _record(uri: str) -> str:
    try:
        return str(AtUri.parse(uri))
    except ValueError:
        raise click.BadParameter("must be at://did/collection/rkey, with a DID", param_hint="URI") from None


def _value(val: str | None) -> str | None:
    if val is not None and val not in Taxonomy.load().identifiers:
        raise click.BadParameter(f"{val} is no label of ours", param_hint="--val")
    return val


def _since(text: str) -> int:
    try:
        return parse_datetime(text if "T" in text else f"{text}T00:00:00Z")
    except ValueError:
        raise click.BadParameter("2026-01-31 or 2026-01-31T12:00:00Z", param_hint="--since") from None
