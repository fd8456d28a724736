"""Feeds as operators see them: how they stand, what is in one and why, and what was kept out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.cells import set_cell_size
from rich.markup import escape
from rich.table import Table

from earmark.telling import open_console

_PARTS = {
    "prompt": "prompts",
    "tags": "tags",
    "freshness": "fresh",
    "popularity": "popular",
    "damping": "damped",
    "weight": "weight",
}
_TITLE, _REASON, _NUMBER = 26, 13, 8  # columns
_WHY = {
    "veto": "a vetoed style",
    "requirement": "short of what is required",
    "not-music": "not heard to be music",
    "speech": "speech",
    "duration": "its length",
    "one-opinion": "only one of prompts and tags speaks for it",
    "unwanted": "not for this reader",
    "no-post": "no post can show it",
    "duplicate": "the same recording as",
    "artist": "too near another track of its artist",
    "album": "too near another track of its album",
    "song": "too near another version of it",
    "style": "too many of its style",
}


def print_feeds(rows: Sequence[Mapping[str, Any]]) -> None:
    """One a line: how it stands."""
    table = Table("feed", "kind", "state", "scored", "matching", "with post", "entries", "why it is dark")
    for row in rows:
        numbers = (str(row[key]) for key in ("scored", "matching", "with_post", "entries"))
        state = "open" if row["open"] else "dark"
        table.add_row(escape(row["rkey"]), row["kind"], state, *numbers, escape("; ".join(row["reasons"])))
    open_console().print(table)


def print_status(told: Mapping[str, Any]) -> None:
    """How one feed stands."""
    state = "open" if told["open"] else "dark: " + "; ".join(told["reasons"])
    click.echo(f"{told['name']} ({told['rkey']}, {told['kind']}), {state}")
    admits = f", admitted from {told['threshold']:.2f}" if told["threshold"] else ""
    click.echo(
        f"{told['scored']} tracks judged{admits}; {told['matching']} match, {told['with_post']} have a post, "
        f"{told['entries']} are shown"
    )


def print_tracks(told: Mapping[str, Any], *, explain: bool) -> None:
    """Two lines each, never folded: addresses are copied from here."""
    if not told["tracks"]:
        return
    parts = _PARTS if explain else {}
    names = "".join(f"{name:>{_NUMBER}}" for name in ("score", *parts.values()))
    click.echo(f"{'':4}{'track':{_TITLE}} {'reason':{_REASON}}{names}")
    for row in told["tracks"]:
        title = f"{row['title']}, {row['artist']}" if row["artist"] else row["title"]
        numbers = "".join(f"{_show(one):>{_NUMBER}}" for one in (row["score"], *(row["parts"][part] for part in parts)))
        click.echo(f"{row['place']:<4}{set_cell_size(title, _TITLE)} {row['reason']:{_REASON}}{numbers}")
        click.echo(f"{'':4}{row['uri']}")


def print_checks(told: Mapping[str, Any]) -> None:
    """What the tests of the prompts found; nothing of a feed that has none."""
    if told["kind"] != "mood":
        return
    checks = told["checks"]
    if checks is None:
        click.echo("prompts were not tested: that takes the pack clap and 300 tracks")
        return
    click.echo(f"{checks['passed']} of 3 tests hold, so what counts is: {checks['trust']}")
    for name, means in (
        ("reach", "the best twenty stand out from the corpus (standard deviations)"),
        ("overlap", "the wordings find the same tracks (share)"),
        ("concordance", "tags tell the nearest fifty from others (area under the curve)"),
    ):
        found, needed = checks[name]
        click.echo(f"  {name} {_show(found) or 'not known'} of {_show(needed)} needed: {means}")


def print_aside(told: Mapping[str, Any]) -> None:
    """What was kept out or moved, two lines each as above."""
    if told["aside"]:
        click.echo("kept out, or pushed down to the place that is named:")
    for row in told["aside"]:
        place = "out" if row["place"] is None else f"#{row['place']}"
        why = f"{_WHY[row['why']]} {row['detail']}".strip()
        click.echo(f"{place:>5} {row['title']}: {why}\n{'':6}{row['uri']}")


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
