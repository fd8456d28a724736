"""`earmark classify FILE...`: what Earmark would say of local audio; no network, no store."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from rich.markup import escape
from rich.table import Table

from core.analysis import Analysis, Space, VerdictStatus
from core.config import Settings
from core.errors import AppError
from core.feed import MoodQuery, Questions
from core.log import set_up
from core.taxonomy import Taxonomy
from earmark.catalogue import load_feeds
from earmark.judging import load_policy
from earmark.local import listen, listeners, shown
from earmark.telling import (
    open_console,
    show_acoustics,
    show_genres,
    show_stretch,
    show_time,
    tell_acoustics,
    tell_genres,
    tell_segments,
)
from labeler.policy import Policy
from models.moods import measure_spread, score_tags
from models.pack import PackSet
from models.prompts import feed_queries, fit_prompts

_GENRES_SHOWN = 3
_MOODS_SHOWN = 3
_DIGITS = 6


@click.command("classify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(readable=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout, an object a file, in input order.")
@click.option("--embedding", is_flag=True, help="With --json: add the L2-normalised sound-alike vector.")
@click.option("--peaks", is_flag=True, help="With --json: add 800 waveform peaks, 0-255, to the acoustics.")
@click.pass_obj
def command(config_path: Path | None, files: tuple[str, ...], as_json: bool, embedding: bool, peaks: bool) -> None:
    """Analyse audio files: the genres heard, the labels they would get, moods, tags, tempo, key and loudness.

    mp3, m4a/aac, ogg, opus, flac, wav, aiff and webm. Several files use all cores. Long mixes are described stretch
    by stretch. Exit code 1 if a file could not be analysed; the others still are.
    """
    if (embedding or peaks) and not as_json:
        raise click.UsageError("--embedding and --peaks go with --json")
    settings = Settings.load(config_path)
    set_up(level="warning")
    results = asyncio.run(_classify(settings, files, embedding=embedding, peaks=peaks))
    if as_json:
        click.echo(orjson.dumps(results))
    else:
        _print(results)
    sys.exit(1 if any(result["status"] == "refused" for result in results) else 0)


async def _classify(
    settings: Settings, files: tuple[str, ...], *, embedding: bool, peaks: bool
) -> list[dict[str, Any]]:
    taxonomy = Taxonomy.load()
    policy = load_policy(settings, taxonomy)
    feeds = load_feeds(settings, taxonomy)
    async with listeners(settings, len(files)) as crew:
        packs = crew.pack_set
        outcomes, moods = await asyncio.gather(listen(crew, files), feed_queries(crew, feeds, packs))
    teller = _Teller(policy, packs, moods, embedding, peaks)
    return [{"file": shown(file)} | teller.tell(outcome) for file, outcome in zip(files, outcomes, strict=True)]


@dataclass(frozen=True, slots=True)
class _Teller:
    """What is told of each file."""

    policy: Policy
    packs: PackSet
    moods: Questions
    embedding: bool
    peaks: bool

    def tell(self, outcome: Analysis | AppError) -> dict[str, Any]:
        result, vector = (
            (self._tell(outcome), outcome.vectors[self.packs.sound].tolist())
            if isinstance(outcome, Analysis)
            else (_refused(outcome), None)
        )
        return result | ({"embedding": vector} if self.embedding else {})

    def _tell(self, analysis: Analysis) -> dict[str, Any]:
        verdict = self.policy.judge(analysis)
        moods = [
            (rkey, round(_score_mood(asked, analysis), _DIGITS))
            for rkey, query in self.moods.feeds.items()
            if (asked := query.prompts or query.tags) is not None
        ]
        return {
            "status": "ok" if verdict.status is VerdictStatus.OK else "undecided",
            "reason": verdict.reason,
            "warnings": list(analysis.warnings),
            "duration_seconds": round(analysis.duration_seconds, 3),
            "pack": self.packs.genres,
            "genres": tell_genres(verdict.genres, digits=_DIGITS),
            "labels": list(verdict.labels),
            "moods": [{"name": name, "score": score} for name, score in sorted(moods, key=lambda pair: -pair[1])],
            "tags": [
                {"name": tag.name, "model": tag.model, "score": round(tag.score, _DIGITS)} for tag in analysis.tags
            ],
            "packs": dict(analysis.packs),
            "acoustics": tell_acoustics(analysis.acoustics, peaks=self.peaks),
            "segments": tell_segments(analysis, self.policy.describe),
        }


def _refused(error: AppError) -> dict[str, Any]:
    reason = getattr(error, "reason", "refused")
    return {
        "status": "refused", "reason": reason, "warnings": [shown(str(error))], "duration_seconds": None, "pack": None,
        "genres": [], "labels": [], "moods": [], "tags": [], "packs": {}, "acoustics": None, "segments": [],
    }  # fmt: skip


def _score_mood(asked: MoodQuery, analysis: Analysis) -> float:
    """By this file alone, whatever it is analysed beside."""
    row = analysis.vectors[asked.space][np.newaxis]
    if asked.space is Space.CLAP:
        return float(fit_prompts(row @ asked.positive.T, row @ asked.negative.T)[0])
    return float(score_tags(asked, row, measure_spread(row))[0])


def _print(results: list[dict[str, Any]]) -> None:
    paths = {result["file"] for result in results}
    short = len({Path(path).name for path in paths}) == len(paths)  # names alone tell the files apart
    table = Table("file", "length", "labels", "genres heard", "moods", "sound")
    table.columns[0].overflow = "fold"
    for result in results:
        if result["status"] == "refused":
            outcome = f"[red]{result['reason']}[/red]"
        else:
            outcome = ", ".join(result["labels"]) or f"[yellow]undecided: {result['reason']}[/yellow]"
        table.add_row(
            escape(Path(result["file"]).name if short else result["file"]),
            "" if result["duration_seconds"] is None else show_time(result["duration_seconds"]),
            outcome,
            escape(show_genres(result["genres"][:_GENRES_SHOWN])),
            ", ".join(f"{mood['name']} {mood['score']:+.1f}" for mood in result["moods"][:_MOODS_SHOWN]),
            show_acoustics(result["acoustics"]),
        )
        for segment in result["segments"]:
            table.add_row("", show_stretch(segment), "", escape(show_genres(segment["genres"])))
        for warning in result["warnings"]:
            table.add_row("", "", f"[dim]{escape(warning)}[/dim]")
    open_console().print(table)
