"""`earmark classify FILE...`: what Earmark would say of local audio; no network, no store."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from core.analysis import Analysis, Space, VerdictStatus
from core.config import Settings
from core.errors import AppError, Misconfigured, Permanent
from core.feed import MoodFeed
from core.log import set_up
from core.taxonomy import Taxonomy
from feedgen.catalogue import load_catalogue
from labeler.musicnn import TagMapping
from labeler.policy import Policy
from models.crew import Crew
from models.moods import mood_score, tag_positions


@click.command("classify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout, an object a file, in input order.")
@click.option("--embedding", is_flag=True, help="With --json: add the L2-normalised sound-alike vector.")
@click.pass_obj
def command(config_path: Path | None, files: tuple[str, ...], as_json: bool, embedding: bool) -> None:
    """Analyse audio files: the genres heard, the labels they would get, moods, tags.

    mp3, m4a/aac, ogg, opus, flac, wav, aiff and webm. Several files use all cores. Exit code 1 if a file
    could not be analysed; the others still are.
    """
    if embedding and not as_json:
        raise click.UsageError("--embedding goes with --json")
    settings = Settings.load(config_path)
    set_up(level="warning")
    results = asyncio.run(_classify(settings, files, embedding))
    if as_json:
        click.echo(orjson.dumps(results))
    else:
        _print(results)
    sys.exit(1 if any(result["status"] == "refused" for result in results) else 0)


async def _classify(settings: Settings, files: tuple[str, ...], embedding: bool) -> list[dict[str, Any]]:
    taxonomy = Taxonomy.load()
    policy = Policy(taxonomy, TagMapping.load(taxonomy), publish_styles=settings.policy.publish_styles)
    feeds = load_catalogue(settings.feeds.catalogue, taxonomy=taxonomy, known_tags=tag_positions())
    cores = settings.listening.children or os.cpu_count() or 1
    crew = Crew(
        home=settings.home,
        pack=settings.listening.pack,
        children=min(cores, len(files)),
        deadline_seconds=max(settings.listening.deadline_seconds, 600.0),
        max_seconds=settings.listening.max_seconds,
    )
    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("listening", total=len(files))

        async def one(file: str) -> dict[str, Any]:
            path = Path(file)
            try:
                result = _told(await crew.analyse(_existing(path)), policy, feeds, embedding)
            except Misconfigured:
                raise
            except AppError as error:
                result = _refused(error, embedding)
            progress.update(task, advance=1, description=escape(_shown(path.name)))
            return {"file": _shown(file)} | result

        await crew.start()
        try:
            return list(await asyncio.gather(*(one(file) for file in files)))
        finally:
            await crew.close()


def _shown(name: str) -> str:
    """A file's name as text: bytes that are none (the file system allows them) become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


class _NoFile(Permanent):
    """There is no such file, or it cannot be read."""

    reason = "no_such_file"


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise _NoFile(f"{file} is not a file")
    if not os.access(file, os.R_OK):
        raise _NoFile(f"{file} cannot be read")
    return file


def _told(analysis: Analysis, policy: Policy, feeds: Iterable[MoodFeed], embedding: bool) -> dict[str, Any]:
    verdict = policy.judge(analysis)
    place = analysis.vectors[Space.MUSICNN_TAGS]
    scored = [(feed.rkey, _rounded(mood_score(feed.tags, place))) for feed in feeds]
    result: dict[str, Any] = {
        "status": "ok" if verdict.status is VerdictStatus.OK else "undecided",
        "reason": verdict.reason,
        "warnings": list(analysis.warnings),
        "duration_seconds": round(analysis.duration_seconds, 3),
        "pack": analysis.pack,
        "genres": [
            {"identifier": genre.identifier, "display": genre.display, "score": _rounded(genre.score)}
            for genre in verdict.genres
        ],
        "labels": list(verdict.labels),
        "moods": [{"name": name, "score": score} for name, score in sorted(scored, key=lambda pair: -pair[1])],
        "tags": [{"name": tag.name, "model": tag.model, "score": _rounded(tag.score)} for tag in analysis.tags],
    }
    if embedding:
        result["embedding"] = [float(x) for x in analysis.vectors[Space.MUSICNN_SOUND]]
    return result


def _refused(error: AppError, embedding: bool) -> dict[str, Any]:
    reason = getattr(error, "reason", "refused")
    result: dict[str, Any] = {
        "status": "refused", "reason": reason, "warnings": [_shown(str(error))], "duration_seconds": None, "pack": None,
        "genres": [], "labels": [], "moods": [], "tags": [],
    }  # fmt: skip
    return result | ({"embedding": None} if embedding else {})


def _rounded(score: float) -> float:
    return round(float(score), 6)


def _print(results: list[dict[str, Any]]) -> None:
    paths = {result["file"] for result in results}
    short = len({Path(path).name for path in paths}) == len(paths)  # names alone tell the files apart
    table = Table("file", "length", "labels", "genres heard", "moods")
    table.columns[0].overflow = "fold"
    for result in results:
        if result["status"] == "refused":
            outcome = f"[red]{result['reason']}[/red]"
        else:
            outcome = ", ".join(result["labels"]) or f"[yellow]undecided: {result['reason']}[/yellow]"
        heard = ", ".join(f"{genre['display']} {genre['score']:.2f}" for genre in result["genres"][:4])
        moods = ", ".join(f"{mood['name']} {mood['score']:+.1f}" for mood in result["moods"])
        name = Path(result["file"]).name if short else result["file"]
        table.add_row(escape(name), _clock(result["duration_seconds"]), outcome, escape(heard), moods)
        for warning in result["warnings"]:
            table.add_row("", "", f"[dim]{escape(warning)}[/dim]", "", "")
    Console().print(table)


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else f"{int(seconds // 60)}:{int(seconds % 60):02d}"
