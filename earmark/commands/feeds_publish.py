"""`earmark feeds publish` and `unpublish`: the records that make feeds known to Bluesky."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from core.clock import SystemClock
from core.config import Settings
from core.errors import Misconfigured
from core.feed import Feed
from core.taxonomy import Taxonomy
from earmark.asking import Asking, signed_in
from earmark.catalogue import load_feeds
from earmark.commands.feeds_ask import ask
from earmark.outside import reaching_out
from earmark.pictures import Picture
from earmark.previewing import Question
from earmark.publishing import Change, Plan, Published, Publisher, read_avatar
from feedgen.publish import feed_uri

_NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would change and end; needs no password.")
_YES = click.option("--yes", is_flag=True, help="Do not ask whether to go on.")
_PASSWORD = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the publisher's password; an app password will do.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="What changed as one JSON document on stdout.")
_Planning = Callable[[Publisher, Mapping[str, Published]], Plan]


@click.command("publish")
@_NAMES
@_DRY_RUN
@_YES
@click.option(
    "--avatar", type=click.Path(path_type=Path, dir_okay=False), help="PNG or JPEG up to 1 MB, for all these feeds."
)
@_PASSWORD
@_JSON
@click.pass_obj
def publish(
    config_path: Path | None,
    names: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    avatar: Path | None,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Write the records of these feeds, or of all that are open, into the publisher's repository.

    \b
    It looks at what is there, shows the difference and asks. Dark feeds are not published: run this again when
    `feeds list` says that they opened, or set feeds.password_file, and `serve` does it by itself. A record that
    names another service is left alone. Feeds are in Bluesky minutes later.
    The account is feeds.publisher_did; its password comes from --password-file, from EARMARK_PDS_PASSWORD,
    or is asked for. Exit code 1 if a named feed is dark, or its place is taken.
    """
    settings = Settings.load(config_path)
    picture = read_avatar(avatar) if avatar is not None else None
    feeds = choose(settings, names)
    standing = {row["rkey"]: row for row in _ask_standing(settings)}
    dark = {feed.rkey: standing[feed.rkey]["reasons"] for feed in feeds if not standing[feed.rkey]["open"]}

    def plan(publisher: Publisher, known: Mapping[str, Published]) -> Plan:
        lit = [feed for feed in feeds if feed.rkey not in dark]
        return publisher.plan(lit, known, with_avatar=picture is not None)

    for rkey, reasons in dark.items():
        _tell(f"{rkey} is dark and left as it is: {'; '.join(reasons)}")
    asking = Asking(yes=yes, password_file=password_file)
    done = asyncio.run(_work(settings, plan, asking, dry_run=dry_run, avatar=picture))
    _finish(done | {"dark": dark}, as_json, failed=bool(names and dark))


@click.command("unpublish")
@_NAMES
@click.option("--all", "everything", is_flag=True, help="All of the catalogue, and records of feeds that left it.")
@_DRY_RUN
@_YES
@_PASSWORD
@_JSON
@click.pass_obj
def unpublish(
    config_path: Path | None,
    names: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    yes: bool,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Remove the records of these feeds from the publisher's repository: they vanish from Bluesky.

    \b
    Whoever pinned or liked a feed loses it, also if it is published again later. Only records that name this
    service are removed. It lasts: with feeds.password_file too, `serve` publishes none again that it has seen
    published; `feeds publish` does. The feed is still served and ranked: "enabled": false in the catalogue ends that.
    Exit code 1 if the record of a feed belongs to another service.
    """
    if everything == bool(names):
        raise click.UsageError("name the feeds, or say --all")
    settings = Settings.load(config_path)
    catalogue = [feed.rkey for feed in load_feeds(settings, Taxonomy.load())]

    def plan(publisher: Publisher, known: Mapping[str, Published]) -> Plan:
        if strange := [rkey for rkey in names if rkey not in catalogue and rkey not in known]:
            raise click.BadParameter(f"there is no feed {strange[0]!r}, and none of that name is published")
        return publisher.plan_removal(dict.fromkeys(names or (*catalogue, *publisher.ours(known))), known)

    asking = Asking(yes=yes, password_file=password_file)
    _finish(asyncio.run(_work(settings, plan, asking, dry_run=dry_run, avatar=None)), as_json)


async def _work(
    settings: Settings, plan: _Planning, asking: Asking, *, dry_run: bool, avatar: Picture | None
) -> dict[str, Any]:
    clock = SystemClock()
    async with reaching_out(settings, clock=clock) as outside:
        guard, user_agent = outside.guard, outside.user_agent
        publisher = Publisher(
            settings, http=outside.http, directory=outside.directory, guard=guard, user_agent=user_agent, clock=clock
        )
        pds = await publisher.find_pds()
        found = plan(publisher, await publisher.published(pds))
        _show(publisher.did, found)
        if found.changes and not dry_run:
            asking.agree("make these changes?")
            async with signed_in(pds, publisher.did, asking, _tell, guard=guard, user_agent=user_agent) as session:
                await publisher.apply(session, found.changes, avatar=avatar)
            _tell("done")
        return {
            "did": publisher.did,
            "dry_run": dry_run,
            "changes": [_told(publisher.did, change) for change in found.changes],
            "strangers": list(found.strangers),
        }


def choose(settings: Settings, names: Sequence[str]) -> list[Feed]:
    """The feeds of these names, or all of the catalogue. Raises BadParameter."""
    catalogue = {feed.rkey: feed for feed in load_feeds(settings, Taxonomy.load())}
    for name in names:
        if name not in catalogue:
            raise click.BadParameter(f"there is no feed {name!r}; there are: {', '.join(catalogue)}")
    return [catalogue[name] for name in dict.fromkeys(names or catalogue)]


def _ask_standing(settings: Settings) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ask(settings, Question())["feeds"]
    known = {row["rkey"] for row in rows}
    for feed in load_feeds(settings, Taxonomy.load()):
        if feed.rkey not in known:
            raise Misconfigured("feeds.catalogue", f"the running service does not know {feed.rkey}; restart it first")
    return rows


def _show(did: str, plan: Plan) -> None:
    for rkey in plan.strangers:
        _tell(f"{feed_uri(did, rkey)} belongs to another service and is left alone")
    if not plan.changes:
        _tell("nothing to change")
    for change in plan.changes:
        _tell(f"{change.action} {feed_uri(did, change.rkey)}")
        for line in change.differences:
            _tell(f"  {line}")


def _told(did: str, change: Change) -> dict[str, Any]:
    return {"uri": feed_uri(did, change.rkey), "action": change.action, "differences": list(change.differences)}


def _finish(done: dict[str, Any], as_json: bool, *, failed: bool = False) -> None:
    if as_json:
        click.echo(orjson.dumps(done))
    sys.exit(1 if failed or done["strangers"] else 0)


def _tell(text: str) -> None:
    click.echo(text, err=True)
