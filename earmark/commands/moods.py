"""`earmark moods PROMPT [FILE...]`: what a prompt is understood as, and which files fit it best."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from core.analysis import SILENCE_DBFS, Analysis, Space
from core.config import Settings
from core.errors import AppError, NotUnderstood
from core.log import set_up
from earmark.local import listen, listeners, shown
from earmark.telling import open_console
from models.crew import Crew
from models.moods import build_query, measure_spread, score_tags
from models.pack import is_installed
from models.prompts import build_prompt_query, score_prompts
from models.words import KINDS, Understood, load_vocabulary, read_prompt, understand

_ALL = "all"
_TAGS_SHOWN = 12


@click.command("moods")
@click.argument("prompt", required=False)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(readable=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout (docs/api.md).")
@click.option(
    "--words", "kind", is_flag=False, flag_value=_ALL, type=click.Choice((_ALL, *KINDS)),
    help="List the vocabulary, all of it or one kind.",
)  # fmt: skip
@click.pass_obj
def command(config_path: Path | None, prompt: str | None, files: tuple[str, ...], as_json: bool, kind: str) -> None:
    """Show how a prompt is understood, and rank audio files by how well they fit it, best first.

    \b
    earmark moods "dark ambient techno"             what it means, in tags
    earmark moods "late night drive" *.mp3          the files, best first
    earmark moods "calm piano without vocals" *.ogg "no", "without", "not" turn a word around
    earmark moods --words mood                      the moods that are known
    earmark moods "lo-fi, tape hiss" *.mp3 --json   for scripts

    Words and phrases come from a table of genres, instruments, moods, activities, eras, tempo, texture and voice; a
    word that it does not have is named and ignored. With the pack clap installed the text itself is compared with the
    sound, so every word counts, and the table is the second opinion.

    A score is in standard deviations: 0 is as well as music usually fits, 1 fits clearly. Exit code 1 if a file could
    not be analysed (the others are ranked), 2 if no word of the prompt is known.
    """
    if kind:
        _print_words(kind, as_json)
        return
    if not prompt:
        raise click.UsageError('a prompt is needed, such as "dark ambient techno"; --words lists the vocabulary')
    prompt = shown(prompt)
    if os.path.isfile(prompt):  # noqa: PTH113  (a prompt may be longer than any path: False then, no error)
        raise click.UsageError(
            f'{prompt} is a file: the prompt comes first, such as: earmark moods "calm piano" FILE...'
        )
    settings = Settings.load(config_path)
    set_up(level="warning")
    try:
        understood = read_prompt(prompt)
        if not _reads_text(settings) or not (understood.matches or understood.unknown):
            understood = understand(prompt)
    except NotUnderstood as error:
        raise click.ClickException(f"{error}; `earmark moods --words` lists the vocabulary") from None
    space, rows = asyncio.run(_rank(settings, understood, files)) if files else (None, [])
    answer = {
        "prompt": prompt,
        "space": space,
        "understood": [
            {
                "text": match.text,
                "word": match.entry.word,
                "kind": match.entry.kind,
                "negated": match.negated,
                "tags": {tag: round(weight, 4) for tag, weight in match.weights.items()},
            }
            for match in understood.matches
        ],
        "unknown": understood.unknown,
        "tags": {tag: round(weight, 4) for tag, weight in understood.weights.items()},
        "files": rows,
    }
    if as_json:
        click.echo(orjson.dumps(answer))
    else:
        _print(answer, reads_text=_reads_text(settings))
    sys.exit(1 if any(row["status"] == "refused" for row in rows) else 0)


def _reads_text(settings: Settings) -> bool:
    """Whether a pack that places texts beside sound is among those that listen."""
    wanted = settings.listening.packs
    return "clap" in wanted if wanted else is_installed(settings.home, "clap")


async def _rank(
    settings: Settings, understood: Understood, files: tuple[str, ...]
) -> tuple[Space, list[dict[str, Any]]]:
    """The space that was asked, and a row a file: best first, then what could not be analysed."""
    async with listeners(settings, len(files)) as crew:
        outcomes = await listen(crew, files)
        heard = [outcome for outcome in outcomes if isinstance(outcome, Analysis) and _sounds(outcome)]
        space = crew.pack_set.moods
        by_tags = _score_by_tags(understood, heard)
        scores = await _score_by_text(crew, understood, heard) if space is Space.CLAP else by_tags
    places = iter(range(len(heard)))
    rows = [
        _row(
            file, outcome, next(places) if isinstance(outcome, Analysis) and _sounds(outcome) else None, scores, by_tags
        )
        for file, outcome in zip(files, outcomes, strict=True)
    ]
    return space, sorted(rows, key=lambda row: (row["score"] is None, -(row["score"] or 0.0)))


def _sounds(analysis: Analysis) -> bool:
    """Silence fits no mood, whatever the models say of it."""
    return analysis.rms_dbfs >= SILENCE_DBFS


def _score_by_tags(understood: Understood, heard: list[Analysis]) -> NDArray[np.float64] | None:
    """None when the packs that listened have no tag space, or no word is known."""
    if not understood.weights or not all(Space.MUSICNN_TAGS in one.vectors for one in heard) or not heard:
        return None
    vectors = np.stack([one.vectors[Space.MUSICNN_TAGS] for one in heard])
    return score_tags(build_query(understood.weights), vectors, measure_spread(vectors))


async def _score_by_text(crew: Crew, understood: Understood, heard: list[Analysis]) -> NDArray[np.float64] | None:
    if not heard:
        return None
    query = await build_prompt_query(crew, [understood.wanted or "music"], understood.unwanted)
    vectors = np.stack([one.vectors[Space.CLAP] for one in heard])
    return score_prompts(vectors @ query.positive.T, vectors @ query.negative.T)


def _row(
    file: str,
    outcome: Analysis | AppError,
    place: int | None,
    scores: NDArray[np.float64] | None,
    by_tags: NDArray[np.float64] | None,
) -> dict[str, Any]:
    if isinstance(outcome, AppError):
        status, reason, warnings = "refused", getattr(outcome, "reason", "refused"), [shown(str(outcome))]
    elif _sounds(outcome):
        status, reason, warnings = "ok", None, list(outcome.warnings)
    else:
        status, reason, warnings = "undecided", "silence", list(outcome.warnings)
    return {
        "file": shown(file),
        "status": status,
        "reason": reason,
        "warnings": warnings,
        "score": None if place is None or scores is None else round(float(scores[place]), 4),
        "tag_score": None if place is None or by_tags is None else round(float(by_tags[place]), 4),
    }


def _print(answer: dict[str, Any], *, reads_text: bool) -> None:
    console = open_console()
    known = ", ".join(f"{'not ' * one['negated']}{one['word']} ({one['kind']})" for one in answer["understood"])
    console.print(f"understood: {escape(known) or 'no word of the table'}", highlight=False)
    if answer["unknown"]:
        fate = "the text model reads them all the same" if reads_text else "ignored"
        console.print(f"[yellow]unknown[/yellow]: {escape(', '.join(answer['unknown']))} ({fate})", highlight=False)
    tags = [f"{tag} {weight:+.2f}" for tag, weight in list(answer["tags"].items())[:_TAGS_SHOWN]]
    if tags:
        more = len(answer["tags"]) - len(tags)
        console.print(f"as tags: {escape(', '.join(tags))}{f', and {more} weaker ones' * (more > 0)}", highlight=False)
    if not answer["files"]:
        return
    text = answer["space"] == Space.CLAP
    columns = ("score", "by tags", "file") if text else ("score", "file")
    table = Table(*columns)
    for row in answer["files"]:
        numbers = [row["score"], row["tag_score"]] if text else [row["score"]]
        name = escape(row["file"])
        if row["reason"]:
            name += f"  [red]{row['reason']}[/red]"
        table.add_row(*("" if number is None else f"{number:+.2f}" for number in numbers), name)
    console.print(table)


def _print_words(kind: str, as_json: bool) -> None:
    entries = [entry for entry in load_vocabulary().entries if kind in (_ALL, entry.kind)]
    if as_json:
        rows = [{"word": e.word, "kind": e.kind, "aliases": e.aliases, "tags": e.tags} for e in entries]
        click.echo(orjson.dumps(rows))
        return
    table = Table("word", "kind", "also")
    for entry in entries:
        table.add_row(escape(entry.word), entry.kind, escape(", ".join(entry.aliases)))
    open_console().print(table)
