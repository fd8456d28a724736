"""`earmark eval FOLDER`: how right the labels are on music whose genres somebody knows, and thresholds that fit it."""

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
from core.log import set_up
from core.taxonomy import Taxonomy
from earmark.judging import load_policy
from earmark.known_music import BadFolder, KnownFolder, read_folder
from earmark.local import listen, listeners
from earmark.telling import open_console
from labeler.fitting import MIN_POSITIVES, PRECISION, Known, fit, measure, tell
from labeler.musicnn import TagMapping
from labeler.policy import Policy
from labeler.thresholds import Thresholds

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
    """Hear a FOLDER of music whose genres you know, and say how right the labels would be.

    \b
    Genres are the names of subfolders (Jazz/Bebop/one.mp3 is both), or the columns `file` and `genres`
    (several parted by ;) of a genres.csv in FOLDER. Parents follow from styles. That a track is filed
    under Rock alone says nothing about Rock's styles, so these are not counted there.

    \b
    --fit: the lowest threshold of each label at which 60 of 100 published are right. A style with fewer
    than 20 examples then speaks for its parent only. The numbers after it are of the very tracks that
    were fitted to, so expect worse; a folder of a few hundred tracks is a start.
    Exit code 1 if files could not be analysed, 2 if no genre is known.
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
    if not found.genres:
        raise click.BadParameter("no audio in it has a genre that is known here", param_hint="FOLDER")
    known, failures = asyncio.run(_hear(settings, found))
    told: dict[str, Any] = {
        "files": len(found.genres),
        "unplaced": len(found.unplaced),
        "unknown_names": list(found.unknown),
        "failures": dict(failures),
    }
    if known:
        told |= {"pack": policy.explain(known[0].analysis).pack, **tell(measure(known, policy, taxonomy))}
    if fitting and known:
        told["fitted"] = _fit(settings, taxonomy, known, out)
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        _print(told)
    sys.exit(1 if failures else 0)


async def _hear(settings: Settings, found: KnownFolder) -> tuple[list[Known], Counter[str]]:
    """What was heard, without the vectors, and why the rest was not."""
    files, known, failures = list(found.genres), [], Counter[str]()
    async with listeners(settings, len(files)) as crew:
        for first in range(0, len(files), _AT_ONCE):
            some = files[first : first + _AT_ONCE]
            for file, outcome in zip(some, await listen(crew, [str(file) for file in some]), strict=True):
                if isinstance(outcome, AppError):
                    click.echo(f"not heard: {file}: {outcome}", err=True)
                    failures[getattr(outcome, "reason", "refused")] += 1
                else:
                    known.append(Known(_without_vectors(outcome), found.genres[file]))
    return known, failures


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
        click.echo(f"{told['unplaced']} audio files without a known genre, left out", err=True)
    if told["unknown_names"]:
        click.echo(f"no genres here: {', '.join(told['unknown_names'][:20])}", err=True)
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
