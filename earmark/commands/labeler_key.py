"""`earmark labeler key`: make a key, or put another in its place."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import orjson

from core.config import Settings
from core.errors import Misconfigured
from core.keys import PublicKey
from earmark.asking import Asking
from earmark.enrolling import Enroller, has_directory, open_enroller
from labeler.label_key import load_label_key, make_key, switch_key
from store import Store


@click.group("key")
def keys() -> None:
    """Keys that sign: labels have one, certificates another."""


@keys.command("new", short_help="Make a key in a new file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--certificate", is_flag=True, help="For signed certificates of analyses instead of labels.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def new(file: Path, certificate: bool, as_json: bool) -> None:
    """Make a key in FILE, which its user alone may read, and print its public half.

    A file that is there already is never overwritten. Keep a copy of the key where only you can read it: without
    it labels can be signed with a new one only (`earmark labeler key rotate`).
    """
    public = make_key(file).public
    setting = "certificates.key_file" if certificate else "labeler.key_file"
    name = "earmark_certificate" if certificate else "atproto_label"
    if as_json:
        click.echo(orjson.dumps({"file": str(file), "multikey": public.multikey, "method": name, "setting": setting}))
        return
    click.echo(f"#{name}: {public.multikey}")
    click.echo(f'set {setting} = "{file.absolute()}" and run: earmark labeler setup', err=True)


@keys.command("rotate", short_help="Give the labeler a new key.")
@click.option("--yes", is_flag=True, help="Do not ask whether to go on.")
@click.option("--token", help="The code from the mail, if it was asked for before.")
@click.option("--password-file", type=click.Path(path_type=Path, dir_okay=False), help="File with the main password.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_obj
def rotate(config_path: Path | None, yes: bool, token: str | None, password_file: Path | None, as_json: bool) -> None:
    """Give the labeler a new key: made, written into the DID document, put into labeler.key_file.

    \b
    Stop the service first, so that nothing is signed with a key that readers do not find any more. The
    new key lies beside the old one as FILE.next until the document names it; run the same command again
    if it was stopped in between. The old one is kept as FILE.old. Labels that it signed are signed
    anew when somebody asks for them. Exit code 1 if something is left to do, 3 if the service runs.
    """
    settings = Settings.load(config_path)
    file = settings.labeler.key_file
    if file is None or settings.labeler.key is not None:
        raise Misconfigured("labeler.key_file", "only a key in a file can be rotated; name the file, unset labeler.key")
    if Store.is_in_use(settings.database):
        click.echo("the service signs with this key; stop it, run this, start it again", err=True)
        sys.exit(3)
    load_label_key(file=file)
    successor = file.with_name(f"{file.name}.next")
    made = load_label_key(file=successor) if successor.exists() else make_key(successor)
    assert made is not None
    published = asyncio.run(_publish(settings, made.public, Asking(yes, password_file, token)))
    if not published:
        click.echo(f"left to do: let the document name {made.public.multikey}, then run this again", err=True)
        sys.exit(1)
    kept = switch_key(file, successor)
    if as_json:
        click.echo(orjson.dumps({"file": str(file), "multikey": made.public.multikey, "old": str(kept)}))
    else:
        click.echo(f"{file} is now {made.public.multikey}; the old key is {kept}")
    click.echo("start earmark serve; delete the old key once earmark labeler check finds nothing", err=True)


async def _publish(settings: Settings, successor: PublicKey, asking: Asking) -> bool:
    """Whether the DID document names the new key, or will when we serve it."""
    async with open_enroller(settings) as enroller:
        if settings.serves_itself:
            return True
        if not has_directory(enroller.did):
            return (await enroller.identity()).label_key == successor
        return await _change_directory(enroller, successor, asking)


async def _change_directory(enroller: Enroller, successor: PublicKey, asking: Asking) -> bool:
    plan = await enroller.plan(successor)
    if not plan.changes:
        return True
    for change in plan.changes:
        click.echo(f"  {change}", err=True)
    asking.agree("make these changes to the DID document?")
    pds = plan.entry.services.get("atproto_pds")
    if pds is None:
        raise Misconfigured("labeler.did", f"{enroller.did} has no PDS that could sign the change")

    def tell(text: str) -> None:
        click.echo(text, err=True)

    async with enroller.signed_in(pds.endpoint.rstrip("/"), asking, tell) as session:
        await enroller.change_identity(session, plan, asking, tell)
    return True
