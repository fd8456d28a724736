"""`earmark models`: list, pull and verify model packs."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from core.config import Settings
from core.errors import Corrupt
from models import pack as packs
from models import pull as pulling


@click.group("models")
def command() -> None:
    """List, pull and verify model packs.

    The default pack `musicnn` (ISC licence) comes from the Python package index and is converted here; no account,
    no GPU, no TensorFlow.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def list_packs(config_path: Path | None, as_json: bool) -> None:
    """Show the packs: what they give, licence, size, whether installed."""
    settings = Settings.load(config_path)
    table = Table("pack", "gives", "licence", "download", "installed", "in use")
    rows = []
    for name, pack in packs.PACKS.items():
        installed = packs.is_installed(settings.home, name)
        in_use = name == settings.listening.pack
        size = pack.wheel.size_bytes
        rows.append(
            {
                "name": name,
                "gives": pack.gives,
                "licence": pack.licence,
                "download_bytes": size,
                "installed": installed,
                "in_use": in_use,
            }
        )
        yes_no = {True: "yes", False: "no"}
        table.add_row(name, pack.gives, pack.licence, f"{size / 1e6:.0f} MB", yes_no[installed], yes_no[in_use])
    if as_json:
        click.echo(orjson.dumps(rows))
    else:
        Console().print(table)


@command.command("pull")
@click.argument("names", nargs=-1, required=True)
@click.option("--from", "source", type=click.Path(path_type=Path, exists=True), help="Folder that holds the download.")
@click.pass_obj
def pull(config_path: Path | None, names: tuple[str, ...], source: Path | None) -> None:
    """Download, check and install packs. Does nothing for a pack that is installed and intact."""
    settings = Settings.load(config_path)
    for name in names:
        found = pulling.pull(name, settings.home, source=source, progress=lambda line: click.echo(line, err=True))
        click.echo(f"{name} is installed in {found.folder}", err=True)


@command.command("verify")
@click.argument("names", nargs=-1)
@click.pass_obj
def verify(config_path: Path | None, names: tuple[str, ...]) -> None:
    """Hash the installed files again. Exit code 1 if anything differs."""
    settings = Settings.load(config_path)
    installed = [name for name in packs.PACKS if packs.is_installed(settings.home, name)]
    if not names and not installed:
        click.echo("nothing is installed; run: earmark models pull musicnn", err=True)
        sys.exit(1)
    bad = False
    for name in names or installed:
        try:
            found = packs.verify(settings.home, name)
        except Corrupt as damage:
            bad = True
            click.echo(f"{name}: {damage}")
        else:
            click.echo(f"{name}: intact, {found.pack_hash[:16]}")
    sys.exit(1 if bad else 0)
