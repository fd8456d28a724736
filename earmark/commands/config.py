"""`earmark config show`: the configuration in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from core.config import Settings


@click.group("config")
def command() -> None:
    """Show the configuration in force."""


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def show(config_path: Path | None, as_json: bool) -> None:
    """Print every setting with the value in force (file, then environment); secrets are masked."""
    shown = Settings.load(config_path).shown()
    if as_json:
        click.echo(orjson.dumps(shown))
        return
    click.echo(f"home = {_toml(shown.pop('home'))}")
    for section, values in shown.items():
        click.echo(f"\n[{section}]")
        for key, value in values.items():
            click.echo(f"# {key} is not set" if value is None else f"{key} = {_toml(value)}")


def _toml(value: Any) -> str:
    """A TOML literal: JSON's strings, numbers, booleans and lists are TOML's."""
    return orjson.dumps(value).decode()
