"""`earmark eval FOLDER`: how right labels and feeds are on music that somebody knows, and thresholds that fit it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson
from rich.table import Table

from core.analysis import Analysis
from core.clock import SystemClock, format_datetime
from core.config import Settings
from core.errors import AppError, Misconfigured
from core.feed import Feed
from core.log import set_up
from core.taxonomy import Taxonomy
from earmark.catalogue import load_feeds
from earmark.commands.eval_told import print_feeds
from earmark.judging import load_policy
from earmark.known_music import BadFolder, KnownFolder, read_folder
from earmark.local import listen, listeners
from earmark.telling import open_console
from earmark.trial import open_trial
from labeler.fitting import MIN_POSITIVES, PRECISION, Known, fit, measure, tell
from labeler.musicnn import TagMapping
from labeler.policy import Policy
from labeler.thresholds import Thresholds
from models.prompts import feed_queries

_AT_ONCE = 64  # files whose vectors are held in memory


@click.command("eval")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--fit", "fitting", is_flag=True, help="Fit thresholds to this folder and write them.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("thresholds.json"),
    show_default=True,
    help="Where to; then set policy.thresholds to it.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def command(config_path: Path | None, folder: Path, fitting: bool, out: Path, as_json: bool) -> None:
    """Hear a FOLDER of music that you know, and say how right the labels and the feeds would be.

    \b
    Genres are the names of subfolders (Jazz/Bebop/one.mp3 is both), or the columns `file` and `genres`
    (several parted by ;) of a genres.csv in FOLDER. Parents follow from styles. That a track is filed
    under Rock alone says nothing about Rock's styles, so these are not counted there.

    \b
    More columns of genres.csv, empty where nobody says: `artist`, `album`, `title`; `moods`, the feeds
    that a track belongs in (others are then wrong for it); `source`, who says so. From these come: how
    many of a track's five nearest by sound are of its album; how many of the first 20 of a mood feed
    belong there, and how many would at random; and over 30 days of four orders a day, of each of which 30
    are seen: how many of the admitted tracks had a turn, how evenly artists did, how far apart the
    entries of a page sound. Where nothing is known nothing is measured.

    \b
    --fit: the lowest threshold of each label at which 60 of 100 published are right. A style with fewer
    than 20 examples then speaks for its parent only. The numbers after it are of the very tracks that
    were fitted to, so expect worse; a folder of a few hundred tracks is a start.
    Exit code 1 if files could not be analysed, 2 if nothing is known of any.
    """
    if fitting and not os.access(out.absolute().parent, os.W_OK):  # hearing may take hours
        raise click.BadParameter(f"{out} cannot be written there", param_hint="--out")
    settings, taxonomy = Settings.load(config_path), Taxonomy.load()
    policy = load_policy(settings, taxonomy)
    set_up(level="warning")
    try:
        found = read_folder(folder, taxonomy)
    except BadFolder as error:
        raise click.BadParameter(str(error), param_hint="FOLDER") from None
    if not found.said:
        raise click.BadParameter("of no audio in it a genre, a mood or an album is known", param_hint="FOLDER")
    feeds = load_feeds(settings, taxonomy)
    told: dict[str, Any] = {
        "files": len(found.said),
        "unplaced": len(found.unplaced),
        "unknown_names": [*found.unknown, *_unknown_moods(found, feeds)],
        "sources": Counter(one.source or "not named" for one in found.said.values()),
    }
    known, failures, feeds_told = asyncio.run(_hear(settings, found, feeds, policy))
    told |= {"failures": dict(failures), "feeds": feeds_told}
    if known:
        told |= {"pack": policy.explain(known[0].analysis).pack, **tell(measure(known, policy, taxonomy))}
    if fitting and known:
        told["fitted"] = _fit(settings, taxonomy, known, out)
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        _print(told)
    sys.exit(1 if failures else 0)


async def _hear(
    settings: Settings, found: KnownFolder, feeds: tuple[Feed, ...], policy: Policy
) -> tuple[list[Known], Counter[str], dict[str, Any]]:
    """What was heard of files with a genre, without the vectors; why the rest was not heard; how feeds do."""
    files, known, failures = list(found.said), [], Counter[str]()
    async with listeners(settings, len(files)) as crew, open_trial(crew.pack_set, policy) as trial:
        for first in range(0, len(files), _AT_ONCE):
            some = files[first : first + _AT_ONCE]
            for file, outcome in zip(some, await listen(crew, [str(file) for file in some]), strict=True):
                if isinstance(outcome, AppError):
                    click.echo(f"not heard: {file}: {outcome}", err=True)
                    failures[getattr(outcome, "reason", "refused")] += 1
                    continue
                said = found.said[file]
                await trial.put(file, said, outcome)
                if said.genres:
                    known.append(Known(_without_vectors(outcome), said.genres))
        told = await trial.measure(feeds, await feed_queries(crew, feeds, crew.pack_set))
    return known, failures, told


def _unknown_moods(found: KnownFolder, feeds: tuple[Feed, ...]) -> list[str]:
    rkeys = {feed.rkey for feed in feeds}
    return sorted({mood for one in found.said.values() for mood in one.moods} - rkeys)


def _without_vectors(analysis: Analysis) -> Analysis:
    return replace(analysis, vectors={}, acoustics=None, segments=())


def _fit(settings: Settings, taxonomy: Taxonomy, known: list[Known], out: Path) -> dict[str, Any]:
    mapping, styles = TagMapping.load(taxonomy), settings.policy.publish_styles

    def policy_with(thresholds: Thresholds) -> Policy:
        return Policy(taxonomy, mapping, publish_styles=styles, thresholds=thresholds)

    pack = policy_with(Thresholds()).explain(known[0].analysis).pack
    thresholds = fit(known, policy_with, taxonomy, pack=pack)
    try:
        thresholds.write(out, {"tracks": len(known), "at": format_datetime(SystemClock().now_us())})
    except OSError as error:
        raise Misconfigured("--out", f"{out} cannot be written ({error.strerror})") from None
    return {"file": str(out), **tell(measure(known, policy_with(thresholds), taxonomy), thresholds.floors)}


def _print(told: dict[str, Any]) -> None:
    console = open_console()
    if told["unplaced"]:
        click.echo(f"{told['unplaced']} audio files of which nothing is known, left out", err=True)
    if told["unknown_names"]:
        click.echo(f"neither genres nor feeds here: {', '.join(told['unknown_names'][:20])}", err=True)
    print_feeds(console, told["feeds"])
    if "tracks" not in told:
        return
    console.print(_table(told))
    click.echo(f"{told['pack']}: {_summary(told)}")
    if "fitted" in told:
        fitted = told["fitted"]
        console.print(_table(fitted))
        click.echo(f"fitted ({PRECISION:.0%} right, styles from {MIN_POSITIVES} examples): {_summary(fitted)}")
        click.echo(f"written to {fitted['file']}; to use it set policy.thresholds, restart, earmark labels rejudge")


def _summary(told: dict[str, Any]) -> str:
    return (
        f"{told['tracks']} tracks, precision {_share(told['precision'])}, labelled {_share(told['share_labelled'])}, "
        f"undecided {_share(told['share_undecided'])}"
    )


def _table(told: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold")
    fitted = any("threshold" in row for row in told["labels"])
    for name in ("label", "examples", "judged", "right", "precision", "found", *(("threshold",) if fitted else ())):
        table.add_column(name, justify="left" if name == "label" else "right", overflow="fold")
    for row in told["labels"]:
        counts = (str(row[name]) for name in ("positives", "judged", "right"))
        cells = [row["label"], *counts, _share(row["precision"]), _share(row["found"])]
        if fitted:
            threshold = row.get("threshold", "built-in")
            cells.append("parent only" if threshold is None else str(threshold))
        table.add_row(*cells)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
