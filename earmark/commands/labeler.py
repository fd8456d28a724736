"""`earmark labeler`: enrol the account that signs labels, and see whether others can find and believe it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from core.clock import SystemClock
from core.config import Settings
from core.errors import Misconfigured
from core.keys import PublicKey
from earmark.asking import Asking
from earmark.checkup import Checkup, Looked
from earmark.commands.labeler_key import keys
from earmark.enrolling import Declaration, Enroller, has_directory, open_enroller
from earmark.keyring import load_keys
from feedgen.did_document import build_did_document
from labeler.enroll import check_certificates, check_enrolment
from labeler.plc import Plan


@click.group("labeler")
def command() -> None:
    """Enrol the account that signs labels.

    \b
    1. earmark labeler key new label.key      a key for labels; set labeler.did and labeler.key_file
    2. earmark labeler setup                  the DID document: who signs, and where the labels are
    3. earmark serve                          the stream has to be there before the declaration
    4. earmark labeler setup                  the declaration in the account's repository
    5. earmark labeler check                  what others see of it
    """


command.add_command(keys)


@command.command("setup", short_help="Write the DID document, then the declaration.")
@click.option("--dry-run", is_flag=True, help="Show what would change and end; needs no password.")
@click.option("--yes", is_flag=True, help="Do not ask whether to go on.")
@click.option("--token", help="The code from the mail, if it was asked for before.")
@click.option("--password-file", type=click.Path(path_type=Path, dir_okay=False), help="File with the password.")
@click.option("--json", "as_json", is_flag=True, help="What changed as one JSON document on stdout.")
@click.pass_obj
def setup(
    config_path: Path | None, dry_run: bool, yes: bool, token: str | None, password_file: Path | None, as_json: bool
) -> None:
    """Write our key and address into the DID document, then the declaration into the repository.

    \b
    It looks at what is there, shows the difference and asks. Nothing that is there is removed. The
    directory's entry is changed by the account's PDS, which mails a code and wants the main password;
    the declaration can be written with an app password. The password comes from --password-file, from
    EARMARK_PDS_PASSWORD, or is asked for. Readers look at a new declaration once, so it is written only
    when the service answers at service.public_url: start `earmark serve` and run this again.
    A did:web has no directory: what its document has to say is printed.
    Exit code 1 if something is left to do.
    """
    settings = Settings.load(config_path)
    key = _label_key(settings)
    asking = Asking(yes=yes, password_file=password_file, token=token)
    done = asyncio.run(_Setup(asking, dry_run=dry_run).run(settings, key))
    if as_json:
        click.echo(orjson.dumps(done))
    sys.exit(1 if done["left"] and not dry_run else 0)


class _Setup:
    """One run: tells on stderr, returns what a program wants to know."""

    def __init__(self, asking: Asking, *, dry_run: bool) -> None:
        self._asking, self._dry_run = asking, dry_run
        self._left: list[str] = []

    async def run(self, settings: Settings, key: PublicKey) -> dict[str, Any]:
        async with open_enroller(settings) as enroller:
            plan = await enroller.plan(key) if has_directory(enroller.did) else None
            if plan is None:
                pds = await self._look_at_web(enroller, key)
            else:
                service = plan.entry.services.get("atproto_pds")
                if service is None:
                    raise Misconfigured("labeler.did", f"{enroller.did} has no PDS; choose an account that has one")
                pds = service.endpoint.rstrip("/")
            declaration = await enroller.declaration(pds) if pds else None
            changes = [str(change) for change in plan.changes] if plan else []
            lines = list(declaration.changes) if declaration else []
            self._show(
                enroller, {"DID document": changes if plan else None, "declaration": lines if declaration else None}
            )
            if (changes or lines) and not self._dry_run:
                assert pds is not None
                await self._change(enroller, pds, plan, declaration)
        return {
            "did": enroller.did,
            "dry_run": self._dry_run,
            "identity": changes,
            "declaration": lines,
            "left": self._left,
        }

    def _show(self, enroller: Enroller, compared: Mapping[str, list[str] | None]) -> None:
        """None: that is not ours to change."""
        for title, differences in compared.items():
            if differences is None:
                continue
            _tell(f"{title} of {enroller.did}: {'these changes' if differences else 'nothing to change'}")
            for line in differences[:40]:
                _tell(f"  {line}")
            if len(differences) > 40:
                _tell(f"  and {len(differences) - 40} more")

    async def _change(self, enroller: Enroller, pds: str, plan: Plan | None, declaration: Declaration | None) -> None:
        identity = plan is not None and bool(plan.changes)
        record = declaration is not None and bool(declaration.changes)
        why = await enroller.why_not_ready() if record else None
        if why is not None:
            self._leave(f"the declaration waits for the service to be reachable ({why}): start it, then run this again")
        if not identity and (not record or why is not None):
            return
        self._asking.agree("make these changes?")
        async with enroller.signed_in(pds, self._asking, _tell) as session:
            if plan is not None and identity:
                await enroller.change_identity(session, plan, self._asking, _tell)
                _tell("the DID document is changed")
            if declaration is not None and record and why is None:
                await enroller.declare(session, declaration)
                _tell("the declaration is written; earmark labeler check shows what others see")

    async def _look_at_web(self, enroller: Enroller, key: PublicKey) -> str | None:
        """The PDS of a did:web if it has one; says what its document lacks."""
        certificates = enroller.certificate_key
        if enroller.settings.serves_itself:
            document = build_did_document(enroller.did, enroller.url, label_key=key, certificate_key=certificates)
            _tell("earmark serve serves this as /.well-known/did.json:")
            _tell(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
            return None
        identity = await enroller.identity()
        findings = check_enrolment(identity, key=key, service_url=enroller.url)
        if certificates is not None:
            findings += check_certificates(identity, key=certificates)
        for finding in findings:
            self._leave(finding.what)
        if findings:
            _tell("the document has to say:")
            wanted = enroller.wanted(key)
            for name, text in wanted.keys().items():
                _tell(f"verificationMethod #{name}: type Multikey, publicKeyMultibase {text.removeprefix('did:key:')}")
            for name, service in wanted.services().items():
                _tell(f"service #{name}: type {service.type}, serviceEndpoint {service.endpoint}")
        return identity.pds

    def _leave(self, what: str) -> None:
        self._left.append(what)
        _tell(f"left to do: {what}")


@command.command("check", short_help="See from outside what others see of it.")
@click.option("--json", "as_json", is_flag=True, help="Everything that was looked at as one JSON document.")
@click.pass_obj
def check(config_path: Path | None, as_json: bool) -> None:
    """See from outside whether others can find, reach and believe the labeler.

    \b
    In this order: the announcer is another account, the clock, the DID document names our key and
    address, the address answers over https, the first label verifies, the stream opens over wss, the
    declaration is up to date. Each finding says what to do. Exit code 1 if there is one.
    """
    settings = Settings.load(config_path)
    looked = asyncio.run(_check(settings, _label_key(settings)))
    if as_json:
        click.echo(orjson.dumps({"checks": [_shown(one) for one in looked]}))
    else:
        for one in looked:
            click.echo(f"{'WRONG' if one.findings else 'ok   '}  {one.name}{'' if one.findings else f': {one.note}'}")
            for finding in one.findings:
                click.echo(f"       {finding.what}\n       -> {finding.remedy}")
    sys.exit(1 if any(one.findings for one in looked) else 0)


async def _check(settings: Settings, key: PublicKey) -> list[Looked]:
    async with open_enroller(settings) as enroller:
        return [one async for one in Checkup(enroller, key, now_us=SystemClock().now_us).run()]


def _shown(looked: Looked) -> dict[str, Any]:
    findings = [{"what": finding.what, "remedy": finding.remedy} for finding in looked.findings]
    return {"name": looked.name, "ok": not findings, "note": "" if findings else looked.note, "findings": findings}


def _label_key(settings: Settings) -> PublicKey:
    """Raises Misconfigured."""
    key = load_keys(settings).label
    if key is None:
        raise Misconfigured(
            "labeler.key_file", "set it and labeler.did first; `earmark labeler key new FILE` makes a key"
        )
    return key.public


def _tell(text: str) -> None:
    click.echo(text, err=True)
