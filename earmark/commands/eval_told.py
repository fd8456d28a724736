"""What `earmark eval` found of feeds, for people."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from feedgen.likeness import NEIGHBOURS
from feedgen.month import JUDGED, SEEN

_COLUMNS = (
    "feed", "admitted", "had a turn", "entries", "artists", "Gini", "of all", "distance", "of all",
    f"first {JUDGED}", "chance",
)  # fmt: skip


def print_feeds(console: Console, told: dict[str, Any]) -> None:
    """The sound-alikes in one line, a row for each feed that draws, and how to read it."""
    albums = told["albums"]
    if albums is None:
        click.echo(f"sound-alikes: not measured, no album is known that has more than {NEIGHBOURS} tracks")
    else:
        click.echo(
            f"sound-alikes ({told['space']}): of the {NEIGHBOURS} nearest {albums['precision_at_5']:.0%} are of the "
            f"same album, {albums['by_artist']:.0%} of the same artist; at random {albums['chance']:.0%} "
            f"({albums['tracks']} tracks of {albums['albums']} albums)"
        )
    table = Table(box=None, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "feed" else "right", no_wrap=name == "feed")
    for row in told["feeds"]:
        right = row["precision_at_20"]
        table.add_row(
            row["feed"],
            str(row["admitted"]),
            _share(row["share_shown"]),
            str(row["entries"]),
            str(row["artists"]),
            _number(row["artist_gini"]),
            _number(row["artist_gini_admitted"]),
            _number(row["distance"]),
            _number(row["distance_admitted"]),
            "-" if right is None else f"{_share(right['share'])} of {right['judged']}",
            "-" if right is None else _share(right["chance"]),
        )
    console.print(table)
    short = f", {told['too_short']} shorter than the {told['min_seconds']:g} s that feeds ask for"
    click.echo(
        f"{told['music']} of {told['corpus']} are music, by {told['artists']} artists"
        f"{short if told['too_short'] else ''}; 30 days of four orders a day, {SEEN} entries of each seen"
        "\nof all: if all that is admitted were seen alike; chance: if the order were drawn from the whole folder"
        "\n-: not measured, nothing is known of it"
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
