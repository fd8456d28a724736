"""`earmark models`: list, pull, verify and remove model packs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from core.clock import SystemClock, format_datetime
from core.config import Settings
from core.errors import Corrupt, Misconfigured
from earmark import __version__
from models import pack as packs
from models import shelf
from models.catalogue import Pack, get_pack, read_catalogue
from models.download import Advance
from models.pull import needs_consent, pull


@click.group("models")
def command() -> None:
    """List, pull, verify and remove model packs: what Earmark hears with.

    \b
    musicnn   the default (ISC licence), made from a wheel of the Python package index: genres, moods
    effnet    400 styles, better sound-alikes, moods (non-commercial licence: needs your consent)
    clap      moods described in free words

    All installed packs listen unless the setting listening.packs names some. musicnn always does, except
    where effnet and clap together replace it. No account, no GPU.

    \b
    earmark models pull effnet clap          asks for consent, goes on where a cut download stopped
    earmark models pull clap --from /media   from a folder or mirror, where no network is
    earmark models list                      what is installed, under which licence
    """


def _catalogue_option(verb: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--catalogue",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Other declarations of the packs than the built-in ones. Default: the setting listening.pack_catalogue.",
    )(verb)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@_catalogue_option
@click.pass_obj
def list_packs(config_path: Path | None, as_json: bool, catalogue: Path | None) -> None:
    """Show the packs: what they give, licence, sizes, whether installed and in use, whether the licence was accepted.

    "In use" is what the settings say; `models verify` says whether the files are whole.
    """
    settings = Settings.load(config_path)
    declared = read_catalogue(catalogue or settings.listening.pack_catalogue)
    rows = [_describe(pack, settings) for pack in declared.values()]
    if as_json:
        click.echo(orjson.dumps(rows))
        return
    table = Table("pack", "licence", "download", "installed", "in use", "consent")
    for pack, row in zip(declared.values(), rows, strict=True):
        consent = row["consent"]
        table.add_row(
            row["name"],
            "\n".join(licence.id for licence in pack.licences),
            _megabytes(row["download_bytes"]),
            _megabytes(row["installed_bytes"]) if row["installed"] else "no",
            "yes" if row["in_use"] else "no",
            f"given {consent['accepted'][:10]}" if consent else "needed" if pack.consent else "not needed",
        )
    Console().print(table)
    for pack in declared.values():
        click.echo(f"{pack.name}: {pack.gives}")
    for pack in declared.values():
        if len(pack.licences) > 1:
            click.echo(_licences(pack))


@command.command("pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--accept-license", is_flag=True, help="I read and accept the licences of these packs.")
@click.option(
    "--from",
    "source",
    metavar="DIR|URL",
    help="Folder or https mirror with the files, or with a folder of the pack's name that has them.",
)
@_catalogue_option
@click.pass_obj
def pull_packs(
    config_path: Path | None, names: tuple[str, ...], accept_license: bool, source: str | None, catalogue: Path | None
) -> None:
    """Download, check and install packs. Does nothing for a pack that is installed and intact.

    Every file is hashed while it comes and has to be the declared one. A pack appears complete or not at
    all. If the download is cut, say it again: it goes on where it stopped. The consent to a licence is kept
    with the pack and shown by `models list`.
    """
    settings = Settings.load(config_path)
    catalogue = catalogue or settings.listening.pack_catalogue
    wanted = [get_pack(name, catalogue) for name in names]
    for pack in wanted:
        if needs_consent(pack, settings.home) and not accept_license:
            accept_license = _ask_consent(pack)
    place = source if source is None or "://" in source else Path(source)
    for pack in wanted:
        consent = packs.Consent(pack.licence, format_datetime(SystemClock().now_us()), __version__)
        with _progress() as (say, advance):
            found = pull(
                pack.name,
                settings.home,
                source=place,
                catalogue=catalogue,
                consent=consent if accept_license else None,
                progress=say,
                advance=advance,
            )
        without = f", without {', '.join(found.left_out)}" if found.left_out else ""
        click.echo(f"{pack.name} is installed in {found.folder} ({pack.licence}){without}", err=True)
        if not _describe(pack, settings)["in_use"]:
            click.echo(f"{pack.name} is not in use: {_why_unused(settings)}", err=True)


@command.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_catalogue_option
@click.pass_obj
def verify(config_path: Path | None, names: tuple[str, ...], catalogue: Path | None) -> None:
    """Hash the installed files again (default: of all packs). Exit code 1 if anything differs."""
    settings = Settings.load(config_path)
    catalogue = catalogue or settings.listening.pack_catalogue
    installed = [name for name in read_catalogue(catalogue) if packs.is_installed(settings.home, name)]
    if not names and not installed:
        click.echo("nothing is installed; run: earmark models pull musicnn", err=True)
        sys.exit(1)
    bad = False
    for name in names or installed:
        get_pack(name, catalogue)  # a wrong name is a mistake of the caller's, not damage
        try:
            found = packs.verify(settings.home, name, catalogue=catalogue)
        except (Corrupt, Misconfigured) as damage:
            bad = True
            click.echo(f"{name}: {damage}")
        else:
            click.echo(f"{name}: intact, {found.pack_hash[:16]}")
    sys.exit(1 if bad else 0)


@command.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_catalogue_option
@click.pass_obj
def remove(config_path: Path | None, names: tuple[str, ...], yes: bool, catalogue: Path | None) -> None:
    """Delete packs, and what a cut download left of them. A consent goes with its pack.

    A running service keeps what it has opened; it has to be restarted, or fails to start without the pack.
    """
    settings = Settings.load(config_path)
    wanted = [get_pack(name, catalogue or settings.listening.pack_catalogue) for name in names]
    for pack in wanted:
        row = _describe(pack, settings)
        if row["in_use"]:
            named = pack.name in settings.listening.packs
            why = "listening.packs names it: nothing listens until that is changed" if named else "it listens now"
            click.echo(f"{pack.name} is in use: {why}", err=True)
        if not yes and not _ask(f"Remove {pack.name} ({_megabytes(row['installed_bytes'])})?", "--yes"):
            raise click.UsageError("nothing was removed")
    missing = False
    for pack in wanted:
        with shelf.locked(settings.home, pack.name, lambda: click.echo("waiting for another process", err=True)):
            found = shelf.take_away(settings.home, pack.name)
        missing |= not found
        click.echo(f"{pack.name}: removed" if found else f"{pack.name}: is not installed", err=True)
    sys.exit(1 if missing else 0)


def _describe(pack: Pack, settings: Settings) -> dict[str, Any]:
    """One pack as plain values. What is installed is read from manifests; nothing is hashed."""
    names = [name for name in packs.PACK_NAMES if packs.is_installed(settings.home, name)]
    manifest = packs.read_manifest(settings.home, pack.name)
    return {
        "name": pack.name,
        "role": pack.role,
        "gives": pack.gives,
        "licence": pack.licence,
        "licences": [{"id": one.id, "url": one.url, "about": one.about} for one in pack.licences],
        "consent_needed": pack.consent,
        "consent": (
            {"licence": given.licence, "accepted": given.accepted, "earmark": given.earmark}
            if manifest and (given := manifest.consent)
            else None
        ),
        "spaces": [space.value for space in pack.spaces],
        "taggers": pack.taggers,
        "download_bytes": pack.download_bytes,
        "installed": pack.name in names,
        "installed_bytes": sum(file.size for file in manifest.files.values()) if manifest else 0,
        "in_use": pack.name in names and pack.name in packs.choose(settings.listening.packs, names),
    }


def _why_unused(settings: Settings) -> str:
    wanted = settings.listening.packs
    return f"listening.packs names {', '.join(wanted)}" if wanted else "effnet and clap together replace it"


def _licences(pack: Pack) -> str:
    lines = [f"  {licence.id}: {licence.about}. {licence.url}" for licence in pack.licences]
    return "\n".join([f"{pack.name}, several licences are reported:", *lines])


def _ask_consent(pack: Pack) -> bool:
    """On a terminal. Elsewhere False: `pull` names the licence and the flag."""
    if not sys.stdin.isatty():
        return False
    click.echo(_licences(pack), err=True)
    if not _ask(f"Do you accept the licence of {pack.name}?", "--accept-license"):
        raise click.UsageError(f"the licence is not accepted: {pack.name} was not pulled")
    return True


def _ask(question: str, flag: str) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError(f"there is no terminal to ask on; say {flag}")
    return click.confirm(question, default=False, err=True)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str], None], Advance]]:
    """How steps and bytes are shown on stderr: a bar on a terminal, else a line a step."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        yield lambda step: click.echo(step, err=True), lambda name, done, total: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def advance(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, completed=done)
            bars.update(tasks[name], completed=done, total=total)

        yield console.print, advance


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
